//! Figures: measured, printed, written to figures/*.json.
#![forbid(unsafe_code)]
