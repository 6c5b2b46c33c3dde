//! The lines of one class, one per tenant, served by deficit round robin in device-seconds.
//!
//! A tenant whose balance is positive is served and pays afterwards, so a balance may become a debt. When
//! all who wait are in debt, each gets the same number of quanta. Between two tenants who both always wait,
//! the device-seconds served therefore never differ by more than a quantum and one batch each.

use domain::{BatchTask, Task, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Device-seconds that a tenant gets each turn. Small, so that a light tenant waits for little of another's
/// work; a batch that costs more is paid over several turns.
pub(crate) const QUANTUM_S: f64 = 0.25;

/// What one tenant has waiting in a class.
#[derive(Default)]
struct Line {
    /// By deadline, then by arrival.
    tasks: BTreeMap<(Timestamp, u64), BatchTask>,
    /// Device-seconds that it may still use; below zero a debt, which outlives an empty line.
    balance_s: f64,
    in_ring: bool,
    /// Its head and those behind it wait until they are tried again: none of them has a turn.
    parked: bool,
}

/// When a task is due; never, if nobody has said.
pub(crate) fn due(task: &Task) -> Timestamp {
    task.deadline.unwrap_or(Timestamp(u64::MAX))
}

/// The lines of one class.
#[derive(Default)]
pub(crate) struct Turns {
    lines: BTreeMap<TenantId, Line>,
    /// Tenants in the order of their turns; those with nothing left drop out when their turn comes.
    ring: VecDeque<TenantId>,
    /// When the head of each line entered the queue.
    heads: BTreeSet<(Timestamp, TenantId)>,
}

impl Turns {
    /// Changes a line and keeps ring and heads in step.
    fn edit<R>(&mut self, tenant: &TenantId, change: impl FnOnce(&mut Line) -> R) -> R {
        let line = self.lines.entry(tenant.clone()).or_default();
        let before = line.head().map(|given| given.published_at);
        let result = change(line);
        let after = line.head().map(|given| given.published_at);
        if !line.in_ring && after.is_some() {
            line.in_ring = true;
            self.ring.push_back(tenant.clone());
        }
        if before != after {
            if let Some(before) = before {
                self.heads.remove(&(before, tenant.clone()));
            }
            if let Some(after) = after {
                self.heads.insert((after, tenant.clone()));
            }
        }
        result
    }

    pub(crate) fn insert(&mut self, arrival: u64, given: BatchTask) {
        let tenant = given.task.tenant.clone();
        self.edit(&tenant, |line| line.tasks.insert((due(&given.task), arrival), given));
    }

    pub(crate) fn remove(&mut self, tenant: &TenantId, place: (Timestamp, u64)) -> Option<BatchTask> {
        self.edit(tenant, |line| line.tasks.remove(&place))
    }

    pub(crate) fn find(&self, tenant: &TenantId, place: (Timestamp, u64)) -> Option<&BatchTask> {
        self.lines.get(tenant)?.tasks.get(&place)
    }

    /// The tenant's line has no turn until all are tried again.
    pub(crate) fn park(&mut self, tenant: &TenantId) {
        self.edit(tenant, |line| line.parked = true);
    }

    /// All lines have turns again.
    pub(crate) fn try_again(&mut self) {
        let parked = self.lines.iter().filter(|(_, line)| line.parked);
        for tenant in parked.map(|(tenant, _)| tenant.clone()).collect::<Vec<_>>() {
            self.edit(&tenant, |line| line.parked = false);
        }
    }

    /// A tenant pays for what it was served out of turn.
    pub(crate) fn charge(&mut self, tenant: &TenantId, seconds: f64) {
        self.edit(tenant, |line| line.balance_s -= seconds);
    }

    pub(crate) fn len_of(&self, tenant: &TenantId) -> usize {
        self.lines.get(tenant).map_or(0, |line| line.tasks.len())
    }

    /// Tasks of a tenant that go before this place.
    pub(crate) fn before(&self, tenant: &TenantId, place: (Timestamp, u64)) -> usize {
        self.lines.get(tenant).map_or(0, |line| line.tasks.range(..place).count())
    }

    /// All tasks.
    pub(crate) fn len(&self) -> usize {
        self.lines.values().map(|line| line.tasks.len()).sum()
    }

    /// Tenants who wait and have turns.
    pub(crate) fn active(&self) -> usize {
        self.heads.len()
    }

    /// The head that has waited longest since it entered the queue, and whose it is.
    pub(crate) fn oldest(&self) -> Option<(Timestamp, &TenantId)> {
        self.heads.first().map(|(since, tenant)| (*since, tenant))
    }

    /// When the head that is held here longest was drawn.
    pub(crate) fn drawn_first(&self) -> Option<Timestamp> {
        let tenants = self.heads.iter().filter_map(|(_, tenant)| self.lines.get(tenant)?.head());
        tenants.map(|given| given.drawn_at).min()
    }

    /// Takes the heads that were drawn at or before `until`, and those behind them that were too.
    pub(crate) fn take_drawn(&mut self, until: Timestamp) -> Vec<BatchTask> {
        let tenants: Vec<TenantId> = self.heads.iter().map(|(_, tenant)| tenant.clone()).collect();
        let mut taken = Vec::new();
        for tenant in tenants {
            self.edit(&tenant, |line| {
                while let Some(head) = line.tasks.first_entry().filter(|head| head.get().drawn_at <= until) {
                    taken.push(head.remove());
                }
            });
        }
        taken
    }

    /// Brings the tenant whose turn it is to the front.
    fn turn(&mut self) -> Option<TenantId> {
        if self.heads.is_empty() {
            return None;
        }
        loop {
            for _ in 0..self.ring.len() {
                let tenant = self.ring.front()?;
                let line = self.lines.get_mut(tenant)?;
                if line.head().is_none() {
                    line.in_ring = false;
                    self.ring.pop_front();
                } else if line.balance_s > 0.0 {
                    return Some(tenant.clone());
                } else {
                    self.ring.rotate_left(1);
                }
            }
            self.credit();
        }
    }

    /// Gives everybody as many quanta as bring the first of those who wait above zero. Who does not wait is
    /// only forgiven.
    fn credit(&mut self) {
        let waiting = self.lines.values().filter(|line| line.head().is_some());
        let quanta = waiting.map(|line| (-line.balance_s / QUANTUM_S).floor().max(0.0) + 1.0);
        let least = quanta.fold(f64::INFINITY, f64::min);
        self.lines.retain(|_, line| {
            let most = if line.tasks.is_empty() { 0.0 } else { QUANTUM_S };
            line.balance_s = (line.balance_s + least * QUANTUM_S).min(most);
            line.in_ring || !line.tasks.is_empty() || line.balance_s < 0.0
        });
    }

    /// The task whose turn it is; of this tenant, if its turn comes by age.
    pub(crate) fn first(&mut self, by_age: Option<&TenantId>) -> Option<&BatchTask> {
        let tenant = by_age.cloned().or_else(|| self.turn())?;
        self.lines.get(&tenant)?.tasks.first_key_value().map(|(_, given)| given)
    }

    /// Takes the task that [`Turns::first`] shows.
    pub(crate) fn take_first(&mut self, by_age: Option<&TenantId>, seconds: f64) -> Option<(u64, BatchTask)> {
        let tenant = by_age.cloned().or_else(|| self.turn())?;
        self.edit(&tenant, |line| {
            let ((_, arrival), taken) = line.tasks.pop_first()?;
            line.balance_s -= seconds;
            Some((arrival, taken))
        })
    }

    /// Fills a batch up to `max` tasks in the order of turns. Whose head does not fit keeps its turn.
    pub(crate) fn fill(
        &mut self,
        taken: &mut Vec<(u64, BatchTask)>,
        max: usize,
        seconds: f64,
        fits: &impl Fn(&BatchTask) -> bool,
    ) {
        loop {
            let (mut kept_turn, mut fitting) = (Vec::new(), false);
            for _ in 0..self.ring.len() {
                if taken.len() >= max {
                    break;
                }
                let Some(tenant) = self.ring.pop_front() else { break };
                let fill = |line: &mut Line| line.fill(taken, max, seconds, fits);
                match self.edit(&tenant, fill) {
                    After::Empty => {
                        if let Some(line) = self.lines.get_mut(&tenant) {
                            line.in_ring = false;
                        }
                    }
                    After::InDebt => {
                        fitting = true;
                        self.ring.push_back(tenant);
                    }
                    After::KeepsTurn => kept_turn.push(tenant),
                }
            }
            for tenant in kept_turn.into_iter().rev() {
                self.ring.push_front(tenant);
            }
            if taken.len() >= max || !fitting {
                return;
            }
            self.credit();
        }
    }
}

/// What a line is like after its turn.
enum After {
    Empty,
    /// Its head would fit, but it has used its share.
    InDebt,
    /// The batch is full, or its head does not fit.
    KeepsTurn,
}

impl Line {
    /// The task whose turn comes next.
    fn head(&self) -> Option<&BatchTask> {
        self.tasks.first_key_value().map(|(_, given)| given).filter(|_| !self.parked)
    }

    fn fill(
        &mut self,
        taken: &mut Vec<(u64, BatchTask)>,
        max: usize,
        seconds: f64,
        fits: &impl Fn(&BatchTask) -> bool,
    ) -> After {
        while let Some(head) = self.tasks.first_entry().filter(|_| !self.parked) {
            if taken.len() >= max || !fits(head.get()) {
                return After::KeepsTurn;
            }
            if self.balance_s <= 0.0 {
                return After::InDebt;
            }
            let ((_, arrival), given) = head.remove_entry();
            self.balance_s -= seconds;
            taken.push((arrival, given));
        }
        After::Empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{given, tenant};
    use domain::Class;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(0);

    fn turns(tenants: u8, each: u64) -> Turns {
        let mut turns = Turns::default();
        for n in 0..each * u64::from(tenants) {
            turns.insert(n, given(n, (n % u64::from(tenants)) as u8, Class::Normal, NOW));
        }
        turns
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
            let mut turns = turns(costs.len() as u8, 500);
            let mut used = vec![0.0; costs.len()];
            for _ in 0..rounds {
                let whose = turns.first(None).map(|given| given.task.tenant.clone()).expect("all wait");
                let n = (0..costs.len()).find(|n| tenant(*n as u8) == whose).expect("one of them");
                turns.take_first(None, costs[n]).expect("all wait");
                used[n] += costs[n];
                if turns.active() < costs.len() {
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
        let mut turns = Turns::default();
        for n in 0..1_000 {
            turns.insert(n, given(n, 0, Class::Normal, NOW));
        }
        turns.take_first(None, 0.01);
        turns.insert(2_000, given(2_000, 1, Class::Normal, NOW));
        let before = std::iter::from_fn(|| turns.take_first(None, 0.01)).take_while(|(n, _)| *n < 1_000);
        assert!(before.count() <= 51, "two quanta of 0.25 s are 50 tasks of 0.01 s");
    }

    #[test]
    fn of_one_tenant_the_nearest_deadline_goes_first_and_then_arrival() {
        let mut turns = turns(1, 4);
        for (n, deadline) in [(7, 500), (8, 90), (9, 500)] {
            let mut given = given(n, 0, Class::Normal, NOW);
            given.task.deadline = Some(Timestamp(deadline));
            turns.insert(n, given);
        }
        let order: Vec<u64> = std::iter::from_fn(|| turns.take_first(None, 0.01)).map(|(n, _)| n).collect();
        assert_eq!(order, [8, 7, 9, 0, 1, 2, 3]);
    }

    #[test]
    fn an_empty_line_does_not_pay_a_debt_and_does_not_save() {
        let mut turns = turns(2, 3);
        turns.take_first(None, 10.0);
        turns.remove(&tenant(0), (Timestamp(u64::MAX), 2));
        turns.remove(&tenant(0), (Timestamp(u64::MAX), 4));
        // The other one is served meanwhile; who owes 10 s does not come back with a full purse.
        turns.take_first(None, 1.0);
        turns.insert(9, given(9, 0, Class::Normal, NOW));
        let order: Vec<u64> = std::iter::from_fn(|| turns.take_first(None, 1.0)).map(|(n, _)| n).collect();
        assert_eq!(order, [3, 5, 9]);
    }

    #[test]
    fn who_is_passed_over_because_it_does_not_fit_keeps_its_turn() {
        let mut turns = turns(3, 2);
        let mut taken = Vec::new();
        let not_of_0 = |given: &BatchTask| given.task.tenant != tenant(0);
        turns.credit();
        turns.fill(&mut taken, 2, 0.1, &not_of_0);
        assert_eq!(taken.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(turns.first(None).map(|given| given.task.tenant.clone()), Some(tenant(0)));
    }
}
