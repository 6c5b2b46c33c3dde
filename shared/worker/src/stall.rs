//! How long a runner may be silent: at least the protocol's minimum, and four times what nearly all items of
//! the stage took. Learned while the worker runs; a fresh one begins at the minimum.

use domain::Stage;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Items of a stage that are remembered: the latest ones.
const REMEMBERED: usize = 128;
/// Longest patience, in minima: an endless loop must end some time, whatever was seen before.
const MINIMA_MAX: u32 = 60;

/// What was seen of each stage.
pub(crate) struct Stalls {
    min: Duration,
    computed: BTreeMap<Stage, VecDeque<Duration>>,
}

impl Stalls {
    pub(crate) fn new(min: Duration) -> Stalls {
        Stalls { min, computed: BTreeMap::new() }
    }

    /// An item was computed in this time.
    pub(crate) fn see(&mut self, stage: Stage, computed: Duration) {
        let seen = self.computed.entry(stage).or_default();
        seen.push_back(computed);
        if seen.len() > REMEMBERED {
            seen.pop_front();
        }
    }

    /// Silence for this long is a stall: `max(minimum, 4 x p95)`.
    pub(crate) fn of(&self, stage: Stage) -> Duration {
        let mut seen: Vec<Duration> = self.computed.get(&stage).into_iter().flatten().copied().collect();
        seen.sort_unstable();
        let p95 = seen.get((seen.len() * 95 / 100).min(seen.len().saturating_sub(1)));
        p95.map_or(self.min, |p95| (*p95 * 4).clamp(self.min, self.min * MINIMA_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: &[u64], expect: u64) {
        let mut stalls = Stalls::new(Duration::from_secs(60));
        for computed in seconds {
            stalls.see(Stage::Shape, Duration::from_secs(*computed));
        }
        assert_eq!(stalls.of(Stage::Shape), Duration::from_secs(expect), "{seconds:?}");
        assert_eq!(stalls.of(Stage::Export), Duration::from_secs(60));
    }

    #[test]
    fn patience_is_four_times_what_nearly_all_items_took_and_never_below_the_minimum() {
        check(&[], 60);
        check(&[1, 2, 3], 60);
        check(&[40, 50], 200);
        check(&[vec![20; 99], vec![10_000]].concat(), 80);
        check(&[10_000; 3], 3_600);
        check(&[vec![1_000; 128], vec![1; 128]].concat(), 60);
    }
}
