//! Real processes, real servers, real clients, faults.
#![forbid(unsafe_code)]
