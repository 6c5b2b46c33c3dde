//! HTTP: jobs, progress, artifacts, metrics, one page.
//!
//! `index` folds the bucket and the events into what is known of all jobs; `create`, `jobs`, `artifacts`,
//! `actions`, `stream` and `system` answer the routes; `problem` says what is wrong as RFC 9457 JSON. Status comes from
//! the bucket and the events alone: any number of gateways give the same answers, and one that restarts knows
//! all again.
#![forbid(unsafe_code)]

mod access;
mod actions;
mod artifacts;
mod create;
mod index;
mod jobs;
mod openapi;
mod page;
mod problem;
mod stream;
mod system;

pub use access::Token;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use domain::{JobRecord, Site, Times};
use ports::{Ledger, Ports};
use std::sync::{Arc, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything that a gateway is told once.
#[derive(Clone)]
pub struct Settings {
    /// The buckets.
    pub site: Site,
    /// The protocol's times.
    pub times: Times,
    /// What every call must carry, if anything.
    pub token: Option<Token>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The program's version.
    pub version: String,
}

/// What all routes share.
pub(crate) struct Gateway {
    pub(crate) ports: Ports,
    pub(crate) ledger: Ledger,
    pub(crate) settings: Settings,
    pub(crate) index: index::SharedIndex,
    pub(crate) shutdown: CancellationToken,
}

impl Gateway {
    /// Shows a job at once that this gateway made itself.
    pub(crate) fn learn(&self, record: &JobRecord) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).learn(record);
    }
}

/// Multipart wraps an upload in this much text at most.
const FORM_BYTES_MAX: usize = 64 << 10;

/// Serves until shutdown, then finishes open answers.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    ports: Ports,
    settings: Settings,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let ledger = Ledger::new(ports.store.clone(), &settings.site.state);
    let index = index::SharedIndex::default();
    let gateway = Arc::new(Gateway { ports, ledger, settings, index, shutdown: shutdown.clone() });
    let following = tokio::spawn(index::follow(gateway.clone()));
    let app = router(gateway);
    let served = axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    following.abort();
    served
}

fn router(gateway: Arc<Gateway>) -> Router {
    let body_max = gateway.settings.site.upload_bytes_max.0 as usize + FORM_BYTES_MAX;
    let api = Router::new()
        .route("/api/jobs", post(create::create).get(jobs::list))
        .route("/api/jobs/{id}", get(jobs::show))
        .route("/api/jobs/{id}/upload", get(artifacts::upload))
        .route("/api/jobs/{id}/artifacts/{name}", get(artifacts::artifact))
        .route("/api/jobs/{id}/events", get(stream::of_job))
        .route("/api/events", get(stream::of_all))
        .route("/api/jobs/{id}/cancel", post(actions::cancel))
        .route("/api/jobs/{id}/redrive", post(actions::redrive))
        .route("/api/jobs/{id}/retry", post(actions::redrive))
        .route("/api/dead-letters", get(actions::dead_letters))
        .route("/api/dead-letters/{id}/redrive", post(actions::redrive))
        .route("/api/sweep", post(actions::sweep))
        .route("/metrics", get(system::metrics))
        .layer(axum::middleware::from_fn_with_state(gateway.clone(), access::check));
    let open = Router::new()
        .route("/livez", get(system::live))
        .route("/readyz", get(system::ready))
        .route("/api/version", get(system::version))
        .route("/api/capabilities", get(system::capabilities))
        .route("/api/openapi.json", get(openapi::document))
        .route("/", get(page::index))
        .route("/app.js", get(page::script))
        .route("/style.css", get(page::style));
    api.merge(open)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(body_max))
        .layer(axum::middleware::from_fn(problem::dress))
        .layer(axum::middleware::from_fn(access::headers))
        .with_state(gateway)
}
