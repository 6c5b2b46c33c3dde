//! Metrics of ingest: one table of names, and the places where they are counted.

/// Messages on the events subject, by what they were.
pub const EVENTS_TOTAL: &str = "meshwright_events_total";
/// Uploads looked at, by what became of them.
pub const UPLOADS_TOTAL: &str = "meshwright_uploads_total";
/// What sweeps found that events had not.
pub const SWEPT_TOTAL: &str = "meshwright_swept_total";
/// Seconds of a sweep.
pub const SWEEP_SECONDS: &str = "meshwright_sweep_seconds";
/// Objects that the collector removed.
pub const COLLECTED_TOTAL: &str = "meshwright_collected_total";

/// All metrics of ingest: name, labels, help.
pub const METRICS: [(&str, &str, &str); 5] = [
    (EVENTS_TOTAL, "result", "messages of object stores that were handled"),
    (UPLOADS_TOTAL, "result", "uploads that were looked at"),
    (SWEPT_TOTAL, "what", "uploads accepted and tasks queued by sweeps"),
    (SWEEP_SECONDS, "", "seconds that sweeps took"),
    (COLLECTED_TOTAL, "why", "objects that the collector removed"),
];

/// Registers the help texts with whatever recorder the process installed.
pub fn describe_metrics() {
    for (name, _, help) in METRICS {
        match name {
            SWEEP_SECONDS => metrics::describe_histogram!(name, help),
            name => metrics::describe_counter!(name, help),
        }
    }
}

pub(crate) fn count_event(result: &'static str) {
    metrics::counter!(EVENTS_TOTAL, "result" => result).increment(1);
}

pub(crate) fn count_upload(result: &'static str) {
    metrics::counter!(UPLOADS_TOTAL, "result" => result).increment(1);
}

pub(crate) fn count_swept(what: &'static str, many: usize) {
    metrics::counter!(SWEPT_TOTAL, "what" => what).increment(many as u64);
}

pub(crate) fn time_sweep(seconds: f64) {
    metrics::histogram!(SWEEP_SECONDS).record(seconds);
}

pub(crate) fn count_collected(why: &'static str, many: usize) {
    metrics::counter!(COLLECTED_TOTAL, "why" => why).increment(many as u64);
}
