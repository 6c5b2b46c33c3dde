//! Whose turn it is: the drawn tasks of a stage in strict classes with ageing.
//!
//! Inside a class the tenants take turns (`turns`). Every task has a place in the order of arrival and keeps
//! it when it is refused, delivered again or set aside. No call here looks at more than the head of each
//! line and the tasks that it moves.

use crate::turns::{Turns, due};
use domain::{AckToken, BatchTask, Class, JobId, Stage, TenantId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// A task that waited this long since it entered the queue counts as one class higher.
pub(crate) const AGES_AFTER: Duration = Duration::from_secs(60);
/// Most tasks of one tenant and class that are set aside because they fit nowhere now. Further ones block
/// their own line, and nobody else's.
pub(crate) const ASIDE_MAX: usize = 32;

/// Where a task waits.
struct Place {
    class: Class,
    tenant: TenantId,
    due: Timestamp,
    arrival: u64,
}

/// The drawn tasks of one stage.
#[derive(Default)]
pub(crate) struct StageLine {
    classes: BTreeMap<Class, Turns>,
    jobs: BTreeMap<JobId, Place>,
    /// Tasks that fit nowhere now, by arrival.
    aside: BTreeMap<u64, BatchTask>,
    /// How many of each line are aside.
    aside_of: BTreeMap<(Class, TenantId), usize>,
    /// When tasks were first set aside; kept while they are tried again.
    passed: BTreeMap<JobId, Timestamp>,
    arrivals: u64,
}

impl StageLine {
    /// Adds a task. One that waits here already keeps its place and gets the newer token.
    pub(crate) fn push(&mut self, given: BatchTask) {
        let job = given.task.job;
        let known = self.jobs.get(&job).map(|place| (place.class, place.tenant.clone(), place.arrival));
        let here = (given.task.class, &given.task.tenant);
        match known {
            Some((class, tenant, arrival)) if here == (class, &tenant) => self.put(arrival, given),
            Some(_) => {
                self.remove(job);
                self.push(given);
            }
            None => {
                self.arrivals += 1;
                self.put(self.arrivals, given);
            }
        }
    }

    /// Puts a task that was taken back to its old place.
    pub(crate) fn put_back(&mut self, arrival: u64, given: BatchTask) {
        self.put(arrival, given);
    }

    fn put(&mut self, arrival: u64, given: BatchTask) {
        let (job, class, tenant) = (given.task.job, given.task.class, given.task.tenant.clone());
        let due = due(&given.task);
        if let Some(aside) = self.aside.get_mut(&arrival) {
            *aside = given;
            return;
        }
        self.classes.entry(class).or_default().insert(arrival, given);
        self.jobs.insert(job, Place { class, tenant, due, arrival });
    }

    /// Tasks that wait, without those set aside.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len() - self.aside.len()
    }

    /// All tasks, those set aside too.
    pub(crate) fn held(&self) -> usize {
        self.jobs.len()
    }

    /// Tasks of a consumer that wait, without those set aside.
    pub(crate) fn len_of(&self, class: Class, tenant: &TenantId) -> usize {
        self.classes.get(&class).map_or(0, |turns| turns.len_of(tenant))
    }

    /// Consumers of which something waits.
    pub(crate) fn active(&self) -> usize {
        self.classes.values().map(Turns::active).sum()
    }

    /// Takes a task out, wherever it waits.
    pub(crate) fn remove(&mut self, job: JobId) -> Option<BatchTask> {
        let Place { class, tenant, due, arrival } = self.jobs.remove(&job)?;
        self.passed.remove(&job);
        if let Some(aside) = self.aside.remove(&arrival) {
            if let Some(count) = self.aside_of.get_mut(&(class, tenant)) {
                *count -= 1;
            }
            return Some(aside);
        }
        self.classes.get_mut(&class)?.remove(&tenant, (due, arrival))
    }

    /// Takes a task out if it waits under this token.
    pub(crate) fn remove_token(&mut self, job: JobId, token: &AckToken) -> Option<BatchTask> {
        if self.find(job)?.ack_token == *token { self.remove(job) } else { None }
    }

    /// The class that is served next, and the tenant if its turn comes by age.
    fn next_class(&self, now: Timestamp) -> Option<(Class, Option<TenantId>)> {
        let oldest = self.classes.iter().filter_map(|(class, turns)| Some((*class, turns.oldest()?)));
        let next = oldest.min_by_key(|(class, (since, _))| {
            let risen = effective(*class, *since, now);
            // Who has risen goes before those who are at home in the class, the oldest first.
            (risen, risen == *class, *since)
        })?;
        let (class, (since, tenant)) = next;
        Some((class, (effective(class, since, now) != class).then(|| tenant.clone())))
    }

    /// The class in which the next task counts now.
    pub(crate) fn best_class(&self, now: Timestamp) -> Option<Class> {
        let oldest = self.classes.iter().filter_map(|(class, turns)| Some((*class, turns.oldest()?.0)));
        oldest.map(|(class, since)| effective(class, since, now)).min()
    }

    /// The task whose turn it is, left where it is.
    pub(crate) fn first(&mut self, now: Timestamp) -> Option<&BatchTask> {
        let (class, tenant) = self.next_class(now)?;
        self.classes.get_mut(&class)?.first(tenant.as_ref())
    }

    /// Takes the task whose turn it is and up to `max - 1` more, each of which `fits` with it, in the order
    /// of turns; `seconds` of device time is what one costs its tenant.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        max: usize,
        seconds: f64,
        fits: impl Fn(&BatchTask) -> bool,
    ) -> Vec<(u64, BatchTask)> {
        let mut taken = Vec::new();
        let Some((class, tenant)) = self.next_class(now) else { return taken };
        if let Some(turns) = self.classes.get_mut(&class) {
            taken.extend(turns.take_first(tenant.as_ref(), seconds));
        }
        for turns in self.classes.values_mut() {
            turns.fill(&mut taken, max, seconds, &fits);
        }
        for (_, given) in &taken {
            self.jobs.remove(&given.task.job);
            self.passed.remove(&given.task.job);
        }
        taken
    }

    /// Takes one task, whatever its turn; `seconds` of device time is what it costs its tenant.
    pub(crate) fn take_job(&mut self, job: JobId, seconds: f64) -> Vec<(u64, BatchTask)> {
        let Some(Place { class, tenant, arrival, .. }) = self.jobs.get(&job) else { return Vec::new() };
        let (class, tenant, arrival) = (*class, tenant.clone(), *arrival);
        let given = self.remove(job);
        if let Some(turns) = self.classes.get_mut(&class) {
            turns.charge(&tenant, seconds);
        }
        given.map(|given| (arrival, given)).into_iter().collect()
    }

    /// Sets the task whose turn it is aside, since it fits nowhere now. When too many of its line are aside,
    /// the line waits with it.
    pub(crate) fn set_aside(&mut self, now: Timestamp) {
        let Some((class, tenant)) = self.next_class(now) else { return };
        let Some(turns) = self.classes.get_mut(&class) else { return };
        let Some(tenant) = turns.first(tenant.as_ref()).map(|given| given.task.tenant.clone()) else {
            return;
        };
        let aside = self.aside_of.entry((class, tenant.clone())).or_default();
        if *aside >= ASIDE_MAX {
            return turns.park(&tenant);
        }
        let Some((arrival, given)) = turns.take_first(Some(&tenant), 0.0) else { return };
        *aside += 1;
        self.passed.entry(given.task.job).or_insert(now);
        self.aside.insert(arrival, given);
    }

    /// Tasks that were set aside stand in their lines again.
    pub(crate) fn try_aside_again(&mut self) {
        self.aside_of.clear();
        for (arrival, given) in std::mem::take(&mut self.aside) {
            self.put(arrival, given);
        }
        self.classes.values_mut().for_each(Turns::try_again);
    }

    /// Tasks that were passed over, and since when, whether they are aside now or stand in line again.
    pub(crate) fn passed(&self) -> impl Iterator<Item = (Timestamp, &BatchTask)> {
        self.passed.iter().filter_map(|(job, since)| Some((*since, self.find(*job)?)))
    }

    /// Since when a task has been passed over.
    pub(crate) fn passed_since(&self, job: JobId) -> Option<Timestamp> {
        self.passed.get(&job).copied()
    }

    /// A task that waits here.
    pub(crate) fn find(&self, job: JobId) -> Option<&BatchTask> {
        let Place { class, tenant, due, arrival } = self.jobs.get(&job)?;
        let aside = self.aside.get(arrival);
        aside.or_else(|| self.classes.get(class)?.find(tenant, (*due, *arrival)))
    }

    /// How many tasks of its own line go before one that waits here, and how many of better classes. For a
    /// person who asks: it walks the line, as no decision does.
    pub(crate) fn before(&self, job: JobId) -> (usize, usize) {
        let Some(Place { class, tenant, due, arrival }) = self.jobs.get(&job) else { return (0, 0) };
        let own = self.classes.get(class).map_or(0, |turns| turns.before(tenant, (*due, *arrival)));
        (own, self.classes.range(..*class).map(|(_, turns)| turns.len()).sum())
    }

    /// Takes out what was drawn at or before `until`, from the heads of the lines.
    pub(crate) fn take_old(&mut self, until: Timestamp) -> Vec<BatchTask> {
        let mut old = Vec::new();
        for turns in self.classes.values_mut() {
            for given in turns.take_drawn(until) {
                self.jobs.remove(&given.task.job);
                self.passed.remove(&given.task.job);
                old.push(given);
            }
        }
        old
    }

    /// When the head of a line that is held here longest was drawn.
    pub(crate) fn drawn_first(&self) -> Option<Timestamp> {
        self.classes.values().filter_map(Turns::drawn_first).min()
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
#[derive(Default)]
pub(crate) struct Lines {
    stages: BTreeMap<Stage, StageLine>,
}

impl Lines {
    pub(crate) fn of(&mut self, stage: Stage) -> &mut StageLine {
        self.stages.entry(stage).or_default()
    }

    pub(crate) fn get(&self, stage: Stage) -> Option<&StageLine> {
        self.stages.get(&stage)
    }

    pub(crate) fn len(&self, stage: Stage) -> usize {
        self.stages.get(&stage).map_or(0, StageLine::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{given, tenant};
    use std::cell::Cell;

    const NOW: Timestamp = Timestamp(1_000_000);

    /// A line with these tasks, all drawn now: (job, tenant, class).
    fn line(tasks: &[(u64, u8, Class)]) -> StageLine {
        let mut line = StageLine::default();
        for (job, of, class) in tasks {
            line.push(given(*job, *of, *class, NOW));
        }
        line
    }

    fn jobs(taken: &[(u64, BatchTask)]) -> Vec<u64> {
        taken.iter().map(|(_, given)| crate::samples::number(given.task.job)).collect()
    }

    fn served(line: &mut StageLine, now: Timestamp, seconds: f64) -> Vec<u64> {
        let one = |_| jobs(&line.take(now, 1, seconds, |_| true)).first().copied();
        std::iter::repeat(()).map_while(one).collect()
    }

    #[test]
    fn classes_are_strict_and_a_line_is_first_come_first_served() {
        use Class::{High, Low, Normal};
        let mut line = line(&[(1, 0, Low), (2, 0, Normal), (3, 0, High), (4, 0, Normal), (5, 0, High)]);
        assert_eq!(served(&mut line, NOW, 1.0), [3, 5, 2, 4, 1]);
        assert_eq!((line.len(), line.held(), line.active()), (0, 0, 0));
    }

    #[test]
    fn a_task_rises_one_class_per_minute_of_waiting_and_then_goes_before_those_at_home_there() {
        let mut line = line(&[(1, 0, Class::Low)]);
        line.push(given(2, 0, Class::Normal, NOW + Duration::from_secs(1)));
        let later = NOW + AGES_AFTER * 2;
        line.push(given(3, 0, Class::High, later));
        assert_eq!(line.best_class(NOW), Some(Class::High));
        assert_eq!(served(&mut line, later, 1.0), [1, 2, 3]);
    }

    #[test]
    fn what_has_waited_in_the_queue_has_risen_when_it_is_drawn_at_last() {
        let mut line = line(&[(1, 0, Class::High)]);
        let old = BatchTask { published_at: NOW - AGES_AFTER * 2, ..given(2, 0, Class::Low, NOW) };
        line.push(old);
        assert_eq!(line.take_old(NOW - AGES_AFTER).len(), 0, "it is not held here that long");
        assert_eq!(served(&mut line, NOW, 1.0), [2, 1]);
    }

    #[test]
    fn a_batch_is_filled_from_all_tenants_and_lower_classes_with_what_fits() {
        let low = Class::Low;
        let mut line = line(&[(1, 0, Class::High), (2, 1, Class::High), (3, 2, low), (4, 2, low)]);
        let odd = |given: &BatchTask| given.task.job != crate::samples::job(2);
        assert_eq!(jobs(&line.take(NOW, 3, 0.01, odd)), [1, 3, 4]);
        assert_eq!(line.len_of(Class::High, &tenant(1)), 1);
    }

    #[test]
    fn a_task_delivered_again_keeps_its_place_and_gets_the_newer_token() {
        let mut line = line(&[(1, 0, Class::Normal), (2, 0, Class::Normal)]);
        let mut again = given(1, 0, Class::Normal, NOW);
        again.ack_token = AckToken("newer".to_owned());
        line.push(again);
        assert!(line.remove_token(crate::samples::job(1), &AckToken("token-1".to_owned())).is_none());
        let taken = line.take(NOW, 9, 0.01, |_| true);
        assert_eq!(jobs(&taken), [1, 2]);
        assert_eq!(taken[0].1.ack_token, AckToken("newer".to_owned()));
    }

    #[test]
    fn what_is_put_back_stands_where_it_stood() {
        let mut line = line(&[(1, 0, Class::Normal), (2, 0, Class::Normal), (3, 0, Class::Normal)]);
        let taken = line.take(NOW, 2, 0.01, |_| true);
        for (arrival, given) in taken {
            line.put_back(arrival, given);
        }
        assert_eq!(served(&mut line, NOW, 0.01), [1, 2, 3]);
    }

    #[test]
    fn what_is_set_aside_does_not_block_and_comes_back_to_its_place_up_to_a_limit() {
        let tasks: Vec<_> = (0..40).map(|job| (job, 0, Class::Normal)).collect();
        let mut line = line(&tasks);
        line.push(given(99, 1, Class::Low, NOW));
        for _ in 0..=ASIDE_MAX {
            line.set_aside(NOW);
        }
        assert_eq!((line.aside.len(), line.len(), line.held()), (ASIDE_MAX, 41 - ASIDE_MAX, 41));
        assert_eq!(jobs(&line.take(NOW, 9, 0.0, |_| true)), [99], "another's line goes on");
        assert!(line.first(NOW).is_none(), "its own waits");
        line.try_aside_again();
        assert_eq!(line.passed().count(), ASIDE_MAX);
        assert_eq!(jobs(&line.take(NOW, 1, 0.0, |_| true)), [0]);
        assert_eq!(line.passed_since(crate::samples::job(0)), None);
        assert_eq!(line.take_old(NOW).len(), 39);
    }

    /// Property J: a decision looks at the heads of lines and at what it moves, however much waits.
    #[test]
    fn a_decision_looks_at_no_more_tasks_when_a_thousand_times_as_many_wait() {
        let looked_at = |waiting: u64| {
            let tasks: Vec<_> = (0..waiting).map(|job| (job, (job % 4) as u8, Class::Normal)).collect();
            let (mut line, looks) = (line(&tasks), Cell::new(0));
            for _ in 0..10 {
                let count = |_: &BatchTask| looks.replace(looks.get() + 1) < u32::MAX;
                assert_eq!(line.take(NOW, 5, 0.1, count).len(), 5);
            }
            looks.get()
        };
        let few = looked_at(100);
        assert_eq!(few, looked_at(100_000));
        assert!(few <= 10 * (5 + 2 * 4), "{few}: each batch's tasks, and each tenant's head twice");
    }
}
