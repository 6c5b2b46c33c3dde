//! Queue, Boards and Wire on NATS JetStream.
//!
//! `connect` reaches a server that is new enough, `declare` creates or verifies streams and boards from the
//! one table, `queue`, `boards` and `wire` are the ports, `trace` gives their messages a trace context,
//! `errors` says what an error means for a caller. A JetStream that lost its store is declared anew on the
//! first call that misses a stream: the queue is a way to find work quickly, the bucket is the truth.
#![forbid(unsafe_code)]

mod boards;
mod connect;
mod declare;
mod errors;
mod queue;
mod trace;
mod wire;

pub use connect::{Broker, Config, ConnectError, Secret, connect};
pub use declare::DeclareError;
