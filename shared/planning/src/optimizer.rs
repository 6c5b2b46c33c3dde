//! What a person asks of one device: how full it is, where that goes, and which batch would be right now.
//!
//! Fed by readings and by ends of batches; the same formulas decide here and in the planner (`footprint`,
//! `domain::Reading`), so that what is recommended is what would be done. It knows no clock: "now" is the
//! latest reading. `advice` makes recommendations and the report of it.

use crate::footprint::Footprint;
use crate::key::seed_formula;
use domain::{Bytes, DeviceClass, Reading, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Readings that are kept: an hour of one every 12 s.
const READINGS_MAX: usize = 300;
/// Readings are kept so far apart; the latest is always there.
const READ_EVERY: Duration = Duration::from_secs(12);
/// Ends of batches that are kept.
const PAST_MAX: usize = 256;
/// Kinds of pictures of which something is learned.
pub(crate) const KINDS_MAX: usize = 64;
/// The largest batch that is ever recommended.
const BATCH_MAX: u32 = 64;
/// The growth of what others hold counts half after this long, as in the planner.
const DRIFT_HALVES: Duration = Duration::from_secs(30);
/// Memory that moves by less than this share of the device in the window is stable.
const STABLE_SHARE: f64 = 0.01;
/// A batch that ran out of memory speaks against large ones for this long.
pub(crate) const RAN_OUT_COUNTS: Duration = Duration::from_secs(600);
/// How far ahead the trend is followed.
pub(crate) const AHEAD: Duration = Duration::from_secs(60);
/// One mebibyte: what `_mb` counts.
const MB: u64 = 1 << 20;

/// A device's memory at one moment, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryProfile {
    /// All there is.
    pub total_mb: u64,
    /// In use by anybody.
    pub used_mb: u64,
    /// Not in use.
    pub free_mb: u64,
    /// Of what is used, what we could give back at once: cached blocks and idle models.
    pub cached_mb: u64,
    /// 100 x used / total; 0 of a device without memory.
    pub utilization_percent: f64,
}

/// A batch size for pictures of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchSizeRecommendation {
    /// What to run now; 0 where not even one item fits, or nothing waits.
    pub recommended_size: u32,
    /// The most that fits and is allowed, whether it is worth it or not.
    pub max_safe_size: u32,
    /// Bytes that each item of the recommended batch takes, its share of what is fixed included.
    pub estimated_vram_per_image: Bytes,
    /// The share of measured batches that stayed below what had been predicted for them; one half where
    /// nothing was measured.
    pub confidence: f64,
    /// How the size came about, in words with their numbers.
    pub reasoning: String,
}

/// Where the memory in use goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "MemoryDirection")]
pub enum Trend {
    /// It grows by more than 1 % of the device in the window.
    Increasing,
    /// It shrinks by as much.
    Decreasing,
    /// Neither.
    Stable,
}

/// Memory in use over a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryTrend {
    /// Which way.
    pub trend: Trend,
    /// Bytes per second, by least squares over the window.
    pub slope_bytes_per_s: f64,
    /// From the first to the last reading that was used.
    pub window_ms: u64,
    /// How many they are.
    pub readings: usize,
}

/// Whether to give cached blocks and idle models back, and what that would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheOptimization {
    /// Whether it is worth it.
    pub release: bool,
    /// Free bytes now.
    pub free_before_bytes: Bytes,
    /// Free bytes afterwards.
    pub free_after_bytes: Bytes,
    /// Why, with numbers.
    pub reasoning: String,
}

/// How a batch that was measured ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PastBatch {
    /// When.
    pub at: Timestamp,
    /// Side of its pictures in pixels.
    pub image_size: u32,
    /// Steps of inference.
    pub inference_steps: u32,
    /// Its items.
    pub items: u32,
    /// What had been reserved.
    pub reserved_bytes: Bytes,
    /// Its measured peak.
    pub peak_bytes: Bytes,
    /// Wall time of computing.
    pub compute_ms: u64,
    /// It ran out of its reservation.
    pub out_of_memory: bool,
}

