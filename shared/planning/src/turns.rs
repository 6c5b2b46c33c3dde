//! The lines of one class, one per tenant, served by deficit round robin in device-seconds.
//!
//! A tenant whose balance is positive is served and pays afterwards, so a balance may become a debt. When
//! all who wait are in debt, each gets the same number of quanta. Between two tenants who both always wait,
//! the device-seconds served therefore never differ by more than a quantum and one batch each.
//!
//! In a line the tasks of each shape stand apart, since only they share a batch: each has its own order.

use crate::held::{Pool, ShapeNo, Slot, TenantNo};
use domain::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Device-seconds that a tenant gets each turn. Small, so that a light tenant waits for little of another's
/// work; a batch that costs more is paid over several turns.
pub(crate) const QUANTUM_S: f64 = 0.25;
/// Tasks of a shape that are passed over in one line while a batch is filled: those that run alone.
const SKIPPED_MAX: usize = 32;

/// What one tenant has waiting in a class.
#[derive(Default)]
struct Line {
    /// By shape; of each by deadline, then by arrival.
    shapes: BTreeMap<ShapeNo, VecDeque<Slot>>,
    len: usize,
    /// Device-seconds that it may still use; below zero a debt, which outlives an empty line.
    balance_s: f64,
    /// Its tasks wait until they are tried again: none of them has a turn.
    parked: bool,
}

/// The lines of one class.
#[derive(Default)]
pub(crate) struct Turns {
    lines: BTreeMap<TenantNo, Line>,
    /// When the first of each shape of each line entered the queue, but of parked lines.
    heads: BTreeSet<(ShapeNo, Timestamp, TenantNo)>,
    /// How many of those each line has.
    active: BTreeMap<TenantNo, usize>,
}

impl Turns {
    /// Changes what a line has of a shape and keeps the heads in step.
    fn edit<R>(
        &mut self,
        pool: &Pool,
        (tenant, shape): (TenantNo, ShapeNo),
        change: impl FnOnce(&mut VecDeque<Slot>) -> R,
    ) -> R {
        let line = self.lines.entry(tenant).or_default();
        let slots = line.shapes.entry(shape).or_default();
        let (before, had) = (slots.front().copied(), slots.len());
        let old = before.map(|slot| pool.at(slot).published_at);
        let result = change(slots);
        let after = slots.front().copied();
        line.len = line.len + slots.len() - had;
        if slots.is_empty() {
            line.shapes.remove(&shape);
        }
        if before != after && !line.parked {
            if let Some(old) = old {
                self.forget_head(tenant, shape, old);
            }
            if let Some(slot) = after {
                self.add_head(tenant, shape, pool.at(slot).published_at);
            }
        }
        result
    }

    fn add_head(&mut self, tenant: TenantNo, shape: ShapeNo, since: Timestamp) {
        if self.heads.insert((shape, since, tenant)) {
            *self.active.entry(tenant).or_default() += 1;
        }
    }

    fn forget_head(&mut self, tenant: TenantNo, shape: ShapeNo, since: Timestamp) {
        if self.heads.remove(&(shape, since, tenant))
            && let Some(count) = self.active.get_mut(&tenant)
        {
            *count -= 1;
            if *count == 0 {
                self.active.remove(&tenant);
            }
        }
    }

    pub(crate) fn insert(&mut self, pool: &Pool, slot: Slot) {
        let (held, place) = (pool.at(slot), pool.place(slot));
        self.edit(pool, (held.tenant, held.shape), |slots| {
            if slots.back().is_none_or(|last| pool.place(*last) < place) {
                slots.push_back(slot);
            } else {
                slots.insert(slots.partition_point(|of| pool.place(*of) < place), slot);
            }
        });
    }

    /// Takes a task out of its line. It is still held.
    pub(crate) fn remove(&mut self, pool: &Pool, slot: Slot) {
        let (held, place) = (pool.at(slot), pool.place(slot));
        self.edit(pool, (held.tenant, held.shape), |slots| {
            let at = slots.partition_point(|of| pool.place(*of) < place);
            if slots.get(at) == Some(&slot) {
                slots.remove(at);
            }
        });
    }

