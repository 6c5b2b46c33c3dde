//! The protocol as a model, and clusters simulated from one seed.
#![forbid(unsafe_code)]
