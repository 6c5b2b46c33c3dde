//! Whether a stage becomes slower, and since when: a slope and change points of the compute time per item,
//! per stage and kind of device. Fed by the window. It says what changed at the same time; it proves no
//! cause.
//!
//! Times are compared as logarithms, so that a ratio is a difference and one outlier weighs little. A split
//! of buckets into before and after is a change point when
//! ```text
//! |mean after - mean before| / (s sqrt(1/n before + 1/n after)) > 3 + sqrt(2 ln splits)
//! ```
//! and the ratio is at least 10 %. s^2 is the scatter of batches within buckets, or what neighbouring blocks
//! of 1, 2, 4 or 8 buckets differ by, whichever is most: work of one kind comes in bursts. The latter is the
//! median of squared differences (after von Neumann 1941), which a few steps do not raise. The best split
//! first, then the same on both sides: binary segmentation (Scott, Knott 1974). The bound grows as the
//! largest of as many normal values does.

use crate::Window;
use crate::batches::BatchSeen;
use domain::{DeviceClass, EngineVersion, Stage, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Width of a bucket at first; doubled when there are too many.
const WIDTH_MS: u64 = 10_000;
/// Buckets of a series: at 10 s almost three hours, at 80 s a day.
const BUCKETS_MAX: usize = 1_024;
/// Engine versions and precisions that are told apart in a series; the last stands for all others.
const VARIANTS_MAX: usize = 16;
/// Batches and buckets that a side of a split must have.
const SIDE_MIN: (f64, usize) = (8.0, 3);
/// Buckets in the blocks that are compared, and how many differences make a median.
const BLOCKS: [usize; 4] = [1, 2, 4, 8];
const DIFFERENCES_MIN: usize = 5;
/// Median of the square of a standard normal value.
const MEDIAN_SQUARE: f64 = 0.454_94;
/// Scatter of batches that is assumed at least.
const SCATTER_MIN: f64 = 0.01;
/// Logarithm of the least ratio that is told: 10 %.
const RATIO_MIN: f64 = 0.0953;
/// Change points of a series that are told.
const CHANGES_MAX: usize = 16;
/// Buckets that a slope needs, its least significance, and the least change over the time it was seen in.
const SLOPE: (usize, f64, f64) = (6, 3.0, 0.05);

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It becomes slower.
    Increasing,
    /// It becomes faster.
    Decreasing,
    /// Neither, as far as can be told.
    Stable,
}

/// A moment from which on a stage was slower or faster.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChangePoint {
    /// The stage.
    pub stage: Stage,
    /// On this kind of device.
    pub device_class: DeviceClass,
    /// Since when, to the width of a bucket: 10 s in windows of up to three hours.
    pub at: Timestamp,
    /// Slower by this many percent; negative when faster.
    pub slower_percent: f64,
    /// Typical (geometric mean) compute time per item before, up to the change point before this one.
    pub before_ms: f64,
    /// The same after.
    pub after_ms: f64,
    /// The engine version that most batches ran with after and not before, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineVersion>,
    /// The precision, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// All this in a sentence.
    pub text: String,
}

/// How a stage's compute time per item went.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Trend {
    /// The stage.
    pub stage: Stage,
    /// On this kind of device.
    pub device_class: DeviceClass,
    /// Batches that it was learned from.
    pub batches: u64,
    /// Which way it went since the last change point.
    pub direction: Direction,
    /// Slope since then; 0 when stable.
    pub percent_per_hour: f64,
    /// In their order.
    pub changes: Vec<ChangePoint>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Bucket {
    n: f64,
    sum: f64,
    sum_sq: f64,
    items: f64,
    /// Place in `variants` and number of batches.
    variants: Vec<(usize, u64)>,
}

impl Bucket {
    fn merge(&mut self, other: &Bucket) {
        self.n += other.n;
        self.sum += other.sum;
        self.sum_sq += other.sum_sq;
        self.items += other.items;
        other.variants.iter().for_each(|(place, count)| self.count(*place, *count));
    }

    fn count(&mut self, place: usize, count: u64) {
        match self.variants.iter_mut().find(|(of, _)| *of == place) {
            Some((_, total)) => *total += count,
            None => self.variants.push((place, count)),
        }
    }
}

/// Compute times over time.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    width_ms: u64,
    buckets: BTreeMap<u64, Bucket>,
    variants: Vec<(EngineVersion, String)>,
}

impl Default for Series {
    fn default() -> Series {
        Series { width_ms: WIDTH_MS, buckets: BTreeMap::new(), variants: Vec::new() }
    }
}

impl Series {
    pub(crate) fn add(&mut self, seen: &BatchSeen) {
        if seen.compute_us() == 0 || seen.heard == 0 {
            return;
        }
        let value = (seen.compute_us() as f64 / f64::from(seen.heard)).ln();
        let place = self.variant(&seen.engine, &seen.precision);
        let bucket = self.buckets.entry(seen.at.0 / self.width_ms).or_default();
        let one =
            Bucket { n: 1.0, sum: value, sum_sq: value * value, items: seen.items.into(), variants: vec![] };
        bucket.merge(&one);
        bucket.count(place, 1);
        self.coarsen();
    }

