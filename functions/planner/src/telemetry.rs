//! Metrics of the planner: the places where they are set. Their names stand in `domain::metrics`.

use domain::metrics::{Metric, MetricKind, PROPOSALS_TOTAL, TASKS_WAITING, WORKERS_DESIRED};
use domain::{Consumer, Stage};

/// All metrics of the planner.
pub const METRICS: [Metric; 3] = [WORKERS_DESIRED, TASKS_WAITING, PROPOSALS_TOTAL];

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

pub(crate) fn desire(stage: Stage, workers: u32) {
    metrics::gauge!(WORKERS_DESIRED.name, "stage" => stage.as_str()).set(f64::from(workers));
}

pub(crate) fn waiting(consumer: &Consumer, tasks: u64) {
    let Consumer::Tasks(stage, class, tenant) = consumer else { return };
    let labels = [
        ("stage", stage.as_str().to_owned()),
        ("class", class.as_str().to_owned()),
        ("tenant", tenant.to_string()),
    ];
    metrics::gauge!(TASKS_WAITING.name, &labels).set(tasks as f64);
}

pub(crate) fn answered(answer: &'static str) {
    metrics::counter!(PROPOSALS_TOTAL.name, "answer" => answer).increment(1);
}
