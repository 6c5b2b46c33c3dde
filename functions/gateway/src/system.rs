//! Whether we live, whether we are ready, what we can do.

use crate::Gateway;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::EVENTS;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn live() -> &'static str {
    "ok"
}

pub(crate) async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<&'static str, Problem> {
    let store = gateway.ports.store.head(gateway.ledger.bucket(), "ready").await;
    store.map_err(|_| Problem::unavailable("the object store does not answer"))?;
    let broker = gateway.ports.wire.last_sequence(&EVENTS).await;
    broker.map_err(|_| Problem::unavailable("the broker does not answer"))?;
    Ok("ok")
}

pub(crate) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], (gateway.settings.metrics)()).into_response()
}

pub(crate) async fn version(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(json!({"name": "meshwright", "version": gateway.settings.version}))
}

pub(crate) async fn capabilities(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(json!({
        "engines": [{"name": "inflate", "what": "silhouette inflation", "licence": "Apache-2.0",
                     "needs": []}],
        "formats": ["glb", "stl"],
        "input_types": ["image/png", "image/jpeg", "image/webp"],
        "upload_bytes_max": gateway.settings.site.upload_bytes_max,
        "options": {
            "engine": ["inflate"],
            "quality": ["draft", "standard", "fine"],
            "formats": ["glb", "stl"],
            "size-mm": {"minimum": 1, "maximum": 10000},
            "texture-px": [256, 512, 1024, 2048, 4096],
        },
    }))
}
