//! The planner as a state machine: `handle` takes an event in, `poll` gives the decisions that follow.

use crate::cut::{Cut, Place};
use crate::footprint::{Footprint, FootprintKey};
use crate::share::Lines;
use domain::{
    AckToken, Batch, BatchEnd, BatchEnded, BatchId, BatchTask, Bytes, Class, Consumer, Epoch, Offer, Reading,
    Stage, TenantId, Timestamp, WorkerId,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What bounds the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most items of a batch.
    pub batch_max: usize,
    /// A drawn task that no live offer could take is given back after this long.
    pub hold_max: Duration,
    /// The tenants whose consumers are drawn from.
    pub tenants: Vec<TenantId>,
}

/// What the planner hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A task was drawn.
    TaskSeen(BatchTask),
    /// Its token was lost: somebody else will see it.
    TaskGone(AckToken),
    /// A worker has room, or has none any more.
    OfferMade(Offer),
    /// A worker is gone.
    OfferWithdrawn(WorkerId),
    /// A worker runs the batch.
    BatchAccepted(BatchId),
    /// It does not; its tasks wait again. `reading` is what it saw; none when it did not answer.
    BatchRefused(BatchId, Option<Reading>),
    /// The batch's tasks are out of our hands: neither accepted nor refused in time.
    BatchLost(BatchId),
    /// A batch ended.
    BatchEnded(BatchEnded),
    /// A draw came back with fewer than were asked for.
    DrawEnded(Consumer),
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
    /// This footprint changed.
    Learned(FootprintKey, Footprint),
}

/// A worker with its word, and what we promised it since.
struct Standing {
    offer: Offer,
    until: Timestamp,
    /// Proposals that the offer does not know of yet.
    unanswered: BTreeMap<BatchId, Bytes>,
    /// Strangers at the last reading, and the decayed maximum of their growth.
    strangers: Bytes,
    drift: Bytes,
}

impl Standing {
    fn promised(&self) -> Bytes {
        self.unanswered.values().copied().sum()
    }

    fn lanes_free(&self) -> usize {
        (self.offer.lanes_free as usize).saturating_sub(self.unanswered.len())
    }

    fn read(&mut self, reading: Reading) {
        let strangers = reading.strangers();
        let growth = strangers.saturating_sub(self.strangers);
        self.drift = growth.max(self.drift.scale(0.9));
        self.strangers = strangers;
        self.offer.reading = reading;
    }
}

/// The planner's state.
pub struct Planner {
    limits: Limits,
    epoch: Epoch,
    batches: u64,
    lines: Lines,
    offers: BTreeMap<WorkerId, Standing>,
    /// Batches that were proposed and not ended, with their tasks until they are accepted.
    proposed: BTreeMap<BatchId, (WorkerId, Batch)>,
    running: BTreeMap<BatchId, FootprintKey>,
    drawing: BTreeMap<Consumer, usize>,
    footprints: BTreeMap<FootprintKey, Footprint>,
    decisions: VecDeque<Decision>,
}

impl Planner {
    /// In this term, with what was learned before.
    pub fn new(limits: Limits, epoch: Epoch, footprints: BTreeMap<FootprintKey, Footprint>) -> Planner {
        Planner {
            limits,
            epoch,
            batches: 0,
            lines: Lines::default(),
            offers: BTreeMap::new(),
            proposed: BTreeMap::new(),
            running: BTreeMap::new(),
            drawing: BTreeMap::new(),
            footprints,
            decisions: VecDeque::new(),
        }
    }

