//! Queue, Boards and Wire on NATS JetStream.
#![forbid(unsafe_code)]
