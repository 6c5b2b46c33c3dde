//! Drives planning: tasks and offers in, batches out; holds the lease.
#![forbid(unsafe_code)]
