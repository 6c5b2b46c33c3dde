//! What we learn from timings: breakdown, bottleneck, prediction, ETA. Pure.
#![forbid(unsafe_code)]
