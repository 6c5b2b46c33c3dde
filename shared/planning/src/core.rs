//! The planner as a state machine: `handle` takes an event in, `poll` gives the decisions that follow.
//!
//! Each event goes through the same phases, and each phase leaves a condition behind that is asserted:
//! hear, expire, give back, cut, draw, desire.

use crate::answers::STRAINED_MAX;
use crate::cut::{Ask, Choice, Size};
use crate::device::Standing;
use crate::engines::Engines;
use crate::event::{Decision, Event, Limits};
use crate::footprint::Footprint;
use crate::key::{FootprintKey, alike};
use crate::live::Live;
use crate::pace::Pace;
use crate::share::{Lines, StageLine};
use crate::window::{Backlogs, StageFacts, window, workers};
use domain::{Batch, BatchId, BatchTask, Bytes, Class, Consumer, Epoch, JobId, Stage, Timestamp, WorkerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Devices that are kept free, and for which task.
type Claims = BTreeMap<WorkerId, (Stage, JobId)>;

/// The planner's state.
pub struct Planner {
    pub(crate) limits: Limits,
    epoch: Epoch,
    /// Time of the last event.
    now: Timestamp,
    /// Batches cut in this term.
    batches: u64,
    pub(crate) lines: Lines,
    pub(crate) offers: BTreeMap<WorkerId, Standing>,
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
    unknown: Footprint,
    /// How fast tasks come, by stage.
    paces: BTreeMap<Stage, Pace>,
    /// Stages whose next task waits because that is worth more, and until when at most.
    later: BTreeMap<Stage, Timestamp>,
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
            offers: BTreeMap::new(),
            live: Live::default(),
            drawing: BTreeMap::new(),
            expected: BTreeMap::new(),
            short: BTreeSet::new(),
            rooms: BTreeMap::new(),
            engines: Engines::of_footprints(footprints.keys()),
            footprints,
            unknown: Footprint::default(),
            paces: BTreeMap::new(),
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

    /// Takes an event in and decides what follows from it.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        let memory_moved = !matches!(
            event,
            Event::TaskSeen(_) | Event::TaskGone(..) | Event::DrawEnded(_) | Event::BacklogSeen(..)
        );
        let is_tick = event == Event::Tick;
        // The others of its draw come right behind it, and a batch is cut from all of them.
        let draw_goes_on = match &event {
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
        let offers = self.offers.values().map(|standing| standing.until);
        let waits = Stage::ALL.into_iter().filter_map(|stage| {
            let line = self.lines.get(stage)?;
            let old = line.drawn_first().filter(|_| self.room(stage) == 0).map(|since| since + hold_max);
            let passed = line.passed().flat_map(|(since, _)| [since + patience, since + hold_max]);
            passed.filter(|due| *due > self.now).chain(old).min()
        });
        let later = self.later.values().copied();
        let due = offers.chain(waits).chain(later).chain(self.live.next_over());
        due.filter(|due| *due > self.now).min()
    }

    fn hear(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::TaskSeen(given) => {
                self.paces.entry(given.task.stage).or_default().see(now);
                self.task_seen(given);
            }
            Event::TaskGone(stage, job, token) => {
                self.live.token_lost(stage, job, &token);
                if let Some(gone) = self.lines.of(stage).remove_token(job, &token) {
                    self.short.insert(Consumer::of_task(&gone.task));
                }
            }
            Event::OfferMade(offer) => self.offer_made(now, offer),
            Event::OfferWithdrawn(worker) => drop(self.offers.remove(&worker)),
            Event::BatchAccepted(batch) => self.batch_accepted(now, batch),
            Event::BatchRefused(batch, answer) => self.batch_refused(now, batch, answer),
            Event::BatchLost(batch) => self.batch_lost(batch),
            Event::BatchEnded(ended) => self.batch_ended(now, &ended),
            Event::DrawEnded(consumer) => {
                self.draw_ended(&consumer);
                self.short.insert(consumer);
            }
            Event::BacklogSeen(consumer, waiting) => self.backlogs.see(consumer, waiting),
            Event::Tick => {}
        }
    }

    fn task_seen(&mut self, given: BatchTask) {
        if let Some(given) = self.live.keep_back(given) {
            self.lines.of(given.task.stage).push(given);
        }
    }

    /// Forgets words that have expired, and batches that are over without a word.
    fn expire(&mut self, now: Timestamp, memory_moved: bool) {
        self.offers.retain(|_, standing| now < standing.until);
        if memory_moved {
            let offers = &self.offers;
            self.engines.keep_only(|worker| offers.contains_key(worker));
            for batch in self.live.over(now, |worker| offers.contains_key(worker)) {
                self.end_live(batch);
            }
        }
        assert!(self.offers.values().all(|standing| now < standing.until), "only standing words are used");
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

    /// Cuts batches while there is somewhere to put them: the best class first, and in it later stages, so
    /// that work in progress stays bounded.
    fn cut(&mut self, now: Timestamp) {
        self.later.clear();
        let claims = self.claims(now);
        for place in claims.values() {
            self.cut_claimed(now, *place, &claims);
        }
        let mut open: Vec<Stage> = Stage::ALL.into_iter().filter(|stage| self.has_lane(*stage)).collect();
        loop {
            let turn = |stage: &Stage| {
                let class = self.lines.get(*stage)?.best_class(now)?;
                Some((class, Reverse(*stage)))
            };
            let Some((_, Reverse(stage))) = open.iter().filter_map(turn).min() else { break };
            if !self.cut_one(now, stage, &claims) {
                open.retain(|of| *of != stage);
            }
        }
    }

    fn has_lane(&self, stage: Stage) -> bool {
        self.offers.values().any(|standing| standing.hosts(stage) && standing.lanes_free() > 0)
    }

    pub(crate) fn ask<'a>(
        &'a self,
        now: Timestamp,
        given: &'a BatchTask,
        passed: Option<Timestamp>,
    ) -> Ask<'a> {
        Ask {
            given,
            now,
            waiting: self.lines.len(given.task.stage),
            arrivals: self.paces.get(&given.task.stage).map_or(0.0, |pace| pace.per_second(now)),
            runs: self.live.runs(given.task.stage),
            ran_out: self.strained.get(&(given.task.stage, given.task.job)).copied(),
            waited_long: passed.is_some_and(|since| now.since(since) >= self.limits.hold_max),
            footprints: &self.footprints,
            engines: &self.engines,
            unknown: &self.unknown,
            batch_max: self.limits.batch_max,
        }
    }

    /// Devices that are kept free, each for a task that was passed over for too long; the longest wait first.
    fn claims(&self, now: Timestamp) -> Claims {
        let lines = Stage::ALL.into_iter().filter_map(|stage| self.lines.get(stage));
        let passed = lines.flat_map(|line| line.passed());
        let mut passed: Vec<(Timestamp, &BatchTask)> =
            passed.filter(|(since, _)| now.since(*since) >= self.limits.patience).collect();
        passed.sort_by_key(|(since, given)| (*since, given.task.stage, given.task.job));
        let mut claims = Claims::new();
        for (since, given) in passed {
            let ask = self.ask(now, given, Some(since));
            if let Some(worker) = ask.claim(&self.offers, |worker| claims.contains_key(worker)) {
                claims.insert(worker.clone(), (given.task.stage, given.task.job));
            }
        }
        claims
    }

    /// Cuts the task for which a device was kept free, if that is free now, whatever its turn.
    fn cut_claimed(&mut self, now: Timestamp, (stage, job): (Stage, JobId), claims: &Claims) {
        let Some(line) = self.lines.get(stage) else { return };
        let (Some(given), passed) = (line.find(job).cloned(), line.passed_since(job)) else { return };
        let withheld = |worker: &WorkerId| claims.get(worker).is_some_and(|of| *of != (stage, job));
        if let Choice::Place(worker, size) = self.ask(now, &given, passed).choose(&self.offers, withheld) {
            let size = Size { items: 1, ..size };
            self.propose(worker, size, &given, |line, seconds| line.take_job(job, seconds));
        }
    }

    /// Decides on the task of a stage whose turn it is; false when nothing more can be decided now.
    fn cut_one(&mut self, now: Timestamp, stage: Stage, claims: &Claims) -> bool {
        let line = self.lines.of(stage);
        let Some(first) = line.first(now).cloned() else { return false };
        let passed = line.passed_since(first.task.job);
        let place = (stage, first.task.job);
        let withheld = |worker: &WorkerId| claims.get(worker).is_some_and(|of| *of != place);
        let ask = self.ask(now, &first, passed);
        if let Some(reason) = ask.late(&self.offers) {
            self.forget_strained(place);
            let task = self.take_out(&first);
            self.decisions.extend(task.map(|task| Decision::Reject(task, reason)));
            return true;
        }
        match ask.choose(&self.offers, withheld) {
            Choice::Place(worker, size) => {
                // Who ran out of memory alone runs alone.
                let strained = std::mem::take(&mut self.strained);
                let fits = |given: &BatchTask| {
                    let place = (stage, given.task.job);
                    alike(&given.task, &first.task) && !strained.contains_key(&place)
                };
                let max = size.items as usize;
                self.propose(worker, size, &first, |line, seconds| line.take(now, max, seconds, fits));
                self.strained = strained;
            }
            Choice::Never(reason) => {
                self.forget_strained(place);
                let task = self.take_out(&first);
                self.decisions.extend(task.map(|task| Decision::Reject(task, reason)));
            }
            Choice::Later(until) => {
                self.later.insert(stage, until);
                return false;
            }
            Choice::Busy => return false,
            Choice::Wait if ask.waited_long && ask.claim(&self.offers, |_| false).is_none() => {
                let task = self.take_out(&first);
                self.decisions.extend(task.map(Decision::GiveBack));
            }
            Choice::Wait => self.lines.of(stage).set_aside(now),
        }
        true
    }

    /// Takes a task out of its line, to nobody's batch.
    fn take_out(&mut self, given: &BatchTask) -> Option<BatchTask> {
        self.short.insert(Consumer::of_task(&given.task));
        self.lines.of(given.task.stage).remove(given.task.job)
    }

    /// Promises a place to a batch; `take` takes its tasks out of their line, at so many device-seconds each.
    fn propose(
        &mut self,
        worker: WorkerId,
        Size { items, bytes, why }: Size,
        first: &BatchTask,
        take: impl FnOnce(&mut StageLine, f64) -> Vec<(u64, BatchTask)>,
    ) {
        let stage = first.task.stage;
        let Some(standing) = self.offers.get_mut(&worker) else { return };
        assert!(bytes <= standing.to_give(), "property A: a batch is never promised more than there is");
        self.batches += 1;
        let id = batch_id(self.epoch, self.batches);
        standing.promise(id, bytes);
        let class = standing.offer.device_class.clone();
        let warm = if standing.offer.warm.contains(&stage) { "warm" } else { "cold" };
        let key = self.engines.key(&first.task, &worker, &class);
        let seconds = self.footprints.get(&key).map_or(1.0, |known| known.item_seconds(items));
        let taken = take(self.lines.of(stage), seconds);
        assert!(!taken.is_empty() && taken.len() <= items as usize, "a cut takes what it decided");
        let (arrivals, tasks): (Vec<u64>, Vec<BatchTask>) = taken.into_iter().unzip();
        self.short.extend(tasks.iter().map(|given| Consumer::of_task(&given.task)));
        let why = format!("{} {why}; {warm} on {worker}", tasks.len());
        let batch = Batch { id, epoch: self.epoch, stage, tasks, bytes, why, held_ms: None };
        self.live.propose((worker.clone(), class), batch.clone(), arrivals);
        self.decisions.push_back(Decision::Propose(worker, batch));
    }

    /// Tasks of a stage that the live offers take in one round.
    fn room(&self, stage: Stage) -> usize {
        let lanes: usize = self.offers.values().map(|standing| standing.lanes_for(stage)).sum();
        lanes * self.facts.get(&stage).map_or(1, |facts| facts.batch)
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
            let window = window(room, line.active().max(self.backlogs.active(*stage)));
            let here = line.len_of(*class, tenant);
            // All consumers of a stage together hold what live offers could take in two rounds; but of each
            // the next task is seen, or nobody could tell whose turn it is.
            let expected = self.expected.entry(*stage).or_default();
            let left = (2 * room).saturating_sub(line.len() + *expected).max(usize::from(here == 0));
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
            let held = self.lines.get(stage).map_or(0, |line| line.held());
            let tasks = self.backlogs.tasks(stage) + (held + self.live.tasks_of(stage)) as u64;
            let hosts = self.offers.values().filter(|standing| standing.hosts(stage));
            let lanes = hosts.map(|standing| standing.offer.lanes as usize).max().unwrap_or(1);
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
