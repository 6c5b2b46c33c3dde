//! A whole Meshwright of real processes on a real nats-server and a real MinIO, and the oracle that every
//! fault test ends with.
#![forbid(unsafe_code)]

mod cluster;
mod collector;
mod moments;
mod oracle;
mod pictures;
mod rest;
mod words;

pub use cluster::{Cluster, EACH_ITS_OWN, PROCESSES, Process, Setup};
pub use collector::{Collector, Told};
pub use moments::{computing, in_the_middle, leader, records, worker_of};
pub use oracle::{Expect, Wanted, check, outcomes};
pub use pictures::{broken_pictures, picture, unusual_pictures};
pub use words::{Said, say};
