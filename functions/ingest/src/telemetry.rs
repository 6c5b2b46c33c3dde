//! Metrics of ingest: the places where they are counted. Their names stand in `domain::metrics`.

use domain::metrics::{
    COLLECTED_TOTAL, EVENTS_TOTAL, JOBS_TOTAL, Metric, MetricKind, SWEEP_SECONDS, SWEPT_TOTAL, UPLOADS_TOTAL,
};

/// All metrics of ingest.
pub const METRICS: [Metric; 6] =
    [EVENTS_TOTAL, UPLOADS_TOTAL, JOBS_TOTAL, SWEPT_TOTAL, SWEEP_SECONDS, COLLECTED_TOTAL];

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

pub(crate) fn count_event(result: &'static str) {
    metrics::counter!(EVENTS_TOTAL.name, "result" => result).increment(1);
}

pub(crate) fn count_upload(result: &'static str) {
    metrics::counter!(UPLOADS_TOTAL.name, "result" => result).increment(1);
}

/// A job that was rejected before it ran.
pub(crate) fn count_rejected() {
    metrics::counter!(JOBS_TOTAL.name, "outcome" => "rejected").increment(1);
}

pub(crate) fn count_swept(what: &'static str, many: usize) {
    metrics::counter!(SWEPT_TOTAL.name, "what" => what).increment(many as u64);
}

pub(crate) fn time_sweep(seconds: f64) {
    metrics::histogram!(SWEEP_SECONDS.name).record(seconds);
}

pub(crate) fn count_collected(why: &'static str, many: usize) {
    metrics::counter!(COLLECTED_TOTAL.name, "why" => why).increment(many as u64);
}
