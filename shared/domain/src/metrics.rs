//! The one table of metrics: what each process counts, under which name, in which unit, with which labels.
//!
//! Names are `meshwright_<noun>_<unit>[_total]`, in base units. Labels come from closed sets, so that no
//! key or text from outside ever makes a new series; only tenants and devices come from configuration. The
//! crates that count take names from here and nowhere else.

use crate::{Class, DeviceFault, HealthState, Phase, Stage, TaskEnd, Throttle};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Observations, counted in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// In what it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Things, counted; the noun says which.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share: 0 to 1.
    Ratio,
}

/// A label and what it may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All its values; empty where configuration (tenants, devices) or the gateway's table of routes names
    /// them.
    pub values: &'static [&'static str],
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// In what it is measured.
    pub unit: MetricUnit,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it says, for a person.
    pub help: &'static str,
}

/// From a hop to a long stage.
const SECONDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0];
/// From a thumbnail to a GPU.
const BYTES: &[f64] = &[1e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10, 3e10, 1e11];
/// Of a batch.
const ITEMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

const STAGE: Label = Label {
    name: "stage",
    values: &[
        Stage::Preprocess.as_str(),
        Stage::Shape.as_str(),
        Stage::Texture.as_str(),
        Stage::Export.as_str(),
    ],
};
const PHASE: Label = Label {
    name: "phase",
    values: &[
        Phase::Queued.as_str(),
        Phase::Planned.as_str(),
        Phase::Fetch.as_str(),
        Phase::Load.as_str(),
        Phase::Wait.as_str(),
        Phase::Compute.as_str(),
        Phase::Store.as_str(),
        Phase::Commit.as_str(),
    ],
};
const CLASS: Label =
    Label { name: "class", values: &[Class::High.as_str(), Class::Normal.as_str(), Class::Low.as_str()] };
const TENANT: Label = Label { name: "tenant", values: &[] };
const DEVICE: Label = Label { name: "device", values: &[] };
const TASK_END: Label = Label {
    name: "outcome",
    values: &[
        TaskEnd::Committed.as_str(),
        TaskEnd::Rejected.as_str(),
        TaskEnd::Cancelled.as_str(),
        TaskEnd::Superseded.as_str(),
        TaskEnd::Redelivered.as_str(),
        TaskEnd::Failed.as_str(),
        TaskEnd::OutOfMemory.as_str(),
        TaskEnd::NotRun.as_str(),
        TaskEnd::Dead.as_str(),
    ],
};
const BATCH_END: Label =
    Label { name: "outcome", values: &["done", "out_of_memory", "runner_lost", "device_lost", "stopped"] };
const DEATH: Label = Label { name: "reason", values: &["out_of_memory", "runner_lost", "device_lost"] };
const JOB_END: Label = Label { name: "outcome", values: &["done", "rejected", "dead", "cancelled"] };
const EVENT_RESULT: Label =
    Label { name: "result", values: &["objects", "ignored", "invalid", "unreadable"] };
const UPLOAD_RESULT: Label = Label {
    name: "result",
    values: &["new", "requeued", "known", "rejected", "gone", "stale", "not_watched", "folder"],
};
const SWEPT: Label = Label { name: "what", values: &["accepted", "queued"] };
const COLLECTED: Label =
    Label { name: "why", values: &["unreferenced", "marker", "expired", "multipart", "note", "retention"] };
const ANSWER: Label = Label { name: "answer", values: &["accepted", "refused", "silent", "unknown"] };
const LANE: Label = Label { name: "state", values: &["busy", "free"] };
const MEMORY: Label = Label { name: "state", values: &["used", "reserved", "free"] };
const HEALTH: Label = Label {
    name: "state",
    values: &[
        HealthState::Healthy.as_str(),
        HealthState::Draining.as_str(),
        HealthState::Testing.as_str(),
        HealthState::Dead.as_str(),
    ],
};
const FAULT: Label = Label { name: "reason", values: &DeviceFault::LABELS };
const FAULT_ACTION: Label = Label { name: "action", values: &["note", "restart", "drain", "dead"] };
const BUSY: Label = Label { name: "what", values: &["compute", "memory"] };
const THROTTLE: Label = Label {
    name: "reason",
    values: &[
        Throttle::PowerCap.as_str(),
        Throttle::Thermal.as_str(),
        Throttle::HwSlowdown.as_str(),
        Throttle::PowerBrake.as_str(),
        Throttle::SyncBoost.as_str(),
    ],
};
const SPAN_END: Label = Label { name: "result", values: &["sent", "dropped"] };
const TOLD: Label = Label { name: "result", values: &["told", "failed", "given_up"] };
const STATUS: Label = Label { name: "status", values: &["2xx", "3xx", "4xx", "5xx"] };
const ROUTE: Label = Label { name: "route", values: &[] };

