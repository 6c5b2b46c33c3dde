//! The worker loop, the runner protocol, configuration, telemetry, shutdown.
//!
//! A worker owns one device: it accepts batches, fetches, hands them to a runner, stores, commits,
//! acknowledges. A runner is its
//! child: it only computes. Neither knows how batches are cut, nor which broker or store stands behind the
//! ports.
#![forbid(unsafe_code)]

mod batch;
mod device_desk;
pub mod frames;
mod lane;
mod process;
mod publish;
pub mod runner;
mod runner_memory;
mod steps;
pub mod telemetry;
mod timing;
mod token;
mod worker;

pub use lane::{ItemEnd, ItemSay, Lane, LaneReport, Work};
pub use process::{Death, RunnerCommand};
pub use worker::{Settings, run};
