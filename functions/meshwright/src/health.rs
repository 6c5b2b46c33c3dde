//! What a process without a gateway tells its surroundings: `/metrics`, `/livez`, `/readyz`. It holds no data
//! of anybody and takes no orders, so it asks for no token.

use crate::metrics_text::Metrics;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use domain::EVENTS;
use ports::Ports;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Longest wait for broker and store.
const READY_MAX: Duration = Duration::from_secs(5);

/// A prefix that nothing has: the shortest LIST.
const NOTHING: &str = "ready/";

/// Serves until `shutdown`.
///
/// # Errors
/// The listener is lost.
pub(crate) async fn serve(
    listener: TcpListener,
    ports: Ports,
    state_bucket: String,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    let ready = move || {
        let (ports, bucket) = (ports.clone(), state_bucket.clone());
        async move { answer(ready(&ports, &bucket)).await }
    };
    let router = Router::new()
        .route("/metrics", get(move || async move { ([kind], metrics.text()) }))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn answer(ready: impl Future<Output = Result<(), &'static str>>) -> (StatusCode, &'static str) {
    match tokio::time::timeout(READY_MAX, ready).await {
        Ok(Ok(())) => (StatusCode::OK, "ok"),
        Ok(Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
        Err(_elapsed) => (StatusCode::SERVICE_UNAVAILABLE, "broker and store answer too late"),
    }
}

async fn ready(ports: &Ports, state_bucket: &str) -> Result<(), &'static str> {
    // A HEAD would not tell a missing bucket from a missing object.
    let store = ports.store.list(state_bucket, NOTHING, None).await;
    store.map_err(|_| "the object store does not answer")?;
    let broker = ports.wire.range(&EVENTS).await;
    broker.map(drop).map_err(|_| "the broker does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_readiness() {
        assert_eq!(answer(async { Ok(()) }).await.0, StatusCode::OK);
        assert_eq!(answer(async { Err("no") }).await, (StatusCode::SERVICE_UNAVAILABLE, "no"));
        assert_eq!(answer(std::future::pending()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
