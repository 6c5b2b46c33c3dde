//! Footprints: the memory and time that a batch needs, as far as it is known.
//!
//! `peak(b) = fixed + b x per item`, raised by an error bound, and `t(b) = t0 + b x t1`: both learned from
//! the latest measurements of each size by a robust regression (`curve`), so that neither one strange picture
//! nor an old state of a device lasts. Nothing measured: the prior. What ran out of memory is a hard cap for
//! a while, whatever the line says.

use crate::curve::{Line, Point, error_bound, middle, quantile, share_bound};
use crate::kept::{Kept, OfSize, Seen};
use crate::key::RESERVATION_MIN;
use domain::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What address space needs beyond resident memory (guard pages, alignment, arenas), measured on the four
/// stages: below this.
const ADDRESS_SPACE: Bytes = Bytes::mib(64);
/// How long a size that ran out of memory stays forbidden.
const OOM_REMEMBERED: Duration = Duration::from_secs(600);
/// The smallest batch is taken whose throughput is at least this share of the best one's.
const GOOD_ENOUGH: f64 = 0.97;
/// Largest size up to which it is worked out what a batch is worth.
const WORTH_MAX: u32 = 1024;

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Footprint {
    kept: Kept,
    peak: Line,
    /// Share by which a peak may be above its line.
    peak_error: f64,
    time: Line,
    /// Share by which 95 % of the times are above what is expected, at most.
    late: f64,
    /// Median milliseconds of the sizes that were measured, by size.
    times_ms: Vec<(u32, f64)>,
    /// Milliseconds of an item at the measured size at which that is least.
    least_ms: f64,
    /// The batch that is worth it where at most so many items fit: of one, two, ...
    worth: Vec<u32>,
}

impl From<Kept> for Footprint {
    fn from(kept: Kept) -> Footprint {
        let mut footprint = Footprint { kept: kept.possible(), ..Footprint::default() };
        footprint.fit();
        footprint
    }
}

impl From<Footprint> for Kept {
    fn from(footprint: Footprint) -> Kept {
        footprint.kept
    }
}

impl Footprint {
    /// A batch of so many items ran through with this peak above the runner's warm size, in this time. What
    /// cannot be (no items, more than 16 TiB, longer than a day) was not measured, and is not learned from.
    pub fn observe(&mut self, items: u32, peak: Bytes, time: Duration) {
        let seen = Seen { peak, ms: time.as_secs_f64() * 1000.0 };
        if items == 0 || !seen.is_possible() {
            return;
        }
        if self.is_measured() {
            self.kept.judge(items, peak <= self.peak(items));
        }
        self.kept.see(items, seen);
        self.fit();
    }

    /// A group of this size ran out of this reservation. One item alone that needs more than others of its
    /// key were measured at says nothing about them.
    pub fn ran_out(&mut self, items: u32, reservation: Bytes, now: Timestamp) {
        if items <= 1 && self.is_measured() {
            return;
        }
        let each = Bytes(reservation.0 / u64::from(items.max(1)));
        self.kept.out_of_memory = Some((items.max(1), each, now + OOM_REMEMBERED));
    }

    /// Starting a runner took this long.
    pub fn loaded(&mut self, time: Duration) {
        let (ms, known) = (time.as_secs_f64() * 1000.0, self.kept.load_ms);
        self.kept.load_ms = if known == 0.0 { ms } else { known + 0.2 * (ms - known) };
    }

    /// How long starting a runner takes; zero while it was never seen.
    pub fn load_time(&self) -> Duration {
        span(self.kept.load_ms)
    }

