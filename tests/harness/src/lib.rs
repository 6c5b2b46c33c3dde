//! Starts real servers for tests: nats-server, MinIO, on free ports, in temporary folders.
#![forbid(unsafe_code)]
