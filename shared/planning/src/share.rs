//! Whose turn it is: strict classes with ageing, and inside a class deficit round robin over tenants, in
//! device-seconds.

use domain::{BatchTask, Class, Stage, TenantId, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A task that waited this long counts as one class higher.
const AGES_AFTER: Duration = Duration::from_secs(60);
/// Device-seconds that a tenant gets each turn.
const QUANTUM_S: f64 = 1.0;

/// The drawn tasks of one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageLine {
    /// First come first served per class and tenant.
    lines: BTreeMap<(Class, TenantId), VecDeque<BatchTask>>,
    /// Device-seconds that a tenant may still use.
    deficits: BTreeMap<TenantId, f64>,
    /// Tenants in the order of their turns.
    turns: VecDeque<TenantId>,
}

impl StageLine {
    pub(crate) fn push(&mut self, given: BatchTask) {
        let tenant = given.task.tenant.clone();
        if !self.turns.contains(&tenant) {
            self.turns.push_back(tenant.clone());
        }
        self.lines.entry((given.task.class, tenant)).or_default().push_back(given);
    }

    /// Puts tasks back to the head of their lines, in their old order.
    pub(crate) fn put_back(&mut self, given: Vec<BatchTask>) {
        for given in given.into_iter().rev() {
            let tenant = given.task.tenant.clone();
            if !self.turns.contains(&tenant) {
                self.turns.push_front(tenant.clone());
            }
            self.lines.entry((given.task.class, tenant)).or_default().push_front(given);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.values().map(VecDeque::len).sum()
    }

    pub(crate) fn len_of(&self, class: Class, tenant: &TenantId) -> usize {
        self.lines.get(&(class, tenant.clone())).map_or(0, VecDeque::len)
    }

    /// Takes tasks out that satisfy `leaves`.
    pub(crate) fn take_out(&mut self, leaves: impl Fn(&BatchTask) -> bool) -> Vec<BatchTask> {
        let mut out = Vec::new();
        for line in self.lines.values_mut() {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) = line.drain(..).partition(|given| leaves(given));
            *line = kept;
            out.extend(gone);
        }
        out
    }

    /// The task whose turn it is, left where it is.
    pub(crate) fn first(&self, now: Timestamp) -> Option<&BatchTask> {
        let class = self.best_class(now)?;
        self.turns.iter().find_map(|tenant| self.head(class, tenant, now))
    }

    /// Takes up to `max` tasks in the order of turns, each `fits` with the others; `seconds` is what one
    /// costs.
    pub(crate) fn take(
        &mut self,
        max: usize,
        now: Timestamp,
        seconds: f64,
        fits: impl Fn(&BatchTask) -> bool,
    ) -> Vec<BatchTask> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(class) = self.best_fitting_class(now, &fits) else { break };
            // Everybody gets a turn; whoever saved enough device-seconds is served.
            for _ in 0..self.turns.len() {
                let Some(tenant) = self.turns.pop_front() else { break };
                let deficit = self.deficits.entry(tenant.clone()).or_default();
                *deficit += QUANTUM_S.max(seconds);
                let mut left = *deficit;
                while taken.len() < max && left >= seconds {
                    let Some(given) = self.pop(class, &tenant, now, &fits) else { break };
                    left -= seconds;
                    taken.push(given);
                }
                let waits = self.lines.iter().any(|((_, of), line)| *of == tenant && !line.is_empty());
                // A tenant with nothing waiting saves nothing.
                self.deficits
                    .insert(tenant.clone(), if waits { left.min(QUANTUM_S.max(seconds)) } else { 0.0 });
                if waits {
                    self.turns.push_back(tenant);
                }
                if taken.len() >= max {
                    break;
                }
            }
        }
        taken
    }

    fn effective(given: &BatchTask, now: Timestamp) -> Class {
        let steps = now.since(given.drawn_at).as_secs() / AGES_AFTER.as_secs();
        match (given.task.class, steps) {
            (class, 0) | (class @ Class::High, _) => class,
            (Class::Normal, _) | (Class::Low, 2..) => Class::High,
            (Class::Low, _) => Class::Normal,
        }
    }

    fn heads(&self) -> impl Iterator<Item = &BatchTask> {
        self.lines.values().filter_map(VecDeque::front)
    }

    fn best_class(&self, now: Timestamp) -> Option<Class> {
        self.heads().map(|given| Self::effective(given, now)).min()
    }

    fn best_fitting_class(&self, now: Timestamp, fits: &impl Fn(&BatchTask) -> bool) -> Option<Class> {
        self.heads().filter(|given| fits(given)).map(|given| Self::effective(given, now)).min()
    }

    fn head(&self, class: Class, tenant: &TenantId, now: Timestamp) -> Option<&BatchTask> {
        let of_tenant = self.lines.iter().filter(|((_, of), _)| of == tenant);
        let mut heads = of_tenant.filter_map(|(_, line)| line.front());
        heads.find(|given| Self::effective(given, now) == class)
    }

    fn pop(
        &mut self,
        class: Class,
        tenant: &TenantId,
        now: Timestamp,
        fits: &impl Fn(&BatchTask) -> bool,
    ) -> Option<BatchTask> {
        let of_tenant = self.lines.iter_mut().filter(|((_, of), _)| of == tenant);
        let line = of_tenant.map(|(_, line)| line).find(|line| {
            line.front().is_some_and(|given| Self::effective(given, now) == class && fits(given))
        })?;
        line.pop_front()
    }
}

/// All drawn tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    stages: BTreeMap<Stage, StageLine>,
}

impl Lines {
    pub(crate) fn of(&mut self, stage: Stage) -> &mut StageLine {
        self.stages.entry(stage).or_default()
    }

    pub(crate) fn len(&self, stage: Stage) -> usize {
        self.stages.get(&stage).map_or(0, StageLine::len)
    }
}