    fn fit(&mut self) {
        let point = |value: fn(&Seen) -> f64| {
            let of_size = move |(items, of_size): (&u32, &OfSize)| {
                let mut values: Vec<f64> = of_size.seen.iter().map(value).collect();
                Point { items: *items, value: middle(&mut values), count: of_size.seen.len() }
            };
            self.kept.sizes.iter().map(of_size).collect::<Vec<Point>>()
        };
        let (peaks, times) = (point(|seen| seen.peak.0 as f64), point(|seen| seen.ms));
        self.peak = Line::through(&peaks);
        self.time = Line::through(&times);
        self.times_ms = times.iter().map(|point| (point.items, point.value)).collect();
        let each = self.times_ms.iter().map(|(items, ms)| ms / f64::from(*items));
        self.least_ms = each.reduce(f64::min).unwrap_or(0.0);
        let late = self.shares_above(|items| self.expected_ms(items).max(0.001), |seen| seen.ms);
        self.late = quantile(late, 0.95).max(0.0);
        self.peak_error = error_bound(self.peaks_above());
        self.worth = self.work_out_worth();
    }

    /// By which share each measurement was above what is expected of its size.
    fn shares_above(&self, expected: impl Fn(u32) -> f64, value: fn(&Seen) -> f64) -> Vec<f64> {
        let of_size = |(items, of_size): (&u32, &OfSize)| {
            let expected = expected(*items);
            of_size.seen.iter().map(|seen| value(seen) / expected - 1.0).collect::<Vec<f64>>()
        };
        self.kept.sizes.iter().flat_map(of_size).collect()
    }

    /// By which share each measured peak was above its line.
    fn peaks_above(&self) -> Vec<f64> {
        self.shares_above(|items| self.peak.at(items).max(1.0), |seen| seen.peak.0 as f64)
    }

    /// How many times farther than the largest measured size this is; at least once. An error of the line
    /// where it was measured is that many times larger there.
    fn reach(&self, items: u32) -> f64 {
        (f64::from(items) / f64::from(self.kept.largest().max(1))).max(1.0)
    }

    fn peak_with(&self, items: u32, error: f64) -> Bytes {
        Bytes((self.peak.at(items) * (1.0 + error * self.reach(items))).ceil().max(0.0) as u64)
    }

    /// The smallest size up to each whose throughput is good enough.
    fn work_out_worth(&self) -> Vec<u32> {
        let most = self.kept.proven.saturating_mul(2).min(WORTH_MAX);
        let rates: Vec<f64> =
            (1..=most).map(|items| f64::from(items) / self.expected_ms(items).max(0.001)).collect();
        let (mut best, mut enough) = (0.0f64, 0);
        let up_to = |(max, rate): (usize, &f64)| {
            best = best.max(*rate);
            while enough < max && rates[enough] < GOOD_ENOUGH * best {
                enough += 1;
            }
            enough as u32 + 1
        };
        rates.iter().enumerate().map(up_to).collect()
    }

    /// Milliseconds expected of a batch: as measured; between two sizes on the line between them; above the
    /// largest on the steeper of its last piece and of the whole line, since a gain that nobody has seen is
    /// not one.
    fn expected_ms(&self, items: u32) -> f64 {
        let times = &self.times_ms;
        let above = times.partition_point(|(size, _)| *size < items);
        let way = |from: u32, to: u32| f64::from(to) - f64::from(from);
        match (above.checked_sub(1).map(|below| times[below]), times.get(above)) {
            (_, Some((b, ms))) if *b == items => *ms,
            (Some((a, low)), Some((b, high))) => low + (high - low) * way(a, items) / way(a, *b),
            (Some((a, ms)), None) => {
                let before = above.checked_sub(2).map(|before| times[before]);
                let last = before.map_or(0.0, |(b, earlier)| (ms - earlier) / way(b, a));
                ms + self.time.each.max(last) * way(a, items)
            }
            (None, _) => self.time.at(items),
        }
    }

    /// Whether anything was measured.
    pub fn is_measured(&self) -> bool {
        self.kept.proven > 0
    }

    /// What a batch of so many items takes at its peak, with the error bound: above the largest measured size
    /// the bound grows with the distance.
    pub fn peak(&self, items: u32) -> Bytes {
        self.peak_with(items, self.peak_error)
    }

    /// What this share (0 to 1) of such batches stays below at their peak, as far as was measured: of few
    /// measurements, or beyond the largest of them, more than that share.
    pub fn peak_within(&self, items: u32, share: f64) -> Bytes {
        self.peak_with(items, share_bound(self.peaks_above(), share))
    }

