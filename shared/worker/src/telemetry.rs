//! Metrics of a worker: the places where they are counted. Their names stand in `domain::metrics`.

use crate::xid::XidAction;
use domain::metrics::{
    BATCH_ITEMS, BATCH_PEAK_BYTES, BATCHES_TOTAL, DEAD_LETTERS_TOTAL, DEVICE_FAULTS_TOTAL, DEVICE_HEALTH,
    DEVICE_LANES, DEVICE_MEMORY_BYTES, DEVICE_THROTTLED, DEVICE_UTILIZATION_RATIO, JOB_SECONDS, JOBS_TOTAL,
    Metric, MetricKind, RUNNER_DEATHS_TOTAL, TASK_PHASE_SECONDS, TASKS_TOTAL,
};
use domain::{
    Activity, BatchEnd, BatchEnded, Bytes, DeviceEntry, DeviceFault, DeviceHealth, DeviceId, Ending,
    HealthState, Phase, Stage, Throttle, Timing,
};
use std::time::Duration;

/// All metrics of a worker.
pub const METRICS: [Metric; 15] = [
    TASK_PHASE_SECONDS,
    TASKS_TOTAL,
    BATCHES_TOTAL,
    BATCH_ITEMS,
    BATCH_PEAK_BYTES,
    RUNNER_DEATHS_TOTAL,
    DEVICE_LANES,
    DEVICE_MEMORY_BYTES,
    DEVICE_HEALTH,
    DEVICE_FAULTS_TOTAL,
    DEVICE_UTILIZATION_RATIO,
    DEVICE_THROTTLED,
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
    show_health(&device, &entry.health);
    if let Some(activity) = &entry.activity {
        show_activity(&device, activity);
    }
}

/// Each state with each reason that it can have: what is not so is told as 0, so that nothing old stays.
fn show_health(device: &str, health: &DeviceHealth) {
    let now = (health.state, health.fault.map_or("none", DeviceFault::as_str));
    for state in HealthState::ALL {
        for reason in DeviceFault::LABELS.into_iter().filter(|reason| fits(state, reason)) {
            let labels = [("device", device), ("state", state.as_str()), ("reason", reason)];
            let labels = labels.map(|(name, value)| (name, value.to_owned()));
            metrics::gauge!(DEVICE_HEALTH.name, &labels).set(f64::from(u8::from(now == (state, reason))));
        }
    }
}

/// The healthy have no reason, and whoever is not has one, unless a newer version told of it.
fn fits(state: HealthState, reason: &str) -> bool {
    (state == HealthState::Healthy) == (reason == "none")
}

fn show_activity(device: &str, activity: &Activity) {
    for (what, percent) in [("compute", activity.compute_percent), ("memory", activity.memory_percent)] {
        if let Some(percent) = percent {
            let labels = [("device", device), ("what", what)].map(|(name, value)| (name, value.to_owned()));
            metrics::gauge!(DEVICE_UTILIZATION_RATIO.name, &labels).set(f64::from(percent) / 100.0);
        }
    }
    for reason in Throttle::ALL {
        let labels = [("device", device), ("reason", reason.as_str())];
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        let is_so = u8::from(activity.throttled.contains(&reason));
        metrics::gauge!(DEVICE_THROTTLED.name, &labels).set(f64::from(is_so));
    }
}

/// A fault that the device told of.
pub(crate) fn count_fault(device: &DeviceId, fault: DeviceFault, action: XidAction) {
    let labels = [("device", device.as_str()), ("reason", fault.as_str()), ("action", action.as_str())];
    let labels = labels.map(|(name, value)| (name, value.to_owned()));
    metrics::counter!(DEVICE_FAULTS_TOTAL.name, &labels).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{DeviceClass, Reading};
    use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    type Values = Arc<Mutex<BTreeMap<String, f64>>>;

    /// Keeps what gauges are set to, by name and labels' values.
    #[derive(Clone, Default)]
    struct Gauges(Values);

    struct One(String, Values);

    impl GaugeFn for One {
        fn increment(&self, _value: f64) {}

        fn decrement(&self, _value: f64) {}

        fn set(&self, value: f64) {
            self.1.lock().expect("plain numbers").insert(self.0.clone(), value);
        }
    }

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
            let name = format!("{} {}", key.name(), labels.join(" "));
            Gauge::from_arc(Arc::new(One(name, self.0.clone())))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    /// Gauges whose names begin so and that are not 0.
    fn shown(entry: &DeviceEntry, metric: Metric) -> Vec<(String, f64)> {
        let gauges = Gauges::default();
        metrics::with_local_recorder(&gauges, || show_device(entry));
        let values = gauges.0.lock().expect("plain numbers");
        let of = |name: &str| Some(name.strip_prefix(metric.name)?.trim().to_owned());
        let all = values.iter().filter(|(_, value)| **value != 0.0);
        all.filter_map(|(name, value)| Some((of(name)?, *value))).collect()
    }

    #[test]
    fn a_device_shows_its_state_with_the_reason_and_what_slows_it_down() {
        let mut entry = DeviceEntry {
            worker: "worker".parse().expect("a name"),
            device: "gpu-0".parse().expect("a name"),
            device_class: DeviceClass("gpu".to_owned()),
            reading: Reading::default(),
            lanes: 1,
            stages: vec![Stage::Shape],
            resident_bytes: Bytes::ZERO,
            running: Vec::new(),
            health: DeviceHealth::default(),
            activity: None,
        };
        let one = |name: &str, value: f64| vec![(name.to_owned(), value)];
        assert_eq!(shown(&entry, DEVICE_HEALTH), one("gpu-0 healthy none", 1.0));
        assert!(shown(&entry, DEVICE_UTILIZATION_RATIO).is_empty());
        entry.health.state = HealthState::Draining;
        entry.health.fault = Some(DeviceFault::Xid { number: 48 });
        let throttled = vec![Throttle::Thermal];
        entry.activity = Some(Activity { compute_percent: Some(93), memory_percent: None, throttled });
        assert_eq!(shown(&entry, DEVICE_HEALTH), one("gpu-0 draining xid", 1.0));
        assert_eq!(shown(&entry, DEVICE_THROTTLED), one("gpu-0 thermal", 1.0));
        assert_eq!(shown(&entry, DEVICE_UTILIZATION_RATIO), one("gpu-0 compute", 0.93));
    }
}
