//! How long a batch takes by its size, at one stage on one kind of device in one precision. Fed by the
//! window, read by `capacity` and `predict`. It never speaks of a size outside those that were measured.
//!
//! ```text
//! t(b)            = compute time of a batch of b items; measured means, drawn to the line t0 + b t1
//! item seconds(b) = (fetch + load + t(b)) / (b x share committed)      lane-seconds of one finished item
//! ```

use crate::batches::BatchSeen;
use std::collections::BTreeMap;

/// Batches of one size that must have been measured before that size is used to predict.
pub(crate) const BATCHES_MIN: u64 = 3;
/// How many measured batches the line through all sizes is worth.
const LINE_WEIGHT: f64 = 3.0;
/// Sizes up to here are told apart; larger ones are rounded up to a power of two.
const SIZES_EXACT: u32 = 256;

/// The size under which a batch is counted.
pub(crate) fn size_slot(items: u32) -> u32 {
    let items = items.max(1);
    if items <= SIZES_EXACT { items } else { items.checked_next_power_of_two().unwrap_or(1 << 31) }
}

/// Batches of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SizeTimes {
    pub(crate) batches: u64,
    pub(crate) items: u64,
    pub(crate) committed: u64,
    pub(crate) fetch_us: u64,
    pub(crate) load_us: u64,
    pub(crate) compute_us: u64,
}

impl SizeTimes {
    fn merge(&mut self, other: &SizeTimes) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.batches, other.batches);
        sum(&mut self.items, other.items);
        sum(&mut self.committed, other.committed);
        sum(&mut self.fetch_us, other.fetch_us);
        sum(&mut self.load_us, other.load_us);
        sum(&mut self.compute_us, other.compute_us);
    }

    fn per_batch(&self, us: u64) -> f64 {
        us as f64 / 1e6 / self.batches.max(1) as f64
    }
}

/// Lane-seconds of one finished item, by phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ItemSeconds {
    /// In batches of this size.
    pub(crate) batch: u32,
    pub(crate) fetch: f64,
    pub(crate) load: f64,
    pub(crate) compute: f64,
}

impl ItemSeconds {
    /// All phases that hold the lane.
    pub(crate) fn all(&self) -> f64 {
        self.fetch + self.load + self.compute
    }
}

/// Batches by size.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Speed {
    sizes: BTreeMap<u32, SizeTimes>,
}

impl Speed {
    pub(crate) fn add(&mut self, seen: &BatchSeen) {
        let one = SizeTimes {
            batches: 1,
            items: u64::from(seen.items),
            committed: u64::from(seen.committed),
            fetch_us: seen.fetch_us(),
            load_us: seen.load_us(),
            compute_us: seen.compute_us(),
        };
        self.sizes.entry(size_slot(seen.items)).or_default().merge(&one);
    }

    pub(crate) fn merge(&mut self, other: &Speed) {
        for (size, times) in &other.sizes {
            self.sizes.entry(*size).or_default().merge(times);
        }
    }

    /// All sizes together.
    pub(crate) fn total(&self) -> SizeTimes {
        let mut total = SizeTimes::default();
        self.sizes.values().for_each(|times| total.merge(times));
        total
    }

