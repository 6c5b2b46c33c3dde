//! Spans to a collector of OpenTelemetry: OTLP over HTTP, in protobuf.
//!
//! `queue` takes what functions tell and never waits, `export` sends it from a task of its own, `encode` is
//! the words in which it is sent, `collector` where to. What spans there are `domain::spans` decides.
#![forbid(unsafe_code)]

mod collector;
mod encode;
mod export;
mod queue;

pub use collector::{Collector, pairs};
pub use encode::Process;

use domain::metrics::SPANS_TOTAL;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Spans of this process go to a collector, until it is finished.
#[must_use = "the last spans are sent when it is finished"]
pub struct Exporter {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Exporter {
    /// From now on spans that are told in this process go there.
    ///
    /// # Errors
    /// A sentence for a person: no client can be made.
    pub fn start(collector: Collector, process: Process) -> Result<Exporter, String> {
        metrics::describe_counter!(SPANS_TOTAL.name, SPANS_TOTAL.help);
        // What has not happened yet is none, not nothing.
        count("sent", 0);
        count("dropped", 0);
        let (inlet, outlet) = queue::new();
        let stop = CancellationToken::new();
        let sender = export::Sender::new(collector, process)?;
        ports::set_span_taker(Some(Box::new(move |spans| inlet.take(spans))));
        let task = tokio::spawn(export::run(outlet, sender, stop.clone()));
        Ok(Exporter { task, stop })
    }

    /// Sends what was told so far, for so long at most; what is told from now on goes nowhere.
    pub async fn finish(self, within: Duration) {
        ports::set_span_taker(None);
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(within, self.task).await.is_err() {
            abort.abort();
            tracing::info!("the last spans were not sent: the collector does not answer in time");
        }
    }
}

pub(crate) fn count(result: &'static str, spans: usize) {
    metrics::counter!(SPANS_TOTAL.name, "result" => result).increment(spans as u64);
}
