//! A collector of OpenTelemetry: takes what is sent to it by OTLP over HTTP, and keeps it.

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span, and the service that told it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its `service.name`.
    pub service: String,
    /// As it came.
    pub span: Span,
}

impl Told {
    /// What one of its attributes says.
    pub fn says(&self, name: &str) -> Option<String> {
        text_of(&self.span.attributes, name)
    }
}

fn text_of(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = &attributes.iter().find(|attribute| attribute.key == name)?.value;
    Some(match value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

type Kept = Arc<Mutex<Vec<Told>>>;

/// One on loopback; it ends with this value.
pub struct Collector {
    kept: Kept,
    url: String,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    /// Listens.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Collector> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (url, kept) = (format!("http://{}", listener.local_addr()?), Kept::default());
        let router = Router::new().route("/v1/traces", post(take)).with_state(kept.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the collector ended: {error}");
            }
        });
        Ok(Collector { kept, url, serving })
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to say.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All spans so far.
    ///
    /// # Panics
    /// Something else has panicked.
    pub fn told(&self) -> Vec<Told> {
        self.kept.lock().expect("a plain list").clone()
    }
}

async fn take(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    if kind != Some("application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let mut kept = kept.lock().expect("a plain list");
    for of in request.resource_spans {
        let attributes = of.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text_of(&attributes, "service.name").unwrap_or_default();
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
        kept.extend(spans.map(|span| Told { service: service.clone(), span }));
    }
    StatusCode::OK
}