    /// Sizes that were measured often enough.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u32> {
        self.sizes.iter().filter(|(_, times)| times.batches >= BATCHES_MIN).map(|(size, _)| *size)
    }

    /// Batches measured at a size.
    pub(crate) fn batches_at(&self, size: u32) -> u64 {
        self.sizes.get(&size).map_or(0, |times| times.batches)
    }

    /// t(b) in seconds; none outside the measured sizes.
    pub(crate) fn batch_seconds(&self, size: u32) -> Option<f64> {
        let drawn = |(size, times): (&u32, &SizeTimes)| {
            let (mean, n) = (times.per_batch(times.compute_us), times.batches as f64);
            match self.line() {
                Some((t0, t1)) => {
                    let line = (t0 + t1 * f64::from(*size)).max(0.0);
                    (f64::from(*size), (n * mean + LINE_WEIGHT * line) / (n + LINE_WEIGHT))
                }
                None => (f64::from(*size), mean),
            }
        };
        let below = self.sizes.range(..=size).next_back().map(drawn)?;
        let above = self.sizes.range(size..).next().map(drawn)?;
        let share = if above.0 > below.0 { (f64::from(size) - below.0) / (above.0 - below.0) } else { 0.0 };
        Some(below.1 + share * (above.1 - below.1))
    }

    /// t0 and t1 of the line through all sizes, by least squares weighted with the number of batches; none
    /// of one size.
    fn line(&self) -> Option<(f64, f64)> {
        let points = || {
            self.sizes.iter().map(|(size, times)| {
                (f64::from(*size), times.per_batch(times.compute_us), times.batches as f64)
            })
        };
        let weight: f64 = points().map(|(_, _, n)| n).sum();
        let x_mean = points().map(|(x, _, n)| n * x).sum::<f64>() / weight;
        let t_mean = points().map(|(_, t, n)| n * t).sum::<f64>() / weight;
        let spread: f64 = points().map(|(x, _, n)| n * (x - x_mean).powi(2)).sum();
        let slope = points().map(|(x, t, n)| n * (x - x_mean) * (t - t_mean)).sum::<f64>() / spread;
        (spread > 0.0).then_some((t_mean - slope * x_mean, slope))
    }

    /// Lane-seconds of an item in batches of this size; none outside the measured sizes, or if nothing was
    /// committed.
    pub(crate) fn at_size(&self, size: u32) -> Option<ItemSeconds> {
        let total = self.total();
        let finished = f64::from(size) * total.committed as f64 / total.items.max(1) as f64;
        let compute = self.batch_seconds(size)?;
        let here = self.sizes.get(&size).filter(|times| times.batches >= BATCHES_MIN).unwrap_or(&total);
        (finished > 0.0).then(|| ItemSeconds {
            batch: size,
            fetch: here.per_batch(here.fetch_us) / finished,
            // A start says nothing about the size that follows it: it is shared among all batches.
            load: total.per_batch(total.load_us) / finished,
            compute: compute / finished,
        })
    }

    /// Lane-seconds of an item at the sizes that were seen, in their mixture.
    pub(crate) fn seen(&self) -> Option<ItemSeconds> {
        let total = self.total();
        let each = |us: u64| us as f64 / 1e6 / total.committed as f64;
        let mean = total.items as f64 / total.batches.max(1) as f64;
        (total.committed > 0).then(|| ItemSeconds {
            batch: (mean.round() as u32).max(1),
            fetch: each(total.fetch_us),
            load: each(total.load_us),
            compute: each(total.compute_us),
        })
    }

    /// Whether no size larger than this was measured often enough: what a larger one would do is not known.
    pub(crate) fn is_largest(&self, size: u32) -> bool {
        self.sizes().all(|of| of <= size)
    }

    /// Lane-seconds of an item when work waits: a stage that waits for work runs small batches, and says
    /// little about what it could do. Of the mixture seen and of each size measured often enough, the best.
    pub(crate) fn under_load(&self) -> Option<ItemSeconds> {
        let seen = self.seen()?;
        let sizes = self.sizes().filter_map(|size| self.at_size(size)).chain([seen]);
        sizes.min_by(|a, b| a.all().total_cmp(&b.all()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::Batches;
    use crate::samples::batch;
    use domain::Stage;

    /// (size, how many batches, milliseconds each).
    fn speed(list: &[(u32, u64, u64)]) -> Speed {
        let (mut speed, mut batches) = (Speed::default(), Batches::default());
        for (size, count, ms) in list {
            for n in 0..*count {
                let tasks = batch(u64::from(*size) << 20 | n, Stage::Shape, *size, *ms);
                tasks.iter().filter_map(|task| batches.add(task)).for_each(|seen| speed.add(&seen));
            }
        }
        speed
    }

    #[test]
    fn a_batch_time_is_measured_or_lies_between_measured_ones() {
        let check = |list: &[(u32, u64, u64)], size: u32, expect: Option<f64>| {
            let found = speed(list).batch_seconds(size);
            let near = |(a, b): (f64, f64)| (a - b).abs() < 1e-6;
            assert!(found.zip(expect).map_or(found == expect, near), "{size} of {list:?} is {found:?}");
        };
        check(&[], 1, None);
        check(&[(2, 5, 100)], 2, Some(0.1));
        check(&[(2, 5, 100)], 4, None);
        check(&[(1, 5, 100), (4, 5, 250)], 1, Some(0.1));
        check(&[(1, 5, 100), (4, 5, 250)], 2, Some(0.15));
        check(&[(1, 5, 100), (4, 5, 250)], 8, None);
    }

    #[test]
    fn under_load_the_best_size_counts_and_a_rare_one_does_not() {
        let check = |list: &[(u32, u64, u64)], expect: f64| {
            let found = speed(list).under_load().expect("something was measured").all();
            assert!((found - expect).abs() < 1e-3, "{list:?}: {found}");
        };
        check(&[(1, 10, 100)], 0.1);
        check(&[(1, 10, 100), (2, 10, 110)], 0.055);
        check(&[(1, 10, 100), (2, 10, 220)], 0.1);
        check(&[(1, 10, 100), (8, 1, 80)], 0.0600);
    }

    #[test]
    fn what_was_not_committed_is_paid_by_what_was() {
        let mut tasks = batch(1, Stage::Shape, 2, 100);
        tasks[0].end = domain::TaskEnd::Failed;
        let (mut speed, mut batches) = (Speed::default(), Batches::default());
        tasks.iter().filter_map(|task| batches.add(task)).for_each(|seen| speed.add(&seen));
        assert_eq!(speed.seen().map(|of| of.all()), Some(0.1));
        assert_eq!(speed.total().committed, 1);
    }

    #[test]
    fn sizes_are_told_apart_up_to_a_limit() {
        let check = |items: u32, expect: u32| assert_eq!(size_slot(items), expect);
        check(0, 1);
        check(256, 256);
        check(257, 512);
        check(u32::MAX, 1 << 31);
    }
}