    /// Takes an event in and decides what follows from it.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::TaskSeen(given) => self.task_seen(given),
            Event::TaskGone(token) => {
                for stage in Stage::ALL {
                    drop(self.lines.of(stage).take_out(|given| given.ack_token == token));
                }
            }
            Event::OfferMade(offer) => self.offer_made(now, offer),
            Event::OfferWithdrawn(worker) => drop(self.offers.remove(&worker)),
            Event::BatchAccepted(batch) => self.batch_accepted(batch),
            Event::BatchRefused(batch, reading) => self.batch_refused(batch, reading),
            Event::BatchLost(batch) => {
                if let Some((worker, _)) = self.proposed.remove(&batch) {
                    self.offers.remove(&worker);
                }
            }
            Event::BatchEnded(ended) => self.batch_ended(now, &ended),
            Event::DrawEnded(consumer) => drop(self.drawing.remove(&consumer)),
            Event::Tick => {}
        }
        self.offers.retain(|_, standing| now < standing.until);
        self.give_back_unwanted(now);
        self.cut_batches(now);
        self.draw();
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// When a `Tick` is due even if nothing happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.offers.values().map(|standing| standing.until).min()
    }

    fn task_seen(&mut self, given: BatchTask) {
        let consumer = Consumer::of_task(&given.task);
        if let Some(count) = self.drawing.get_mut(&consumer) {
            *count = count.saturating_sub(1);
        }
        // A redelivery of a task that waits here: the newer token is the good one.
        let job = given.task.job;
        let line = self.lines.of(given.task.stage);
        drop(line.take_out(|waiting| waiting.task.job == job));
        line.push(given);
    }

    fn offer_made(&mut self, now: Timestamp, offer: Offer) {
        if offer.valid_for_ms == 0 {
            self.offers.remove(&offer.worker);
            return;
        }
        let until = now + Duration::from_millis(offer.valid_for_ms);
        let strangers = offer.reading.strangers();
        let reading = offer.reading;
        let worker = offer.worker.clone();
        let standing = self.offers.entry(worker.clone()).or_insert_with(|| Standing {
            offer: offer.clone(),
            until,
            unanswered: BTreeMap::new(),
            strangers,
            drift: Bytes::ZERO,
        });
        standing.offer = offer;
        standing.until = until;
        standing.read(reading);
        let open: Vec<BatchId> = standing.unanswered.keys().copied().collect();
        for batch in open.iter().filter(|batch| !self.proposed.contains_key(batch)) {
            // Accepted before this word was given: the offer knows of it.
            standing.unanswered.remove(batch);
        }
    }

    fn batch_accepted(&mut self, id: BatchId) {
        let Some((worker, batch)) = self.proposed.remove(&id) else { return };
        let class = self.offers.get(&worker).map(|standing| standing.offer.device_class.clone());
        if let (Some(class), Some(first)) = (class, batch.tasks.first()) {
            self.running.insert(id, FootprintKey::of(&first.task, &class));
        }
    }

    fn batch_refused(&mut self, id: BatchId, reading: Option<Reading>) {
        let Some((worker, batch)) = self.proposed.remove(&id) else { return };
        self.lines.of(batch.stage).put_back(batch.tasks);
        match (reading, self.offers.get_mut(&worker)) {
            (Some(reading), Some(standing)) => {
                standing.unanswered.remove(&id);
                standing.read(reading);
                // Its next word says when there is room again.
                standing.offer.lanes_free = 0;
            }
            _ => drop(self.offers.remove(&worker)),
        }
    }

    fn batch_ended(&mut self, now: Timestamp, ended: &BatchEnded) {
        let Some(key) = self.running.remove(&ended.batch) else { return };
        let footprint = self.footprints.entry(key.clone()).or_default();
        match ended.end {
            BatchEnd::Done => {
                footprint.observe(ended.items, ended.peak_bytes, Duration::from_millis(ended.compute_ms));
            }
            BatchEnd::OutOfMemory { at_items } => footprint.ran_out(at_items, ended.reserved_bytes, now),
            BatchEnd::RunnerLost | BatchEnd::DeviceLost | BatchEnd::Stopped => return,
        }
        self.decisions.push_back(Decision::Learned(key, footprint.clone()));
    }

    /// Tasks of stages that nobody offers do not stay here.
    fn give_back_unwanted(&mut self, now: Timestamp) {
        for stage in Stage::ALL {
            if self.offers.values().any(|standing| standing.offer.stages.contains(&stage)) {
                continue;
            }
            let hold_max = self.limits.hold_max;
            let old = self.lines.of(stage).take_out(|given| now.since(given.drawn_at) >= hold_max);
            self.decisions.extend(old.into_iter().map(Decision::GiveBack));
        }
    }

    /// Later stages first, so that work in progress stays bounded; on the warmest, then the tightest place.
    fn cut_batches(&mut self, now: Timestamp) {
        for stage in Stage::ALL.into_iter().rev() {
            loop {
                if self.lines.len(stage) == 0 || !self.cut_one(now, stage) {
                    break;
                }
            }
        }
    }

    /// Cuts one batch of a stage; false when nothing more can be cut now.
    fn cut_one(&mut self, now: Timestamp, stage: Stage) -> bool {
        let hosts =
            |standing: &&Standing| standing.offer.stages.contains(&stage) && standing.lanes_free() > 0;
        let lanes_free = self.offers.values().filter(hosts).map(Standing::lanes_free).sum();
        let place = |standing: &Standing| {
            let warm = standing.offer.warm.contains(&stage);
            let Standing { offer, drift, .. } = standing;
            let give = offer.reading.to_give(
                &offer.device_class,
                *drift,
                offer.reserved_bytes + standing.promised(),
            );
            (!warm, give)
        };
        let mut places: Vec<(&WorkerId, &Standing)> =
            self.offers.iter().filter(|(_, standing)| hosts(standing)).collect();
        places.sort_by_key(|(worker, standing)| (place(standing), (*worker).clone()));
        let (id, epoch) = (batch_id(self.epoch, self.batches + 1), self.epoch);
        for (worker, standing) in places {
            let place = Place {
                offer: &standing.offer,
                promised: standing.promised(),
                drift: standing.drift,
                lanes_free,
                footprints: &self.footprints,
                batch_max: self.limits.batch_max,
                now,
            };
            match place.cut(stage, self.lines.of(stage), (id, epoch)) {
                Cut::TooLarge => {}
                Cut::Nothing => return false,
                Cut::Never(task, reason) => {
                    self.decisions.push_back(Decision::Reject(task, reason));
                    return true;
                }
                Cut::Batch(batch) => {
                    let worker = worker.clone();
                    self.propose(worker, batch);
                    return true;
                }
            }
        }
        false
    }

    fn propose(&mut self, worker: WorkerId, batch: Batch) {
        self.batches += 1;
        if let Some(standing) = self.offers.get_mut(&worker) {
            standing.unanswered.insert(batch.id, batch.bytes);
        }
        let earlier = self.proposed.insert(batch.id, (worker.clone(), batch.clone()));
        assert!(earlier.is_none(), "property B: a batch is proposed once");
        self.decisions.push_back(Decision::Propose(worker, batch));
    }

    /// Draws what live offers could take: at most two batches per consumer, and no more than there are lanes
    /// for the stage.
    fn draw(&mut self) {
        for stage in Stage::ALL {
            let hosts = self.offers.values().filter(|standing| standing.offer.stages.contains(&stage));
            let lanes: usize = hosts.map(|standing| standing.offer.lanes as usize).sum();
            if lanes == 0 {
                continue;
            }
            for class in Class::ALL {
                for tenant in &self.limits.tenants {
                    let consumer = Consumer::Tasks(stage, class, tenant.clone());
                    let held = self.lines.of(stage).len_of(class, tenant);
                    let wanted = (2 * lanes).min(2 * self.limits.batch_max).saturating_sub(held);
                    if wanted > 0 && !self.drawing.contains_key(&consumer) {
                        self.drawing.insert(consumer.clone(), wanted);
                        self.decisions.push_back(Decision::Draw(consumer, wanted));
                    }
                }
            }
        }
    }
}

/// Unique without randomness: the term and a number within it.
fn batch_id(epoch: Epoch, number: u64) -> BatchId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&epoch.0.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    BatchId(id)
}
