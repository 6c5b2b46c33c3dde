//! Metrics of this process: the recorder, and its text for `/metrics`.

use crate::refusal::{Outcome, Refusal};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds: from a hop to a long stage.
const SECONDS: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
/// Bytes: from a thumbnail to a GPU.
const BYTES: [f64; 9] = [1e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10, 1e11];

/// Renders what was counted.
#[derive(Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process.
    pub(crate) fn install() -> Outcome<Metrics> {
        let failed = |error| Refusal::Io(format!("install the metrics recorder: {error}"));
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES))
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(failed)?;
        worker::telemetry::describe_metrics();
        Ok(Metrics { handle })
    }

    /// As `/metrics` answers.
    pub(crate) fn text(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}