    /// What to reserve for `items`.
    pub fn reservation(&self, items: u32, prior: Bytes, now: Timestamp) -> Bytes {
        let times = |each: Bytes| Bytes(each.0.saturating_mul(u64::from(items)));
        let all = if self.is_measured() { self.peak(items) } else { times(prior) };
        let all = match self.kept.out_of_memory {
            // Half as many items in as much memory: twice as much for each.
            Some((_, had, until)) if now < until => all.max(times(had + had)),
            _ => all,
        };
        (all + ADDRESS_SPACE).max(RESERVATION_MIN)
    }

    /// What to reserve for `items`, more than were measured here, if it grows from there as it does where
    /// `known` was measured: there it is known for more items.
    pub(crate) fn reservation_like(&self, items: u32, known: &Footprint, now: Timestamp) -> Bytes {
        let here = self.kept.largest().max(1);
        let (of_here, of_there) = (self.peak(here), known.peak(here).max(Bytes(1)));
        let grown = of_here.scale((known.peak(items).0 as f64 / of_there.0 as f64).max(1.0));
        let all = match self.ran_out_of(now) {
            Some(had) => grown.max(Bytes((had + had).0.saturating_mul(u64::from(items)))),
            None => grown,
        };
        (all + ADDRESS_SPACE).max(RESERVATION_MIN)
    }

    /// What one item had when batches of this key ran out of memory, while that is remembered.
    pub(crate) fn ran_out_of(&self, now: Timestamp) -> Option<Bytes> {
        self.kept.out_of_memory.filter(|(_, _, until)| now < *until).map(|(_, had, _)| had)
    }

    /// Largest batch that is allowed at all: growth at most doubles over what is proven, and what ran out is
    /// halved.
    pub fn size_max(&self, now: Timestamp) -> u32 {
        let grown = self.kept.proven.saturating_mul(2).max(1);
        match self.kept.out_of_memory {
            Some((items, _, until)) if now < until => grown.min((items / 2).max(1)),
            _ => grown,
        }
    }

    /// The smallest size up to `max` whose throughput is within 3 % of the best one's. Where only one size
    /// was measured, twice that is worth a try. Never smaller for a larger `max`.
    pub fn worthwhile(&self, max: u32) -> u32 {
        if let [(only, _)] = self.times_ms.as_slice() {
            return max.min(only.saturating_mul(2));
        }
        let place = (max.max(1) as usize).min(self.worth.len());
        place.checked_sub(1).and_then(|place| self.worth.get(place)).copied().unwrap_or(max)
    }

    /// Half of such batches take no longer than this; nothing while nothing is known.
    pub fn time(&self, items: u32) -> Duration {
        if self.is_measured() { span(self.expected_ms(items)) } else { Duration::ZERO }
    }

    /// Of such batches 95 % take no longer than this; nothing while nothing is known.
    pub fn time_late(&self, items: u32) -> Duration {
        if self.is_measured() { span(self.expected_ms(items) * (1.0 + self.late)) } else { Duration::ZERO }
    }

    /// What a batch takes however small it is: what is saved when two of them are one.
    pub fn saved(&self) -> Duration {
        span(self.time.fixed)
    }

    /// Seconds of device time that one item takes in a batch of this size; one second while nothing is known.
    pub fn item_seconds(&self, items: u32) -> f64 {
        if !self.is_measured() {
            return 1.0;
        }
        (self.expected_ms(items) / 1000.0 / f64::from(items.max(1))).max(0.001)
    }

    /// The same at the size, of those that were measured, at which it is least.
    pub(crate) fn least_item_seconds(&self) -> f64 {
        self.least_ms / 1000.0
    }

    /// The share of measurements that were not above what had been predicted for them before they were
    /// learned from, the latest most; one half while nothing was predicted.
    pub fn confidence(&self) -> f64 {
        self.kept.within.share()
    }

