//! Whose turn it is: the drawn tasks of a stage in strict classes with ageing.
//!
//! Inside a class the tenants take turns (`turns`). Every task has a place in the order of arrival and keeps
//! it when it is refused, delivered again or set aside. No call here that a decision needs looks at more than
//! the heads of the lines and the tasks that it moves.

use crate::held::{Held, Pool, ShapeNo, Slot, State, TenantNo};
use crate::turns::Turns;
use domain::{AckToken, BatchTask, Class, JobId, Stage, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A task that waited this long since it entered the queue counts as one class higher.
pub(crate) const AGES_AFTER: Duration = Duration::from_secs(60);
/// Most tasks of one tenant and class that are set aside because they fit nowhere now. Further ones block
/// their own line, and nobody else's.
pub(crate) const ASIDE_MAX: usize = 32;

/// A shape of which something waits: the class in which its next task counts, and the order among those of
/// that class (first who has risen, then whose turn it is, then who waits longest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) class: Class,
    at_home: bool,
    not_in_turn: bool,
    since: Timestamp,
    pub(crate) shape: ShapeNo,
}

/// The drawn tasks of one stage.
pub(crate) struct StageLine {
    pub(crate) pool: Pool,
    classes: [Turns; Class::ALL.len()],
    /// Tasks of each shape that wait, without those set aside.
    of_shapes: BTreeMap<ShapeNo, usize>,
    /// Tasks that wait, without those set aside.
    waiting: usize,
    /// Tasks in live batches.
    in_batches: usize,
    /// Tasks that fit nowhere now, by arrival.
    aside: BTreeMap<u64, Slot>,
    /// How many of each line are aside.
    aside_of: BTreeMap<(Class, TenantNo), usize>,
    /// When tasks were first set aside; kept while they are tried again.
    passed: BTreeMap<JobId, Timestamp>,
    arrivals: u64,
}

