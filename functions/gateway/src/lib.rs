//! HTTP: jobs, progress, artifacts, metrics, one page.
//!
//! `server` takes connections, `access` judges calls, `cors` tells browsers which pages may make them;
//! `follow` hears the events, `index` folds them and the bucket's names into what is known of all jobs, of
//! which `listing` shows those that `filter` takes; `timings` keeps and analyses what tasks took, `eta` says
//! what is left of a job; `tell` says to `webhooks` how jobs ended; `create` (with `intake` and `once`),
//! `jobs`, `artifacts`, `actions`, `stream`, `performance`, `sampling`, `devices`, `gpu`, `capabilities` and
//! `system` answer the routes; `problem` says what is wrong as RFC 9457 JSON.
//! Status comes from the bucket and the events alone: any number of gateways give the same answers, and one
//! that restarts knows all again.
#![forbid(unsafe_code)]

mod access;
mod actions;
mod artifacts;
mod capabilities;
mod cors;
mod create;
mod devices;
mod end;
mod eta;
mod filter;
mod follow;
mod gpu;
mod index;
mod intake;
mod jobs;
mod limits;
mod listing;
mod once;
mod openapi;
mod operation;
mod pace;
mod page;
mod performance;
mod problem;
mod rates;
mod routes;
#[cfg(test)]
mod samples;
mod sampling;
mod server;
mod socket;
mod states;
mod stream;
mod system;
mod telemetry;
mod tell;
mod timings;
mod webhooks;

pub use access::Token;
pub use capabilities::Network;
pub use cors::Origin;
pub use limits::Limits;
pub use sampling::{Sample, Unsampled};
pub use telemetry::{METRICS, describe_metrics};
pub use webhooks::{Ended, Listener};

use domain::{Site, Times};
use ports::{Ledger, Ports};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
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
    /// Names, besides those of this machine, under which people reach it without a token, as
    /// `models.example.org`.
    pub public_hosts: Vec<String>,
    /// Pages of these origins may call from a browser.
    pub cors_origins: Vec<Origin>,
    /// Who is told how jobs end.
    pub listeners: Vec<Listener>,
    /// The networks that stages compute with.
    pub networks: Vec<Network>,
    /// Whether this installation has a matting model, as far as this process is told.
    pub has_matting: bool,
    /// What callers may take.
    pub limits: Limits,
    /// What the gateway cannot see and is in the way of work, as a full disk of the embedded store.
    pub trouble: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Samples where this process computes.
    pub sample: Sample,
    /// The program's version.
    pub version: String,
}

/// What all routes share.
pub(crate) struct Gateway {
    pub(crate) ports: Ports,
    pub(crate) ledger: Ledger,
    pub(crate) settings: Settings,
    /// What is known of all jobs, and who hears what is new.
    pub(crate) hub: follow::Hub,
    /// How long tasks took of late.
    pub(crate) timings: timings::Timings,
    /// The board of devices as it was a moment ago.
    pub(crate) devices: devices::LastRead,
    /// How many jobs each tenant made of late.
    pub(crate) rates: rates::Rates,
    /// Bodies that are read now.
    pub(crate) bodies: Semaphore,
    /// Who samples this process now.
    pub(crate) sampling: Semaphore,
    /// Clients that follow events now.
    pub(crate) followers: Arc<Semaphore>,
    /// Walks over all records that are under way, and jobs that such a walk did not find.
    pub(crate) walks: Semaphore,
    pub(crate) misses: jobs::Misses,
    pub(crate) shutdown: CancellationToken,
}

/// Serves until shutdown, then finishes open answers for as long as the limits allow.
///
/// # Errors
/// None so far: a listener that fails is tried again.
pub async fn serve(
    listener: TcpListener,
    ports: Ports,
    settings: Settings,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    describe_metrics();
    let ledger = Ledger::new(ports.store.clone(), &settings.site.state);
    let limits = settings.limits;
    let gateway = Arc::new(Gateway {
        ports,
        ledger,
        settings,
        hub: follow::Hub::default(),
        timings: timings::Timings::default(),
        devices: devices::LastRead::default(),
        rates: rates::Rates::new(limits.jobs_per_minute),
        bodies: Semaphore::new(limits.bodies),
        sampling: Semaphore::new(1),
        followers: Arc::new(Semaphore::new(limits.followers)),
        walks: Semaphore::new(jobs::WALKS_MAX),
        misses: jobs::Misses::default(),
        shutdown: shutdown.clone(),
    });
    let following = tokio::spawn(follow::follow(gateway.clone()));
    let telling = tokio::spawn(tell::tell(gateway.clone()));
    server::serve(listener, routes::router(gateway), limits, shutdown).await;
    following.abort();
    // It gives its lease up.
    let _ = telling.await;
    Ok(())
}
