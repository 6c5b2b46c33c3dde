//! Timings of one batch put together: how long it held its lane, and with what. Feeds `speed` and `trend`
//! through the window. It does not say why a batch had its size.
//!
//! A lane is held from acceptance until the last item is computed. Every task's clock starts at acceptance,
//! so for tasks i of a batch, whether they were computed together or one after the other:
//! ```text
//! lead_i  = fetch_i + load_i + wait_i                         until item i begins
//! fetch   = max_i fetch_i                                     all inputs are there
//! load    = min_i lead_i - fetch                              until the first item begins: runner's start
//! compute = max_i (lead_i + compute_i) - min_i lead_i
//! ```
//! Tasks that were not computed (committed before, cancelled, given back) count for `fetch` alone.

use domain::{BatchId, DeviceClass, EngineVersion, Stage, TaskEnd, Timestamp, Timing, WorkerId};
use std::collections::{BTreeMap, VecDeque};

/// Batches whose tasks have not all been heard of. Beyond, the oldest are taken as they are: tasks that fail
/// may never say a word.
const OPEN_MAX: usize = 4_096;

/// A batch, as its tasks tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchSeen {
    /// Its stage.
    pub stage: Stage,
    /// On what kind of device it ran.
    pub device_class: DeviceClass,
    /// Who ran it.
    pub worker: WorkerId,
    /// By which code.
    pub engine: EngineVersion,
    /// In which precision.
    pub precision: String,
    /// Items that it had.
    pub items: u32,
    /// Of those, heard of.
    pub heard: u32,
    /// Of those, committed.
    pub committed: u32,
    fetched_us: u64,
    began_us: u64,
    ended_us: u64,
    /// When its last task was acknowledged.
    pub at: Timestamp,
}

impl BatchSeen {
    fn new(timing: &Timing) -> BatchSeen {
        BatchSeen {
            stage: timing.stage,
            device_class: timing.device_class.clone(),
            worker: timing.worker.clone(),
            engine: timing.engine.clone(),
            precision: timing.precision.clone(),
            items: timing.batch_items.max(1),
            heard: 0,
            committed: 0,
            fetched_us: 0,
            began_us: u64::MAX,
            ended_us: 0,
            at: timing.at,
        }
    }

    fn hear(&mut self, timing: &Timing) {
        let phases = &timing.phases;
        let began_us = phases.fetch_us.saturating_add(phases.load_us).saturating_add(phases.wait_us);
        self.heard = self.heard.saturating_add(1);
        self.committed += u32::from(timing.end == TaskEnd::Committed);
        self.fetched_us = self.fetched_us.max(phases.fetch_us);
        if !timing.engine.name.is_empty() {
            self.began_us = self.began_us.min(began_us);
            self.ended_us = self.ended_us.max(began_us.saturating_add(phases.compute_us));
            self.engine = timing.engine.clone();
            self.precision.clone_from(&timing.precision);
        }
        self.at = self.at.max(timing.at);
    }

    /// Until all inputs were there.
    pub fn fetch_us(&self) -> u64 {
        self.fetched_us.min(self.ended_us)
    }

    /// Until the first item began.
    pub fn load_us(&self) -> u64 {
        self.began_us.min(self.ended_us).saturating_sub(self.fetched_us)
    }

    /// All items.
    pub fn compute_us(&self) -> u64 {
        self.hold_us() - self.fetch_us() - self.load_us().min(self.hold_us() - self.fetch_us())
    }

    /// All together: how long the lane was held.
    pub fn hold_us(&self) -> u64 {
        self.ended_us
    }
}

/// Batches that tasks are still missing from.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    open: BTreeMap<BatchId, BatchSeen>,
    order: VecDeque<BatchId>,
}

impl Batches {
    /// Takes a timing in; a batch that is over by it.
    pub fn add(&mut self, timing: &Timing) -> Option<BatchSeen> {
        if timing.batch_items <= 1 {
            let mut alone = BatchSeen::new(timing);
            alone.hear(timing);
            return Some(alone);
        }
        let seen = self.open.entry(timing.batch).or_insert_with(|| {
            self.order.push_back(timing.batch);
            BatchSeen::new(timing)
        });
        seen.hear(timing);
        if seen.heard >= seen.items {
            return self.open.remove(&timing.batch);
        }
        self.too_many()
    }