macro_rules! metrics {
    ($($name:ident: $text:literal, $kind:expr, $unit:ident, [$($label:ident),*], $help:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`: ", $help, ".")]
            pub const $name: Metric = Metric {
                name: $text,
                kind: $kind,
                unit: MetricUnit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All of them.
        pub const METRICS: &[Metric] = &[$($name),*];
    };
}

use MetricKind::{Counter, Gauge, Histogram};

metrics! {
    TASK_PHASE_SECONDS: "meshwright_task_phase_seconds", Histogram(SECONDS), Seconds, [STAGE, PHASE],
        "seconds that tasks spent in each phase";
    TASKS_TOTAL: "meshwright_tasks_total", Counter, Count, [STAGE, TASK_END], "tasks that ended";
    BATCHES_TOTAL: "meshwright_batches_total", Counter, Count, [STAGE, BATCH_END], "batches that ended";
    BATCH_ITEMS: "meshwright_batch_items", Histogram(ITEMS), Count, [STAGE], "items of batches";
    BATCH_PEAK_BYTES: "meshwright_batch_peak_bytes", Histogram(BYTES), Bytes, [STAGE],
        "memory peaks of batches above the runner's warm size";
    RUNNER_DEATHS_TOTAL: "meshwright_runner_deaths_total", Counter, Count, [STAGE, DEATH],
        "batches in which a runner died, by how";
    DEVICE_LANES: "meshwright_device_lanes", Gauge, Count, [DEVICE, LANE],
        "lanes of the device, busy and free";
    DEVICE_MEMORY_BYTES: "meshwright_device_memory_bytes", Gauge, Bytes, [DEVICE, MEMORY],
        "memory of the device: in use by anybody, promised to batches, free";
    DEVICE_HEALTH: "meshwright_device_health", Gauge, Count, [DEVICE, HEALTH, FAULT],
        "1 for the state that the device is in and its reason, 0 for all others";
    DEVICE_FAULTS_TOTAL: "meshwright_device_faults_total", Counter, Count, [DEVICE, FAULT, FAULT_ACTION],
        "faults that the device told of, by what was done about them";
    DEVICE_UTILIZATION_RATIO: "meshwright_device_utilization_ratio", Gauge, Ratio, [DEVICE, BUSY],
        "share of the last moment in which the device computed, and in which its memory was in use";
    DEVICE_THROTTLED: "meshwright_device_throttled", Gauge, Count, [DEVICE, THROTTLE],
        "1 for each reason that slows the device down, 0 for the others";
    JOBS_TOTAL: "meshwright_jobs_total", Counter, Count, [JOB_END], "lives of jobs that ended, by outcome";
    JOB_SECONDS: "meshwright_job_seconds", Histogram(SECONDS), Seconds, [],
        "seconds from the acceptance of an upload to its finished model";
    DEAD_LETTERS_TOTAL: "meshwright_dead_letters_total", Counter, Count, [STAGE],
        "tasks set aside for a person";
    EVENTS_TOTAL: "meshwright_events_total", Counter, Count, [EVENT_RESULT],
        "messages of object stores that were handled";
    UPLOADS_TOTAL: "meshwright_uploads_total", Counter, Count, [UPLOAD_RESULT],
        "uploads that were looked at";
    SWEPT_TOTAL: "meshwright_swept_total", Counter, Count, [SWEPT],
        "uploads accepted and tasks queued by sweeps";
    SWEEP_SECONDS: "meshwright_sweep_seconds", Histogram(SECONDS), Seconds, [], "seconds that sweeps took";
    COLLECTED_TOTAL: "meshwright_collected_total", Counter, Count, [COLLECTED],
        "objects that the collector removed";
    WORKERS_DESIRED: "meshwright_workers_desired", Gauge, Count, [STAGE],
        "workers that would finish what waits in time";
    TASKS_WAITING: "meshwright_tasks_waiting", Gauge, Count, [STAGE, CLASS, TENANT],
        "tasks that wait in the queue";
    PLANNER_LEADS: "meshwright_planner_leads", Gauge, Count, [],
        "planners of this process that hold the lease: 1 or 0";
    PROPOSALS_TOTAL: "meshwright_proposals_total", Counter, Count, [ANSWER],
        "batches proposed to workers, by their answers";
    SPANS_TOTAL: "meshwright_spans_total", Counter, Count, [SPAN_END],
        "spans of traces that were to go to the collector, by what became of them";
    HTTP_REQUESTS_TOTAL: "meshwright_http_requests_total", Counter, Count, [ROUTE, STATUS],
        "HTTP calls that were answered";
    EVENT_CLIENTS: "meshwright_event_clients", Gauge, Count, [], "clients that follow events";
    WEBHOOKS_TOTAL: "meshwright_webhooks_total", Counter, Count, [TOLD],
        "endings told to webhooks, by what became of each try";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_say_noun_and_unit_and_are_there_once() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
            let base = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(base.ends_with("_seconds"), metric.unit == MetricUnit::Seconds, "{name}");
            assert_eq!(base.ends_with("_bytes"), metric.unit == MetricUnit::Bytes, "{name}");
            assert_eq!(base.ends_with("_ratio"), metric.unit == MetricUnit::Ratio, "{name}");
            assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn buckets_rise() {
        for metric in METRICS {
            if let MetricKind::Histogram(bounds) = metric.kind {
                assert!(!bounds.is_empty() && bounds.is_sorted_by(|a, b| a < b), "{}", metric.name);
            }
        }
    }

    /// Dashboards and alerts of others rest on these.
    #[test]
    fn the_table_is_the_golden_one() {
        let line = |metric: &Metric| {
            let labels: Vec<&str> = metric.labels.iter().map(|label| label.name).collect();
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram(_) => "histogram",
            };
            format!("{} {kind} {{{}}}\n", metric.name, labels.join(","))
        };
        let found: String = METRICS.iter().map(line).collect();
        assert_eq!(found, include_str!("../tests/golden/metrics.txt"));
    }
}
