//! Store on any S3-compatible object store, spoken to with the field's own client.
//!
//! `config` says where and as whom, `store` reads and lists, `write` writes, `errors` says what an error
//! means for a caller, `events` whether a bucket tells of uploads, `probe` refuses a store that does not keep
//! what everything rests on: one winner per conditional create.
#![forbid(unsafe_code)]

mod config;
mod errors;
mod events;
mod probe;
mod store;
mod write;

pub use config::{Config, Secret, connect};
pub use events::tells_of_uploads;
pub use probe::{ProbeError, is_probe_key, probe};
