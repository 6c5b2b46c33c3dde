//! What we decide: which tasks run together, where, when. Pure and sans-IO: events in, decisions out, time an
//! argument.
//!
//! `core` holds the state and answers events, `cut` cuts a batch for an offer, `share` says whose turn it is,
//! `footprint` what a batch needs. The same events give the same decisions, byte for byte. The properties it
//! keeps are lettered in the README.
#![forbid(unsafe_code)]

mod core;
mod cut;
mod footprint;
mod share;

pub use crate::core::{Decision, Event, Limits, Planner};
pub use footprint::{Footprint, FootprintKey, prior};
