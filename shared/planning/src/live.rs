//! Batches that were proposed and have not ended, as far as is known.
//!
//! Property B lives here: a task is in at most one live batch. A task that is delivered again while its
//! batch lives waits until that is over.

use domain::{
    AckToken, Batch, BatchId, BatchTask, Bytes, DeviceClass, JobId, Offer, Stage, Timestamp, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest that a worker's word and its other messages overtake each other.
const SETTLES: Duration = Duration::from_secs(2);

/// A batch on its way.
pub(crate) struct LiveBatch {
    pub(crate) worker: WorkerId,
    pub(crate) device_class: DeviceClass,
    pub(crate) batch: Batch,
    /// Each task's place in its line.
    pub(crate) arrivals: Vec<u64>,
    /// When it was accepted.
    accepted_at: Option<Timestamp>,
    /// The worker's word has named it.
    named: bool,
    /// It ended before the answer to the proposal was heard.
    ended: bool,
    /// Since when the worker's word does not name it any more.
    gone_since: Option<Timestamp>,
    /// Jobs whose tokens were lost meanwhile: should it be refused, they are not ours to propose again.
    pub(crate) lost: BTreeSet<JobId>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Live {
    batches: BTreeMap<BatchId, LiveBatch>,
    tasks: BTreeMap<(Stage, JobId), BatchId>,
    /// How many of each stage there are.
    of_stages: BTreeMap<Stage, usize>,
    /// Tasks delivered again while their batch lives.
    again: BTreeMap<(Stage, JobId), BatchTask>,
}

impl Live {
    /// A batch is proposed.
    ///
    /// # Panics
    /// One of its tasks is in a live batch: property B.
    pub(crate) fn propose(
        &mut self,
        (worker, device_class): (WorkerId, DeviceClass),
        batch: Batch,
        arrivals: Vec<u64>,
    ) {
        for given in &batch.tasks {
            let earlier = self.tasks.insert((batch.stage, given.task.job), batch.id);
            assert!(earlier.is_none(), "property B: a task is in at most one live batch");
        }
        let id = batch.id;
        *self.of_stages.entry(batch.stage).or_default() += 1;
        let (accepted_at, named, ended, gone_since) = (None, false, false, None);
        let lost = BTreeSet::new();
        let live =
            LiveBatch { worker, device_class, batch, arrivals, accepted_at, named, ended, gone_since, lost };
        self.batches.insert(id, live);
    }

    pub(crate) fn get(&self, id: BatchId) -> Option<&LiveBatch> {
        self.batches.get(&id)
    }

    /// The batch that a task is in.
    pub(crate) fn of_task(&self, stage: Stage, job: JobId) -> Option<&LiveBatch> {
        self.batches.get(self.tasks.get(&(stage, job))?)
    }

    /// Keeps a task back whose batch lives; gives it back otherwise.
    pub(crate) fn keep_back(&mut self, given: BatchTask) -> Option<BatchTask> {
        let place = (given.task.stage, given.task.job);
        if !self.tasks.contains_key(&place) {
            return Some(given);
        }
        self.again.insert(place, given);
        None
    }

    /// A token is lost: that of a task in a live batch, or of one that was kept back.
    pub(crate) fn token_lost(&mut self, stage: Stage, job: JobId, token: &AckToken) {
        let batch = self.tasks.get(&(stage, job)).and_then(|id| self.batches.get_mut(id));
        if let Some(live) = batch {
            let mut tasks = live.batch.tasks.iter();
            if tasks.any(|given| given.task.job == job && given.ack_token == *token) {
                live.lost.insert(job);
            }
        }
        if self.again.get(&(stage, job)).is_some_and(|given| given.ack_token == *token) {
            self.again.remove(&(stage, job));
        }
    }

    /// The batch runs. True if its end was heard already.
    pub(crate) fn accept(&mut self, now: Timestamp, id: BatchId) -> bool {
        let Some(live) = self.batches.get_mut(&id) else { return false };
        live.accepted_at = Some(now);
        live.ended
    }

    /// The batch ended. True if it had been accepted; otherwise its answer is still to come.
    pub(crate) fn ended(&mut self, id: BatchId) -> bool {
        let Some(live) = self.batches.get_mut(&id) else { return false };
        live.ended = true;
        live.accepted_at.is_some()
    }

    /// The batch is over; with the tasks that were kept back for it.
    pub(crate) fn end(&mut self, id: BatchId) -> Option<(LiveBatch, Vec<BatchTask>)> {
        let live = self.batches.remove(&id)?;
        if let Some(count) = self.of_stages.get_mut(&live.batch.stage) {
            *count -= 1;
        }
        let mut again = Vec::new();
        for given in &live.batch.tasks {
            let place = (live.batch.stage, given.task.job);
            self.tasks.remove(&place);
            again.extend(self.again.remove(&place));
        }
        Some((live, again))
    }

    /// What a worker's word says of its batches: those that it names run; one that it named once, or accepted
    /// long enough ago, and does not name is over. Returns what it was promised and does not know of.
    pub(crate) fn compare(&mut self, now: Timestamp, offer: &Offer) -> BTreeMap<BatchId, Bytes> {
        let mut unknown = BTreeMap::new();
        for (id, live) in self.batches.iter_mut().filter(|(_, live)| live.worker == offer.worker) {
            let accepted_long_ago = live.accepted_at.is_some_and(|at| now.since(at) >= SETTLES);
            if offer.running.contains(id) {
                (live.named, live.gone_since) = (true, None);
            } else if live.named || accepted_long_ago {
                live.gone_since.get_or_insert(now);
            } else {
                unknown.insert(*id, live.batch.bytes);
            }
        }
        unknown
    }

    /// Accepted batches that are over without a word of how: their workers' words stopped naming them, or
    /// their workers are gone, for long enough that no message is still under way.
    pub(crate) fn over(&mut self, now: Timestamp, is_there: impl Fn(&WorkerId) -> bool) -> Vec<BatchId> {
        let mut over = Vec::new();
        for (id, live) in self.batches.iter_mut().filter(|(_, live)| live.accepted_at.is_some()) {
            if !is_there(&live.worker) {
                live.gone_since.get_or_insert(now);
            }
            if live.gone_since.is_some_and(|since| now.since(since) >= SETTLES) {
                over.push(*id);
            }
        }
        over
    }

    /// When the next of them counts as over.
    pub(crate) fn next_over(&self) -> Option<Timestamp> {
        let accepted = self.batches.values().filter(|live| live.accepted_at.is_some());
        accepted.filter_map(|live| Some(live.gone_since? + SETTLES)).min()
    }

    /// Whether a batch of the stage is under way.
    pub(crate) fn runs(&self, stage: Stage) -> bool {
        self.of_stages.get(&stage).is_some_and(|count| *count > 0)
    }

    /// Tasks in batches of a stage.
    pub(crate) fn tasks_of(&self, stage: Stage) -> usize {
        let of_stage = self.batches.values().filter(|live| live.batch.stage == stage);
        of_stage.map(|live| live.batch.tasks.len()).sum()
    }
}
