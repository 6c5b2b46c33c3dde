//! Latencies in little memory: percentiles with a bounded relative error, mergeable without loss. Everything
//! here that tells a percentile of many values stands on it. It keeps no value and no order.
//!
//! The library's DDSketch (Masson, Rim, Lee 2019): bins grow by a constant factor, so a percentile is off by
//! at most 1 % of itself, and the merge of two sketches is the sketch of both inputs.

use schemars::JsonSchema;
use serde::Serialize;
use sketches_ddsketch::{Config, DDSketch};
use std::fmt;
use std::time::Duration;

/// Relative error of a percentile.
const ERROR: f64 = 0.01;
/// Bins of 1 % error from 1 us on reach exp(2048 x 0.02) us, which is longer than any `u64` of microseconds
/// up to 10^17: nothing is ever folded together, which is what makes the merge exact.
const BINS_MAX: u32 = 2_048;
/// Below half a microsecond is zero.
const LEAST_US: f64 = 0.5;
/// Longer times count as this: three thousand years.
const MOST_US: f64 = 1e17;

/// Many latencies.
#[derive(Clone)]
pub struct Sketch(DDSketch);

/// What a sketch says, in milliseconds; each percentile within 1 % of its value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// Mean, exact.
    pub mean_ms: f64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// 90 % are.
    pub p90_ms: f64,
    /// 95 % are.
    pub p95_ms: f64,
    /// 99 % are.
    pub p99_ms: f64,
    /// Longest, exact.
    pub max_ms: f64,
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch(DDSketch::new(Config::new(ERROR, BINS_MAX, LEAST_US)))
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch({} values, {:?})", self.count(), self.percentiles())
    }
}

impl Sketch {
    /// One more.
    pub fn add(&mut self, span: Duration) {
        self.add_us(us(span));
    }

    /// One more, in microseconds.
    pub(crate) fn add_us(&mut self, us: u64) {
        self.0.add((us as f64).min(MOST_US));
    }

    /// All of the other's besides.
    pub fn merge(&mut self, other: &Sketch) {
        self.0.merge(&other.0).expect("all sketches have one configuration");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count() as u64
    }

    /// The `q`-quantile, 0 to 1, within 1 %; none of nothing. A `q` outside is moved to the nearer end.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let (least, most) = (self.0.min()?, self.0.max()?);
        let q = if q.is_nan() { 0.5 } else { q.clamp(0.0, 1.0) };
        let value = self.0.quantile(q).ok()??;
        Some(from_us(value.clamp(least, most)))
    }

    /// Share of the values that are at most `span`, within the error of the sketch; 0 of nothing.
    pub fn share_up_to(&self, span: Duration) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        if self.quantile(1.0).is_none_or(|most| most <= span) {
            return if self.count() == 0 { 0.0 } else { 1.0 };
        }
        // 2^-20 is below the share of one value in a million.
        for _ in 0..20 {
            let middle = 0.5 * (low + high);
            if self.quantile(middle).is_some_and(|value| value <= span) {
                low = middle
            } else {
                high = middle
            }
        }
        low
    }

    /// All together.
    pub fn sum(&self) -> Duration {
        from_us(self.0.sum().unwrap_or(0.0))
    }

    /// The usual percentiles; none of nothing.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let at = |q: f64| self.quantile(q).map(ms);
        Some(Percentiles {
            count: self.count(),
            mean_ms: ms(self.sum()) / self.count() as f64,
            p50_ms: at(0.5)?,
            p90_ms: at(0.9)?,
            p95_ms: at(0.95)?,
            p99_ms: at(0.99)?,
            max_ms: at(1.0)?,
        })
    }
}

/// Whole microseconds; the longest that fit, if it is longer.
pub(crate) fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds, with their fraction.
pub(crate) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Microseconds as a span; what is no number is none.
pub(crate) fn from_us(us: f64) -> Duration {
    Duration::from_micros(us.clamp(0.0, MOST_US) as u64)
}

/// Share of a whole in percent; 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::config;
    use proptest::prelude::*;

    fn sketch(list: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        list.iter().for_each(|us| sketch.add_us(*us));
        sketch
    }

    #[test]
    fn percentiles_are_those_of_the_list_within_one_percent() {
        let check = |list: &[u64], q: f64, expect_us: f64| {
            let found = sketch(list).quantile(q).map_or(-1.0, |value| value.as_secs_f64() * 1e6);
            assert!((found - expect_us).abs() <= 0.011 * expect_us.abs(), "{q} of {list:?} is {found}");
        };
        let hundred: Vec<u64> = (1..=100).map(|n| n * 1_000).collect();
        check(&hundred, 0.5, 50_000.0);
        check(&hundred, 0.9, 90_000.0);
        check(&hundred, 1.0, 100_000.0);
        check(&hundred, 7.0, 100_000.0);
        check(&[0, 0, 0, 8], 0.5, 0.0);
        check(&[], 0.5, -1.0);
        check(&[u64::MAX], 0.5, 1e17);
    }

    #[test]
    fn a_share_is_the_inverse_of_a_quantile() {
        let hundred: Vec<u64> = (1..=100).map(|n| n * 1_000).collect();
        let check = |ms: u64, expect: f64| {
            let found = sketch(&hundred).share_up_to(Duration::from_millis(ms));
            assert!((found - expect).abs() < 0.02, "{ms} ms: {found}");
        };
        check(0, 0.0);
        check(25, 0.25);
        check(75, 0.75);
        check(100, 1.0);
        check(500, 1.0);
        assert_eq!(Sketch::default().share_up_to(Duration::ZERO), 0.0);
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_merge_of_sketches_is_the_sketch_of_all(
            parts in prop::collection::vec(prop::collection::vec(0u64..10_000_000_000, 0..60), 1..6),
        ) {
            let mut merged = Sketch::default();
            parts.iter().for_each(|part| merged.merge(&sketch(part)));
            let all = sketch(&parts.concat());
            prop_assert_eq!(merged.count(), all.count());
            for q in [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(merged.quantile(q), all.quantile(q));
            }
            prop_assert!(merged.sum().abs_diff(all.sum()) <= Duration::from_micros(1));
        }
    }
}
