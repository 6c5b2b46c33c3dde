//! What we decide: which tasks run together, where, when. Pure and sans-IO: events in, decisions out, time an
//! argument.
//!
//! `event` is the conversation as data. `core` holds the state and goes through the phases, `answers` takes
//! in what workers say, `share` and `turns` say whose turn it is, `cut` how large a batch is and where it
//! goes, `rule` what that is measured against, `device` what a device can give, `live` what runs, `window`
//! how much is drawn, `footprint` what a batch needs. `explain` says why a task waits, `optimizer` and
//! `advice` what a person asks of one device, `advisors` of all of them, `tune` where to measure next. The
//! same events give the same decisions, byte for byte. The properties it keeps are lettered in the README.
#![forbid(unsafe_code)]

mod advice;
mod advisors;
mod answers;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod calibration;
mod core;
mod curve;
mod cut;
mod device;
mod engines;
mod event;
mod explain;
mod fleet;
mod footprint;
mod held;
mod kept;
mod key;
mod live;
mod next;
mod optimizer;
#[cfg(test)]
mod order;
mod pace;
#[cfg(test)]
mod places;
mod rule;
#[cfg(test)]
mod samples;
mod share;
#[cfg(test)]
mod tests;
mod token;
mod tune;
mod turns;
mod window;

pub use crate::core::Planner;
pub use advice::{OptimizerReport, Recommendation, SizeOfKind};
pub use advisors::{Advisors, DeviceBatchSize, DeviceBatchSizes, DeviceReport, DeviceReports, Pictures};
pub use event::{Decision, Event, Limits};
pub use explain::{Explanation, Whereabouts};
pub use footprint::Footprint;
pub use key::{FootprintKey, prior, seed_formula};
pub use optimizer::{
    BatchSizeRecommendation, CacheOptimization, MemoryProfile, MemoryTrend, Optimizer, PastBatch,
    Performance, Trend,
};
pub use rule::BatchRule;
pub use tune::{Grid, Point, Search};
