//! The world around one planner at a time: queues, workers, faults. Time jumps from event to event, and one
//! seed decides all.
//!
//! Asserted at every step: A and H where a worker accepts (`device`), B and D and I where a batch is
//! proposed, E where something is learned, F of what is held, G by a replay when a term ends, C at the end.
//! J is counted in the planning crate and timed by `speed`.

use super::device::Device;
use super::dice::Dice;
use super::settings::Settings;
use super::truth::{Kind, TENANTS, task, tenant};
use domain::{
    AckToken, Batch, BatchId, BatchTask, Bytes, Consumer, DeviceClass, Epoch, JobId, Stage, Timestamp,
};
use planning::{BatchRule, Decision, Event, Footprint, FootprintKey, Limits, Planner};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A token that nobody extends is delivered again after this long.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// A world that is not over by then never will be.
const LONGEST: Duration = Duration::from_secs(400_000);
/// When a world begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_000_000_000_000);
/// One message on its way.
pub const HOP: Duration = Duration::from_millis(1);

/// What comes next in simulated time.
pub enum Next {
    /// A worker's word, and whether another follows 5 s later.
    Offer(usize, bool),
    /// The answer to a proposal of this term.
    Answer(BatchId, Box<Event>),
    /// A batch ends on a device, unless that died meanwhile.
    Over(usize, BatchId),
    /// A task enters its queue.
    Put(u64, Stage, u64),
    /// So many new jobs arrive.
    Burst(u64),
    /// A pull finds what is there.
    Deliver(Consumer),
    /// A pull comes back empty.
    PullOver(Consumer, u64),
    /// A worker dies.
    Kill(usize),
    /// It is back.
    Revive(usize),
    /// The tokens of what runs on a device are lost.
    TokensLost(usize),
    /// Another program takes much of a device.
    Surge(usize),
    /// It gives that back.
    SurgeOver(usize),
    /// Somebody else leads.
    LeaseLost,
    /// A proposal of an earlier term comes late.
    Late(usize, Batch),
    /// A second passes for the strangers.
    Second,
    /// Time has passed.
    Tick,
    /// The queues are looked at.
    Look,
}

/// A task in a queue: its job, when it was published, which delivery comes next.
type Queued = (u64, Timestamp, u64);
/// Tasks that the planner holds, of one consumer and shape, in the order in which they were drawn.
pub(crate) type Order = BTreeMap<(Consumer, usize), BTreeSet<u64>>;

/// What happened, for the list of situations and the figures.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often each situation occurred.
    pub situations: BTreeMap<&'static str, u64>,
    /// Batches of each kind on each class of device.
    pub batches: BTreeMap<(Kind, DeviceClass), u64>,
    /// Batches after the first twenty of their key, and those of them that ran out of memory.
    pub after_warm_up: (u64, u64),
    /// When each job was done, in order.
    pub done_at: Vec<Timestamp>,
    /// Milliseconds of all devices: what came through as it computes in the best batches, starting runners,
    /// batches that ran out of memory, and what smaller batches took longer.
    pub device_ms: [f64; 4],
    /// Starts of runners of each stage.
    pub starts: BTreeMap<Stage, u64>,
    /// Longest time that a task was in the planner's hands.
    pub held_longest: Duration,
    /// Jobs that were rejected, with their reasons.
    pub rejected: BTreeMap<u64, String>,
}

impl Seen {
    /// This situation occurred.
    pub fn note(&mut self, situation: &'static str) {
        *self.situations.entry(situation).or_default() += 1;
    }
}

/// A term's events and what was decided, for its replay.
struct Term {
    footprints: BTreeMap<FootprintKey, Footprint>,
    strained: BTreeMap<(Stage, JobId), Bytes>,
    events: Vec<(Timestamp, Event)>,
    decided: DefaultHasher,
}

/// All of it.
pub struct World {
    pub(crate) settings: Settings,
    pub(crate) now: Timestamp,
    pub(crate) dice: Dice,
    epoch: Epoch,
    pub(crate) planner: Planner,
    term: Term,
    pub(crate) devices: Vec<Device>,
    agenda: BTreeMap<(Timestamp, u64), Next>,
    last: u64,
    queues: BTreeMap<Consumer, VecDeque<Queued>>,
    pub(crate) pulls: BTreeMap<Consumer, (usize, u64)>,
    /// By token: what the planner holds, with the number of its draw.
    pub(crate) held: BTreeMap<AckToken, (BatchTask, u64)>,
    pub(crate) held_since: BTreeSet<(Timestamp, AckToken)>,
    pub(crate) order: Order,
    pub(crate) asked: BTreeMap<BatchId, (usize, Batch)>,
    /// Tasks in live batches of this term, as far as the planner has been told.
    pub(crate) in_batch: BTreeMap<(Stage, JobId), BatchId>,
    learned: BTreeMap<FootprintKey, Footprint>,
    strained: BTreeMap<(Stage, JobId), Bytes>,
    /// The next stage of each job, 4 when it is done.
    stages: Vec<u8>,
    arrived: u64,
    /// What happened.
    pub seen: Seen,
}

