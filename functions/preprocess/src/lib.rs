//! Stage 1: picture -> cut-out, squared RGBA.
#![forbid(unsafe_code)]
