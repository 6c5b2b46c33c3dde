//! In-memory twins of Queue, Boards and Wire, and a loopback S3 server over s3s-fs that emits events.
#![forbid(unsafe_code)]