    /// The tenant's line has no turn until all are tried again.
    pub(crate) fn park(&mut self, pool: &Pool, tenant: TenantNo) {
        let Some(line) = self.lines.get_mut(&tenant).filter(|line| !line.parked) else { return };
        line.parked = true;
        for (shape, since) in line.heads(pool) {
            self.forget_head(tenant, shape, since);
        }
    }

    /// All lines have turns again.
    pub(crate) fn try_again(&mut self, pool: &Pool) {
        let parked = self.lines.iter_mut().filter(|(_, line)| line.parked);
        let mut heads = Vec::new();
        for (tenant, line) in parked {
            line.parked = false;
            heads.extend(line.heads(pool).into_iter().map(|(shape, since)| (*tenant, shape, since)));
        }
        heads.into_iter().for_each(|(tenant, shape, since)| self.add_head(tenant, shape, since));
    }

    /// A tenant pays for what it was served.
    pub(crate) fn charge(&mut self, tenant: TenantNo, seconds: f64) {
        self.lines.entry(tenant).or_default().balance_s -= seconds;
    }

    pub(crate) fn len_of(&self, tenant: TenantNo) -> usize {
        self.lines.get(&tenant).map_or(0, |line| line.len)
    }

    /// Tasks of a tenant that go before this place. For a person who asks.
    pub(crate) fn before(&self, pool: &Pool, tenant: TenantNo, place: (Timestamp, u64)) -> usize {
        let shapes = self.lines.get(&tenant).into_iter().flat_map(|line| line.shapes.values());
        shapes.map(|slots| slots.partition_point(|of| pool.place(*of) < place)).sum()
    }

    /// All tasks. For a person who asks.
    pub(crate) fn len(&self) -> usize {
        self.lines.values().map(|line| line.len).sum()
    }

    /// Tenants who wait and have turns.
    pub(crate) fn active(&self) -> usize {
        self.active.len()
    }

