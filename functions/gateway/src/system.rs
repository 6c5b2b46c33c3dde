//! Whether we live, whether we are ready, what we can do.

use crate::Gateway;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::{Bytes, EVENTS, Engine, Format, Quality, SIZE_MM, TEXTURE_PX};
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
    let broker = gateway.ports.wire.last_sequence(&EVENTS).await;
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

/// A way to make a shape.
#[derive(Serialize, JsonSchema)]
struct EngineInfo {
    name: &'static str,
    what: &'static str,
    licence: &'static str,
    /// What it needs besides this program.
    needs: Vec<&'static str>,
}

fn engine(engine: Engine) -> EngineInfo {
    let (what, licence, needs) = match engine {
        Engine::Inflate => ("silhouette inflation", "Apache-2.0", Vec::new()),
        Engine::Layered => ("depth by a small network of our own", "Apache-2.0", Vec::new()),
        Engine::Relief => ("a plate for printing, also as lithophane", "Apache-2.0", Vec::new()),
    };
    EngineInfo { name: engine.as_str(), what, licence, needs }
}

/// A range of whole numbers.
#[derive(Serialize, JsonSchema)]
struct Range {
    minimum: u32,
    maximum: u32,
}

/// The options of a recipe, and what they take.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Options {
    engine: Vec<&'static str>,
    quality: Vec<&'static str>,
    formats: Vec<&'static str>,
    /// Only together with a printable format.
    size_mm: Range,
    texture_px: Vec<u32>,
}

/// What this server can do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Capabilities {
    engines: Vec<EngineInfo>,
    /// Formats of files.
    formats: Vec<&'static str>,
    /// The picture of the model that every finished job has.
    preview: &'static str,
    input_types: Vec<&'static str>,
    upload_bytes_max: Bytes,
    /// Whether a picture may have any background; without, it needs transparency or a plain one.
    matting: bool,
    /// Whether recipes may ask for synthetic loads.
    synthetic: bool,
    options: Options,
}

pub(crate) async fn capabilities(State(gateway): State<Arc<Gateway>>) -> Json<Capabilities> {
    let (site, formats) = (&gateway.settings.site, Format::ALL.map(Format::as_str));
    Json(Capabilities {
        engines: Engine::ALL.map(engine).into(),
        formats: formats.into(),
        preview: "preview.png",
        input_types: vec!["image/png", "image/jpeg", "image/webp", "image/tiff"],
        upload_bytes_max: site.upload_bytes_max,
        matting: gateway.settings.has_matting,
        synthetic: site.synthetic,
        options: Options {
            engine: Engine::ALL.map(Engine::as_str).into(),
            quality: Quality::ALL.map(Quality::as_str).into(),
            formats: formats.into(),
            size_mm: Range { minimum: *SIZE_MM.start(), maximum: *SIZE_MM.end() },
            texture_px: TEXTURE_PX.into(),
        },
    })
}
