//! A whole Meshwright of real processes on a real nats-server and a real MinIO, and the oracle that every
//! fault test ends with.
#![forbid(unsafe_code)]

mod cluster;
mod oracle;
mod pictures;
mod rest;

pub use cluster::{Cluster, PROCESSES, Setup};
pub use oracle::{Expect, Wanted, check, outcomes};
pub use pictures::{broken_pictures, picture, unusual_pictures};
