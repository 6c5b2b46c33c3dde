//! Metrics of a worker: the places where they are counted. Their names stand in `domain::metrics`.

use domain::metrics::{
    BATCH_ITEMS, BATCH_PEAK_BYTES, BATCHES_TOTAL, DEAD_LETTERS_TOTAL, DEVICE_LANES, DEVICE_MEMORY_BYTES,
    JOB_SECONDS, JOBS_TOTAL, Metric, MetricKind, RUNNER_DEATHS_TOTAL, TASK_PHASE_SECONDS, TASKS_TOTAL,
};
use domain::{BatchEnd, BatchEnded, Bytes, DeviceEntry, Ending, Phase, Stage, Timing};
use std::time::Duration;

/// All metrics of a worker.
pub const METRICS: [Metric; 11] = [
    TASK_PHASE_SECONDS,
    TASKS_TOTAL,
    BATCHES_TOTAL,
    BATCH_ITEMS,
    BATCH_PEAK_BYTES,
    RUNNER_DEATHS_TOTAL,
    DEVICE_LANES,
    DEVICE_MEMORY_BYTES,
    JOBS_TOTAL,
    JOB_SECONDS,
    DEAD_LETTERS_TOTAL,
];

/// Registers the help texts with whatever recorder the process installed.
pub fn describe_metrics() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// What has not happened yet is none, not nothing: whoever watches a rate sees the first of each.
pub(crate) fn begin(stages: &[Stage]) {
    let reasons = RUNNER_DEATHS_TOTAL.labels.iter().find(|label| label.name == "reason");
    for stage in stages {
        for reason in reasons.map_or(&[][..], |label| label.values) {
            let labels = [("stage", stage.as_str()), ("reason", *reason)];
            metrics::counter!(RUNNER_DEATHS_TOTAL.name, &labels).increment(0);
        }
        metrics::counter!(DEAD_LETTERS_TOTAL.name, "stage" => stage.as_str()).increment(0);
    }
}

pub(crate) fn count_task(timing: &Timing) {
    let stage = timing.stage.as_str();
    metrics::counter!(TASKS_TOTAL.name, "stage" => stage, "outcome" => timing.end.as_str()).increment(1);
    for phase in Phase::ALL {
        let seconds = timing.phases.of(phase).as_secs_f64();
        let name = TASK_PHASE_SECONDS.name;
        metrics::histogram!(name, "stage" => stage, "phase" => phase.as_str()).record(seconds);
    }
}

pub(crate) fn count_batch(ended: &BatchEnded) {
    let stage = ended.stage.as_str();
    let (outcome, is_death) = match ended.end {
        BatchEnd::Done => ("done", false),
        BatchEnd::OutOfMemory { .. } => ("out_of_memory", true),
        BatchEnd::RunnerLost => ("runner_lost", true),
        BatchEnd::DeviceLost => ("device_lost", true),
        BatchEnd::Stopped => ("stopped", false),
    };
    metrics::counter!(BATCHES_TOTAL.name, "stage" => stage, "outcome" => outcome).increment(1);
    if is_death {
        metrics::counter!(RUNNER_DEATHS_TOTAL.name, "stage" => stage, "reason" => outcome).increment(1);
    }
    metrics::histogram!(BATCH_ITEMS.name, "stage" => stage).record(f64::from(ended.items));
    metrics::histogram!(BATCH_PEAK_BYTES.name, "stage" => stage).record(ended.peak_bytes.0 as f64);
}

/// A life that ended, decided by this process.
pub(crate) fn count_job(ending: &Ending) {
    metrics::counter!(JOBS_TOTAL.name, "outcome" => ending.as_str()).increment(1);
}

/// A finished model, so long after its upload was accepted.
pub(crate) fn time_job(since_accepted: Duration) {
    metrics::histogram!(JOB_SECONDS.name).record(since_accepted.as_secs_f64());
}

pub(crate) fn count_dead_letter(stage: Stage) {
    metrics::counter!(DEAD_LETTERS_TOTAL.name, "stage" => stage.as_str()).increment(1);
}

/// The device as its entry on the board tells it.
pub(crate) fn show_device(entry: &DeviceEntry) {
    let device = entry.device.to_string();
    let lanes = |state: &'static str, lanes: u32| {
        let labels = [("device", device.clone()), ("state", state.to_owned())];
        metrics::gauge!(DEVICE_LANES.name, &labels).set(f64::from(lanes));
    };
    let busy = entry.running.len() as u32;
    lanes("busy", busy);
    lanes("free", entry.lanes.saturating_sub(busy));
    let memory = |state: &'static str, bytes: Bytes| {
        let labels = [("device", device.clone()), ("state", state.to_owned())];
        metrics::gauge!(DEVICE_MEMORY_BYTES.name, &labels).set(bytes.0 as f64);
    };
    let reading = entry.reading;
    memory("used", reading.used_bytes);
    memory("reserved", entry.running.iter().map(|running| running.bytes).sum());
    memory("free", reading.total_bytes.saturating_sub(reading.used_bytes));
}
