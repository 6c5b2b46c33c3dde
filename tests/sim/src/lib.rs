//! The protocol as models whose every state is visited: `protocol` is the way of an upload to its one
//! outcome, `copies` the friendly copies of a key that is overwritten meanwhile, `check` walks through them.
//! No code of the system runs in these: the steps are those of crates ingest, worker and ports, retold. The
//! README says which is which.
//!
//! `cluster` is the other half: the real planning code in simulated clusters, from one seed.
#![forbid(unsafe_code)]

pub mod check;
pub mod cluster;
pub mod copies;
pub mod protocol;
