//! The worker loop, the runner protocol, configuration, telemetry, shutdown.
//!
//! A worker owns one device: it accepts batches, fetches, hands them to a runner, stores, commits,
//! acknowledges. A runner is its
//! child: it only computes. Neither knows how batches are cut, nor which broker or store stands behind the
//! ports.
#![forbid(unsafe_code)]

mod batch;
mod device_desk;
mod finish;
pub mod frames;
mod health;
mod items;
mod lane;
mod listen;
mod markers;
mod process;
mod publish;
pub mod runner;
mod runner_memory;
mod self_test;
mod spans;
mod stall;
mod steps;
mod synthetic;
pub mod telemetry;
mod timing;
mod token;
mod worker;
mod xid;

pub use lane::{ItemEnd, ItemSay, Lane, LaneReport, Spent, Work};
pub use process::{Death, RunnerCommand};
pub use synthetic::Loaded;
pub use worker::{Settings, run};
pub use xid::{XidAction, XidTable};
