//! Runs the public conformance suites against every adapter and twin.
#![forbid(unsafe_code)]
