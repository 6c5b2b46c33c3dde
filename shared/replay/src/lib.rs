//! Recorded timings run again under another set-up: other workers, lanes, memory, batches. Pure: timings and
//! a set-up in, throughput and latencies out; time is simulated.
//!
//! ```text
//! recording  timings -> when jobs came, what each took, curves of each stage
//! turn       how long a lane stands still between two batches
//! set_up     which workers there are to be, and the largest batch
//! cluster    the planner itself (`planning`) before simulated workers, event by event
//! outcome    what came of it, and of the recording itself
//! ```
#![forbid(unsafe_code)]

mod cluster;
mod outcome;
mod recording;
mod set_up;
mod turn;

pub use cluster::replay;
pub use outcome::{Outcome, StageOutcome};
pub use recording::{BadRecording, Recording};
pub use set_up::{BadSetUp, SetUp, WorkerKind};