    /// The oldest, when there are too many.
    fn too_many(&mut self) -> Option<BatchSeen> {
        while self.order.len() > OPEN_MAX {
            let oldest = self.order.pop_front()?;
            if let Some(seen) = self.open.remove(&oldest) {
                return Some(seen);
            }
        }
        None
    }

    /// What is known of those that are not over: as if they had only the items that were heard of.
    pub fn unfinished(&self) -> impl Iterator<Item = BatchSeen> {
        self.open.values().map(|seen| BatchSeen { items: seen.heard, ..seen.clone() })
    }

    /// The other's besides; a batch that is open in both is put together. Those that are over by it.
    pub fn merge(&mut self, other: &Batches) -> Vec<BatchSeen> {
        let mut over = Vec::new();
        for id in other.order.iter() {
            let Some(theirs) = other.open.get(id) else { continue };
            let Some(ours) = self.open.get_mut(id) else {
                self.open.insert(*id, theirs.clone());
                self.order.push_back(*id);
                over.extend(self.too_many());
                continue;
            };
            ours.heard = ours.heard.saturating_add(theirs.heard);
            ours.committed = ours.committed.saturating_add(theirs.committed);
            ours.fetched_us = ours.fetched_us.max(theirs.fetched_us);
            ours.began_us = ours.began_us.min(theirs.began_us);
            ours.ended_us = ours.ended_us.max(theirs.ended_us);
            ours.at = ours.at.max(theirs.at);
            if ours.heard >= ours.items {
                over.extend(self.open.remove(id));
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{batch, timing};
    use domain::PhaseTimes;

    /// Phases of the tasks of one batch -> fetch, load, compute.
    fn check(tasks: &[(u64, u64, u64)], expect: (u64, u64, u64)) {
        let mut batches = Batches::default();
        let mut over = None;
        let given = batch(1, Stage::Shape, tasks.len() as u32, 0);
        for ((fetch_us, load_us, compute_us), timing) in tasks.iter().copied().zip(given) {
            assert_eq!(over, None);
            let phases = PhaseTimes { fetch_us, load_us, compute_us, ..PhaseTimes::default() };
            over = batches.add(&Timing { phases, ..timing });
        }
        let seen = over.expect("all were heard");
        assert_eq!((seen.fetch_us(), seen.load_us(), seen.compute_us()), expect, "{tasks:?}");
        assert_eq!(seen.hold_us(), expect.0 + expect.1 + expect.2);
    }

    #[test]
    fn a_batch_holds_its_lane_from_acceptance_to_the_last_item() {
        check(&[(10, 20, 100)], (10, 20, 100));
        // Together.
        check(&[(10, 20, 100), (10, 20, 100)], (10, 20, 100));
        // One after the other; the second fetched faster and waited longer.
        check(&[(10, 20, 100), (5, 125, 90)], (10, 20, 190));
        check(&[(0, 0, 0)], (0, 0, 0));
        check(&[(5, 0, 10), (50, 0, 10)], (50, 0, 10));
    }

    #[test]
    fn a_batch_that_never_completes_is_taken_as_it_is() {
        let mut batches = Batches::default();
        let first = batch(0, Stage::Shape, 3, 7).remove(0);
        assert_eq!(batches.add(&first), None);
        let unfinished: Vec<_> = batches.unfinished().collect();
        assert_eq!((unfinished[0].items, unfinished[0].committed), (1, 1));
        let mut over = None;
        for n in 1..=OPEN_MAX as u64 {
            over = over.or(batches.add(&batch(n, Stage::Shape, 3, 7)[0]));
        }
        assert_eq!(over.map(|seen| (seen.items, seen.heard)), Some((3, 1)));
        assert_eq!(batches.unfinished().count(), OPEN_MAX);
    }

    #[test]
    fn halves_of_a_batch_that_two_windows_heard_make_one() {
        let (mut left, mut right) = (Batches::default(), Batches::default());
        let tasks = batch(1, Stage::Shape, 2, 7);
        left.add(&tasks[0]);
        right.add(&tasks[1]);
        let over = left.merge(&right);
        assert_eq!(over.iter().map(|seen| seen.heard).collect::<Vec<_>>(), [2]);
        assert!(left.add(&timing(9, Stage::Shape, 1)).is_some());
    }
}
