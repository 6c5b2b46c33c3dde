//! A small simulated cluster around the planner: queues, workers with memory, strangers, and a script of
//! faults. Time jumps from event to event; nothing here is random, so a script is a whole run.

use crate::script::{Fault, Job, Script, WorkerFacts};
use domain::{
    AckToken, Batch, BatchEnd, BatchEnded, BatchId, BatchTask, Bytes, Consumer, DeviceClass, Epoch, JobId,
    Offer, Reading, RefusedReason, Stage, Timestamp, WorkerId,
};
use planning::{BatchRule, Decision, Event, Limits, Planner};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub const EPOCH: Epoch = Epoch(7);
pub const VALID: Duration = Duration::from_secs(15);
const OFFER_EVERY: Duration = Duration::from_secs(5);
const ACK_WAIT: Duration = Duration::from_secs(10);

/// What comes next in simulated time.
enum Next {
    Offer(usize),
    Answer(BatchId, Event),
    BatchOver(usize, BatchId),
    Put(BatchTask),
    PullOver(Consumer),
    Fault(Fault),
    Tick,
    Look,
}

struct Running {
    batch: Batch,
    /// Jobs that need more than was reserved.
    too_large: BTreeSet<JobId>,
}

pub struct Worker {
    pub facts: WorkerFacts,
    pub id: WorkerId,
    strangers: Bytes,
    alive: bool,
    mute_until: Timestamp,
    running: BTreeMap<BatchId, Running>,
    /// It has come for the lane that is free next.
    waiting: Option<Batch>,
}

impl Worker {
    fn class(&self) -> DeviceClass {
        DeviceClass(format!("host-{}g", self.facts.gib))
    }

    /// At most so many batches run at once as there are lanes, whichever ends first.
    fn reserved(&self) -> Bytes {
        let running = self.running.values().map(|running| &running.batch);
        let mut all: Vec<Bytes> = running.chain(&self.waiting).map(|batch| batch.bytes).collect();
        all.sort_by_key(|bytes| std::cmp::Reverse(*bytes));
        all.into_iter().take(self.facts.lanes as usize).sum()
    }

    /// The smallest batch of those that run, if one may come to wait for its lane.
    fn next_bytes(&self) -> Option<Bytes> {
        let is_full = self.running.len() == self.facts.lanes as usize && self.waiting.is_none();
        self.running.values().map(|running| running.batch.bytes).min().filter(|_| is_full)
    }

    fn gives(&self, now: Timestamp) -> Bytes {
        let (reading, class, reserved) = (self.reading(now), self.class(), self.reserved());
        match self.next_bytes() {
            Some(over) => reading.to_give_after(&class, Bytes::ZERO, reserved, over),
            None => reading.to_give(&class, Bytes::ZERO, reserved),
        }
    }

    fn reading(&self, now: Timestamp) -> Reading {
        Reading {
            total_bytes: Bytes::gib(self.facts.gib),
            used_bytes: self.strangers,
            own_bytes: Bytes::ZERO,
            reclaimable_bytes: Bytes::ZERO,
            read_at: now,
        }
    }

    fn offer(&self, now: Timestamp) -> Offer {
        Offer {
            worker: self.id.clone(),
            device: "device".parse().expect("a name"),
            device_class: self.class(),
            lanes_free: self.facts.lanes - self.running.len() as u32,
            lanes: self.facts.lanes,
            reading: self.reading(now),
            reserved_bytes: self.reserved(),
            stages: self.facts.stages.clone(),
            // Who has a free lane has no runner yet.
            warm: self.next_bytes().map_or(Vec::new(), |_| self.facts.stages.clone()),
            valid_for_ms: VALID.as_millis() as u64,
            running: self
                .running
                .keys()
                .copied()
                .chain(self.waiting.as_ref().map(|batch| batch.id))
                .collect(),
            next_bytes: self.next_bytes(),
        }
    }
}

/// How each drawn task left the planner, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Proposed,
    Accepted,
    GivenBack,
    Rejected,
    TokenLost,
}

pub struct World {
    pub now: Timestamp,
    pub planner: Planner,
    pub workers: Vec<Worker>,
    jobs: BTreeMap<(Stage, JobId), Job>,
    agenda: BTreeMap<(Timestamp, u64), Next>,
    last: u64,
    queues: BTreeMap<Consumer, VecDeque<BatchTask>>,
    pulls: BTreeMap<Consumer, usize>,
    /// In the planner's hands: token -> task and when it was drawn.
    pub held: BTreeMap<AckToken, BatchTask>,
    asked: BTreeMap<BatchId, (usize, Batch)>,
    /// All events with their times, and all decisions: the log for a replay.
    pub log: Vec<(Timestamp, Event)>,
    pub decisions: Vec<Decision>,
    pub left: Vec<(BatchTask, Left, Timestamp)>,
    pub done: BTreeSet<(Stage, JobId)>,
    pub rejected: BTreeMap<(Stage, JobId), String>,
    /// Longest time that a task was in the planner's hands.
    pub held_longest: Duration,
    batch_time: Duration,
}

