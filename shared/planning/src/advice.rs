//! What the optimizer would do, each with its evidence, its expected effect and how it is done; and all that
//! it knows as one report.

use crate::optimizer::{
    AHEAD, BatchSizeRecommendation, CacheOptimization, MemoryProfile, MemoryTrend, Optimizer, Performance,
    RAN_OUT_COUNTS, Trend,
};
use domain::{Bytes, DeviceClass, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The window of the trend in a report.
const WINDOW: Duration = Duration::from_secs(300);
/// Batches of which one in a hundred ran out of memory are too many.
const RAN_OUT_SHARE: f64 = 0.01;
/// The queue that a report's batch sizes are for.
const MANY_WAIT: usize = 64;

/// Something that a person could do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GpuRecommendation")]
pub struct Recommendation {
    /// What.
    pub what: String,
    /// What speaks for it, with numbers.
    pub evidence: String,
    /// What it should change, with numbers.
    pub expected_effect: String,
    /// The command or setting that does it.
    pub command: String,
}

/// The batch for one kind of picture when many wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizeOfKind {
    /// Side of the pictures in pixels.
    pub image_size: u32,
    /// Steps of inference.
    pub inference_steps: u32,
    /// The batch.
    #[serde(flatten)]
    pub batch: BatchSizeRecommendation,
}

/// All that is known of a device. As JSON it is the report of `/api/gpu` and of the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptimizerReport {
    /// The kind of device.
    pub device_class: DeviceClass,
    /// When its memory was read last.
    pub read_at: Timestamp,
    /// Its memory; none while it was never read.
    pub memory: Option<MemoryProfile>,
    /// Where that goes, over five minutes.
    pub trend: Option<MemoryTrend>,
    /// Batches for what was seen.
    pub batch_sizes: Vec<SizeOfKind>,
    /// Whether the next batch should be smaller than the last one.
    pub should_reduce_batch_size: bool,
    /// What giving caches back would do for the last kind that was seen.
    pub cache: Option<CacheOptimization>,
    /// How the kept batches went.
    pub history: Vec<Performance>,
    /// What could be done.
    pub recommendations: Vec<Recommendation>,
}

