//! Whether we live, whether we are ready, which program this is.

use crate::Gateway;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::EVENTS;
use ports::PortError;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

pub(crate) async fn live() -> &'static str {
    "ok"
}

/// A key that nobody writes: a LIST below it tells whether the bucket is there, and costs nothing.
const NOTHING: &str = "ready/";

pub(crate) async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<&'static str, Problem> {
    match gateway.ports.store.list(gateway.ledger.bucket(), NOTHING, None).await {
        Ok(_) => {}
        Err(PortError::Missing(_)) => return Err(Problem::unavailable("the state bucket is missing")),
        Err(_) => return Err(Problem::unavailable("the object store does not answer")),
    }
    let broker = gateway.ports.wire.range(&EVENTS).await;
    broker.map_err(|_| Problem::unavailable("the broker does not answer"))?;
    if let Some(trouble) = (gateway.settings.trouble)() {
        return Err(Problem::unavailable(trouble));
    }
    Ok("ok")
}

pub(crate) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], (gateway.settings.metrics)()).into_response()
}

/// Which program answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Version {
    name: &'static str,
    version: String,
}

pub(crate) async fn version(State(gateway): State<Arc<Gateway>>) -> Json<Version> {
    Json(Version { name: "meshwright", version: gateway.settings.version.clone() })
}
