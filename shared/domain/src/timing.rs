//! How long each phase of a task took: published on `timing.<stage>` once the task is out of its worker's
//! hands, however it ended.

use crate::{BatchId, Bytes, DeviceClass, EngineVersion, JobId, Life, Stage, Timestamp, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The phases of a task, in their order. Each is measured by its own scope; none is "the rest".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// In the queue, until the planner drew it.
    Queued,
    /// With the planner, until the worker accepted it.
    Planned,
    /// Looking at the job, reading manifests and inputs.
    Fetch,
    /// Starting a runner, handing the batch over, building the stage function.
    Load,
    /// Waiting for the neighbours in its batch until all are fetched, for the lane if its batch came before
    /// that was free, then until it is its turn.
    Wait,
    /// In the runner.
    Compute,
    /// Writing artifacts.
    Store,
    /// The manifest, the next task, the copies, the outcome, the acknowledgement or the way back.
    Commit,
}

impl Phase {
    /// In their order.
    pub const ALL: [Phase; 8] = [
        Phase::Queued,
        Phase::Planned,
        Phase::Fetch,
        Phase::Load,
        Phase::Wait,
        Phase::Compute,
        Phase::Store,
        Phase::Commit,
    ];

    /// As in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Planned => "planned",
            Phase::Fetch => "fetch",
            Phase::Load => "load",
            Phase::Wait => "wait",
            Phase::Compute => "compute",
            Phase::Store => "store",
            Phase::Commit => "commit",
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// Its manifest is there.
    Committed,
    /// Its job was rejected.
    Rejected,
    /// Its job has an outcome already.
    Cancelled,
    /// Its upload is gone or was replaced.
    Superseded,
    /// An earlier delivery had committed it; this one only went on from there.
    Redelivered,
    /// It failed and goes back to the queue.
    Failed,
    /// It does not fit its reservation even alone, and goes back to the queue.
    OutOfMemory,
    /// It was not computed and goes back to the queue uncharged: the batch was stopped, the device failed, or
    /// its inputs could not be read for now.
    NotRun,
    /// Its attempts are used up.
    Dead,
}

impl TaskEnd {
    /// As in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            TaskEnd::Committed => "committed",
            TaskEnd::Rejected => "rejected",
            TaskEnd::Cancelled => "cancelled",
            TaskEnd::Superseded => "superseded",
            TaskEnd::Redelivered => "redelivered",
            TaskEnd::Failed => "failed",
            TaskEnd::OutOfMemory => "out_of_memory",
            TaskEnd::NotRun => "not_run",
            TaskEnd::Dead => "dead",
        }
    }
}

/// Microseconds of each phase. A phase that did not happen is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTimes {
    /// See [`Phase::Queued`].
    pub queued_us: u64,
    /// See [`Phase::Planned`].
    pub planned_us: u64,
    /// See [`Phase::Fetch`].
    pub fetch_us: u64,
    /// See [`Phase::Load`].
    pub load_us: u64,
    /// See [`Phase::Wait`].
    #[serde(default)]
    pub wait_us: u64,
    /// See [`Phase::Compute`].
    pub compute_us: u64,
    /// See [`Phase::Store`].
    pub store_us: u64,
    /// See [`Phase::Commit`].
    pub commit_us: u64,
}

impl PhaseTimes {
    /// Adds to a phase.
    pub fn add(&mut self, phase: Phase, span: Duration) {
        *self.slot(phase) += span.as_micros() as u64;
    }

    /// One phase.
    pub fn of(&self, phase: Phase) -> Duration {
        let mut copy = *self;
        Duration::from_micros(*copy.slot(phase))
    }

    /// All phases together.
    pub fn sum(&self) -> Duration {
        Phase::ALL.into_iter().map(|phase| self.of(phase)).sum()
    }

    fn slot(&mut self, phase: Phase) -> &mut u64 {
        match phase {
            Phase::Queued => &mut self.queued_us,
            Phase::Planned => &mut self.planned_us,
            Phase::Fetch => &mut self.fetch_us,
            Phase::Load => &mut self.load_us,
            Phase::Wait => &mut self.wait_us,
            Phase::Compute => &mut self.compute_us,
            Phase::Store => &mut self.store_us,
            Phase::Commit => &mut self.commit_us,
        }
    }
}

/// A nested span inside compute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpanTime {
    /// Its path, as `decimate` or `bake/dilate`.
    pub name: String,
    /// How long it was open in all.
    pub us: u64,
}

/// The timing of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// The job.
    pub job: JobId,
    /// Which of its lives.
    pub life: Life,
    /// The stage.
    pub stage: Stage,
    /// What of its recipe makes times alike, see [`crate::Recipe::kind`]; empty from an older program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How the task ended.
    pub end: TaskEnd,
    /// The batch in which it ran.
    pub batch: BatchId,
    /// How many items that had.
    pub batch_items: u32,
    /// Which delivery it was.
    pub delivery: u64,
    /// Who ran it.
    pub worker: WorkerId,
    /// On what kind of device.
    pub device_class: DeviceClass,
    /// By which code; empty names if it was not computed.
    pub engine: EngineVersion,
    /// Numeric precision that the engine computes in, as `f32`; empty if it was not computed.
    pub precision: String,
    /// The phases.
    pub phases: PhaseTimes,
    /// Wall time from publication to acknowledgement, or until it was given up.
    pub wall_us: u64,
    /// Wall time that no phase accounts for.
    pub unaccounted_us: u64,
    /// Spans inside compute.
    pub spans: Vec<SpanTime>,
    /// The runner's peak in this batch, above its warm size.
    pub peak_bytes: Bytes,
    /// When the task was acknowledged or given up.
    pub at: Timestamp,
}