fn limits() -> Limits {
    Limits {
        batch_max: 64,
        batch_rule: BatchRule::Learned,
        hold_max: Duration::from_secs(30),
        patience: Duration::from_secs(10),
        drain_target: Duration::from_secs(60),
        tenants: (0..TENANTS).map(tenant).collect(),
    }
}

impl World {
    /// At its beginning.
    pub fn new(settings: Settings) -> World {
        let (footprints, strained) = (BTreeMap::new(), BTreeMap::new());
        let term = Term { footprints, strained, events: Vec::new(), decided: DefaultHasher::new() };
        let mut world = World {
            now: BEGIN,
            dice: Dice::new(settings.seed),
            epoch: Epoch(1),
            planner: Planner::new(limits(), Epoch(1), BTreeMap::new()),
            term,
            devices: settings.devices.iter().enumerate().map(|(n, gib)| Device::new(n, *gib)).collect(),
            agenda: BTreeMap::new(),
            last: 0,
            queues: BTreeMap::new(),
            pulls: BTreeMap::new(),
            held: BTreeMap::new(),
            held_since: BTreeSet::new(),
            order: BTreeMap::new(),
            asked: BTreeMap::new(),
            in_batch: BTreeMap::new(),
            learned: BTreeMap::new(),
            strained: BTreeMap::new(),
            stages: vec![0; settings.jobs as usize],
            arrived: 0,
            seen: Seen::default(),
            settings,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for n in 0..self.devices.len() {
            self.after(Duration::from_millis(n as u64), Next::Offer(n, true));
        }
        for next in [Next::Tick, Next::Look, Next::Second] {
            self.after(Duration::ZERO, next);
        }
        let span = self.settings.arrive_over;
        let bursts = if span == Duration::ZERO { 1 } else { 1 + self.settings.jobs / 20 };
        for n in 0..bursts {
            let count = self.settings.jobs / bursts + u64::from(n < self.settings.jobs % bursts);
            let at = span.mul_f64(self.dice.share());
            self.after(at, Next::Burst(count));
        }
        for _ in 0..self.settings.crashes {
            let (n, at) = (self.dice.below(self.devices.len()), span.mul_f64(self.dice.share()));
            self.after(at, Next::Kill(n));
        }
        for _ in 0..self.settings.leases_lost {
            let at = span.mul_f64(self.dice.share());
            self.after(at, Next::LeaseLost);
        }
        self.begin_interference();
    }

    fn begin_interference(&mut self) {
        let span = self.settings.arrive_over;
        for k in 0..self.settings.interference {
            let (n, at) = (self.dice.below(self.devices.len()), span.mul_f64(self.dice.share()));
            self.after(at, if k % 2 == 0 { Next::Surge(n) } else { Next::TokensLost(n) });
        }
    }

    /// Something happens later.
    pub(crate) fn after(&mut self, wait: Duration, next: Next) {
        self.last += 1;
        self.agenda.insert((self.now + wait, self.last), next);
    }

    /// Until every job is done or rejected.
    ///
    /// # Panics
    /// A property is violated, or the world never ends; the seed is named.
    pub fn run(mut self) -> Seen {
        let end = self.now + LONGEST;
        while !self.is_over() {
            let ((at, number), next) = self.agenda.pop_first().expect("ticks go on");
            if let Some(due) = self.planner.next_deadline().filter(|due| *due < at) {
                self.now = due.max(self.now);
                self.agenda.insert((at.max(self.now), number), next);
                self.tell(Event::Tick);
                continue;
            }
            assert!(at < end, "seed {}: it is not over after {LONGEST:?}", self.settings.seed);
            self.now = at;
            self.happen(next);
            self.check_held();
        }
        self.replay();
        self.check_end();
        self.seen
    }

    fn is_over(&self) -> bool {
        self.seen.done_at.len() + self.seen.rejected.len() == self.settings.jobs as usize
    }

    /// C: all is done but what is larger than any device, and that is named with its bytes.
    fn check_end(&self) {
        for (job, reason) in &self.seen.rejected {
            assert!(self.is_too_large(*job), "seed {}: {job} was rejected: {reason}", self.settings.seed);
            assert!(reason.contains("needs more than") && reason.contains("can give"), "{reason}");
        }
    }

    /// Whether a job needs more than any device has.
    pub(crate) fn is_too_large(&self, job: u64) -> bool {
        let every = self.settings.too_large_every;
        every > 0 && job % every == every - 1
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Offer(n, again) => {
                if self.devices[n].alive {
                    let offer = self.devices[n].offer(self.now);
                    self.tell(Event::OfferMade(offer));
                }
                if again {
                    self.after(Duration::from_secs(5), Next::Offer(n, true));
                }
            }
            Next::Answer(id, event) => self.answered(id, *event),
            Next::Over(n, id) => self.batch_over(n, id),
            Next::Put(job, stage, delivery) => self.put(job, stage, delivery),
            Next::Burst(count) => {
                if self.settings.arrive_over > Duration::ZERO {
                    self.seen.note("a burst of jobs");
                }
                for _ in 0..count {
                    self.put(self.arrived, Stage::ALL[0], 1);
                    self.arrived += 1;
                }
            }
            Next::Deliver(consumer) => self.deliver(&consumer),
            Next::PullOver(consumer, number) => {
                if self.pulls.get(&consumer).is_some_and(|(_, pull)| *pull == number) {
                    self.pulls.remove(&consumer);
                    self.tell(Event::DrawEnded(consumer));
                }
            }
            Next::Kill(n) => self.kill(n),
            Next::Revive(n) => {
                self.devices[n].alive = true;
                self.after(HOP, Next::Offer(n, false));
            }
            Next::TokensLost(n) => self.lose_tokens(n),
            Next::Surge(n) => self.surge(n),
            Next::SurgeOver(n) => self.devices[n].surge = 0.0,
            Next::LeaseLost => self.lose_lease(),
            Next::Late(n, batch) => self.late(n, &batch),
            Next::Second => {
                if self.settings.strangers_move {
                    let (devices, dice) = (&mut self.devices, &mut self.dice);
                    devices.iter_mut().for_each(|device| device.move_strangers(dice));
                }
                self.after(Duration::from_secs(1), Next::Second);
            }
            Next::Tick => {
                self.tell(Event::Tick);
                self.after(Duration::from_secs(3), Next::Tick);
            }
            Next::Look => {
                let seen: Vec<_> = self.queues.iter().map(|(of, all)| (of.clone(), all.len())).collect();
                for (consumer, waiting) in seen {
                    self.tell(Event::BacklogSeen(consumer, waiting as u64));
                }
                self.after(Duration::from_secs(5), Next::Look);
            }
        }
    }

