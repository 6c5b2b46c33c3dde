//! What we say: ids, units, recipes, messages, subjects and object keys.
//!
//! Every other crate speaks in these words. This crate is pure: no IO, no clock, no randomness, no
//! environment.
#![forbid(unsafe_code)]

mod budget;
mod details;
mod event;
mod health;
mod ids;
mod job;
mod keys;
mod known;
mod manifest;
mod messages;
pub mod metrics;
mod options;
mod questions;
mod recipe;
mod site;
mod spans;
mod stage;
mod streams;
mod subjects;
mod synthetic;
mod timing;
mod trace;
mod units;
mod unknown;

pub use budget::*;
pub use details::*;
pub use event::*;
pub use health::*;
pub use ids::*;
pub use job::*;
pub use keys::*;
pub use known::unknown_stages;
pub use manifest::*;
pub use messages::*;
pub use options::*;
pub use questions::*;
pub use recipe::*;
pub use site::*;
pub use spans::*;
pub use stage::*;
pub use streams::*;
pub use subjects::*;
pub use synthetic::*;
pub use timing::*;
pub use trace::*;
pub use units::*;
pub use unknown::*;