pub fn limits(script: &Script) -> Limits {
    Limits {
        batch_max: 8,
        batch_rule: BatchRule::Learned,
        hold_max: Duration::from_secs(30),
        patience: Duration::from_secs(10),
        drain_target: Duration::from_secs(60),
        tenants: script.tenants(),
    }
}

impl World {
    pub fn new(script: &Script) -> World {
        let worker = |(n, facts): (usize, &WorkerFacts)| Worker {
            facts: facts.clone(),
            id: format!("worker-{n}").parse().expect("a name"),
            strangers: Bytes::ZERO,
            alive: true,
            mute_until: Timestamp(0),
            running: BTreeMap::new(),
            waiting: None,
        };
        let mut world = World {
            now: Timestamp(1_000_000),
            planner: Planner::new(limits(script), EPOCH, BTreeMap::new()),
            workers: script.workers.iter().enumerate().map(worker).collect(),
            jobs: BTreeMap::new(),
            agenda: BTreeMap::new(),
            last: 0,
            queues: BTreeMap::new(),
            pulls: BTreeMap::new(),
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            log: Vec::new(),
            decisions: Vec::new(),
            left: Vec::new(),
            done: BTreeSet::new(),
            rejected: BTreeMap::new(),
            held_longest: Duration::ZERO,
            batch_time: script.batch_time,
        };
        for n in 0..world.workers.len() {
            world.after(Duration::ZERO, Next::Offer(n));
        }
        for (n, job) in script.jobs.iter().enumerate() {
            let task = job.task(n as u64);
            world.jobs.insert((task.stage, task.job), job.clone());
            let put = BatchTask {
                task,
                ack_token: AckToken(String::new()),
                delivery: 0,
                published_at: world.now + job.at,
                drawn_at: Timestamp(0),
            };
            world.after(job.at, Next::Put(put));
        }
        for (at, fault) in &script.faults {
            world.after(*at, Next::Fault(*fault));
        }
        world.after(Duration::ZERO, Next::Tick);
        world.after(Duration::ZERO, Next::Look);
        world
    }

    fn after(&mut self, wait: Duration, next: Next) {
        self.last += 1;
        self.agenda.insert((self.now + wait, self.last), next);
    }

