//! How fast jobs go: what recent ones took from the end of one stage to the end of the next, waiting
//! included, and what that says of one that is on its way.

use domain::{Stage, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Jobs of each stage that are remembered: recent enough to follow the load, enough for a steady median.
const SAMPLES_MAX: usize = 101;

/// What recent jobs took, by stage.
#[derive(Default)]
pub(crate) struct Pace {
    samples: [VecDeque<Duration>; Stage::ALL.len()],
}

impl Pace {
    /// A stage was done so long after the one before it, or after the upload was accepted.
    pub(crate) fn add(&mut self, stage: Stage, took: Duration) {
        let samples = &mut self.samples[stage as usize];
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(took);
    }

    /// The median time until a job is done that lacks all but these stages and ended the last of them (or
    /// was accepted) at `mark`. None while a stage that it lacks was never seen.
    pub(crate) fn left(&self, done: &BTreeSet<Stage>, mark: Timestamp, now: Timestamp) -> Option<Duration> {
        let lacking = Stage::ALL.into_iter().filter(|stage| !done.contains(stage));
        let whole = lacking.map(|stage| self.median(stage)).collect::<Option<Vec<Duration>>>()?;
        let spent = if mark == Timestamp(0) { Duration::ZERO } else { now.since(mark) };
        let mut left = Duration::ZERO;
        for (n, stage) in whole.into_iter().enumerate() {
            left += if n == 0 { stage.saturating_sub(spent) } else { stage };
        }
        Some(left)
    }

    fn median(&self, stage: Stage) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.samples[stage as usize].iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_median_of_each_lacking_stage_less_what_was_spent_on_the_first() {
        let mut pace = Pace::default();
        let none = BTreeSet::new();
        assert_eq!(pace.left(&none, Timestamp(0), Timestamp(5)), None);
        for stage in Stage::ALL {
            for seconds in [1, 2, 90] {
                pace.add(stage, Duration::from_secs(seconds));
            }
        }
        let check = |done: &BTreeSet<Stage>, mark: u64, now: u64, expect_ms: u64| {
            let left = pace.left(done, Timestamp(mark), Timestamp(now));
            assert_eq!(left, Some(Duration::from_millis(expect_ms)));
        };
        check(&none, 0, 9_000, 8_000);
        check(&none, 1_000, 1_500, 7_500);
        let half = BTreeSet::from([Stage::Preprocess, Stage::Shape]);
        check(&half, 1_000, 1_500, 3_500);
        // Slower than others: the stage may end at any moment.
        check(&half, 1_000, 60_000, 2_000);
        check(&BTreeSet::from(Stage::ALL), 1_000, 60_000, 0);
    }

    #[test]
    fn old_samples_make_room() {
        let mut pace = Pace::default();
        for n in 0..1_000 {
            pace.add(Stage::Export, Duration::from_millis(n));
        }
        assert_eq!(pace.median(Stage::Export), Some(Duration::from_millis(949)));
    }
}
