//! Metrics of this process: the recorder, and its text for `/metrics`.

use crate::refusal::{Outcome, Refusal};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

/// Seconds: from a hop to a long stage.
const SECONDS: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
/// Bytes: from a thumbnail to a GPU.
const BYTES: [f64; 9] = [1e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10, 1e11];
/// Items of a batch.
const ITEMS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Measurements wait for this to be put into their buckets: they must not pile up where nobody asks.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Renders what was counted.
#[derive(Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process, and keeps it small for as long as the runtime lives.
    pub(crate) fn install() -> Outcome<Metrics> {
        let failed = |error| Refusal::Io(format!("install the metrics recorder: {error}"));
        let handle = builder().and_then(PrometheusBuilder::install_recorder).map_err(failed)?;
        worker::telemetry::describe_metrics();
        let kept = handle.clone();
        tokio::spawn(async move {
            let mut due = tokio::time::interval(UPKEEP_EVERY);
            loop {
                due.tick().await;
                kept.run_upkeep();
            }
        });
        Ok(Metrics { handle })
    }

    /// As `/metrics` answers.
    pub(crate) fn text(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), &ITEMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_measurement_has_buckets() {
        let recorder = builder().expect("good buckets").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            for name in ["meshwright_batch_items", "meshwright_stage_seconds", "meshwright_batch_bytes"] {
                metrics::histogram!(name).record(3.0);
            }
        });
        let text = recorder.handle().render();
        for line in [
            "meshwright_batch_items_bucket{le=\"4\"} 1",
            "meshwright_stage_seconds_bucket{le=\"3\"} 1",
            "meshwright_batch_bytes_bucket{le=\"1000000\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