    /// Until nothing waits and nothing runs, or the time is up.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(((at, _), next)) = self.agenda.pop_first() {
            // The planner says when it wants to be told the time.
            if let Some(due) = self.planner.next_deadline().filter(|due| *due < at) {
                self.now = due.max(self.now);
                self.after(at.since(self.now), next);
                self.tell(Event::Tick);
                continue;
            }
            if at > end {
                break;
            }
            self.now = at;
            self.happen(next);
            if self.is_over() {
                break;
            }
        }
    }

    pub fn is_over(&self) -> bool {
        let to_come = self.agenda.values().any(|next| matches!(next, Next::Put(_)));
        let queued = self.queues.values().any(|queue| !queue.is_empty());
        let running = self.workers.iter().any(|worker| !worker.running.is_empty());
        !to_come && !queued && !running && self.held.is_empty() && self.asked.is_empty()
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Offer(n) => {
                self.offer(n);
                self.after(OFFER_EVERY, Next::Offer(n));
            }
            Next::Answer(id, event) => {
                if let Some((_, batch)) = self.asked.remove(&id) {
                    self.settle(&batch, &event);
                    self.tell(event);
                }
            }
            Next::BatchOver(n, id) => self.batch_over(n, id),
            Next::Put(given) => self.put(given),
            Next::PullOver(consumer) => {
                if self.pulls.remove(&consumer).is_some() {
                    self.tell(Event::DrawEnded(consumer));
                }
            }
            Next::Fault(fault) => self.fault(fault),
            Next::Tick => {
                self.tell(Event::Tick);
                self.after(Duration::from_secs(3), Next::Tick);
            }
            Next::Look => {
                let seen: Vec<(Consumer, u64)> =
                    self.queues.iter().map(|(of, queue)| (of.clone(), queue.len() as u64)).collect();
                for (consumer, waiting) in seen {
                    self.tell(Event::BacklogSeen(consumer, waiting));
                }
                self.after(Duration::from_secs(5), Next::Look);
            }
        }
    }

    /// Tells the planner, carries its decisions out, and holds what must hold at every moment.
    fn tell(&mut self, event: Event) {
        self.log.push((self.now, event.clone()));
        self.planner.handle(self.now, event);
        while let Some(decision) = self.planner.poll() {
            self.decisions.push(decision.clone());
            self.act(decision);
        }
    }

    fn act(&mut self, decision: Decision) {
        match decision {
            Decision::Propose(worker, batch) => self.proposed(&worker, batch),
            Decision::Draw(consumer, count) => {
                let earlier = self.pulls.insert(consumer.clone(), count);
                assert!(earlier.is_none(), "one draw per consumer at a time");
                self.after(Duration::from_secs(20), Next::PullOver(consumer.clone()));
                // Not at once: the planner is not to be called while it is being asked.
                self.after(Duration::from_millis(1), Next::Put(nothing(&consumer)));
            }
            Decision::GiveBack(given) => {
                self.leave(&given, Left::GivenBack);
                self.after(Duration::from_millis(1), Next::Put(given));
            }
            Decision::Reject(given, reason) => {
                self.leave(&given, Left::Rejected);
                self.rejected.insert((given.task.stage, given.task.job), reason);
            }
            Decision::Learned(..) | Decision::Strained(..) | Decision::Desire { .. } => {}
        }
    }

    fn leave(&mut self, given: &BatchTask, how: Left) {
        let held = self.held.remove(&given.ack_token).expect("only what is held is decided on");
        self.held_longest = self.held_longest.max(self.now.since(held.drawn_at));
        self.left.push((held, how, self.now));
    }

    /// The worker answers by the same formula as the planner, on its memory of this moment.
    fn proposed(&mut self, to: &WorkerId, batch: Batch) {
        assert!(!batch.tasks.is_empty() && !batch.why.is_empty());
        for given in &batch.tasks {
            self.left.push((given.clone(), Left::Proposed, self.now));
        }
        let n = self.workers.iter().position(|worker| worker.id == *to).expect("a worker that offered");
        let (worker, now) = (&mut self.workers[n], self.now);
        let id = batch.id;
        if !worker.alive {
            self.asked.insert(id, (n, batch));
            return self.after(Duration::from_millis(1), Next::Answer(id, Event::BatchRefused(id, None)));
        }
        if now < worker.mute_until {
            self.asked.insert(id, (n, batch));
            return self.after(Duration::from_secs(1), Next::Answer(id, Event::BatchLost(id)));
        }
        let is_full = worker.running.len() as u32 >= worker.facts.lanes;
        let reason = match () {
            () if is_full && worker.next_bytes().is_none() => Some(RefusedReason::NoLane),
            () => (batch.bytes > worker.gives(now)).then_some(RefusedReason::Memory),
        };
        let answer = match reason {
            Some(reason) => Event::BatchRefused(id, Some((worker.reading(now), reason))),
            None => {
                if is_full {
                    worker.waiting = Some(batch.clone());
                    self.after(Duration::from_millis(1), Next::Offer(n));
                } else {
                    self.start(n, batch.clone());
                }
                let worker = &self.workers[n];
                let (reserved, budget) =
                    (worker.reserved(), worker.reading(now).budget(&worker.class(), Bytes::ZERO));
                assert!(reserved <= budget, "property A: reserved {reserved} of {budget}");
                Event::BatchAccepted(id)
            }
        };
        self.asked.insert(id, (n, batch));
        self.after(Duration::from_millis(1), Next::Answer(id, answer));
    }

    fn start(&mut self, n: usize, batch: Batch) {
        let share = Bytes(batch.bytes.0 / batch.tasks.len() as u64);
        let needs = |given: &&BatchTask| self.jobs[&(batch.stage, given.task.job)].need > share;
        let too_large = batch.tasks.iter().filter(needs).map(|given| given.task.job).collect();
        let (id, worker) = (batch.id, &mut self.workers[n]);
        worker.running.insert(id, Running { batch, too_large });
        self.after(self.batch_time, Next::BatchOver(n, id));
        self.after(Duration::from_millis(1), Next::Offer(n));
    }

    /// What an answer means for the tokens.
    fn settle(&mut self, batch: &Batch, event: &Event) {
        for given in &batch.tasks {
            match event {
                Event::BatchAccepted(_) => self.leave(given, Left::Accepted),
                Event::BatchLost(_) => {
                    self.leave(given, Left::TokenLost);
                    self.after(ACK_WAIT, Next::Put(given.clone()));
                }
                _ => {}
            }
        }
    }

    fn batch_over(&mut self, n: usize, id: BatchId) {
        let Some(Running { batch, too_large }) = self.workers[n].running.remove(&id) else { return };
        for given in &batch.tasks {
            let place = (batch.stage, given.task.job);
            // The worker tries those that ran out again, alone with the whole reservation.
            if too_large.contains(&given.task.job) && self.jobs[&place].need > batch.bytes {
                self.after(Duration::from_millis(1), Next::Put(given.clone()));
            } else {
                assert!(self.done.insert(place), "no task is computed twice without a fault");
            }
        }
        let needs = batch.tasks.iter().map(|given| self.jobs[&(batch.stage, given.task.job)].need);
        let peak: Bytes = needs.sum();
        let items = batch.tasks.len() as u32;
        let end =
            if too_large.is_empty() { BatchEnd::Done } else { BatchEnd::OutOfMemory { at_items: items } };
        let ended = BatchEnded {
            batch: id,
            worker: self.workers[n].id.clone(),
            device_class: self.workers[n].class(),
            stage: batch.stage,
            end,
            items,
            peak_bytes: peak.min(batch.bytes),
            reserved_bytes: batch.bytes,
            lane_us: self.batch_time.as_micros() as u64,
            ran_out: Vec::new(),
            engine: domain::EngineVersion::default(),
            precision: String::new(),
            load_ms: 0,
        };
        if let Some(next) = self.workers[n].waiting.take() {
            self.start(n, next);
        }
        self.tell(Event::BatchEnded(ended));
        self.offer(n);
    }

    fn offer(&mut self, n: usize) {
        let worker = &self.workers[n];
        if worker.alive && self.now >= worker.mute_until {
            let offer = worker.offer(self.now);
            self.tell(Event::OfferMade(offer));
        }
    }

    /// Queues a task, and delivers to whoever pulls.
    fn put(&mut self, given: BatchTask) {
        let consumer = Consumer::of_task(&given.task);
        let place = (given.task.stage, given.task.job);
        if self.jobs.contains_key(&place)
            && !self.done.contains(&place)
            && !self.rejected.contains_key(&place)
        {
            self.queues.entry(consumer.clone()).or_default().push_back(given);
        }
        let queue = self.queues.entry(consumer.clone()).or_default();
        let Some(count) = self.pulls.get(&consumer).copied().filter(|_| !queue.is_empty()) else { return };
        let drawn: Vec<BatchTask> = queue.drain(..count.min(queue.len())).collect();
        self.pulls.remove(&consumer);
        for mut given in drawn {
            given.delivery += 1;
            given.drawn_at = self.now;
            given.ack_token = AckToken(format!("{}.{}", given.task.job, self.log.len()));
            self.held.insert(given.ack_token.clone(), given.clone());
            self.tell(Event::TaskSeen(given));
        }
        self.tell(Event::DrawEnded(consumer));
    }

    fn fault(&mut self, fault: Fault) {
        let count = self.workers.len();
        match fault {
            Fault::Kill(n) => {
                let worker = &mut self.workers[n % count];
                worker.alive = false;
                let running = std::mem::take(&mut worker.running).into_values().map(|running| running.batch);
                for batch in running.chain(worker.waiting.take()).collect::<Vec<_>>() {
                    for given in batch.tasks {
                        self.after(ACK_WAIT, Next::Put(given));
                    }
                }
            }
            Fault::Revive(n) => self.workers[n % count].alive = true,
            Fault::Mute(n, time) => self.workers[n % count].mute_until = self.now + time,
            Fault::Strangers(n, percent) => {
                let worker = &mut self.workers[n % count];
                worker.strangers = Bytes::gib(worker.facts.gib).scale(f64::from(percent) / 100.0);
            }
            Fault::LoseToken(n) => {
                // Only of a task that waits: one that was shown to a worker is the worker's.
                let asked: BTreeSet<&AckToken> = self
                    .asked
                    .values()
                    .flat_map(|(_, batch)| batch.tasks.iter().map(|given| &given.ack_token))
                    .collect();
                let mut waiting = self.held.values().filter(|given| !asked.contains(&given.ack_token));
                let Some(given) = waiting.nth(n).cloned() else { return };
                self.leave(&given, Left::TokenLost);
                let (stage, job) = (given.task.stage, given.task.job);
                self.tell(Event::TaskGone(stage, job, given.ack_token.clone()));
                self.put(given);
            }
        }
    }
}

/// A put that only looks whether a pull finds something.
fn nothing(consumer: &Consumer) -> BatchTask {
    let Consumer::Tasks(stage, class, tenant) = consumer else { unreachable!("tasks only") };
    let mut task = Job::default().task(u64::MAX);
    (task.stage, task.class, task.tenant) = (*stage, *class, tenant.clone());
    let (ack_token, zero) = (AckToken(String::new()), Timestamp(0));
    BatchTask { task, ack_token, delivery: 0, published_at: zero, drawn_at: zero }
}
