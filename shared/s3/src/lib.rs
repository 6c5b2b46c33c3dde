//! Store on any S3-compatible object store.
#![forbid(unsafe_code)]
