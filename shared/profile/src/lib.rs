//! What we learn from timings: breakdown, bottleneck, prediction, trend, ETA, recommendations. Pure: timings
//! in, values out; the clock is an argument.
//!
//! ```text
//! sketch    latencies that can be merged          <- breakdown, pipeline, eta
//! batches   timings of one batch -> lane time     -> speed: t(b) per stage, device class, precision
//! window    all of it for many timings            -> breakdown, setup, capacity, trend, advice
//! setup     who has how many lanes for what       \
//! flow      the most that lanes let through        > capacity: the stage that bounds -> predict: what if
//! trend     slopes and change points
//! eta       what is left of one job
//! pipeline  one run, stage by stage               <- profiler (scopes), rebuilt (record, manifests, outcome)
//! advice    recommendations, with their evidence  <- window or profiler
//! report    everything as JSON
//! ```
//! It acts on nothing, and decides no batch: that is `planning`.
#![forbid(unsafe_code)]

mod advice;
mod batches;
mod breakdown;
mod capacity;
mod eta;
mod flow;
mod pipeline;
mod predict;
mod profiler;
mod rebuilt;
mod report;
#[cfg(test)]
mod samples;
mod setup;
mod severity;
mod sketch;
mod speed;
mod trend;
mod window;

pub use advice::{Measured, Recommendation, recommend};
pub use batches::{BatchSeen, Batches};
pub use breakdown::{Breakdown, BreakdownRow, Grouping, PhaseRow};
pub use capacity::{Ahead, Capacity, Limit, StageCapacity};
pub use eta::{Eta, EtaModel, JobNow};
pub use pipeline::{Part, PerformanceSummary, PipelineProfile, StageProfile, StageSummary};
pub use predict::{Change, Declared, Prediction, Steps, Unsupported};
pub use profiler::{Clock, Profiler, StageGuard};
pub use rebuilt::{Mismatch, rebuild};
pub use report::Report;
pub use setup::{Pool, Setup};
pub use severity::{Bottleneck, Severity, THRESHOLD_PERCENT};
pub use sketch::{Percentiles, Sketch};
pub use trend::{ChangePoint, Direction, Trend};
pub use window::Window;