/// What the history says of one kind of picture and one batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Performance {
    /// Side of the pictures in pixels.
    pub image_size: u32,
    /// Steps of inference.
    pub inference_steps: u32,
    /// The batch size.
    pub items: u32,
    /// Batches of it that ended.
    pub batches: u32,
    /// Of them those that ran out of memory.
    pub out_of_memory: u32,
    /// Items per second of those that ran through; 0 where none did.
    pub items_per_s: f64,
    /// The largest of their peaks.
    pub peak_bytes: Bytes,
}

/// What is known of one kind of picture.
#[derive(Clone, Debug, Default)]
struct KindOf {
    footprint: Footprint,
    /// What one item is taken to need until one was measured; by the seed's formula unless it is said.
    prior: Option<Bytes>,
}

/// The optimizer of one device.
#[derive(Clone, Debug)]
pub struct Optimizer {
    pub(crate) device_class: DeviceClass,
    readings: VecDeque<Reading>,
    reserved: Bytes,
    /// By side and steps.
    kinds: BTreeMap<(u32, u32), KindOf>,
    pub(crate) past: VecDeque<PastBatch>,
}

impl Optimizer {
    /// Of a device of this class, of which nothing is known yet.
    pub fn new(device_class: DeviceClass) -> Optimizer {
        let (readings, kinds, past) = (VecDeque::new(), BTreeMap::new(), VecDeque::new());
        Optimizer { device_class, readings, reserved: Bytes::ZERO, kinds, past }
    }

    /// What was learned elsewhere of pictures with this side (pixels) and these steps, and what one is taken
    /// to need if that is nothing.
    pub fn learned(&mut self, image_size: u32, inference_steps: u32, footprint: Footprint, prior: Bytes) {
        if let Some(kind) = self.kind(image_size, inference_steps) {
            *kind = KindOf { footprint, prior: Some(prior) };
        }
    }

