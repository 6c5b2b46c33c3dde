//! How long each phase of a task took: every phase has its own scope, and what no scope covers is said, not
//! hidden.

use domain::{BatchTask, Marks, Phase, PhaseTimes, Timestamp};
use std::time::Instant;

/// The stopwatch of one task on its worker.
#[derive(Clone, Debug)]
pub(crate) struct TaskClock {
    accepted: Instant,
    phases: PhaseTimes,
    pub(crate) marks: Marks,
}

impl TaskClock {
    /// Starts when the batch is accepted. What lay before is known by the broker's and the planner's clocks.
    pub(crate) fn start(
        given: &BatchTask,
        worker: &str,
        accepted: Instant,
        accepted_at: Timestamp,
    ) -> TaskClock {
        let mut phases = PhaseTimes::default();
        phases.add(Phase::Queued, given.drawn_at.since(given.published_at));
        phases.add(Phase::Planned, accepted_at.since(given.drawn_at));
        let marks = Marks {
            clock: worker.to_owned(),
            published_at: given.published_at,
            accepted_at,
            ..Marks::default()
        };
        TaskClock { accepted, phases, marks }
    }

    /// Adds the scope from `since` until now; returns now, where the next one begins.
    pub(crate) fn close(&mut self, phase: Phase, since: Instant) -> Instant {
        let now = Instant::now();
        self.add(phase, since, now);
        now
    }

    /// Adds a scope.
    pub(crate) fn add(&mut self, phase: Phase, since: Instant, until: Instant) {
        self.phases.add(phase, until.saturating_duration_since(since));
    }

    /// The phases, the wall time from publication until now, and what of it no phase accounts for, in
    /// microseconds.
    pub(crate) fn read(&self) -> (PhaseTimes, u64, u64) {
        let before = self.phases.of(Phase::Queued) + self.phases.of(Phase::Planned);
        let wall = before + self.accepted.elapsed();
        let unaccounted = wall.saturating_sub(self.phases.sum());
        (self.phases, wall.as_micros() as u64, unaccounted.as_micros() as u64)
    }
}
