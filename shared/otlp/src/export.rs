//! The task that sends spans. Whatever the collector does, nobody but this task waits for it; what it does
//! not take in a few tries is dropped, counted, and told once.

use crate::collector::Collector;
use crate::count;
use crate::encode::{Process, request};
use domain::Span;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, redirect};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Most spans of one request.
const SPANS_MAX: usize = 512;
/// The first span waits for so long at most for others.
const LINGER: Duration = Duration::from_secs(1);
/// Longest wait for an answer: OTLP's own.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Pauses before further tries.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Sends until it is to stop, then what is left.
pub(crate) async fn run(mut outlet: Receiver<Span>, mut sender: Sender, stop: CancellationToken) {
    let mut spans = Vec::with_capacity(SPANS_MAX);
    loop {
        tokio::select! {
            _ = outlet.recv_many(&mut spans, SPANS_MAX) => {}
            () = stop.cancelled() => outlet.close(),
        }
        let due = tokio::time::Instant::now() + LINGER;
        while spans.len() < SPANS_MAX && !outlet.is_closed() {
            let room = SPANS_MAX - spans.len();
            tokio::select! {
                _ = outlet.recv_many(&mut spans, room) => {}
                () = sleep_until(due) => break,
                () = stop.cancelled() => outlet.close(),
            }
        }
        while spans.len() < SPANS_MAX
            && let Ok(span) = outlet.try_recv()
        {
            spans.push(span);
        }
        if spans.is_empty() {
            return;
        }
        sender.send(&spans, &stop).await;
        spans.clear();
    }
}

/// Speaks to the collector.
pub(crate) struct Sender {
    client: Client,
    collector: Collector,
    process: Process,
    /// It does not take spans, and that was told.
    is_away: bool,
}

/// Why a request was not taken.
struct Refused {
    why: String,
    /// The same request may be taken later.
    may_pass: bool,
}

impl Sender {
    pub(crate) fn new(collector: Collector, process: Process) -> Result<Sender, String> {
        let client = Client::builder().timeout(ANSWER_MAX).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| format!("make a client for the collector: {error}"))?;
        Ok(Sender { client, collector, process, is_away: false })
    }

    async fn send(&mut self, spans: &[Span], stop: &CancellationToken) {
        let body = request(spans, &self.process).encode_to_vec();
        let mut pauses = AGAIN_AFTER.iter();
        loop {
            match self.post(body.clone()).await {
                Ok(refused) => {
                    count("sent", spans.len().saturating_sub(refused));
                    count("dropped", refused.min(spans.len()));
                    if std::mem::take(&mut self.is_away) {
                        tracing::info!(to = self.collector.place(), "the collector takes spans again");
                    }
                    return;
                }
                Err(Refused { why, may_pass }) => {
                    let pause = pauses.next().filter(|_| may_pass && !stop.is_cancelled());
                    let Some(pause) = pause else { return self.give_up(spans.len(), &why) };
                    tokio::select! { () = sleep(*pause) => {}, () = stop.cancelled() => {} }
                }
            }
        }
    }

    fn give_up(&mut self, spans: usize, why: &str) {
        count("dropped", spans);
        let to = self.collector.place();
        if std::mem::replace(&mut self.is_away, true) {
            tracing::debug!(to, why, spans, "the collector does not take spans");
        } else {
            tracing::warn!(to, why, spans, "the collector does not take spans; they are dropped");
        }
    }

    /// Gives how many spans of a request that was taken were not.
    async fn post(&self, body: Vec<u8>) -> Result<usize, Refused> {
        let call = self.client.post(self.collector.url.clone()).headers(self.collector.headers.clone());
        let call = call.header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")).body(body);
        // The address may hold a secret.
        let failed = |error: reqwest::Error| Refused { why: error.without_url().to_string(), may_pass: true };
        let answer = call.send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            let may_pass = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            return Err(Refused { why: format!("it answers {status}"), may_pass });
        }
        let Ok(answer) = answer.bytes().await else { return Ok(0) };
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(usize::try_from(refused).unwrap_or_default())
    }
}
