//! Metrics of the planner: one table of names, and the places where they are set.

use domain::{Consumer, Stage};

/// Workers that would finish what waits in time: what a scaler follows.
pub const WORKERS_DESIRED: &str = "meshwright_workers_desired";
/// Tasks that wait at a consumer.
pub const TASKS_WAITING: &str = "meshwright_tasks_waiting";
/// Proposals, by how they were answered.
pub const PROPOSALS_TOTAL: &str = "meshwright_proposals_total";

/// All metrics of the planner: name, labels, help.
pub const METRICS: [(&str, &str, &str); 3] = [
    (WORKERS_DESIRED, "stage", "workers that would finish what waits in time"),
    (TASKS_WAITING, "stage, class, tenant", "tasks that wait in the queue"),
    (PROPOSALS_TOTAL, "answer", "batches proposed to workers, by their answers"),
];

/// Registers the help texts with whatever recorder the process installed.
pub fn describe_metrics() {
    for (name, _, help) in METRICS {
        match name {
            PROPOSALS_TOTAL => metrics::describe_counter!(name, help),
            name => metrics::describe_gauge!(name, help),
        }
    }
}

pub(crate) fn desire(stage: Stage, workers: u32) {
    metrics::gauge!(WORKERS_DESIRED, "stage" => stage.as_str()).set(f64::from(workers));
}

pub(crate) fn waiting(consumer: &Consumer, tasks: u64) {
    let Consumer::Tasks(stage, class, tenant) = consumer else { return };
    let labels = [
        ("stage", stage.as_str().to_owned()),
        ("class", class.as_str().to_owned()),
        ("tenant", tenant.to_string()),
    ];
    metrics::gauge!(TASKS_WAITING, &labels).set(tasks as f64);
}

pub(crate) fn answered(answer: &'static str) {
    metrics::counter!(PROPOSALS_TOTAL, "answer" => answer).increment(1);
}
