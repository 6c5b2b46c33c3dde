//! Metrics of the gateway: the places where they are counted. Their names stand in `domain::metrics`.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use domain::metrics::{EVENT_CLIENTS, HTTP_REQUESTS_TOTAL, JOBS_TOTAL, Metric, MetricKind, WEBHOOKS_TOTAL};

/// All metrics of the gateway.
pub const METRICS: [Metric; 4] = [HTTP_REQUESTS_TOTAL, EVENT_CLIENTS, JOBS_TOTAL, WEBHOOKS_TOTAL];

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

/// Counts a call under its route, which is one of the table's, and the class of its status.
pub(crate) async fn count(request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = match response.status().as_u16() {
        ..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics::counter!(HTTP_REQUESTS_TOTAL.name, "route" => route, "status" => status).increment(1);
    response
}

/// A life that a call has ended.
pub(crate) fn count_cancelled() {
    metrics::counter!(JOBS_TOTAL.name, "outcome" => "cancelled").increment(1);
}

/// What became of a try to tell a webhook.
pub(crate) fn count_told(result: &'static str) {
    metrics::counter!(WEBHOOKS_TOTAL.name, "result" => result).increment(1);
}

/// A client that follows events, counted for as long as this lives.
pub(crate) struct Follower;

impl Follower {
    pub(crate) fn new() -> Follower {
        metrics::gauge!(EVENT_CLIENTS.name).increment(1.0);
        Follower
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        metrics::gauge!(EVENT_CLIENTS.name).decrement(1.0);
    }
}