    pub(crate) fn merge(&mut self, other: &Series) {
        while self.width_ms < other.width_ms {
            self.double();
        }
        let places: Vec<usize> =
            other.variants.iter().map(|(engine, precision)| self.variant(engine, precision)).collect();
        for (at, theirs) in &other.buckets {
            let moved = theirs.variants.iter().map(|(place, count)| (places[*place], *count)).collect();
            let bucket = self.buckets.entry(at * other.width_ms / self.width_ms).or_default();
            bucket.merge(&Bucket { variants: moved, ..theirs.clone() });
        }
        self.coarsen();
    }

    fn variant(&mut self, engine: &EngineVersion, precision: &str) -> usize {
        let same = |(of, with): &(EngineVersion, String)| of == engine && with == precision;
        self.variants.iter().position(same).unwrap_or_else(|| {
            if self.variants.len() < VARIANTS_MAX {
                self.variants.push((engine.clone(), precision.to_owned()));
            }
            self.variants.len() - 1
        })
    }

    fn coarsen(&mut self) {
        while self.buckets.len() > BUCKETS_MAX {
            self.double();
        }
    }

    fn double(&mut self) {
        self.width_ms = self.width_ms.saturating_mul(2);
        for (at, bucket) in std::mem::take(&mut self.buckets) {
            self.buckets.entry(at / 2).or_default().merge(&bucket);
        }
    }

    fn trend(&self, stage: Stage, device_class: &DeviceClass) -> Trend {
        let list: Vec<(u64, &Bucket)> = self.buckets.iter().map(|(at, of)| (*at, of)).collect();
        let sums = Sums::of(&list);
        let mut cuts = Vec::new();
        sums.cut((0, list.len()), &mut cuts);
        cuts.sort_unstable();
        let edges: Vec<usize> = [0].into_iter().chain(cuts).chain([list.len()]).collect();
        let changes = edges.windows(3).filter_map(|three| {
            let [from, cut, to] = [three[0], three[1], three[2]];
            let sides = [sums.between(from, cut), sums.between(cut, to)];
            let at = Timestamp(list[cut].0 * self.width_ms);
            let variants = [&list[from..cut], &list[cut..to]].map(|side| self.main_variant(side));
            change((stage, device_class), at, sides, variants)
        });
        let last = edges[edges.len().saturating_sub(2)];
        let scatter = sums.scatter(last, list.len());
        let (direction, percent_per_hour) = slope(&list[last..], self.width_ms, scatter);
        let batches = list.iter().map(|(_, of)| of.n).sum::<f64>() as u64;
        Trend {
            stage,
            device_class: device_class.clone(),
            batches,
            direction,
            percent_per_hour,
            changes: changes.collect(),
        }
    }

    /// What most batches of these buckets ran with.
    fn main_variant(&self, list: &[(u64, &Bucket)]) -> Option<&(EngineVersion, String)> {
        let mut counts = vec![0u64; self.variants.len()];
        let each = list.iter().flat_map(|(_, of)| &of.variants);
        each.for_each(|(place, count)| counts[*place] += count);
        let most = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
        self.variants.get(most.0)
    }
}

/// Batches of some buckets: how many, their mean, and items per batch.
#[derive(Clone, Copy, Debug)]
struct Part {
    n: f64,
    mean: f64,
    items: f64,
}

/// Sums up to each bucket, so that any part is told at once: n, sum, squares about bucket means, items.
struct Sums(Vec<[f64; 4]>);

impl Sums {
    fn of(list: &[(u64, &Bucket)]) -> Sums {
        let mut sums = vec![[0.0; 4]];
        for (_, of) in list {
            let last = sums[sums.len() - 1];
            let own = [of.n, of.sum, (of.sum_sq - of.sum * of.sum / of.n).max(0.0), of.items];
            sums.push(std::array::from_fn(|n| last[n] + own[n]));
        }
        Sums(sums)
    }

    fn sum(&self, from: usize, to: usize) -> [f64; 4] {
        std::array::from_fn(|at| self.0[to][at] - self.0[from][at])
    }

    fn between(&self, from: usize, to: usize) -> Part {
        let [n, sum, _, items] = self.sum(from, to);
        Part { n, mean: sum / n, items: items / n }
    }

    /// Standard deviation of one batch, as far as it tells how certain a mean is.
    fn scatter(&self, from: usize, to: usize) -> f64 {
        let [n, _, within, _] = self.sum(from, to);
        let free = n - (to - from) as f64;
        let of_batches = if free >= 1.0 { within / free } else { 0.0 };
        let of_blocks = BLOCKS.into_iter().filter_map(|width| {
            let blocks: Vec<Part> =
                (from..to).step_by(width).map(|at| self.between(at, (at + width).min(to))).collect();
            let square =
                |two: &[Part]| (two[1].mean - two[0].mean).powi(2) / (1.0 / two[0].n + 1.0 / two[1].n);
            let mut squares: Vec<f64> = blocks.windows(2).map(square).collect();
            squares.sort_by(f64::total_cmp);
            (squares.len() >= DIFFERENCES_MIN).then(|| squares[squares.len() / 2] / MEDIAN_SQUARE)
        });
        of_blocks.fold(of_batches, f64::max).sqrt().max(SCATTER_MIN)
    }

