//! Which batch is cut next: the best class first, in it those that are worth most, of those later stages
//! first, so that work in progress stays bounded.

use crate::core::{Claims, Planner};
use crate::cut::{Ask, Choice, Merit, Place};
use crate::event::Decision;
use crate::held::{Head, Slot};
use crate::share::Lines;
use domain::{Class, Stage, Timestamp, WorkerId};
use std::time::Duration;

/// Seconds of work for each of a stage's lanes that are enough to cut full batches of all shapes.
const ENOUGH_S: f64 = 20.0;
/// With so many more nobody works ahead.
const MORE_THAN_ENOUGH_S: f64 = 40.0;

/// A batch that could be cut.
pub(crate) struct Next {
    class: Class,
    merit: Merit,
    pub(crate) head: Head,
    pub(crate) place: Place,
}

impl Planner {
    /// The batch that is cut next, if any is.
    pub(crate) fn next(&mut self, now: Timestamp, claims: &Claims) -> Option<Next> {
        let mut all = Vec::new();
        for stage in Lines::stages() {
            if self.fleet.open().any(|(_, standing)| standing.hosts(stage)) {
                all.extend(self.lines.of(stage).shapes(now).into_iter().map(|waiting| (waiting, stage)));
            }
        }
        // Within a class those come first whose next stage runs short, and of these as of the others later
        // stages, since the order is kept.
        let fed = Stage::ALL.map(|stage| self.work_after_s(stage) >= ENOUGH_S);
        all.sort_by_key(|(waiting, stage)| (waiting.class, fed[*stage as usize]));
        let mut best: Option<Next> = None;
        for (waiting, stage) in all {
            if best.as_ref().is_some_and(|best| best.class < waiting.class || best.merit == Merit::Ready(0)) {
                break;
            }
            let Some((merit, head, place)) = self.consider(now, stage, waiting.shape, claims) else {
                continue;
            };
            if best.as_ref().is_none_or(|best| merit < best.merit) {
                best = Some(Next { class: waiting.class, merit, head, place });
            }
        }
        best
    }

    /// The batch that could be cut of a shape. Tasks that cannot be done in time, never run, or fit nowhere
    /// now leave their line on the way.
    fn consider(
        &mut self,
        now: Timestamp,
        stage: Stage,
        shape: u32,
        claims: &Claims,
    ) -> Option<(Merit, Head, Place)> {
        while let Some(slot) = self.lines.of(stage).first(now, shape) {
            let line = self.lines.at(stage);
            let head = line.pool.head(slot);
            let passed = line.passed_since(head.job);
            let place = (stage, head.job);
            let withheld = |worker: &WorkerId| claims.get(worker).is_some_and(|of| *of != place);
            let ask = self.ask(now, &head, passed);
            if let Some(reason) = ask.late(&self.fleet) {
                self.reject(slot, &head, reason);
                continue;
            }
            match ask.choose(&self.fleet, withheld) {
                Choice::Place(merit, place) => return Some((merit, head, place)),
                Choice::Never(reason) => self.reject(slot, &head, reason),
                Choice::Later(until) => {
                    let known = self.later.entry(stage).or_insert(until);
                    *known = until.min(*known);
                    return None;
                }
                Choice::Busy => return None,
                Choice::Wait if ask.waited_long && ask.claim(&self.fleet, |_| false).is_none() => {
                    let task = self.take_out(stage, slot);
                    self.decisions.extend(task.map(Decision::GiveBack));
                }
                Choice::Wait if ask.ran_out.is_some() => self.lines.of(stage).set_aside(slot, now),
                // The others of its shape need as much as it.
                Choice::Wait => {
                    self.lines.of(stage).pass_over(head.job, now);
                    return None;
                }
            }
        }
        None
    }

    fn reject(&mut self, slot: Slot, head: &Head, reason: String) {
        self.forget_strained((head.stage, head.job));
        let task = self.take_out(head.stage, slot);
        self.decisions.extend(task.map(|task| Decision::Reject(task, reason)));
    }

    pub(crate) fn ask<'a>(&'a self, now: Timestamp, head: &'a Head, passed: Option<Timestamp>) -> Ask<'a> {
        let (stage, line) = (head.stage, self.lines.at(head.stage));
        Ask {
            head,
            shape: line.pool.shape(head.shape),
            now,
            waiting: line.len_of_shape(head.shape),
            arrivals: self.paces.get(&(stage, head.shape)).map_or(0.0, |pace| pace.per_second(now)),
            runs: self.live.runs(stage),
            queued_s: self.queued_s(stage),
            load: self.facts.get(&stage).map_or(Duration::ZERO, |facts| facts.load),
            ahead: stage < Stage::Export && self.work_after_s(stage) >= MORE_THAN_ENOUGH_S,
            ran_out: self.strained.get(&(stage, head.job)).copied(),
            since: self.cuts.get(&(stage, head.shape)).copied().unwrap_or_default().max(head.drawn_at),
            waited_long: passed.is_some_and(|since| now.since(since) >= self.limits.hold_max),
            footprints: &self.footprints,
            engines: &self.engines,
            unknown: &self.unknown,
            batch_max: self.limits.batch_max,
            rule: &self.limits.batch_rule,
        }
    }

    /// Seconds of work that wait for each runner of a stage that is loaded or being started; without end if
    /// there is none.
    fn queued_s(&self, stage: Stage) -> f64 {
        let runners = self.fleet.warm(stage) + self.live.starting(stage);
        if runners == 0 { f64::INFINITY } else { self.work_s(stage) / runners as f64 }
    }

    /// Seconds of work that wait at a stage.
    fn work_s(&self, stage: Stage) -> f64 {
        let tasks = self.lines.at(stage).len() as u64 + self.backlogs.tasks(stage);
        tasks as f64 * self.facts.get(&stage).map_or(1.0, |facts| facts.item_seconds)
    }

    /// Seconds of work that wait for each lane of the stage after this one; without end if there is none.
    fn work_after_s(&self, stage: Stage) -> f64 {
        let after = Stage::ALL.into_iter().find(|after| *after > stage);
        after.map_or(f64::INFINITY, |after| self.work_s(after) / self.fleet.lanes(after).max(1) as f64)
    }
}