    /// None where there are too many already.
    fn kind(&mut self, image_size: u32, inference_steps: u32) -> Option<&mut KindOf> {
        let kind = (image_size, inference_steps);
        let is_known = self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&kind);
        is_known.then(|| self.kinds.entry(kind).or_default())
    }

    /// The memory now, and what running batches were promised. A reading that is older than the latest one
    /// is ignored.
    pub fn read(&mut self, reading: Reading, reserved: Bytes) {
        if self.readings.back().is_some_and(|last| reading.read_at < last.read_at) {
            return;
        }
        self.reserved = reserved;
        let mut latest = self.readings.iter().rev();
        if let (Some(last), Some(before)) = (latest.next(), latest.next())
            && last.read_at.since(before.read_at) < READ_EVERY
        {
            self.readings.pop_back();
        }
        self.readings.push_back(reading);
        if self.readings.len() > READINGS_MAX {
            self.readings.pop_front();
        }
    }

    /// A batch ended: it is learned from and remembered.
    pub fn batch_ended(&mut self, batch: PastBatch) {
        if let Some(KindOf { footprint, .. }) = self.kind(batch.image_size, batch.inference_steps) {
            if batch.out_of_memory {
                footprint.ran_out(batch.items, batch.reserved_bytes, batch.at);
            } else {
                let time = Duration::from_millis(batch.compute_ms);
                footprint.observe(batch.items, batch.peak_bytes, time);
            }
        }
        self.past.push_back(batch);
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
    }

    /// The time of the latest reading.
    pub(crate) fn now(&self) -> Timestamp {
        self.readings.back().map_or(Timestamp(0), |reading| reading.read_at)
    }

    pub(crate) fn latest(&self) -> Reading {
        self.readings.back().copied().unwrap_or_default()
    }

    /// Recent growth of what others hold: the decayed maximum.
    fn drift(&self) -> Bytes {
        let pairs = self.readings.iter().zip(self.readings.iter().skip(1));
        let grown = pairs.map(|(before, after)| {
            let growth = after.strangers().saturating_sub(before.strangers());
            let halvings = self.now().since(after.read_at).as_secs_f64() / DRIFT_HALVES.as_secs_f64();
            growth.scale(0.5f64.powf(halvings))
        });
        grown.max().unwrap_or_default()
    }

    /// What one more batch may take now.
    pub(crate) fn to_give(&self) -> Bytes {
        self.latest().to_give(&self.device_class, self.drift(), self.reserved)
    }

    /// The memory as the latest reading says; nothing while there was none.
    pub fn memory_profile(&self) -> Option<MemoryProfile> {
        let Reading { total_bytes, used_bytes, reclaimable_bytes, .. } = *self.readings.back()?;
        let used = used_bytes.min(total_bytes);
        let percent = 100.0 * used.0 as f64 / (total_bytes.0 as f64).max(1.0);
        Some(MemoryProfile {
            total_mb: total_bytes.0 / MB,
            used_mb: used.0 / MB,
            free_mb: total_bytes.saturating_sub(used).0 / MB,
            cached_mb: reclaimable_bytes.min(used).0 / MB,
            utilization_percent: if total_bytes == Bytes::ZERO { 0.0 } else { percent },
        })
    }

    /// The batch that would be cut now of pictures with this side (pixels) and these steps, of which so many
    /// wait.
    pub fn calculate_optimal_batch_size(
        &self,
        image_size: u32,
        inference_steps: u32,
        current_queue_size: usize,
    ) -> BatchSizeRecommendation {
        let unknown = KindOf::default();
        let KindOf { footprint, prior } = self.kinds.get(&(image_size, inference_steps)).unwrap_or(&unknown);
        let side = u64::from(image_size);
        let prior = prior.unwrap_or_else(|| seed_formula(side * side, inference_steps));
        let (now, give) = (self.now(), self.to_give());
        let reservation = |items: u32| footprint.reservation(items, prior, now);
        let allowed = footprint.size_max(now).min(BATCH_MAX);
        let max_safe_size = (1..=allowed).take_while(|items| reservation(*items) <= give).last().unwrap_or(0);
        let waiting = u32::try_from(current_queue_size).unwrap_or(u32::MAX);
        let most = max_safe_size.min(waiting);
        let recommended_size = if most == 0 { 0 } else { footprint.worthwhile(most).clamp(1, most) };
        let of = recommended_size.max(1);
        let estimated_vram_per_image = Bytes(reservation(of).0.div_ceil(u64::from(of)));
        let confidence = footprint.confidence_for(of);
        let known = match footprint.count() {
            0 => format!("nothing measured yet, hence {prior} for each, one at a time"),
            count => format!("{count} batches measured, of up to {} items", footprint.proven()),
        };
        let needs = reservation(of);
        let size = match (max_safe_size, waiting) {
            (0, _) => format!("not even one fits: it needs {needs}, {give} are there to give"),
            (_, 0) => format!("nothing waits; {max_safe_size} would fit into {give}"),
            _ => {
                let worth = if recommended_size < most {
                    format!("; {most} would be no more than 3 % faster per item")
                } else {
                    String::new()
                };
                format!(
                    "{recommended_size} of {waiting} waiting need {needs} of {give} to give; at most \
                     {max_safe_size} are safe{worth}"
                )
            }
        };
        let reasoning = format!("{image_size} px, {inference_steps} steps: {known}; {size}");
        BatchSizeRecommendation {
            recommended_size,
            max_safe_size,
            estimated_vram_per_image,
            confidence,
            reasoning,
        }
    }

    /// Where the memory in use goes, over the latest readings that lie within the window; nothing of fewer
    /// than two moments.
    pub fn memory_trend(&self, window: Duration) -> Option<MemoryTrend> {
        let (last, now) = (self.readings.back()?, self.now());
        let seen: Vec<(f64, f64)> = self
            .readings
            .iter()
            .filter(|reading| now.since(reading.read_at) <= window)
            .map(|reading| (-now.since(reading.read_at).as_secs_f64(), reading.used_bytes.0 as f64))
            .collect();
        let count = seen.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| seen.iter().map(value).sum::<f64>() / count;
        let (at, used) = (mean(|seen| seen.0), mean(|seen| seen.1));
        let spread: f64 = seen.iter().map(|seen| (seen.0 - at).powi(2)).sum();
        if spread <= 0.0 {
            return None;
        }
        let slope = seen.iter().map(|seen| (seen.0 - at) * (seen.1 - used)).sum::<f64>() / spread;
        let first = seen.first().map_or(0.0, |seen| -seen.0);
        let moved = slope * first;
        let much = last.total_bytes.0 as f64 * STABLE_SHARE;
        let trend = match moved {
            _ if moved > much => Trend::Increasing,
            _ if moved < -much => Trend::Decreasing,
            _ => Trend::Stable,
        };
        let window_ms = (first * 1000.0) as u64;
        Some(MemoryTrend { trend, slope_bytes_per_s: slope, window_ms, readings: seen.len() })
    }

    /// Whether cached blocks and idle models should be given back so that one more item of this kind fits:
    /// what is given back has to be loaded again, hence only if it makes the difference.
    pub fn optimize_cache(&self, image_size: u32, inference_steps: u32) -> CacheOptimization {
        let Reading { total_bytes, used_bytes, reclaimable_bytes, .. } = self.latest();
        let used = used_bytes.min(total_bytes);
        let cached = reclaimable_bytes.min(used);
        let free_before_bytes = total_bytes.saturating_sub(used);
        let free_after_bytes = free_before_bytes + cached;
        let now = self.calculate_optimal_batch_size(image_size, inference_steps, usize::MAX);
        let mut emptied = self.clone();
        if let Some(reading) = emptied.readings.back_mut() {
            reading.used_bytes = used.saturating_sub(cached);
            reading.own_bytes = reading.own_bytes.saturating_sub(cached);
            reading.reclaimable_bytes = Bytes::ZERO;
        }
        let then = emptied.calculate_optimal_batch_size(image_size, inference_steps, usize::MAX);
        let release = then.recommended_size > now.recommended_size;
        let reasoning = format!(
            "{cached} could be given back: {free_before_bytes} free would be {free_after_bytes}, and the \
             batch {} instead of {}",
            then.recommended_size, now.recommended_size
        );
        CacheOptimization { release, free_before_bytes, free_after_bytes, reasoning }
    }

    /// What the kept batches say, by kind and size.
    pub fn performance_history(&self) -> Vec<Performance> {
        let mut all: BTreeMap<(u32, u32, u32), (Performance, u64)> = BTreeMap::new();
        for batch in &self.past {
            let PastBatch { image_size, inference_steps, items, .. } = *batch;
            let (of, ms) = all.entry((image_size, inference_steps, items)).or_insert_with(|| {
                let (items_per_s, peak_bytes) = (0.0, Bytes::ZERO);
                let (batches, out_of_memory) = (0, 0);
                let of = Performance {
                    image_size,
                    inference_steps,
                    items,
                    batches,
                    out_of_memory,
                    items_per_s,
                    peak_bytes,
                };
                (of, 0)
            });
            of.batches += 1;
            if batch.out_of_memory {
                of.out_of_memory += 1;
                continue;
            }
            *ms = ms.saturating_add(batch.compute_ms);
            of.peak_bytes = of.peak_bytes.max(batch.peak_bytes);
            let through = f64::from(of.batches - of.out_of_memory) * f64::from(items);
            of.items_per_s = if *ms == 0 { 0.0 } else { through * 1000.0 / *ms as f64 };
        }
        all.into_values().map(|(of, _)| of).collect()
    }

    /// Whether the next batch should be smaller than the last one: that ran out of memory lately, or what is
    /// there to give, less what others take meanwhile, is less than it needs.
    pub fn should_reduce_batch_size(&self) -> bool {
        let Some(last) = self.past.back() else { return false };
        if last.items <= 1 {
            return false;
        }
        if last.out_of_memory && self.now().since(last.at) < RAN_OUT_COUNTS {
            return true;
        }
        let kind = self.kinds.get(&(last.image_size, last.inference_steps));
        let Some(KindOf { footprint, .. }) = kind else { return false };
        let growth = self.memory_trend(AHEAD).filter(|trend| trend.trend == Trend::Increasing);
        let taken = growth.map_or(0.0, |trend| trend.slope_bytes_per_s * AHEAD.as_secs_f64());
        let give = self.to_give().saturating_sub(Bytes(taken as u64));
        footprint.reservation(last.items, Bytes::ZERO, self.now()) > give
    }
}
