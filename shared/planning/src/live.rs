//! Batches that were proposed and have not ended, as far as is known.
//!
//! Property B lives here and in the lines: a task is in at most one live batch. A task that is delivered
//! again while its batch lives waits until that is over.

use crate::held::{ShapeNo, Slot};
use domain::{AckToken, BatchId, BatchTask, Bytes, DeviceClass, JobId, Offer, Stage, Timestamp, WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest that a worker's word and its other messages overtake each other.
const SETTLES: Duration = Duration::from_secs(2);

/// A batch as it was proposed.
pub(crate) struct Proposed {
    pub(crate) worker: WorkerId,
    pub(crate) device_class: DeviceClass,
    pub(crate) stage: Stage,
    pub(crate) shape: ShapeNo,
    /// Its tasks, which the stage's line holds.
    pub(crate) slots: Vec<Slot>,
    pub(crate) bytes: Bytes,
    pub(crate) why: String,
    /// Its runner was not loaded then.
    pub(crate) cold: bool,
}

/// A batch on its way.
pub(crate) struct LiveBatch {
    pub(crate) proposed: Proposed,
    /// When it was accepted.
    accepted_at: Option<Timestamp>,
    /// The worker's word has named it.
    named: bool,
    /// It ended before the answer to the proposal was heard.
    ended: bool,
    /// Since when the worker's word does not name it any more, or the worker is gone.
    gone_since: Option<Timestamp>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Live {
    batches: BTreeMap<BatchId, LiveBatch>,
    of_workers: BTreeMap<WorkerId, BTreeSet<BatchId>>,
    /// How many of each stage there are, and how many of those began cold.
    of_stages: [(usize, usize); Stage::ALL.len()],
    /// Accepted batches that are gone, by since when.
    gone: BTreeSet<(Timestamp, BatchId)>,
    /// Tasks delivered again while their batch lives.
    again: BTreeMap<(Stage, JobId), BatchTask>,
}

impl Live {
    /// A batch is proposed.
    pub(crate) fn propose(&mut self, id: BatchId, proposed: Proposed) {
        let (all, cold) = &mut self.of_stages[proposed.stage as usize];
        (*all, *cold) = (*all + 1, *cold + usize::from(proposed.cold));
        self.of_workers.entry(proposed.worker.clone()).or_default().insert(id);
        let live = LiveBatch { proposed, accepted_at: None, named: false, ended: false, gone_since: None };
        self.batches.insert(id, live);
    }

    pub(crate) fn get(&self, id: BatchId) -> Option<&LiveBatch> {
        self.batches.get(&id)
    }

    /// The batch that a task is in. For a person who asks: it walks through the batches.
    pub(crate) fn of_slot(&self, stage: Stage, slot: Slot) -> Option<(BatchId, &LiveBatch)> {
        let mut batches = self.batches.iter().filter(|(_, live)| live.proposed.stage == stage);
        batches.find(|(_, live)| live.proposed.slots.contains(&slot)).map(|(id, live)| (*id, live))
    }

    /// Keeps a task back whose batch lives.
    pub(crate) fn keep_back(&mut self, given: BatchTask) {
        self.again.insert((given.task.stage, given.task.job), given);
    }

    /// The token of a task that was kept back is lost.
    pub(crate) fn token_lost(&mut self, stage: Stage, job: JobId, token: &AckToken) {
        if self.again.get(&(stage, job)).is_some_and(|given| given.ack_token == *token) {
            self.again.remove(&(stage, job));
        }
    }

    /// What was kept back of a job.
    pub(crate) fn take_again(&mut self, stage: Stage, job: JobId) -> Option<BatchTask> {
        if self.again.is_empty() { None } else { self.again.remove(&(stage, job)) }
    }

    /// The batch runs. True if its end was heard already.
    pub(crate) fn accept(
        &mut self,
        now: Timestamp,
        id: BatchId,
        worker_is_there: impl Fn(&WorkerId) -> bool,
    ) -> bool {
        let Some(live) = self.batches.get_mut(&id) else { return false };
        live.accepted_at = Some(now);
        if !worker_is_there(&live.proposed.worker) {
            live.gone_since.get_or_insert(now);
        }
        self.gone.extend(live.gone_since.map(|since| (since, id)));
        live.ended
    }

    /// The batch ended. True if it had been accepted; otherwise its answer is still to come.
    pub(crate) fn ended(&mut self, id: BatchId) -> bool {
        let Some(live) = self.batches.get_mut(&id) else { return false };
        live.ended = true;
        live.accepted_at.is_some()
    }

    /// The batch is over.
    pub(crate) fn end(&mut self, id: BatchId) -> Option<LiveBatch> {
        let live = self.batches.remove(&id)?;
        let (all, cold) = &mut self.of_stages[live.proposed.stage as usize];
        (*all, *cold) = (*all - 1, *cold - usize::from(live.proposed.cold));
        if let Some(since) = live.gone_since {
            self.gone.remove(&(since, id));
        }
        if let Some(of_worker) = self.of_workers.get_mut(&live.proposed.worker) {
            of_worker.remove(&id);
            if of_worker.is_empty() {
                self.of_workers.remove(&live.proposed.worker);
            }
        }
        Some(live)
    }

    /// What a worker's word says of its batches: those that it names run; one that it named once, or accepted
    /// long enough ago, and does not name is over. Returns what it was promised and does not know of.
    pub(crate) fn compare(&mut self, now: Timestamp, offer: &Offer) -> BTreeMap<BatchId, Bytes> {
        let mut unknown = BTreeMap::new();
        for id in self.of_workers.get(&offer.worker).into_iter().flatten() {
            let Some(live) = self.batches.get_mut(id) else { continue };
            let accepted_long_ago = live.accepted_at.is_some_and(|at| now.since(at) >= SETTLES);
            if offer.running.contains(id) {
                if let Some(since) = live.gone_since.take() {
                    self.gone.remove(&(since, *id));
                }
                live.named = true;
            } else if live.named || accepted_long_ago {
                live.is_gone(now, *id, &mut self.gone);
            } else {
                unknown.insert(*id, live.proposed.bytes);
            }
        }
        unknown
    }

    /// A worker is gone.
    pub(crate) fn worker_gone(&mut self, now: Timestamp, worker: &WorkerId) {
        for id in self.of_workers.get(worker).into_iter().flatten() {
            if let Some(live) = self.batches.get_mut(id).filter(|live| live.accepted_at.is_some()) {
                live.is_gone(now, *id, &mut self.gone);
            }
        }
    }

    /// Accepted batches that are over without a word of how: their workers' words stopped naming them, or
    /// their workers are gone, for long enough that no message is still under way.
    pub(crate) fn over(&self, now: Timestamp) -> Vec<BatchId> {
        let gone = self.gone.iter().take_while(|(since, _)| now.since(*since) >= SETTLES);
        gone.map(|(_, id)| *id).collect()
    }

    /// When the next of them counts as over.
    pub(crate) fn next_over(&self) -> Option<Timestamp> {
        self.gone.first().map(|(since, _)| *since + SETTLES)
    }

    /// Whether a batch of the stage is under way.
    pub(crate) fn runs(&self, stage: Stage) -> bool {
        self.of_stages[stage as usize].0 > 0
    }

    /// Runners of the stage that are being started.
    pub(crate) fn starting(&self, stage: Stage) -> usize {
        self.of_stages[stage as usize].1
    }
}

impl LiveBatch {
    fn is_gone(&mut self, now: Timestamp, id: BatchId, gone: &mut BTreeSet<(Timestamp, BatchId)>) {
        let since = *self.gone_since.get_or_insert(now);
        if self.accepted_at.is_some() {
            gone.insert((since, id));
        }
    }
}