    /// The shapes that wait and have turns, each with when its head that waits longest entered the queue,
    /// and whose that is.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (ShapeNo, Timestamp, TenantNo)> {
        let mut next = self.heads.first();
        std::iter::from_fn(move || {
            let of = *next?;
            next = of.0.checked_add(1).and_then(|shape| self.heads.range((shape, Timestamp(0), 0)..).next());
            Some(of)
        })
    }

    /// Of this shape the head that has waited longest since it entered the queue, and whose it is.
    pub(crate) fn oldest(&self, shape: ShapeNo) -> Option<(Timestamp, TenantNo)> {
        let first = self.heads.range((shape, Timestamp(0), 0)..).next()?;
        (first.0 == shape).then_some((first.1, first.2))
    }

    /// When the head that is held here longest was drawn.
    pub(crate) fn drawn_first(&self, pool: &Pool) -> Option<Timestamp> {
        let lines = self.lines.values().filter(|line| !line.parked);
        let heads = lines.flat_map(|line| line.shapes.values().filter_map(|slots| slots.front()));
        heads.map(|slot| pool.at(*slot).drawn_at).min()
    }

    /// Takes the heads that were drawn at or before `until`, and those behind them that were too.
    pub(crate) fn take_drawn(&mut self, pool: &Pool, until: Timestamp) -> Vec<Slot> {
        let heads: Vec<(TenantNo, ShapeNo)> =
            self.heads.iter().map(|(shape, _, tenant)| (*tenant, *shape)).collect();
        let mut taken = Vec::new();
        for line in heads {
            self.edit(pool, line, |slots| {
                while let Some(slot) = slots.front().filter(|slot| pool.at(**slot).drawn_at <= until) {
                    taken.push(*slot);
                    slots.pop_front();
                }
            });
        }
        taken
    }

    /// Whose turn it is: the first whose balance is positive, after credit was given if nobody's is. Of those
    /// only who have this shape, if one is named.
    pub(crate) fn turn(&mut self, shape: Option<ShapeNo>) -> Option<TenantNo> {
        for _ in 0..2 {
            let mut waiting = self.active.keys().filter(|tenant| self.has(**tenant, shape)).peekable();
            waiting.peek()?;
            let served = waiting.find(|tenant| self.lines.get(tenant).is_some_and(|of| of.balance_s > 0.0));
            if let Some(tenant) = served {
                return Some(*tenant);
            }
            self.credit(shape);
        }
        None
    }

    pub(crate) fn has(&self, tenant: TenantNo, shape: Option<ShapeNo>) -> bool {
        let line = self.lines.get(&tenant).filter(|line| !line.parked);
        line.is_some_and(|line| shape.is_none_or(|shape| line.shapes.contains_key(&shape)))
    }

    /// Gives everybody as many quanta as bring the first of those who wait above zero. Who does not wait is
    /// only forgiven.
    fn credit(&mut self, shape: Option<ShapeNo>) {
        let waiting = self.active.keys().filter(|tenant| self.has(**tenant, shape));
        let quanta = waiting
            .filter_map(|tenant| self.lines.get(tenant))
            .map(|line| (-line.balance_s / QUANTUM_S).floor().max(0.0) + 1.0);
        let least = quanta.fold(f64::INFINITY, f64::min);
        if !least.is_finite() {
            return;
        }
        self.lines.retain(|_, line| {
            let most = if line.len == 0 { 0.0 } else { QUANTUM_S };
            line.balance_s = (line.balance_s + least * QUANTUM_S).min(most);
            line.len > 0 || line.balance_s < 0.0
        });
    }

    /// The task of this shape whose turn it is; of this tenant, if its turn comes by age.
    pub(crate) fn first(&mut self, shape: ShapeNo, by_age: Option<TenantNo>) -> Option<Slot> {
        let tenant = by_age.or_else(|| self.turn(Some(shape)))?;
        let line = self.lines.get(&tenant).filter(|line| !line.parked)?;
        line.shapes.get(&shape)?.front().copied()
    }

    /// Takes a head, which its tenant pays for.
    pub(crate) fn take_head(&mut self, pool: &Pool, slot: Slot, seconds: f64) {
        let tenant = pool.at(slot).tenant;
        self.remove(pool, slot);
        self.charge(tenant, seconds);
    }

    /// Fills a batch up to `max` tasks of a shape in the order of turns; each costs so many device-seconds.
    pub(crate) fn fill(
        &mut self,
        pool: &Pool,
        (shape, seconds): (ShapeNo, f64),
        (taken, max): (&mut Vec<Slot>, usize),
        fits: &impl Fn(Slot) -> bool,
    ) {
        while taken.len() < max {
            let mut in_debt = false;
            let tenants: Vec<TenantNo> = self.active.keys().copied().collect();
            for tenant in
                tenants.into_iter().filter(|tenant| self.has(*tenant, Some(shape))).collect::<Vec<_>>()
            {
                let mut balance = self.lines.get(&tenant).map_or(0.0, |line| line.balance_s);
                let mut skipped = 0;
                self.edit(pool, (tenant, shape), |slots| {
                    while let Some(slot) = slots.get(skipped).copied().filter(|_| taken.len() < max) {
                        if skipped >= SKIPPED_MAX {
                            break;
                        }
                        if !fits(slot) {
                            skipped += 1;
                            continue;
                        }
                        if balance <= 0.0 {
                            in_debt = true;
                            break;
                        }
                        slots.remove(skipped);
                        balance -= seconds;
                        taken.push(slot);
                    }
                });
                if let Some(line) = self.lines.get_mut(&tenant) {
                    line.balance_s = balance;
                }
            }
            if !in_debt {
                return;
            }
            self.credit(Some(shape));
        }
    }
}

