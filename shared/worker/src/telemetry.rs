//! Metrics: one table of names, and the places where they are counted. Names are
//! `meshwright_<noun>_<unit>[_total]`.

use domain::{BatchEnd, BatchEnded, Phase, Timing};

/// A metric as the guide lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its labels, all from closed sets.
    pub labels: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// Seconds of each phase of a task.
pub const PHASE_SECONDS: &str = "meshwright_task_phase_seconds";
/// Tasks that ended.
pub const TASKS_TOTAL: &str = "meshwright_tasks_total";
/// Batches that ended.
pub const BATCHES_TOTAL: &str = "meshwright_batches_total";
/// Items of a batch.
pub const BATCH_ITEMS: &str = "meshwright_batch_items";
/// The runner's peak in a batch.
pub const BATCH_PEAK_BYTES: &str = "meshwright_batch_peak_bytes";

/// All metrics of a worker.
pub const METRICS: [Metric; 5] = [
    Metric { name: PHASE_SECONDS, labels: "stage, phase", help: "seconds that tasks spent in each phase" },
    Metric { name: TASKS_TOTAL, labels: "stage, outcome", help: "tasks that ended" },
    Metric { name: BATCHES_TOTAL, labels: "stage, outcome", help: "batches that ended" },
    Metric { name: BATCH_ITEMS, labels: "stage", help: "items of batches" },
    Metric {
        name: BATCH_PEAK_BYTES,
        labels: "stage",
        help: "memory peaks of batches above the runner's warm size",
    },
];

/// Registers the help texts with whatever recorder the process installed.
pub fn describe_metrics() {
    for metric in METRICS {
        match metric.name {
            TASKS_TOTAL | BATCHES_TOTAL => metrics::describe_counter!(metric.name, metric.help),
            name => metrics::describe_histogram!(name, metric.help),
        }
    }
}

pub(crate) fn count_task(timing: &Timing) {
    let stage = timing.stage.as_str();
    metrics::counter!(TASKS_TOTAL, "stage" => stage, "outcome" => timing.end.as_str()).increment(1);
    for phase in Phase::ALL {
        let seconds = timing.phases.of(phase).as_secs_f64();
        metrics::histogram!(PHASE_SECONDS, "stage" => stage, "phase" => phase.as_str()).record(seconds);
    }
}

pub(crate) fn count_batch(ended: &BatchEnded) {
    let stage = ended.stage.as_str();
    let outcome = match ended.end {
        BatchEnd::Done => "done",
        BatchEnd::OutOfMemory { .. } => "out_of_memory",
        BatchEnd::RunnerLost => "runner_lost",
        BatchEnd::DeviceLost => "device_lost",
        BatchEnd::Stopped => "stopped",
    };
    metrics::counter!(BATCHES_TOTAL, "stage" => stage, "outcome" => outcome).increment(1);
    metrics::histogram!(BATCH_ITEMS, "stage" => stage).record(f64::from(ended.items));
    metrics::histogram!(BATCH_PEAK_BYTES, "stage" => stage).record(ended.peak_bytes.0 as f64);
}