impl Optimizer {
    /// What could be done now, the most urgent first; empty when all is well.
    pub fn recommendations(&self) -> Vec<Recommendation> {
        [self.smaller_batches(), self.memory_runs_out(), self.give_caches_back(), self.more_memory()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn smaller_batches(&self) -> Option<Recommendation> {
        let lately = |at: Timestamp| self.now().since(at) < RAN_OUT_COUNTS;
        let recent: Vec<_> = self.past.iter().filter(|batch| lately(batch.at)).collect();
        let ran_out = recent.iter().filter(|batch| batch.out_of_memory).count();
        if ran_out == 0 || (ran_out as f64) < RAN_OUT_SHARE * recent.len() as f64 {
            return None;
        }
        let largest = recent.iter().filter(|batch| batch.out_of_memory).map(|batch| batch.items).max()?;
        let lanes = "lanes = 1";
        Some(Recommendation {
            what: "run fewer batches beside each other".to_owned(),
            evidence: format!(
                "{ran_out} of the {} batches of the last 10 minutes ran out of memory, the largest of \
                 {largest} items",
                recent.len()
            ),
            expected_effect: format!(
                "batches stay at {} items at most for 10 minutes, and none has to share the device",
                (largest / 2).max(1)
            ),
            command: format!("set `{lanes}` under `[worker]` in the configuration and restart the worker"),
        })
    }

    fn memory_runs_out(&self) -> Option<Recommendation> {
        let trend = self.memory_trend(WINDOW).filter(|trend| trend.trend == Trend::Increasing)?;
        let give = self.to_give();
        let seconds = give.0 as f64 / trend.slope_bytes_per_s.max(1.0);
        if seconds > 60.0 * AHEAD.as_secs_f64() {
            return None;
        }
        let total = self.latest().total_bytes;
        Some(Recommendation {
            what: "find out what else fills the device".to_owned(),
            evidence: format!(
                "memory in use grew by {} a minute over {} s",
                Bytes((trend.slope_bytes_per_s * 60.0) as u64),
                trend.window_ms / 1000
            ),
            expected_effect: format!(
                "as it goes on, the {give} that a batch could get are gone in {seconds:.0} s; with a cap \
                 batches are planned within {}",
                total.scale(0.5)
            ),
            command: format!(
                "`meshwright doctor` names the devices; cap ours with `memory_max = \"{}MiB\"` under \
                 `[worker]`",
                total.scale(0.5).0 >> 20
            ),
        })
    }

    fn give_caches_back(&self) -> Option<Recommendation> {
        let last = self.past.back()?;
        let cache = self.optimize_cache(last.image_size, last.inference_steps);
        cache.release.then(|| Recommendation {
            what: "let idle runners end sooner".to_owned(),
            evidence: cache.reasoning.clone(),
            expected_effect: format!(
                "{} free instead of {}",
                cache.free_after_bytes, cache.free_before_bytes
            ),
            command: "set `runner_idle_s = 5` under `[worker]` in the configuration".to_owned(),
        })
    }

    fn more_memory(&self) -> Option<Recommendation> {
        let last = self.past.back()?;
        let (size, steps) = (last.image_size, last.inference_steps);
        let batch = self.calculate_optimal_batch_size(size, steps, MANY_WAIT);
        (batch.max_safe_size == 0).then(|| Recommendation {
            what: "use a larger device or smaller pictures".to_owned(),
            evidence: batch.reasoning.clone(),
            expected_effect: format!("one item needs {}", batch.estimated_vram_per_image),
            command: "`meshwright run shape texture --device GPU-…` on another device".to_owned(),
        })
    }

    /// All that is known.
    pub fn report(&self) -> OptimizerReport {
        let mut kinds: Vec<(u32, u32)> =
            self.past.iter().map(|batch| (batch.image_size, batch.inference_steps)).collect();
        let last = kinds.last().copied();
        kinds.sort_unstable();
        kinds.dedup();
        let sizes = kinds.into_iter().map(|(image_size, inference_steps)| SizeOfKind {
            image_size,
            inference_steps,
            batch: self.calculate_optimal_batch_size(image_size, inference_steps, MANY_WAIT),
        });
        OptimizerReport {
            device_class: self.device_class.clone(),
            read_at: self.now(),
            memory: self.memory_profile(),
            trend: self.memory_trend(WINDOW),
            batch_sizes: sizes.collect(),
            should_reduce_batch_size: self.should_reduce_batch_size(),
            cache: last.map(|(size, steps)| self.optimize_cache(size, steps)),
            history: self.performance_history(),
            recommendations: self.recommendations(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::PastBatch;
    use domain::Reading;

    fn reading(secs: u64, used_gib: u64, cached_gib: u64) -> Reading {
        Reading {
            total_bytes: Bytes::gib(24),
            used_bytes: Bytes::gib(used_gib),
            own_bytes: Bytes::gib(cached_gib),
            reclaimable_bytes: Bytes::gib(cached_gib),
            read_at: Timestamp(secs * 1000),
        }
    }

    fn past(secs: u64, items: u32, out_of_memory: bool) -> PastBatch {
        PastBatch {
            at: Timestamp(secs * 1000),
            image_size: 512,
            inference_steps: 50,
            items,
            reserved_bytes: Bytes::gib(8),
            peak_bytes: Bytes::mib(500 + 1_000 * u64::from(items)),
            compute_ms: 500 + 100 * u64::from(items),
            out_of_memory,
        }
    }

    fn optimizer() -> Optimizer {
        let mut optimizer = Optimizer::new(DeviceClass("gpu-x".to_owned()));
        optimizer.read(reading(1_000, 2, 0), Bytes::ZERO);
        optimizer
    }

    fn measured() -> Optimizer {
        let mut optimizer = optimizer();
        for n in 0..40 {
            optimizer.batch_ended(past(900 + n, [1, 2, 4, 8][n as usize % 4], false));
        }
        optimizer
    }

    #[test]
    fn the_profile_is_the_latest_reading_in_mib_and_a_lie_is_cut_to_what_can_be() {
        let profile = optimizer().memory_profile().expect("read");
        assert_eq!((profile.total_mb, profile.used_mb, profile.free_mb), (24_576, 2_048, 22_528));
        assert!((profile.utilization_percent - 100.0 / 12.0).abs() < 0.01, "{profile:?}");
        let mut lies = Optimizer::new(DeviceClass("host".to_owned()));
        assert_eq!(lies.memory_profile(), None);
        lies.read(reading(1, 90, 70), Bytes::ZERO);
        let profile = lies.memory_profile().expect("read");
        assert_eq!((profile.free_mb, profile.cached_mb, profile.utilization_percent), (0, 24_576, 100.0));
        lies.read(Reading { read_at: Timestamp(2_000), ..Reading::default() }, Bytes::ZERO);
        assert_eq!(lies.memory_profile().expect("read").utilization_percent, 0.0);
        lies.read(reading(1, 5, 0), Bytes::ZERO);
        assert_eq!(lies.memory_profile().expect("read").total_mb, 0, "an older reading says nothing new");
    }

    #[test]
    fn the_batch_is_what_the_planner_would_cut_and_says_so_with_numbers() {
        let unknown = optimizer().calculate_optimal_batch_size(512, 50, 10);
        assert_eq!((unknown.recommended_size, unknown.max_safe_size, unknown.confidence), (1, 1, 0.5));
        assert!(unknown.reasoning.contains("2.00 GiB for each"), "{}", unknown.reasoning);
        let optimizer = measured();
        let known = optimizer.calculate_optimal_batch_size(512, 50, 100);
        // Of 24 GiB 19.4 are there to give: 16 of about 1 GiB with the bound for twice the largest measured
        // size. One less is as fast.
        assert_eq!((known.max_safe_size, known.recommended_size), (16, 15), "{}", known.reasoning);
        assert!(known.confidence > 0.5 && known.confidence < 1.0);
        assert!(known.estimated_vram_per_image > Bytes::mib(1_000));
        assert!(known.reasoning.contains("40 batches measured, of up to 8 items"), "{}", known.reasoning);
        assert_eq!(optimizer.calculate_optimal_batch_size(512, 50, 3).recommended_size, 3);
        assert_eq!(optimizer.calculate_optimal_batch_size(512, 50, 0).recommended_size, 0);
        let huge = optimizer.calculate_optimal_batch_size(8_192, 50, 1);
        assert_eq!((huge.recommended_size, huge.max_safe_size), (0, 0));
        assert!(huge.reasoning.contains("not even one fits"), "{}", huge.reasoning);
    }

    #[test]
    fn the_trend_is_the_slope_over_the_window() {
        let check = |used: &[u64], expect: Trend, slope_gib: f64| {
            let mut optimizer = Optimizer::new(DeviceClass("gpu-x".to_owned()));
            for (n, used) in used.iter().enumerate() {
                optimizer.read(reading(1_000 + 10 * n as u64, *used, 0), Bytes::ZERO);
            }
            let trend = optimizer.memory_trend(Duration::from_secs(60)).expect("two readings");
            assert_eq!(trend.trend, expect, "{trend:?}");
            let gib = trend.slope_bytes_per_s / Bytes::gib(1).0 as f64;
            assert!((gib - slope_gib).abs() < 1e-9, "{gib}");
        };
        check(&[2, 3, 4, 5], Trend::Increasing, 0.1);
        check(&[9, 7, 5], Trend::Decreasing, -0.2);
        check(&[4, 4, 4, 4], Trend::Stable, 0.0);
        assert_eq!(optimizer().memory_trend(WINDOW), None, "one reading has no slope");
    }

    #[test]
    fn a_batch_that_ran_out_and_memory_that_goes_both_ask_for_smaller_ones() {
        let mut optimizer = measured();
        optimizer.batch_ended(past(990, 8, false));
        assert!(!optimizer.should_reduce_batch_size());
        let mut filled = optimizer.clone();
        filled.read(reading(1_001, 20, 0), Bytes::ZERO);
        assert!(filled.should_reduce_batch_size(), "8 items do not fit into 4 GiB");
        optimizer.batch_ended(past(995, 8, true));
        assert!(optimizer.should_reduce_batch_size());
        let first = optimizer.recommendations().remove(0);
        assert!(first.evidence.starts_with("1 of the 42 batches"), "{first:?}");
        assert!(first.expected_effect.contains("4 items at most"), "{first:?}");
        optimizer.read(reading(2_000, 2, 0), Bytes::ZERO);
        assert!(!optimizer.should_reduce_batch_size(), "ten minutes later it is forgotten");
        assert_eq!(optimizer.recommendations(), []);
    }

    #[test]
    fn caches_are_given_back_only_where_that_makes_a_larger_batch() {
        let mut optimizer = measured();
        assert!(!optimizer.optimize_cache(512, 50).release);
        optimizer.read(reading(1_001, 16, 14), Bytes::ZERO);
        let cache = optimizer.optimize_cache(512, 50);
        assert_eq!((cache.free_before_bytes, cache.free_after_bytes), (Bytes::gib(8), Bytes::gib(22)));
        assert!(cache.release, "{}", cache.reasoning);
        let advice = optimizer.recommendations();
        assert!(advice.iter().any(|advice| advice.command.contains("runner_idle_s")), "{advice:?}");
    }

    #[test]
    fn a_report_is_json_with_all_of_it_and_bounded_however_long_it_goes_on() {
        let mut optimizer = measured();
        for n in 0..2_000u64 {
            optimizer.read(reading(1_001 + n, 2 + n / 200, 0), Bytes::ZERO);
            let kind = PastBatch { image_size: 64 * (1 + n as u32 % 100), ..past(1_001 + n, 2, false) };
            optimizer.batch_ended(kind);
        }
        let report = optimizer.report();
        assert!(report.recommendations.iter().any(|advice| advice.what.contains("what else fills")));
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["trend"]["trend"], "increasing");
        assert!(json["memory"]["total_mb"].is_u64() && json["should_reduce_batch_size"].is_boolean());
        assert!(json["batch_sizes"][0]["recommended_size"].is_u64(), "{}", json["batch_sizes"][0]);
        assert!(json["history"][0]["items_per_s"].as_f64() > Some(0.0));
        assert!(json.to_string().len() < 256 * 1024, "{}", json.to_string().len());
    }
}