    /// The same of batches of this size: beyond the largest that was measured only what was predicted for
    /// sizes that had never been measured counts.
    pub fn confidence_for(&self, items: u32) -> f64 {
        if items > self.kept.largest() { self.kept.beyond.share() } else { self.kept.within.share() }
    }

    /// Measurements that were learned from.
    pub fn count(&self) -> u64 {
        self.kept.count
    }

    /// The largest batch that ran through.
    pub fn proven(&self) -> u32 {
        self.kept.proven
    }
}

fn span(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::{SEEN_MAX, SIZES_MAX};

    const NOW: Timestamp = Timestamp(1_000);

    fn observed(list: &[(u32, u64, u64)]) -> Footprint {
        let mut footprint = Footprint::default();
        for (items, mib, ms) in list {
            footprint.observe(*items, Bytes::mib(*mib), Duration::from_millis(*ms));
        }
        footprint
    }

    /// 100 MiB and 50 MiB for each item, 200 ms and 100 ms for each, both off by up to a tenth.
    fn noisy(count: u32, sizes: &[u32]) -> Footprint {
        let mut footprint = Footprint::default();
        for n in 0..count {
            let items = sizes[n as usize % sizes.len()];
            let off = 0.9 + 0.2 * f64::from(n * 7 % 20) / 19.0;
            let peak = Bytes::mib(100 + 50 * u64::from(items)).scale(off);
            let time = Duration::from_millis(200 + 100 * u64::from(items)).mul_f64(off);
            footprint.observe(items, peak, time);
        }
        footprint
    }

    #[test]
    fn a_measured_peak_replaces_the_prior_and_is_not_undercut_while_measurements_are_few() {
        let nothing = Footprint::default();
        assert_eq!(nothing.reservation(2, Bytes::mib(256), NOW), Bytes::mib(512 + 64));
        let some = observed(&[(1, 400, 10), (2, 1_000, 20)]);
        assert!(some.peak(1) >= Bytes::mib(400) && some.peak(2) >= Bytes::mib(1_000), "{some:?}");
        assert!(some.reservation(4, Bytes::gib(90), NOW) < Bytes::gib(4));
    }

    #[test]
    fn fixed_and_per_item_are_told_apart_and_the_bound_is_above_what_comes() {
        let footprint = noisy(64, &[1, 2, 4, 8]);
        for items in [1, 2, 4, 8, 16] {
            let truth = Bytes::mib(100 + 50 * u64::from(items));
            let bound = footprint.peak(items);
            assert!(bound >= truth.scale(1.1) && bound <= truth.scale(1.5), "{items}: {bound} for {truth}");
            let time = Duration::from_millis(200 + 100 * u64::from(items));
            assert!(
                footprint.time(items).abs_diff(time) <= time.mul_f64(0.12),
                "{:?}",
                footprint.time(items)
            );
            assert!(footprint.time_late(items) >= footprint.time(items));
        }
        assert!(footprint.saved() >= Duration::from_millis(150), "{:?}", footprint.saved());
        assert!((0.9..1.0).contains(&footprint.confidence()), "{}", footprint.confidence());
    }

    #[test]
    fn one_strange_picture_among_many_changes_nothing_and_a_device_that_changed_is_learned_anew() {
        let mut footprint = noisy(64, &[1, 2, 4, 8]);
        let before = footprint.peak(8);
        footprint.observe(4, Bytes::gib(40), Duration::from_secs(900));
        assert!(footprint.peak(8) <= before.scale(1.1), "{} after {before}", footprint.peak(8));
        for _ in 0..SEEN_MAX {
            for items in [1, 2, 4, 8] {
                let peak = Bytes::mib(20 + 10 * u64::from(items));
                footprint.observe(items, peak, Duration::from_millis(100));
            }
        }
        assert!(footprint.peak(8) <= Bytes::mib(120), "{}", footprint.peak(8));
    }

    #[test]
    fn what_was_learned_is_the_same_after_it_was_written_and_read() {
        let footprint = noisy(40, &[1, 3, 9]);
        let json = serde_json::to_string(&footprint).expect("JSON");
        let read: Footprint = serde_json::from_str(&json).expect("a footprint");
        assert_eq!(read.peak(7), footprint.peak(7));
        assert_eq!((read.worthwhile(16), read.size_max(NOW)), (footprint.worthwhile(16), 18));
        assert!(json.len() < 4096, "{} bytes", json.len());
    }

    #[test]
    fn however_many_sizes_are_seen_few_are_kept() {
        let footprint = noisy(5_000, &(1..=64).collect::<Vec<_>>());
        assert_eq!(footprint.kept.sizes.len(), SIZES_MAX);
        let seen = footprint.kept.sizes.values().map(|of_size| of_size.seen.len()).max();
        assert!(seen.is_some_and(|seen| seen <= SEEN_MAX));
    }

    #[test]
    fn growth_doubles_at_most_and_what_ran_out_is_halved_until_forgotten() {
        let mut footprint = observed(&[(4, 100, 10)]);
        assert_eq!(footprint.size_max(NOW), 8);
        footprint.ran_out(8, Bytes::mib(800), NOW);
        assert_eq!(footprint.size_max(NOW), 4);
        assert_eq!(footprint.reservation(1, Bytes::ZERO, NOW), Bytes::mib(200 + 64));
        assert_eq!(footprint.size_max(NOW + OOM_REMEMBERED), 8);
    }

    #[test]
    fn one_that_ran_out_alone_says_little_of_its_key_once_others_ran_through() {
        let mut footprint = observed(&[(1, 100, 10)]);
        footprint.ran_out(1, Bytes::gib(4), NOW);
        assert_eq!(footprint, observed(&[(1, 100, 10)]));
        let mut footprint = Footprint::default();
        footprint.ran_out(1, Bytes::gib(4), NOW);
        assert_eq!(footprint.reservation(1, Bytes::gib(1), NOW), Bytes::gib(8) + ADDRESS_SPACE);
        footprint.observe(1, Bytes::mib(100), Duration::from_millis(10));
        assert_eq!(footprint, observed(&[(1, 100, 10)]));
    }

    #[test]
    fn recovery_from_running_out_takes_as_many_steps_as_there_are_halvings() {
        let mut footprint = observed(&[(64, 100, 10)]);
        let mut steps = 0;
        while footprint.size_max(NOW) > 1 {
            footprint.ran_out(footprint.size_max(NOW), Bytes::gib(8), NOW);
            steps += 1;
        }
        assert_eq!(steps, 7, "128, 64, .. 2");
    }

    #[test]
    fn a_batch_is_no_larger_than_it_is_worth() {
        let check = |list: &[(u32, u64, u64)], max: u32, expect: u32| {
            assert_eq!(observed(list).worthwhile(max), expect, "{list:?}");
        };
        check(&[], 4, 4);
        check(&[(1, 1, 100)], 2, 2);
        check(&[(1, 1, 100), (2, 1, 200)], 4, 1);
        check(&[(1, 1, 100), (2, 1, 110)], 4, 4);
        check(&[(1, 1, 100), (2, 1, 110), (4, 1, 216)], 8, 2);
        check(&[(1, 1, 100), (2, 1, 110), (4, 1, 216)], 3, 2);
    }

    #[test]
    fn published_gpu_curves_give_small_batches() {
        let curve = |rates: &[(u32, f64)]| {
            let mut footprint = Footprint::default();
            for (items, rate) in rates {
                footprint.observe(*items, Bytes::mib(1), Duration::from_secs_f64(f64::from(*items) / rate));
            }
            footprint
        };
        let at_512 = curve(&[(1, 6.0), (2, 10.9), (3, 16.1), (4, 16.6), (8, 18.8), (16, 19.2)]);
        assert!((3..=8).contains(&at_512.worthwhile(16)), "{}", at_512.worthwhile(16));
        let at_1024 = curve(&[(1, 4.11), (2, 4.22), (3, 4.22)]);
        assert!(at_1024.worthwhile(16) <= 2);
    }
}
