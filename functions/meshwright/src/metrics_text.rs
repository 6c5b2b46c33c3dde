//! Metrics of this process: the recorder, and its text for `/metrics`.

use crate::refusal::{Outcome, Refusal};
use domain::metrics::{METRICS, MetricKind};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// Measurements wait for this to be put into their buckets: they must not pile up where nobody asks.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Renders what was counted.
#[derive(Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
}

/// The one of this process: a service may be started several times in it.
static INSTALLED: OnceLock<Metrics> = OnceLock::new();

impl Metrics {
    /// Installs the recorder of this process, and keeps it small for as long as the runtime lives.
    pub(crate) fn install() -> Outcome<Metrics> {
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
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
        Ok(INSTALLED.get_or_init(|| Metrics { handle }).clone())
    }

    /// As `/metrics` answers.
    pub(crate) fn text(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Every histogram of the table in its buckets; without them the recorder would make summaries of them.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    METRICS.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        MetricKind::Histogram(bounds) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
        }
        MetricKind::Counter | MetricKind::Gauge => Ok(builder),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_histogram_has_buckets() {
        let recorder = builder().expect("good buckets").build_recorder();
        let histograms = METRICS.iter().filter(|metric| matches!(metric.kind, MetricKind::Histogram(_)));
        let names: Vec<&str> = histograms.map(|metric| metric.name).collect();
        metrics::with_local_recorder(&recorder, || {
            names.iter().for_each(|name| metrics::histogram!(*name).record(3.0));
        });
        let text = recorder.handle().render();
        assert!(names.contains(&domain::metrics::BATCH_ITEMS.name));
        for name in names {
            assert!(text.contains(&format!("{name}_bucket{{le=\"+Inf\"}} 1")), "{name}: {text}");
        }
    }
}
