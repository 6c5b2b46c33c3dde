//! The conversation as plain data: what the planner is told once, what it hears, what it decides.

use crate::key::FootprintKey;
use crate::rule::BatchRule;
use domain::{
    AckToken, Batch, BatchEnded, BatchId, BatchTask, Bytes, Consumer, JobId, Offer, Reading, RefusedReason,
    Stage, TenantId, WorkerId,
};
use std::time::Duration;

/// What bounds the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most items of a batch.
    pub batch_max: usize,
    /// How sizes are chosen below that.
    pub batch_rule: BatchRule,
    /// A drawn task that no live offer could take is given back after this long.
    pub hold_max: Duration,
    /// A task that was passed over for this long, since it needs more than is free, gets a device to itself.
    pub patience: Duration,
    /// As many workers are desired as finish what waits within this time.
    pub drain_target: Duration,
    /// The tenants whose consumers are drawn from.
    pub tenants: Vec<TenantId>,
}

/// What the planner hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A task was drawn.
    TaskSeen(BatchTask),
    /// The token of a task that waits here was lost: somebody else will see the task.
    TaskGone(Stage, JobId, AckToken),
    /// A worker has room, or has none any more.
    OfferMade(Offer),
    /// A worker is gone.
    OfferWithdrawn(WorkerId),
    /// A worker runs the batch.
    BatchAccepted(BatchId),
    /// It does not; its tasks wait again. With what it saw and why; none when it did not answer.
    BatchRefused(BatchId, Option<(Reading, RefusedReason)>),
    /// The batch's tasks are out of our hands: neither accepted nor refused in time.
    BatchLost(BatchId),
    /// A batch ended.
    BatchEnded(BatchEnded),
    /// A draw came back, with all that was asked for or with less.
    DrawEnded(Consumer),
    /// So many tasks wait at a consumer, besides those that were drawn.
    BacklogSeen(Consumer, u64),
    /// Time has passed.
    Tick,
}

/// What the planner decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Ask this worker to run this batch.
    Propose(WorkerId, Batch),
    /// Take up to this many tasks from a consumer.
    Draw(Consumer, usize),
    /// Make the task deliverable again.
    GiveBack(BatchTask),
    /// It fits nowhere: the job is rejected, for this reason.
    Reject(BatchTask, String),
    /// The footprint of this key changed.
    Learned(FootprintKey),
    /// This task ran out of so much memory alone, or nothing is to be remembered of it any more.
    Strained(Stage, JobId, Option<Bytes>),
    /// So many workers for this stage would finish what waits in time. Said when it changes.
    Desire {
        /// The stage.
        stage: Stage,
        /// How many workers.
        workers: u32,
    },
}