impl Line {
    fn heads(&self, pool: &Pool) -> Vec<(ShapeNo, Timestamp)> {
        let first = |(shape, slots): (&ShapeNo, &VecDeque<Slot>)| {
            Some((*shape, pool.at(*slots.front()?).published_at))
        };
        self.shapes.iter().filter_map(first).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::given;
    use domain::{Class, Stage};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(0);

    struct Lines {
        pool: Pool,
        turns: Turns,
    }

    impl Lines {
        fn new() -> Lines {
            Lines { pool: Pool::new(Stage::Shape), turns: Turns::default() }
        }

        fn of(tenants: u8, each: u64) -> Lines {
            let mut lines = Lines::new();
            for n in 0..each * u64::from(tenants) {
                lines.add(n, (n % u64::from(tenants)) as u8, None);
            }
            lines
        }

        fn add(&mut self, n: u64, tenant: u8, deadline: Option<u64>) {
            let mut given = given(n, tenant, Class::Normal, NOW);
            given.task.deadline = deadline.map(Timestamp);
            let slot = self.pool.insert(n, &given);
            self.turns.insert(&self.pool, slot);
        }

        /// Takes the task whose turn it is: its arrival and its tenant.
        fn take(&mut self, seconds: impl Fn(TenantNo) -> f64) -> Option<(u64, TenantNo)> {
            let slot = self.turns.first(0, None)?;
            let tenant = self.pool.at(slot).tenant;
            self.turns.take_head(&self.pool, slot, seconds(tenant));
            Some((self.pool.at(slot).arrival, tenant))
        }

        fn order(&mut self, seconds: f64) -> Vec<u64> {
            std::iter::from_fn(|| self.take(|_| seconds)).map(|(n, _)| n).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        /// Tenants who always wait get the same device-seconds, whatever one of their tasks costs.
        #[test]
        fn device_seconds_are_shared_alike(
            costs in prop::collection::vec(0.01f64..5.0, 2..5),
            rounds in 100usize..400,
        ) {
            let mut lines = Lines::of(costs.len() as u8, 500);
            let mut used = vec![0.0; costs.len()];
            for _ in 0..rounds {
                let (_, tenant) = lines.take(|tenant| costs[usize::from(tenant)]).expect("all wait");
                used[usize::from(tenant)] += costs[usize::from(tenant)];
                if lines.turns.active() < costs.len() {
                    break;
                }
            }
            let dearest = costs.iter().copied().fold(0.0, f64::max);
            let (least, most) = used.iter().fold((f64::MAX, 0.0f64), |(a, b), s| (a.min(*s), b.max(*s)));
            prop_assert!(most - least <= 2.0 * (QUANTUM_S + dearest), "{used:?} at {costs:?}");
        }
    }

    #[test]
    fn a_newcomer_waits_for_two_quanta_of_a_heavy_tenant_not_for_its_queue() {
        let mut lines = Lines::new();
        (0..1_000).for_each(|n| lines.add(n, 0, None));
        lines.take(|_| 0.01);
        lines.add(2_000, 1, None);
        let before = std::iter::from_fn(|| lines.take(|_| 0.01)).take_while(|(n, _)| *n < 1_000);
        assert!(before.count() <= 51, "two quanta of 0.25 s are 50 tasks of 0.01 s");
    }

    #[test]
    fn of_one_tenant_the_nearest_deadline_goes_first_and_then_arrival() {
        let mut lines = Lines::of(1, 4);
        for (n, deadline) in [(7, 500), (8, 90), (9, 500)] {
            lines.add(n, 0, Some(deadline));
        }
        assert_eq!(lines.order(0.01), [8, 7, 9, 0, 1, 2, 3]);
    }

    #[test]
    fn an_empty_line_does_not_pay_a_debt_and_does_not_save() {
        let mut lines = Lines::of(2, 3);
        lines.take(|_| 10.0);
        for n in [2, 4] {
            let slot = lines.pool.slot(crate::samples::job(n)).expect("it waits");
            lines.turns.remove(&lines.pool, slot);
        }
        // The other one is served meanwhile; who owes 10 s does not come back with a full purse.
        lines.take(|_| 1.0);
        lines.add(9, 0, None);
        assert_eq!(lines.order(1.0), [3, 5, 9]);
    }

    #[test]
    fn who_runs_alone_is_passed_over_while_a_batch_is_filled_and_keeps_its_turn() {
        let mut lines = Lines::of(3, 2);
        let mut taken = Vec::new();
        let Lines { pool, turns } = &mut lines;
        turns.fill(pool, (0, 0.1), (&mut taken, 2), &|slot| pool.at(slot).tenant != 0);
        assert_eq!(taken.iter().map(|slot| pool.at(*slot).arrival).collect::<Vec<_>>(), [1, 4]);
        let first = turns.first(0, None).expect("it waits");
        assert_eq!(pool.at(first).tenant, 0);
    }
}
