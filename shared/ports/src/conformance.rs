//! Public conformance suites: what every implementation of a port must do. A twin that fails one is not used.

pub mod boards;
pub mod device;
pub mod queue;
pub mod store;
pub mod wire;
