//! Metrics of the planner: the places where they are set. Their names stand in `domain::metrics`.

use domain::metrics::{Metric, MetricKind, PLANNER_LEADS, PROPOSALS_TOTAL, TASKS_WAITING, WORKERS_DESIRED};
use domain::{Class, Consumer, Stage, TenantId};

/// All metrics of the planner.
pub const METRICS: [Metric; 4] = [PLANNER_LEADS, WORKERS_DESIRED, TASKS_WAITING, PROPOSALS_TOTAL];

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

/// Whether this process plans. One that does not says nothing of what waits: its last word is out of date.
pub(crate) fn leads(leads: bool, tenants: &[TenantId]) {
    metrics::gauge!(PLANNER_LEADS.name).set(f64::from(u8::from(leads)));
    if leads {
        return;
    }
    for stage in Stage::ALL {
        desire(stage, 0);
        for class in Class::ALL {
            tenants.iter().for_each(|of| waiting(&Consumer::Tasks(stage, class, of.clone()), 0));
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
