//! What workers say, and what is kept of it: their words, their answers to proposals, and how batches ended.

use crate::core::Planner;
use crate::device::Standing;
use crate::event::{Decision, Limits};
use crate::footprint::Footprint;
use crate::key::FootprintKey;
use crate::window::StageFacts;
use domain::{
    BatchEnd, BatchEnded, BatchId, BatchTask, Bytes, JobId, Offer, Reading, RefusedReason, Stage, Timestamp,
};
use std::time::Duration;

/// Tasks that are remembered as having run out of memory alone.
pub(crate) const STRAINED_MAX: usize = 4096;

impl Planner {
    pub(crate) fn offer_made(&mut self, now: Timestamp, offer: Offer) {
        if offer.valid_for_ms == 0 {
            return self.worker_gone(now, &offer.worker);
        }
        let promises = self.live.compare(now, &offer);
        let worker = offer.worker.clone();
        if self.fleet.contains(&worker) {
            self.fleet.change(&worker, |standing| {
                standing.hear(now, offer);
                standing.keep_promises(promises);
            });
        } else {
            let mut standing = Standing::new(now, offer);
            standing.keep_promises(promises);
            self.fleet.add(worker, standing);
        }
    }

    pub(crate) fn batch_accepted(&mut self, now: Timestamp, id: BatchId) {
        if self.live.accept(now, id, |worker| self.fleet.contains(worker)) {
            self.end_live(id);
        }
    }

    pub(crate) fn batch_refused(
        &mut self,
        now: Timestamp,
        id: BatchId,
        answer: Option<(Reading, RefusedReason)>,
    ) {
        let Some(live) = self.live.end(id) else { return };
        let line = self.lines.of(live.proposed.stage);
        for slot in &live.proposed.slots {
            let held = line.pool.at(*slot);
            let (job, arrival) = (held.job, held.arrival);
            // Of a task that was delivered again meanwhile the newer token is the good one.
            match self.live.take_again(live.proposed.stage, job) {
                Some(given) => line.put_back_newer(*slot, arrival, &given),
                None => line.put_back(*slot),
            }
        }
        match answer {
            Some((reading, reason)) => {
                self.fleet.change(&live.proposed.worker, |standing| {
                    standing.forget(id);
                    standing.refused(now, reading, reason == RefusedReason::Memory);
                });
            }
            None => self.worker_gone(now, &live.proposed.worker),
        }
    }

    pub(crate) fn batch_lost(&mut self, now: Timestamp, id: BatchId) {
        if let Some(worker) = self.live.get(id).map(|live| live.proposed.worker.clone()) {
            self.end_live(id);
            self.worker_gone(now, &worker);
        }
    }

    /// The batch is over: its promise is void, and tasks that were kept back for it stand in line.
    pub(crate) fn end_live(&mut self, id: BatchId) {
        let Some(live) = self.live.end(id) else { return };
        self.fleet.change(&live.proposed.worker, |standing| standing.forget(id));
        let line = self.lines.of(live.proposed.stage);
        let mut again: Vec<BatchTask> = Vec::new();
        for slot in live.proposed.slots {
            let job = line.pool.at(slot).job;
            line.over(slot);
            again.extend(self.live.take_again(live.proposed.stage, job));
        }
        for given in again {
            line.push(&given);
        }
    }

    pub(crate) fn batch_ended(&mut self, now: Timestamp, ended: &BatchEnded) {
        self.learn(now, ended);
        if self.live.ended(ended.batch) {
            self.end_live(ended.batch);
        }
    }

    fn learn(&mut self, now: Timestamp, ended: &BatchEnded) {
        let Some(live) = self.live.get(ended.batch) else { return };
        let line = self.lines.at(live.proposed.stage);
        let jobs: Vec<JobId> = live.proposed.slots.iter().map(|slot| line.pool.at(*slot).job).collect();
        let Some(first) = jobs.first().copied() else { return };
        // A word that cannot be true is taken for as much of it as can be.
        let most = jobs.len() as u32;
        let total = self.fleet.of(&live.proposed.worker).map(|standing| standing.offer.reading.total_bytes);
        let peak_can_be = total.is_none_or(|total| total == Bytes::ZERO || ended.peak_bytes <= total);
        let (stage, batch_of_one) = (live.proposed.stage, jobs.len() == 1);
        let shape = line.pool.shape(live.proposed.shape);
        self.engines.hear(stage, shape, ended);
        let key = self.engines.key(stage, shape, (&live.proposed.worker, &live.proposed.device_class));
        let mut alone: Vec<JobId> = ended.ran_out.iter().filter(|job| jobs.contains(job)).copied().collect();
        let mut done: Vec<(Stage, JobId)> = Vec::new();
        let footprint = self.footprints.entry(key.clone()).or_default();
        match ended.end {
            // Nothing was computed: nothing was measured.
            BatchEnd::Done if ended.items == 0 || !peak_can_be => return,
            BatchEnd::Done => {
                if ended.load_ms > 0 {
                    footprint.loaded(Duration::from_millis(ended.load_ms));
                }
                let time = Duration::from_micros(ended.lane_us);
                footprint.observe(ended.items.min(most), ended.peak_bytes, time);
                done.extend(jobs.iter().map(|job| (stage, *job)));
            }
            BatchEnd::OutOfMemory { at_items } => {
                let at_items = at_items.clamp(1, most);
                if alone.is_empty() && batch_of_one {
                    alone.push(first);
                }
                // The second time it is the task, not its key; and so it is if it ran out alone after its
                // neighbours had shared the same reservation with it.
                let again = alone.iter().any(|job| self.strained.contains_key(&(stage, *job)));
                let strange = at_items > 1 && !alone.is_empty() && footprint.is_measured();
                if !again && !strange {
                    footprint.ran_out(at_items, ended.reserved_bytes, now);
                }
                for job in alone {
                    let had = self.strained.entry((stage, job)).or_default();
                    *had = ended.reserved_bytes.max(*had);
                    self.decisions.push_back(Decision::Strained(stage, job, Some(*had)));
                }
            }
            BatchEnd::RunnerLost | BatchEnd::DeviceLost | BatchEnd::Stopped => return,
        }
        self.decisions.push_back(Decision::Learned(key));
        let too_many = self.strained.len().saturating_sub(STRAINED_MAX);
        done.extend(self.strained.keys().take(too_many));
        done.into_iter().for_each(|place| self.forget_strained(place));
        self.look_at_facts(now, stage);
    }

    /// A task fits after all, or never will.
    pub(crate) fn forget_strained(&mut self, (stage, job): (Stage, JobId)) {
        if self.strained.remove(&(stage, job)).is_some() {
            self.decisions.push_back(Decision::Strained(stage, job, None));
        }
    }

    /// Sums up what the footprints say of a stage.
    pub(crate) fn look_at_facts(&mut self, now: Timestamp, stage: Stage) {
        let from = FootprintKey::first_of(stage);
        let of_stage = self.footprints.range(from..).take_while(|(key, _)| key.stage == stage);
        let known = of_stage.filter(|(key, _)| self.engines.is_latest(key)).map(|(_, known)| known);
        let Limits { batch_rule, batch_max, .. } = &self.limits;
        let least = batch_rule.size(stage).unwrap_or(1).min(*batch_max as u32);
        let wanted = |known: &Footprint| batch_rule.wanted(stage, known, *batch_max, now);
        let facts = StageFacts::of(known, least, wanted);
        self.facts.insert(stage, facts);
    }
}
