//! What we decide: which tasks run together, where, when. Pure, sans-IO, no clock.
#![forbid(unsafe_code)]