impl StageLine {
    pub(crate) fn new(stage: Stage) -> StageLine {
        StageLine {
            pool: Pool::new(stage),
            classes: Default::default(),
            of_shapes: BTreeMap::new(),
            waiting: 0,
            in_batches: 0,
            aside: BTreeMap::new(),
            aside_of: BTreeMap::new(),
            passed: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Adds a task that is in no live batch. One that waits here already keeps its place and gets the newer
    /// token.
    pub(crate) fn push(&mut self, given: &BatchTask) -> Slot {
        let known = self.pool.slot(given.task.job);
        let arrival = match known.map(|slot| self.pool.at(slot)) {
            Some(held) if self.same_line(held, given) => Some(held.arrival),
            _ => None,
        };
        let aside = known.is_some_and(|slot| self.pool.at(slot).state == State::Aside);
        let passed = arrival.and_then(|_| self.passed.get(&given.task.job).copied());
        if known.is_some() {
            self.remove(given.task.job);
        }
        let arrival = arrival.unwrap_or_else(|| {
            self.arrivals += 1;
            self.arrivals
        });
        let slot = self.pool.insert(arrival, given);
        if let Some(since) = passed {
            self.passed.insert(given.task.job, since);
        }
        if aside && passed.is_some() {
            self.lay_aside(slot);
        } else {
            self.stand(slot);
        }
        slot
    }

    fn same_line(&self, held: &Held, given: &BatchTask) -> bool {
        held.class == given.task.class && *self.pool.tenant(held.tenant) == given.task.tenant
    }

    /// A task stands in its line, at its place.
    fn stand(&mut self, slot: Slot) {
        let held = self.pool.at_mut(slot);
        held.state = State::Waits;
        let (class, shape) = (held.class, held.shape);
        self.classes[class as usize].insert(&self.pool, slot);
        *self.of_shapes.entry(shape).or_default() += 1;
        self.waiting += 1;
    }

    /// A task has left its line.
    fn left(&mut self, slot: Slot, state: State) {
        let held = self.pool.at_mut(slot);
        assert!(held.state == State::Waits, "property B: only what waits is taken");
        held.state = state;
        self.waiting -= 1;
        self.in_batches += usize::from(state == State::InBatch);
        let shape = held.shape;
        if let Some(count) = self.of_shapes.get_mut(&shape) {
            *count -= 1;
            if *count == 0 {
                self.of_shapes.remove(&shape);
            }
        }
    }

    fn lay_aside(&mut self, slot: Slot) {
        let held = self.pool.at_mut(slot);
        held.state = State::Aside;
        let (arrival, line) = (held.arrival, (held.class, held.tenant));
        self.aside.insert(arrival, slot);
        *self.aside_of.entry(line).or_default() += 1;
    }

    /// A task of a refused batch goes back to its place, if it is still ours.
    pub(crate) fn put_back(&mut self, slot: Slot) {
        self.in_batches -= 1;
        if self.pool.at(slot).state == State::Lost {
            self.pool.remove(slot);
        } else {
            self.stand(slot);
        }
    }

    /// The same with what was delivered meanwhile.
    pub(crate) fn put_back_newer(&mut self, slot: Slot, arrival: u64, given: &BatchTask) {
        self.in_batches -= 1;
        self.pool.remove(slot);
        let slot = self.pool.insert(arrival, given);
        self.stand(slot);
    }

    /// The batch of a task is over: it is held no longer.
    pub(crate) fn over(&mut self, slot: Slot) {
        self.in_batches -= 1;
        self.pool.remove(slot);
    }

    /// Tasks that wait, without those set aside.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// All tasks, those set aside too, but those in batches.
    pub(crate) fn held(&self) -> usize {
        self.waiting + self.aside.len()
    }

    /// Tasks in live batches.
    pub(crate) fn in_batches(&self) -> usize {
        self.in_batches
    }

    /// Tasks of a shape that wait, without those set aside.
    pub(crate) fn len_of_shape(&self, shape: ShapeNo) -> usize {
        self.of_shapes.get(&shape).copied().unwrap_or(0)
    }

    /// Tasks of a consumer that wait, without those set aside.
    pub(crate) fn len_of(&self, class: Class, tenant: &TenantId) -> usize {
        self.pool.known_tenant(tenant).map_or(0, |tenant| self.classes[class as usize].len_of(tenant))
    }

    /// Consumers of which something waits.
    pub(crate) fn active(&self) -> usize {
        self.classes.iter().map(Turns::active).sum()
    }

    /// The slot of a task that waits here.
    pub(crate) fn slot(&self, job: JobId) -> Option<Slot> {
        self.pool.slot(job).filter(|slot| !self.is_in_batch(*slot))
    }

    /// Whether a task of this job is in a live batch.
    pub(crate) fn runs(&self, job: JobId) -> bool {
        self.pool.slot(job).is_some_and(|slot| self.is_in_batch(slot))
    }

    fn is_in_batch(&self, slot: Slot) -> bool {
        matches!(self.pool.at(slot).state, State::InBatch | State::Lost)
    }

    /// The token of a task in a live batch was lost.
    pub(crate) fn lose(&mut self, job: JobId, token: &AckToken) {
        let lost = self.pool.slot(job).filter(|slot| self.is_in_batch(*slot));
        if let Some(slot) = lost.filter(|slot| self.pool.open(*slot).ack_token == *token) {
            self.pool.at_mut(slot).state = State::Lost;
        }
    }

    /// Takes a task out, wherever it waits.
    pub(crate) fn remove(&mut self, job: JobId) -> Option<BatchTask> {
        let slot = self.slot(job)?;
        let (given, held) = (self.pool.open(slot), self.pool.at(slot));
        let (state, class, tenant, arrival) = (held.state, held.class, held.tenant, held.arrival);
        self.passed.remove(&job);
        if state == State::Aside {
            self.aside.remove(&arrival);
            if let Some(count) = self.aside_of.get_mut(&(class, tenant)) {
                *count -= 1;
            }
        } else {
            self.classes[class as usize].remove(&self.pool, slot);
            self.left(slot, State::Aside);
        }
        self.pool.remove(slot);
        Some(given)
    }

    /// Takes a task out if it waits under this token.
    pub(crate) fn remove_token(&mut self, job: JobId, token: &AckToken) -> Option<BatchTask> {
        let slot = self.slot(job)?;
        if self.pool.open(slot).ack_token == *token { self.remove(job) } else { None }
    }

    /// The class in which a shape's next task counts, where it is at home, and whose it is if that comes by
    /// age.
    fn next_class(&self, now: Timestamp, shape: ShapeNo) -> Option<(Class, Option<TenantNo>)> {
        let oldest = Class::ALL.into_iter().filter_map(|class| {
            let (since, tenant) = self.classes[class as usize].oldest(shape)?;
            Some((class, since, tenant))
        });
        let (class, since, tenant) = oldest.min_by_key(|(class, since, _)| {
            let risen = effective(*class, *since, now);
            // Who has risen goes before those who are at home in the class, the oldest first.
            (risen, risen == *class, *since)
        })?;
        Some((class, (effective(class, since, now) != class).then_some(tenant)))
    }

    /// The class in which the next task counts now.
    pub(crate) fn best_class(&self, now: Timestamp) -> Option<Class> {
        let all = Class::ALL.into_iter().flat_map(|class| {
            self.classes[class as usize].shapes().map(move |(_, since, _)| effective(class, since, now))
        });
        all.min()
    }

    /// The shapes of which something waits, in the order in which they are looked at.
    pub(crate) fn shapes(&mut self, now: Timestamp) -> Vec<Waiting> {
        let mut best: BTreeMap<ShapeNo, Waiting> = BTreeMap::new();
        for class in Class::ALL {
            let turns = &mut self.classes[class as usize];
            let in_turn = turns.turn(None);
            let turns = &self.classes[class as usize];
            for (shape, since, _) in turns.shapes() {
                let counts = effective(class, since, now);
                let at_home = counts == class;
                let served = in_turn.is_some_and(|tenant| turns.has(tenant, Some(shape)));
                let next = Waiting { class: counts, at_home, not_in_turn: at_home && !served, since, shape };
                best.entry(shape).and_modify(|known| *known = next.min(*known)).or_insert(next);
            }
        }
        let mut all: Vec<Waiting> = best.into_values().collect();
        all.sort_unstable();
        all
    }

    /// The task of a shape whose turn it is, left where it is.
    pub(crate) fn first(&mut self, now: Timestamp, shape: ShapeNo) -> Option<Slot> {
        let (class, tenant) = self.next_class(now, shape)?;
        self.classes[class as usize].first(shape, tenant)
    }

    /// Takes this task, which is the first of its shape, and up to `max - 1` more of the shape, each of which
    /// `fits` with it, in the order of turns; `seconds` of device time is what one costs its tenant.
    pub(crate) fn take(
        &mut self,
        first: Slot,
        max: usize,
        seconds: f64,
        fits: impl Fn(JobId) -> bool,
    ) -> Vec<Slot> {
        let held = self.pool.at(first);
        let (class, shape) = (held.class, held.shape);
        let mut taken = vec![first];
        self.classes[class as usize].take_head(&self.pool, first, seconds);
        for turns in &mut self.classes {
            let pool = &self.pool;
            turns.fill(pool, (shape, seconds), (&mut taken, max), &|slot| fits(pool.at(slot).job));
        }
        for slot in &taken {
            self.left(*slot, State::InBatch);
            if !self.passed.is_empty() {
                self.passed.remove(&self.pool.at(*slot).job);
            }
        }
        taken
    }

    /// Takes one task, whatever its turn; `seconds` of device time is what it costs its tenant.
    pub(crate) fn take_alone(&mut self, slot: Slot, seconds: f64) -> Vec<Slot> {
        let held = self.pool.at(slot);
        let (job, state, class, tenant, arrival) =
            (held.job, held.state, held.class, held.tenant, held.arrival);
        if state == State::Aside {
            self.aside.remove(&arrival);
            if let Some(count) = self.aside_of.get_mut(&(class, tenant)) {
                *count -= 1;
            }
            self.stand(slot);
        }
        self.classes[class as usize].take_head(&self.pool, slot, seconds);
        self.left(slot, State::InBatch);
        self.passed.remove(&job);
        vec![slot]
    }

    /// Sets a task aside, since it fits nowhere now. When too many of its line are aside, the line waits with
    /// it.
    pub(crate) fn set_aside(&mut self, slot: Slot, now: Timestamp) {
        let held = self.pool.at(slot);
        let (job, class, tenant) = (held.job, held.class, held.tenant);
        if self.aside_of.get(&(class, tenant)).is_some_and(|count| *count >= ASIDE_MAX) {
            return self.classes[class as usize].park(&self.pool, tenant);
        }
        self.classes[class as usize].remove(&self.pool, slot);
        self.left(slot, State::Aside);
        self.passed.entry(job).or_insert(now);
        self.lay_aside(slot);
    }

    /// A task fits nowhere now, and stays at the head of its line.
    pub(crate) fn pass_over(&mut self, job: JobId, now: Timestamp) {
        self.passed.entry(job).or_insert(now);
    }

    /// Tasks that were set aside stand in their lines again.
    pub(crate) fn try_aside_again(&mut self) {
        self.aside_of.clear();
        for slot in std::mem::take(&mut self.aside).into_values() {
            self.stand(slot);
        }
        for turns in &mut self.classes {
            turns.try_again(&self.pool);
        }
    }

    /// Tasks that were passed over, and since when, whether they are aside now or stand in line again.
    pub(crate) fn passed(&self) -> impl Iterator<Item = (Timestamp, Slot)> {
        self.passed.iter().filter_map(|(job, since)| Some((*since, self.slot(*job)?)))
    }

    /// Since when a task has been passed over.
    pub(crate) fn passed_since(&self, job: JobId) -> Option<Timestamp> {
        self.passed.get(&job).copied()
    }

    /// How many tasks of its own line go before one that waits here, and how many of better classes. For a
    /// person who asks: it walks the line, as no decision does.
    pub(crate) fn before(&self, slot: Slot) -> (usize, usize) {
        let held = self.pool.at(slot);
        let own = self.classes[held.class as usize].before(&self.pool, held.tenant, self.pool.place(slot));
        let better = Class::ALL.into_iter().filter(|class| *class < held.class);
        (own, better.map(|class| self.classes[class as usize].len()).sum())
    }

    /// Takes out what was drawn at or before `until`, from the heads of the lines.
    pub(crate) fn take_old(&mut self, until: Timestamp) -> Vec<BatchTask> {
        let mut old = Vec::new();
        for class in Class::ALL {
            for slot in self.classes[class as usize].take_drawn(&self.pool, until) {
                let given = self.pool.open(slot);
                self.left(slot, State::Aside);
                self.passed.remove(&given.task.job);
                self.pool.remove(slot);
                old.push(given);
            }
        }
        old
    }

    /// When the head of a line that is held here longest was drawn.
    pub(crate) fn drawn_first(&self) -> Option<Timestamp> {
        self.classes.iter().filter_map(|turns| turns.drawn_first(&self.pool)).min()
    }

    /// The consumers of these tasks, each once.
    pub(crate) fn lines_of(&self, slots: &[Slot]) -> BTreeSet<(Class, TenantNo)> {
        slots.iter().map(|slot| (self.pool.at(*slot).class, self.pool.at(*slot).tenant)).collect()
    }
}

/// The class in which a task counts after its waiting.
fn effective(class: Class, since: Timestamp, now: Timestamp) -> Class {
    let steps = now.since(since).as_secs() / AGES_AFTER.as_secs();
    match (class, steps) {
        (class, 0) | (class @ Class::High, _) => class,
        (Class::Normal, _) | (Class::Low, 2..) => Class::High,
        (Class::Low, _) => Class::Normal,
    }
}

/// All drawn tasks.
pub(crate) struct Lines([StageLine; Stage::ALL.len()]);

impl Default for Lines {
    fn default() -> Lines {
        Lines(Stage::ALL.map(StageLine::new))
    }
}

impl Lines {
    pub(crate) fn of(&mut self, stage: Stage) -> &mut StageLine {
        &mut self.0[stage as usize]
    }

    pub(crate) fn at(&self, stage: Stage) -> &StageLine {
        &self.0[stage as usize]
    }

    /// The stages, later ones first.
    pub(crate) fn stages() -> impl Iterator<Item = Stage> {
        Stage::ALL.into_iter().rev()
    }
}
