//! The planner as a state machine: `handle` takes an event in, `poll` gives the decisions that follow.
//!
//! Each event goes through the same phases, and each phase leaves a condition behind that is asserted:
//! hear, expire, give back, cut, draw, desire.

use crate::answers::STRAINED_MAX;
use crate::cut::{Choice, Place, Size};
use crate::engines::Engines;
use crate::event::{Decision, Event, Limits};
use crate::fleet::Fleet;
use crate::footprint::Footprint;
use crate::held::{Head, ShapeNo, Slot};
use crate::key::FootprintKey;
use crate::live::{Live, Proposed};
use crate::pace::Pace;
use crate::share::{Lines, StageLine};
use crate::window::{Backlogs, StageFacts, window, workers};
use domain::{Batch, BatchId, BatchTask, Bytes, Class, Consumer, Epoch, JobId, Stage, Timestamp, WorkerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Devices that are kept free, and for which task.
pub(crate) type Claims = BTreeMap<WorkerId, (Stage, JobId)>;

/// The planner's state.
pub struct Planner {
    pub(crate) limits: Limits,
    epoch: Epoch,
    /// Time of the last event.
    now: Timestamp,
    /// Batches cut in this term.
    batches: u64,
    pub(crate) lines: Lines,
    pub(crate) fleet: Fleet,
    pub(crate) live: Live,
    /// Draws that are out, and what they are expected to bring.
    drawing: BTreeMap<Consumer, usize>,
    /// The sum of that by stage.
    expected: BTreeMap<Stage, usize>,
    /// Consumers whose window may have room.
    pub(crate) short: BTreeSet<Consumer>,
    /// Tasks that each stage's live offers take in one round, as of the last look at all consumers.
    rooms: BTreeMap<Stage, usize>,
    pub(crate) footprints: BTreeMap<FootprintKey, Footprint>,
    pub(crate) engines: Engines,
    /// The footprint of what nobody has measured.
    pub(crate) unknown: Footprint,
    /// How fast tasks of each shape come.
    pub(crate) paces: BTreeMap<(Stage, ShapeNo), Pace>,
    /// When a batch of each shape was cut last.
    pub(crate) cuts: BTreeMap<(Stage, ShapeNo), Timestamp>,
    /// Stages whose next task waits because that is worth more, and until when at most.
    pub(crate) later: BTreeMap<Stage, Timestamp>,
    pub(crate) facts: BTreeMap<Stage, StageFacts>,
    /// How much each of these tasks ran out of, alone.
    pub(crate) strained: BTreeMap<(Stage, JobId), Bytes>,
    pub(crate) backlogs: Backlogs,
    desired: BTreeMap<Stage, u32>,
    pub(crate) decisions: VecDeque<Decision>,
}

impl Planner {
    /// In this term, with what was learned before.
    pub fn new(limits: Limits, epoch: Epoch, footprints: BTreeMap<FootprintKey, Footprint>) -> Planner {
        let mut planner = Planner {
            limits,
            epoch,
            now: Timestamp::default(),
            batches: 0,
            lines: Lines::default(),
            fleet: Fleet::default(),
            live: Live::default(),
            drawing: BTreeMap::new(),
            expected: BTreeMap::new(),
            short: BTreeSet::new(),
            rooms: BTreeMap::new(),
            engines: Engines::of_footprints(footprints.keys()),
            footprints,
            unknown: Footprint::default(),
            paces: BTreeMap::new(),
            cuts: BTreeMap::new(),
            later: BTreeMap::new(),
            facts: BTreeMap::new(),
            strained: BTreeMap::new(),
            backlogs: Backlogs::default(),
            desired: BTreeMap::new(),
            decisions: VecDeque::new(),
        };
        for stage in Stage::ALL {
            planner.look_at_facts(Timestamp::default(), stage);
        }
        planner
    }

    /// Which tasks ran out of memory alone, and of how much, as an earlier term has said.
    pub fn remember(&mut self, strained: impl IntoIterator<Item = (Stage, JobId, Bytes)>) {
        for (stage, job, had) in strained.into_iter().take(STRAINED_MAX) {
            self.strained.insert((stage, job), had);
        }
    }

    /// What was learned of a key.
    pub fn footprint(&self, key: &FootprintKey) -> Option<&Footprint> {
        self.footprints.get(key)
    }

    /// Takes an event in and decides what follows from it.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        let memory_moved = !matches!(
            event,
            Event::TaskSeen(_) | Event::TaskGone(..) | Event::DrawEnded(_) | Event::BacklogSeen(..)
        );
        let is_tick = event == Event::Tick;
        // The others of its draw come right behind it, and a batch is cut from all of them.
        let draw_goes_on = match &event {
            Event::TaskSeen(_) if self.drawing.is_empty() => false,
            Event::TaskSeen(given) => self.drawing.contains_key(&Consumer::of_task(&given.task)),
            _ => false,
        };
        self.now = now;
        self.hear(now, event);
        self.expire(now, memory_moved);
        if memory_moved {
            self.try_aside_again();
            self.give_back(now);
        }
        if draw_goes_on {
            return;
        }
        self.cut(now);
        self.draw(memory_moved, is_tick);
        if is_tick {
            self.desire();
        }
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// When a `Tick` is due even if nothing happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let Limits { hold_max, patience, .. } = self.limits;
        let waits = Stage::ALL.into_iter().filter_map(|stage| {
            let line = self.lines.at(stage);
            let stays = self.room(stage) > 0;
            let old = if stays { None } else { line.drawn_first().map(|since| since + hold_max) };
            let passed = line.passed().flat_map(|(since, _)| [since + patience, since + hold_max]);
            passed.filter(|due| *due > self.now).chain(old).min()
        });
        let later = self.later.values().copied();
        let due = waits.chain(later).chain(self.fleet.next_expiry()).chain(self.live.next_over());
        due.filter(|due| *due > self.now).min()
    }

    fn hear(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::TaskSeen(given) => {
                self.task_seen(now, given);
            }
            Event::TaskGone(stage, job, token) => {
                self.lines.of(stage).lose(job, &token);
                self.live.token_lost(stage, job, &token);
                if let Some(gone) = self.lines.of(stage).remove_token(job, &token) {
                    self.short.insert(Consumer::of_task(&gone.task));
                }
            }
            Event::OfferMade(offer) => self.offer_made(now, offer),
            Event::OfferWithdrawn(worker) => self.worker_gone(now, &worker),
            Event::BatchAccepted(batch) => self.batch_accepted(now, batch),
            Event::BatchRefused(batch, answer) => self.batch_refused(now, batch, answer),
            Event::BatchLost(batch) => self.batch_lost(now, batch),
            Event::BatchEnded(ended) => self.batch_ended(now, &ended),
            Event::DrawEnded(consumer) => {
                self.draw_ended(&consumer);
                self.short.insert(consumer);
            }
            Event::BacklogSeen(consumer, waiting) => self.backlogs.see(consumer, waiting),
            Event::Tick => {}
        }
    }

    fn task_seen(&mut self, now: Timestamp, given: BatchTask) {
        let (stage, job) = (given.task.stage, given.task.job);
        let line = self.lines.of(stage);
        if line.runs(job) {
            return self.live.keep_back(given);
        }
        let slot = line.push(&given);
        let shape = line.pool.at(slot).shape;
        self.paces.entry((stage, shape)).or_default().see(now);
    }

    /// Forgets words that have expired, and batches that are over without a word.
    fn expire(&mut self, now: Timestamp, memory_moved: bool) {
        for worker in self.fleet.expire(now) {
            self.left(now, &worker);
        }
        if memory_moved {
            for batch in self.live.over(now) {
                self.end_live(batch);
            }
        }
        assert!(self.fleet.next_expiry().is_none_or(|until| now < until), "only standing words are used");
    }

    /// A worker is gone.
    pub(crate) fn worker_gone(&mut self, now: Timestamp, worker: &WorkerId) {
        if self.fleet.remove(worker) {
            self.left(now, worker);
        }
    }

    fn left(&mut self, now: Timestamp, worker: &WorkerId) {
        self.engines.forget(worker);
        self.live.worker_gone(now, worker);
    }

    fn try_aside_again(&mut self) {
        for stage in Stage::ALL {
            self.lines.of(stage).try_aside_again();
        }
    }

    /// Tasks of stages for which nobody has room do not stay here.
    fn give_back(&mut self, now: Timestamp) {
        for stage in Stage::ALL {
            if self.room(stage) == 0 {
                let old = self.lines.of(stage).take_old(now - self.limits.hold_max);
                self.decisions.extend(old.into_iter().map(Decision::GiveBack));
            }
        }
    }

    /// Cuts batches while there is somewhere to put them.
    fn cut(&mut self, now: Timestamp) {
        self.later.clear();
        if !self.fleet.any_open() {
            return;
        }
        let claims = self.claims(now);
        for place in claims.values() {
            self.cut_claimed(now, *place, &claims);
        }
        while let Some(next) = self.next(now, &claims) {
            // Who ran out of memory alone runs alone.
            let strained = std::mem::take(&mut self.strained);
            let (stage, max) = (next.head.stage, next.place.size.items as usize);
            let fits = |job: JobId| strained.is_empty() || !strained.contains_key(&(stage, job));
            let first = next.head.slot;
            self.propose(next.place, &next.head, |line, seconds| line.take(first, max, seconds, fits));
            self.strained = strained;
        }
    }

    /// Devices that are kept free, each for a task that was passed over for too long; the longest wait first.
    fn claims(&self, now: Timestamp) -> Claims {
        let passed = Stage::ALL.into_iter().flat_map(|stage| {
            let line = self.lines.at(stage);
            line.passed().map(move |(since, slot)| (since, line.pool.head(slot)))
        });
        let mut passed: Vec<(Timestamp, Head)> =
            passed.filter(|(since, _)| now.since(*since) >= self.limits.patience).collect();
        passed.sort_by_key(|(since, head)| (*since, head.stage, head.job));
        let mut claims = Claims::new();
        for (since, head) in passed {
            let ask = self.ask(now, &head, Some(since));
            if let Some(worker) = ask.claim(&self.fleet, |worker| claims.contains_key(worker)) {
                claims.insert(worker.clone(), (head.stage, head.job));
            }
        }
        claims
    }

    /// Cuts the task for which a device was kept free, if that is free now, whatever its turn.
    fn cut_claimed(&mut self, now: Timestamp, (stage, job): (Stage, JobId), claims: &Claims) {
        let line = self.lines.at(stage);
        let (Some(slot), passed) = (line.slot(job), line.passed_since(job)) else { return };
        let head = line.pool.head(slot);
        let withheld = |worker: &WorkerId| claims.get(worker).is_some_and(|of| *of != (stage, job));
        if let Choice::Place(_, place) = self.ask(now, &head, passed).choose(&self.fleet, withheld) {
            let place = Place { size: Size { items: 1, ..place.size }, ..place };
            self.propose(place, &head, |line, seconds| line.take_alone(slot, seconds));
        }
    }

    /// Takes a task out of its line, to nobody's batch.
    pub(crate) fn take_out(&mut self, stage: Stage, slot: Slot) -> Option<BatchTask> {
        let line = self.lines.of(stage);
        let job = line.pool.at(slot).job;
        let given = line.remove(job)?;
        self.short.insert(Consumer::of_task(&given.task));
        Some(given)
    }

    /// Promises a place to a batch; `take` takes its tasks out of their line, at so many device-seconds each.
    fn propose(
        &mut self,
        Place { worker, size: Size { items, bytes, why } }: Place,
        head: &Head,
        take: impl FnOnce(&mut StageLine, f64) -> Vec<Slot>,
    ) {
        let stage = head.stage;
        let id = batch_id(self.epoch, self.batches + 1);
        let promised = self.fleet.change(&worker, |standing| {
            let gives = standing.next_gives();
            assert!(bytes <= gives, "property A: a batch is never promised more than there is");
            let is_next = standing.takes_next();
            standing.promise(id, bytes);
            (standing.offer.device_class.clone(), !standing.offer.warm.contains(&stage), is_next)
        });
        let Some((class, cold, is_next)) = promised else { return };
        self.batches += 1;
        let line = self.lines.of(stage);
        let key = self.engines.key(stage, line.pool.shape(head.shape), (&worker, &class));
        let known = self.footprints.get(&key).filter(|known| known.is_measured());
        let seconds = known.map_or(1.0, |known| known.item_seconds(items));
        let slots = take(line, seconds);
        assert!(!slots.is_empty() && slots.len() <= items as usize, "a cut takes what it decided");
        let of = |(class, tenant)| Consumer::Tasks(stage, class, line.pool.tenant(tenant).clone());
        self.short.extend(line.lines_of(&slots).into_iter().map(of));
        let expected = known.map(|known| known.time(slots.len() as u32).as_millis() as u64);
        let temperature = if cold { "cold" } else { "warm" };
        let lane = if is_next { ", for the lane that is free next" } else { "" };
        let why = format!("{} {why}; {temperature} on {worker}{lane}", slots.len());
        let tasks: Vec<BatchTask> = slots.iter().map(|slot| line.pool.open(*slot)).collect();
        let (epoch, text) = (self.epoch, why.clone());
        let batch = Batch { id, epoch, stage, tasks, bytes, why: text, held_ms: None, expected_ms: expected };
        let shape = head.shape;
        self.cuts.insert((stage, shape), self.now);
        let to = worker.clone();
        self.live
            .propose(id, Proposed { worker, device_class: class, stage, shape, slots, bytes, why, cold });
        self.decisions.push_back(Decision::Propose(to, batch));
    }

    /// Tasks of a stage that the live offers take in one round.
    fn room(&self, stage: Stage) -> usize {
        self.fleet.lanes(stage) * self.facts.get(&stage).map_or(1, |facts| facts.batch)
    }

    /// Draws what live offers could take: for each consumer whose window has room.
    fn draw(&mut self, memory_moved: bool, all: bool) {
        if memory_moved {
            for stage in Stage::ALL {
                let room = self.room(stage);
                if self.rooms.insert(stage, room) != Some(room) || all {
                    let of_stage = |class| {
                        let tenants = self.limits.tenants.iter();
                        tenants.map(move |tenant| Consumer::Tasks(stage, class, tenant.clone()))
                    };
                    self.short.extend(Class::ALL.into_iter().flat_map(of_stage));
                }
            }
        }
        for consumer in std::mem::take(&mut self.short) {
            let Consumer::Tasks(stage, class, tenant) = &consumer else { continue };
            let room = self.rooms.get(stage).copied().unwrap_or(0);
            let line = self.lines.of(*stage);
            let active = line.active().max(self.backlogs.active(*stage)).max(1);
            let window = window(room, active);
            let here = line.len_of(*class, tenant);
            // All consumers of a stage together hold what live offers could take in two rounds; but of each
            // its share of the next round is seen, or who comes late could not have its turn.
            let share = room.div_ceil(active).saturating_sub(here);
            let expected = self.expected.entry(*stage).or_default();
            let left = (2 * room).saturating_sub(line.len() + *expected).max(share);
            let wanted = window.saturating_sub(here).min(left);
            if wanted > 0 && !self.drawing.contains_key(&consumer) {
                assert!(wanted <= 2 * room, "a window holds what live offers could take");
                let comes = wanted.min(usize::try_from(self.backlogs.of(&consumer)).unwrap_or(wanted));
                *expected += comes;
                self.drawing.insert(consumer.clone(), comes);
                self.decisions.push_back(Decision::Draw(consumer, wanted));
            }
        }
    }

    fn draw_ended(&mut self, consumer: &Consumer) {
        if let (Some(comes), Consumer::Tasks(stage, ..)) = (self.drawing.remove(consumer), consumer) {
            let expected = self.expected.entry(*stage).or_default();
            *expected = expected.saturating_sub(comes);
        }
    }

    /// Says how many workers each stage is worth, where that changed.
    fn desire(&mut self) {
        for stage in Stage::ALL {
            let line = self.lines.at(stage);
            let tasks = self.backlogs.tasks(stage) + (line.held() + line.in_batches()) as u64;
            let hosts = self.fleet.hosts(stage);
            let lanes = hosts.map(|(_, standing)| standing.offer.lanes as usize).max().unwrap_or(1);
            let seconds = self.facts.get(&stage).map_or(1.0, |facts| facts.item_seconds);
            let workers = workers(tasks, seconds, lanes, self.limits.drain_target);
            if self.desired.insert(stage, workers) != Some(workers) {
                self.decisions.push_back(Decision::Desire { stage, workers });
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