    /// Finds change points between two places: the most certain one, then in both parts.
    fn cut(&self, (from, to): (usize, usize), cuts: &mut Vec<usize>) {
        let (batches_min, buckets_min) = SIDE_MIN;
        if to - from < 2 * buckets_min || cuts.len() >= CHANGES_MAX {
            return;
        }
        let scatter = self.scatter(from, to);
        let certainty = |at: usize| {
            let (a, b) = (self.between(from, at), self.between(at, to));
            if a.n < batches_min || b.n < batches_min || (a.mean - b.mean).abs() < RATIO_MIN {
                return 0.0;
            }
            (a.mean - b.mean).abs() / (scatter * (1.0 / a.n + 1.0 / b.n).sqrt())
        };
        let places = from + buckets_min..=to - buckets_min;
        let best = places.map(|at| (at, certainty(at))).max_by(|a, b| a.1.total_cmp(&b.1));
        let bound = 3.0 + (2.0 * ((to - from) as f64).ln()).sqrt();
        if let Some((at, _)) = best.filter(|(_, certainty)| *certainty > bound) {
            cuts.push(at);
            self.cut((from, at), cuts);
            self.cut((at, to), cuts);
        }
    }
}

fn change(
    (stage, device_class): (Stage, &DeviceClass),
    at: Timestamp,
    [before, after]: [Part; 2],
    variants: [Option<&(EngineVersion, String)>; 2],
) -> Option<ChangePoint> {
    let ratio = after.mean - before.mean;
    if ratio.abs() < RATIO_MIN {
        return None;
    }
    let slower_percent = 100.0 * (ratio.exp() - 1.0);
    let [before_ms, after_ms] = [before.mean, after.mean].map(|mean| mean.exp() / 1e3);
    let (mut engine, mut precision) = (None, None);
    let how = if slower_percent > 0.0 { "slower" } else { "faster" };
    let minutes = at.whole_seconds() / 60;
    let clock = format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
    let mut text = format!("{stage} became {:.0} % {how} at {clock} UTC", slower_percent.abs());
    if let [Some(old), Some(new)] = variants {
        if old.0 != new.0 {
            text += &format!(", with engine version {} {}", new.0.name, new.0.version);
            engine = Some(new.0.clone());
        }
        if old.1 != new.1 {
            text += &format!(", with precision {} instead of {}", new.1, old.1);
            precision = Some(new.1.clone());
        }
    }
    if !(0.67..1.5).contains(&(after.items / before.items)) {
        text += &format!(", with batches of {:.1} items instead of {:.1}", after.items, before.items);
    }
    text += &format!(
        " ({before_ms:.1} -> {after_ms:.1} ms per item on {}; {} batches before, {} after)",
        device_class.0, before.n, after.n
    );
    let device_class = device_class.clone();
    Some(ChangePoint {
        stage,
        device_class,
        at,
        slower_percent,
        before_ms,
        after_ms,
        engine,
        precision,
        text,
    })
}

/// Least squares of bucket means over time, weighted with their batches; `scatter` is that of one batch.
fn slope(list: &[(u64, &Bucket)], width_ms: u64, scatter: f64) -> (Direction, f64) {
    const STABLE: (Direction, f64) = (Direction::Stable, 0.0);
    let (buckets_min, certainty_min, change_min) = SLOPE;
    let [Some(first), Some(last)] = [list.first(), list.last()] else { return STABLE };
    if list.len() < buckets_min {
        return STABLE;
    }
    let hours = |at: u64| (at - first.0) as f64 * width_ms as f64 / 3.6e6;
    let n: f64 = list.iter().map(|(_, of)| of.n).sum();
    let x_mean = list.iter().map(|(at, of)| of.n * hours(*at)).sum::<f64>() / n;
    let y_mean = list.iter().map(|(_, of)| of.sum).sum::<f64>() / n;
    let spread: f64 = list.iter().map(|(at, of)| of.n * (hours(*at) - x_mean).powi(2)).sum();
    let both: f64 = list.iter().map(|(at, of)| (hours(*at) - x_mean) * (of.sum - of.n * y_mean)).sum();
    let slope = both / spread;
    let certainty = slope.abs() * spread.sqrt() / scatter;
    if certainty < certainty_min || (slope * hours(last.0)).abs() < change_min {
        return STABLE;
    }
    let direction = if slope > 0.0 { Direction::Increasing } else { Direction::Decreasing };
    (direction, 100.0 * (slope.exp() - 1.0))
}

impl Window {
    /// How each stage's compute time per item went, per kind of device. Of batches that are over.
    pub fn trends(&self) -> Vec<Trend> {
        self.series().map(|(stage, class, series)| series.trend(stage, class)).collect()
    }
}

#[cfg(test)]
mod tests;
