//! How long each phase of a task took: every phase has its own scope, and what no scope covers is said, not
//! hidden.

use crate::lane::Spent;
use domain::{BatchTask, Marks, Phase, PhaseTimes, Timestamp};
use tokio::time::Instant;

/// One moment by both clocks: the machine's, which marks are made of, and the steady one, which spans are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) instant: Instant,
}

/// The stopwatch of one task on its worker.
#[derive(Clone, Debug)]
pub(crate) struct TaskClock {
    accepted: Moment,
    phases: PhaseTimes,
    pub(crate) marks: Marks,
}

/// An open scope: its phase, and since when. Dropped unclosed, it counts for nothing.
#[must_use]
pub(crate) struct Scope(Phase, Instant);

impl TaskClock {
    /// Starts when the batch is accepted. What lay before is known by the broker's and the planner's clocks.
    pub(crate) fn start(given: &BatchTask, worker: &str, accepted: Moment) -> TaskClock {
        let mut phases = PhaseTimes::default();
        phases.add(Phase::Queued, given.drawn_at.since(given.published_at));
        phases.add(Phase::Planned, accepted.at.since(given.drawn_at));
        let marks = Marks {
            clock: worker.to_owned(),
            published_at: given.published_at,
            drawn_at: given.drawn_at,
            accepted_at: accepted.at,
            ..Marks::default()
        };
        TaskClock { accepted, phases, marks }
    }

    /// Opens a scope of this phase.
    pub(crate) fn open(&self, phase: Phase) -> Scope {
        Scope(phase, Instant::now())
    }

    /// A scope that was open since then.
    pub(crate) fn open_since(phase: Phase, since: Instant) -> Scope {
        Scope(phase, since)
    }

    /// Closes a scope.
    pub(crate) fn close(&mut self, Scope(phase, since): Scope) {
        self.phases.add(phase, since.elapsed());
    }

    /// Adds what the lane measured.
    pub(crate) fn add(&mut self, spent: &Spent) {
        for phase in [Phase::Load, Phase::Wait, Phase::Compute] {
            self.phases.add(phase, spent.phases.of(phase));
        }
    }

    /// The phases, the wall time from publication until now, and what of it no phase accounts for, in
    /// microseconds.
    pub(crate) fn read(&self) -> (PhaseTimes, u64, u64) {
        let wall = self.accepted.at.since(self.marks.published_at) + self.accepted.instant.elapsed();
        let unaccounted = wall.saturating_sub(self.phases.sum());
        (self.phases, wall.as_micros() as u64, unaccounted.as_micros() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AckToken, Bytes, Class, JobId, Recipe, Stage, Task, UploadId};
    use std::time::Duration;

    fn given() -> BatchTask {
        let task = Task {
            job: JobId([1; 16]),
            upload: UploadId([1; 16]),
            stage: Stage::Shape,
            class: Class::Normal,
            tenant: "tenant".parse().expect("a name"),
            recipe: Recipe::default(),
            size_bytes: Bytes::ZERO,
            accepted_at: Timestamp(0),
            deadline: None,
        };
        let (published_at, drawn_at) = (Timestamp(1_000), Timestamp(1_030));
        BatchTask { task, ack_token: AckToken("token".to_owned()), delivery: 1, published_at, drawn_at }
    }

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    async fn spend(clock: &mut TaskClock, phase: Phase, ms: u64) {
        let scope = clock.open(phase);
        pass(ms).await;
        clock.close(scope);
    }

    fn start() -> TaskClock {
        TaskClock::start(&given(), "worker", Moment { at: Timestamp(1_050), instant: Instant::now() })
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_is_its_own_scope_and_together_they_are_the_wall_time() {
        let mut clock = start();
        for (ms, phase) in [Phase::Fetch, Phase::Wait, Phase::Store, Phase::Commit].into_iter().enumerate() {
            spend(&mut clock, phase, 10 + ms as u64).await;
        }
        let (phases, wall_us, unaccounted_us) = clock.read();
        let expect = PhaseTimes {
            queued_us: 30_000,
            planned_us: 20_000,
            fetch_us: 10_000,
            wait_us: 11_000,
            store_us: 12_000,
            commit_us: 13_000,
            ..PhaseTimes::default()
        };
        assert_eq!((phases, wall_us, unaccounted_us), (expect, 96_000, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_two_phases_is_seen_and_belongs_to_none() {
        let mut clock = start();
        spend(&mut clock, Phase::Fetch, 10).await;
        pass(200).await;
        spend(&mut clock, Phase::Store, 10).await;
        let (phases, wall_us, unaccounted_us) = clock.read();
        assert_eq!((phases.fetch_us, phases.store_us), (10_000, 10_000));
        assert_eq!((wall_us, unaccounted_us), (270_000, 200_000));
    }
}
