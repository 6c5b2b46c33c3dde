//! The embedded form: in-memory twins of Queue, Boards and Wire, and a loopback S3 server that emits events.
//!
//! A twin keeps the contract of the real adapter, down to what an old token does; both pass the suites of
//! `ports::conformance`. Nothing here survives the process: the bucket does, and the sweep rebuilds the rest
//! from it.
#![forbid(unsafe_code)]

mod boards;
mod broker;
mod queue;
mod s3_body;
mod s3_copy;
mod s3_disk;
mod s3_events;
mod s3_keys;
mod s3_list;
mod s3_multipart;
mod s3_room;
pub mod s3_server;
mod s3_service;
mod wire;

pub use broker::MemoryBroker;