    /// Tells the planner and carries its decisions out.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.settings.replay {
            self.term.events.push((self.now, event.clone()));
        }
        self.planner.handle(self.now, event);
        while let Some(decision) = self.planner.poll() {
            if self.settings.replay {
                format!("{decision:?}").hash(&mut self.term.decided);
            }
            self.act(decision);
        }
    }

    /// G: the same events give the same decisions.
    fn replay(&self) {
        let mut again = Planner::new(limits(), self.epoch, self.term.footprints.clone());
        again.remember(self.term.strained.iter().map(|((stage, job), had)| (*stage, *job, *had)));
        let mut decided = DefaultHasher::new();
        for (at, event) in &self.term.events {
            again.handle(*at, event.clone());
            std::iter::from_fn(|| again.poll())
                .for_each(|decision| format!("{decision:?}").hash(&mut decided));
        }
        let same = decided.finish() == self.term.decided.finish();
        assert!(same, "property G: seed {}: a replay decides otherwise", self.settings.seed);
    }

    fn act(&mut self, decision: Decision) {
        match decision {
            Decision::Propose(worker, batch) => self.proposed(&worker, batch),
            Decision::Draw(consumer, count) => {
                self.last += 1;
                let earlier = self.pulls.insert(consumer.clone(), (count, self.last));
                assert!(earlier.is_none(), "one draw per consumer at a time");
                self.after(Duration::from_secs(20), Next::PullOver(consumer.clone(), self.last));
                self.after(HOP, Next::Deliver(consumer));
            }
            Decision::GiveBack(given) => {
                self.seen.note("a task is given back");
                let (given, _) = self.release(&given.ack_token);
                self.after(HOP, Next::Put(super::truth::number(given.task.job), given.task.stage, 2));
            }
            Decision::Reject(given, reason) => {
                self.seen.note("a task is rejected");
                let (given, _) = self.release(&given.ack_token);
                self.seen.rejected.insert(super::truth::number(given.task.job), reason);
            }
            Decision::Learned(key) => {
                let footprint = self.planner.footprint(&key).cloned().unwrap_or_default();
                self.check_footprint(&footprint);
                self.learned.insert(key, footprint);
            }
            Decision::Strained(stage, job, Some(had)) => drop(self.strained.insert((stage, job), had)),
            Decision::Strained(stage, job, None) => drop(self.strained.remove(&(stage, job))),
            Decision::Desire { .. } => {}
        }
    }

    /// E: more memory never means a smaller batch, since a larger one never needs less and is never worth
    /// less where more would fit.
    fn check_footprint(&self, footprint: &Footprint) {
        let need = |items: u32| footprint.reservation(items, Bytes::gib(1), self.now);
        for items in 1..24 {
            let grows = need(items) <= need(items + 1)
                && footprint.worthwhile(items) <= footprint.worthwhile(items + 1);
            assert!(grows, "property E: seed {}: {items} of {footprint:?}", self.settings.seed);
        }
    }

    fn put(&mut self, job: u64, stage: Stage, delivery: u64) {
        let place = Stage::ALL.iter().position(|of| *of == stage).unwrap_or(0);
        let current = usize::from(self.stages[job as usize]) == place;
        if !current || self.seen.rejected.contains_key(&job) {
            return;
        }
        let consumer = Consumer::of_task(&task(job, stage));
        let queue = self.queues.entry(consumer.clone()).or_default();
        // One message per subject: a task that is queued already is not queued again.
        if delivery > 1 && queue.iter().any(|(of, ..)| *of == job) {
            return;
        }
        // What is there at the beginning came before, a task each millisecond.
        let there = self.now == BEGIN && self.settings.arrive_over == Duration::ZERO;
        let before = if there { self.settings.jobs - job } else { 0 };
        queue.push_back((job, self.now - Duration::from_millis(before), delivery));
        if self.pulls.contains_key(&consumer) && queue.len() == 1 {
            self.after(HOP, Next::Deliver(consumer));
        }
    }

    fn deliver(&mut self, consumer: &Consumer) {
        let Consumer::Tasks(stage, ..) = consumer else { return };
        let Some((count, _)) = self.pulls.get(consumer).copied() else { return };
        let Some(queue) = self.queues.get_mut(consumer).filter(|queue| !queue.is_empty()) else { return };
        let drawn: Vec<Queued> = queue.drain(..count.min(queue.len())).collect();
        self.pulls.remove(consumer);
        for (job, published_at, delivery) in drawn {
            self.last += 1;
            let given = BatchTask {
                task: task(job, *stage),
                ack_token: AckToken(self.last.to_string()),
                delivery,
                published_at,
                drawn_at: self.now,
            };
            self.hold(given.clone(), self.last);
            self.tell(Event::TaskSeen(given));
        }
        self.tell(Event::DrawEnded(consumer.clone()));
    }

    /// A stage of a job is computed; false if it had been already.
    pub(crate) fn computed(&mut self, job: u64, stage: Stage) -> bool {
        let place = Stage::ALL.iter().position(|of| *of == stage).unwrap_or(0);
        if usize::from(self.stages[job as usize]) != place {
            return false;
        }
        self.stages[job as usize] += 1;
        match Stage::ALL.get(place + 1) {
            Some(next) => self.after(HOP, Next::Put(job, *next, 1)),
            None => self.seen.done_at.push(self.now),
        }
        true
    }

    /// Another planner leads, with what was learned; what the old one held is delivered again.
    fn lose_lease(&mut self) {
        self.seen.note("the lease is lost");
        self.replay();
        let waiting: Vec<AckToken> = self.held.keys().cloned().collect();
        for token in waiting {
            let (given, _) = self.release(&token);
            let next = Next::Put(super::truth::number(given.task.job), given.task.stage, given.delivery + 1);
            self.after(ACK_WAIT, next);
        }
        if let Some((n, batch)) = std::mem::take(&mut self.asked).into_values().next() {
            self.after(Duration::from_secs(2), Next::Late(n, batch));
        }
        let running = self
            .devices
            .iter()
            .enumerate()
            .find_map(|(n, device)| device.running.values().next().map(|batch| (n, batch.clone())));
        if let Some((n, batch)) = running {
            self.after(Duration::from_secs(4), Next::Late(n, batch));
        }
        self.pulls.clear();
        self.in_batch.clear();
        self.order.clear();
        self.epoch = Epoch(self.epoch.0 + 1);
        self.planner = Planner::new(limits(), self.epoch, self.learned.clone());
        self.planner.remember(self.strained.iter().map(|((stage, job), had)| (*stage, *job, *had)));
        let (footprints, strained) = (self.learned.clone(), self.strained.clone());
        self.term = Term { footprints, strained, events: Vec::new(), decided: DefaultHasher::new() };
        for n in 0..self.devices.len() {
            self.after(HOP, Next::Offer(n, false));
        }
    }
}
