//! Neural networks on tract: manifests, precision, warm cache.
#![forbid(unsafe_code)]
