//! What came of a run.

use domain::Stage;
use profile::Sketch;
use serde::Serialize;
use std::time::Duration;

/// Throughput and latencies of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Jobs that were done.
    pub jobs: usize,
    /// From the first arrival to the last end.
    pub span_s: f64,
    /// Jobs done per hour of that.
    pub jobs_per_hour: f64,
    /// From a job's arrival to its end: half of them took no longer.
    pub latency_p50_s: f64,
    /// Of 95 in 100 no longer.
    pub latency_p95_s: f64,
    /// What the stages did.
    pub stages: Vec<StageOutcome>,
}

/// What a stage did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageOutcome {
    /// The stage.
    pub stage: Stage,
    /// Its batches.
    pub batches: usize,
    /// Their mean size.
    pub items_mean: f64,
    /// How much of the span its lanes were held, as a number of lanes.
    pub lanes_busy: f64,
}

/// A run as it is summed up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) latencies: Sketch,
    pub(crate) last_end: Duration,
    /// Batches, items and time of each stage.
    pub(crate) stages: [(usize, usize, Duration); Stage::ALL.len()],
}

impl Sum {
    pub(crate) fn done(&mut self, arrived: Duration, ended: Duration) {
        self.latencies.add(ended.saturating_sub(arrived));
        self.last_end = self.last_end.max(ended);
    }

    pub(crate) fn batch(&mut self, stage: Stage, items: usize, held: Duration) {
        let (batches, all, time) = &mut self.stages[stage as usize];
        (*batches, *all, *time) = (*batches + 1, *all + items, *time + held);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let span_s = self.last_end.as_secs_f64();
        let jobs = self.latencies.count() as usize;
        let at = |q: f64| self.latencies.quantile(q).unwrap_or_default().as_secs_f64();
        let stage = |stage: Stage| {
            let (batches, items, time) = self.stages[stage as usize];
            let items_mean = items as f64 / batches.max(1) as f64;
            StageOutcome { stage, batches, items_mean, lanes_busy: time.as_secs_f64() / span_s.max(1e-9) }
        };
        let stages = Stage::ALL.map(stage).into_iter().filter(|of| of.batches > 0).collect();
        Outcome {
            jobs,
            span_s,
            jobs_per_hour: jobs as f64 * 3600.0 / span_s.max(1e-9),
            latency_p50_s: at(0.5),
            latency_p95_s: at(0.95),
            stages,
        }
    }
}
