//! How we act, in our words. Adapters (`nats`, `s3`, `gpu`) and twins (`embedded`) implement these traits
//! and pass the same
//! conformance suites, which are public functions of this crate.
#![forbid(unsafe_code)]

mod board;
mod clock;
pub mod conformance;
mod device;
mod error;
pub mod lease;
mod ledger;
pub mod lives;
mod queue;
mod spans;
mod store;
mod wire;

pub use board::*;
pub use clock::*;
pub use device::*;
pub use error::*;
pub use ledger::*;
pub use queue::*;
pub use spans::*;
pub use store::*;
pub use wire::*;

use std::sync::Arc;

/// Everything a process acts through. Cloning is cheap.
#[derive(Clone)]
pub struct Ports {
    /// Work queues.
    pub queue: Arc<dyn Queue>,
    /// Boards.
    pub boards: Arc<dyn Boards>,
    /// Messages and logs.
    pub wire: Arc<dyn Wire>,
    /// The object store.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}
