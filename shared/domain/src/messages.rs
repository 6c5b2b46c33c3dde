//! The messages between processes. JSON; unknown fields are ignored; fields are only ever added.

use crate::{
    Activity, BatchId, Bytes, Class, DeviceHealth, DeviceId, EngineVersion, Epoch, JobId, Life, Recipe,
    Stage, TenantId, Timestamp, UploadId, WorkerId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A job at a stage: the message on `task.<stage>.<class>.<tenant>.<job_id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// The job.
    pub job: JobId,
    /// Its upload; with the job it gives the job record's key.
    pub upload: UploadId,
    /// The stage to run.
    pub stage: Stage,
    /// How urgent.
    pub class: Class,
    /// On whose behalf.
    pub tenant: TenantId,
    /// The recipe, a copy of the one in the record.
    pub recipe: Recipe,
    /// Size of the upload; orders unknown work.
    pub size_bytes: Bytes,
    /// When the job was accepted.
    pub accepted_at: Timestamp,
    /// When its result is of use at the latest, if that was said: of one tenant and class the nearest
    /// deadline goes first, and one that cannot be met any more is rejected before its input is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

impl Task {
    /// The same job at another stage.
    pub fn at_stage(&self, stage: Stage) -> Task {
        Task { stage, ..self.clone() }
    }
}

/// The handle of one delivery: the broker's reply subject. It works from any connection; it is no lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AckToken(pub String);

/// Memory of a device at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// All there is (a cgroup's limit counts).
    pub total_bytes: Bytes,
    /// In use by anybody.
    pub used_bytes: Bytes,
    /// Of that, held by the worker and its runners.
    pub own_bytes: Bytes,
    /// Of `own`, what could be given back at once.
    pub reclaimable_bytes: Bytes,
    /// When it was read, by the worker's clock.
    pub read_at: Timestamp,
}

/// What kind of device: devices of one class share footprints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DeviceClass(pub String);

/// A worker's standing word that it has room: published on change and every 5 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// Who offers.
    pub worker: WorkerId,
    /// Its device.
    pub device: DeviceId,
    /// What kind of device.
    pub device_class: DeviceClass,
    /// Places on which a batch could start now.
    pub lanes_free: u32,
    /// All its places.
    pub lanes: u32,
    /// Its memory now.
    pub reading: Reading,
    /// Memory promised to running batches.
    pub reserved_bytes: Bytes,
    /// The stages that it runs; those that only a newer version knows are left out when this is read.
    #[serde(deserialize_with = "crate::known::all")]
    pub stages: Vec<Stage>,
    /// Stages whose runner is loaded.
    #[serde(deserialize_with = "crate::known::all")]
    pub warm: Vec<Stage>,
    /// How long the word stands; 0 withdraws it.
    pub valid_for_ms: u64,
    /// The batches that `reserved_bytes` and `lanes_free` know of: whatever else was promised comes on top.
    #[serde(default)]
    pub running: Vec<BatchId>,
    /// One more batch may come for the lane that is free next, and its inputs are fetched meanwhile. What it
    /// may take is reckoned as if a batch of so many bytes were over: the smallest that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_bytes: Option<Bytes>,
}

/// A task in a batch, with the delivery that carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchTask {
    /// The task.
    pub task: Task,
    /// The delivery's handle.
    pub ack_token: AckToken,
    /// Which delivery of the task this is, from 1.
    pub delivery: u64,
    /// When the task entered the queue, by the broker.
    pub published_at: Timestamp,
    /// When the planner drew it.
    pub drawn_at: Timestamp,
}

/// Tasks of one stage that run together on one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// The planner's term.
    pub epoch: Epoch,
    /// The stage of all its tasks.
    pub stage: Stage,
    /// The tasks.
    pub tasks: Vec<BatchTask>,
    /// The reservation: what the batch may use at its peak.
    pub bytes: Bytes,
    /// Why it has this size and place, with numbers, for a person.
    pub why: String,
    /// How long before this was sent the oldest of its tokens was extended for the last time, in ms: that
    /// much of the ack wait is used up. Not known: they are extended at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// How long it will have its lane, as far as was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<u64>,
}

/// A worker's answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum BatchReply {
    /// It runs.
    Accepted,
    /// It does not.
    Refused {
        /// The memory that the worker saw.
        reading: Reading,
        /// Why.
        reason: RefusedReason,
    },
}

/// Why a worker refuses a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedReason {
    /// Less memory than the reservation.
    Memory,
    /// No lane is free, or none may be used now: its device has to prove itself, or its entry cannot be
    /// written.
    NoLane,
    /// It has seen a higher epoch.
    Epoch,
    /// It is shutting down.
    Draining,
    /// It does not run this stage.
    Stage,
}

/// Stops a batch whose answer timed out, before its tasks go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// The batch.
    pub batch: BatchId,
    /// The planner's term.
    pub epoch: Epoch,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum BatchEnd {
    /// Every item was computed, rejected or failed on its own account.
    Done,
    /// The runner ran out of its reservation.
    OutOfMemory {
        /// Items of the group that was sent to the runner with the whole reservation, whatever of them was
        /// finished by then.
        at_items: u32,
    },
    /// The runner died otherwise, or was killed.
    RunnerLost,
    /// The device is broken.
    DeviceLost,
    /// It was stopped before it ran.
    Stopped,
}

/// What a worker says when a batch has ended: `ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchEnded {
    /// The batch.
    pub batch: BatchId,
    /// Where it ran.
    pub worker: WorkerId,
    /// What kind of device that is.
    pub device_class: DeviceClass,
    /// Its stage.
    pub stage: Stage,
    /// How it ended.
    #[serde(flatten)]
    pub end: BatchEnd,
    /// How many items were computed; those that needed no computing are not among them.
    pub items: u32,
    /// The runner's measured peak above its warm size.
    pub peak_bytes: Bytes,
    /// What had been reserved.
    pub reserved_bytes: Bytes,
    /// How long the batch had its lane, without starting runners: what the next batch waited for, in
    /// microseconds. From the acceptance on, unless it waited for the lane: then from when it got it.
    pub lane_us: u64,
    /// Jobs whose items ran out of the whole reservation alone.
    #[serde(default)]
    pub ran_out: Vec<JobId>,
    /// By which code; empty names if nothing was computed.
    #[serde(default)]
    pub engine: EngineVersion,
    /// In which numeric precision, as `f32`; empty likewise.
    #[serde(default)]
    pub precision: String,
    /// Wall time of starting runners.
    #[serde(default)]
    pub load_ms: u64,
}

/// The worker's own entry on board `devices`: written before it accepts, refreshed every 3 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceEntry {
    /// The owner.
    pub worker: WorkerId,
    /// The device.
    pub device: DeviceId,
    /// What kind of device.
    pub device_class: DeviceClass,
    /// Its memory.
    pub reading: Reading,
    /// Its places.
    pub lanes: u32,
    /// The stages that it runs; those that only a newer version knows are left out when this is read.
    #[serde(deserialize_with = "crate::known::all")]
    pub stages: Vec<Stage>,
    /// Bytes that idle runners and models hold.
    pub resident_bytes: Bytes,
    /// What runs.
    pub running: Vec<RunningBatch>,
    /// Whether it is used, and why not.
    #[serde(default)]
    pub health: DeviceHealth,
    /// What it is busy with; none where it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// A batch on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningBatch {
    /// The batch.
    pub id: BatchId,
    /// Its stage.
    pub stage: Stage,
    /// Its tasks' jobs.
    pub jobs: Vec<JobId>,
    /// Its reservation.
    pub bytes: Bytes,
    /// When it began.
    pub since: Timestamp,
    /// It waits for a lane, and its inputs are fetched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// Who holds a lease, on board `lease`: under `planner.<shard>` who leads, under `gateway.webhooks` who tells
/// webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// The leading process.
    pub holder: String,
    /// Its term.
    pub epoch: Epoch,
}

/// What the gateway says to workers on `control.<job>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The job has an outcome: look again at it.
    Cancel,
}

/// A task set aside for a person: `dead.<stage>.<job_id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The task.
    pub task: Task,
    /// The life that ended.
    pub life: Life,
    /// How many attempts were counted.
    pub attempts: u32,
    /// The last known error.
    pub error: String,
    /// When.
    pub at: Timestamp,
}
