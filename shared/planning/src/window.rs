//! How many tasks are drawn before their turn, and how many workers what waits is worth.

use crate::footprint::Footprint;
use domain::{Consumer, Stage};
use std::collections::BTreeMap;
use std::time::Duration;

/// Batches that may be drawn for each place: one that is being placed, and the one after it.
const BATCHES_DRAWN: usize = 2;

/// Most tasks of one consumer that are drawn and wait here. `room` is how many of the stage the live offers
/// take in one round, `active` how many consumers share it.
pub(crate) fn window(room: usize, active: usize) -> usize {
    if room == 0 { 0 } else { (BATCHES_DRAWN * room).div_ceil(active.max(1)).max(1) }
}

/// What waits at the consumers, as last seen.
#[derive(Default)]
pub(crate) struct Backlogs {
    waiting: BTreeMap<Consumer, u64>,
    stages: BTreeMap<Stage, (u64, usize)>,
}

impl Backlogs {
    pub(crate) fn see(&mut self, consumer: Consumer, waiting: u64) {
        let Consumer::Tasks(stage, ..) = consumer else { return };
        let before = self.waiting.insert(consumer, waiting).unwrap_or(0);
        let (tasks, active) = self.stages.entry(stage).or_default();
        *tasks = (*tasks + waiting).saturating_sub(before);
        *active = (*active + usize::from(waiting > 0)).saturating_sub(usize::from(before > 0));
    }

    /// Tasks that wait at a consumer.
    pub(crate) fn of(&self, consumer: &Consumer) -> u64 {
        self.waiting.get(consumer).copied().unwrap_or(0)
    }

    /// Tasks of the stage that wait.
    pub(crate) fn tasks(&self, stage: Stage) -> u64 {
        self.stages.get(&stage).map_or(0, |(tasks, _)| *tasks)
    }

    /// Consumers of the stage at which something waits.
    pub(crate) fn active(&self, stage: Stage) -> usize {
        self.stages.get(&stage).map_or(0, |(_, active)| *active)
    }
}

/// Workers that finish `tasks` within `target`, with `lanes` each; none for nothing, and no more than tasks.
pub(crate) fn workers(tasks: u64, item_seconds: f64, lanes: usize, target: Duration) -> u32 {
    let seconds = tasks as f64 * item_seconds / lanes.max(1) as f64;
    let enough = (seconds / target.as_secs_f64().max(0.001)).ceil().max(1.0);
    (enough as u64).min(tasks).min(u64::from(u32::MAX)) as u32
}

/// What the footprints say of a stage as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StageFacts {
    /// The largest batch that any key wants.
    pub(crate) batch: usize,
    /// Mean device-seconds of an item; one while nothing is known.
    pub(crate) item_seconds: f64,
    /// How long the start of a runner takes at most; zero while it was never seen.
    pub(crate) load: Duration,
}

impl StageFacts {
    /// Of the footprints of the stage, each with the largest batch that is wanted of it; `least` is wanted
    /// though nothing is known.
    pub(crate) fn of<'a>(
        known: impl Iterator<Item = &'a Footprint>,
        least: u32,
        wanted: impl Fn(&Footprint) -> u32,
    ) -> StageFacts {
        let known = known.filter(|known| known.is_measured());
        let (mut batch, mut seconds, mut count, mut load) = (least as usize, 0.0, 0u32, Duration::ZERO);
        for footprint in known {
            let wanted = wanted(footprint);
            batch = batch.max(wanted as usize);
            seconds += footprint.item_seconds(wanted);
            count += 1;
            load = load.max(footprint.load_time());
        }
        let item_seconds = if count == 0 { 1.0 } else { seconds / f64::from(count) };
        StageFacts { batch, item_seconds, load }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::tenant;
    use domain::{Bytes, Class};

    #[test]
    fn a_window_is_two_batches_per_place_shared_by_those_who_wait() {
        let check = |room: usize, active: usize, expect: usize| assert_eq!(window(room, active), expect);
        check(0, 3, 0);
        check(4, 0, 8);
        check(4, 1, 8);
        check(4, 3, 3);
        check(1, 1_000, 1);
    }

    #[test]
    fn workers_are_what_finishes_in_time_and_none_for_nothing() {
        let minute = Duration::from_secs(60);
        let check = |tasks: u64, seconds: f64, lanes: usize, expect: u32| {
            assert_eq!(workers(tasks, seconds, lanes, minute), expect, "{tasks} x {seconds} s / {lanes}");
        };
        check(0, 1.0, 1, 0);
        check(1, 0.01, 4, 1);
        check(600, 1.0, 1, 10);
        check(600, 1.0, 4, 3);
        check(2, 3_600.0, 1, 2);
    }

    #[test]
    fn backlogs_are_summed_by_stage_however_often_they_are_seen() {
        let mut backlogs = Backlogs::default();
        let of = |n: u8| Consumer::Tasks(Stage::Shape, Class::Normal, tenant(n));
        for (consumer, waiting) in [(of(0), 5), (of(1), 7), (of(0), 2), (of(1), 0)] {
            backlogs.see(consumer, waiting);
        }
        assert_eq!((backlogs.tasks(Stage::Shape), backlogs.active(Stage::Shape)), (2, 1));
        assert_eq!((backlogs.tasks(Stage::Texture), backlogs.active(Stage::Texture)), (0, 0));
    }

    #[test]
    fn a_stage_is_as_large_as_its_largest_batch_and_as_slow_as_its_mean() {
        let twice = |known: &Footprint| 2 * known.proven();
        let unknown = StageFacts::of([].into_iter(), 1, twice);
        assert_eq!(unknown, StageFacts { batch: 1, item_seconds: 1.0, load: Duration::ZERO });
        let measured = |items: u32, ms: u64| {
            let mut footprint = Footprint::default();
            footprint.observe(items, Bytes::mib(1), Duration::from_millis(ms));
            footprint
        };
        let known = [measured(1, 1_000), measured(8, 16_000)];
        assert_eq!(
            StageFacts::of(known.iter(), 1, twice),
            StageFacts { batch: 16, item_seconds: 1.5, load: Duration::ZERO }
        );
    }
}
