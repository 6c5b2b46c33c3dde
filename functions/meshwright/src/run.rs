//! `run FUNCTION…`: one or several functions of the distributed form in this process.

use crate::cli::{Function, RunArgs};
use crate::config::Config;
use crate::distributed;
use crate::metrics_text::Metrics;
use crate::pipeline::{Pipeline, device, has_room, stages_of};
use crate::refusal::{Outcome, Refusal};
use crate::telemetry::Telemetry;
use serde_json::json;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where the gateway listens unless told otherwise.
const GATEWAY_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8787);

pub(crate) async fn run(args: RunArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    let config = Config::load(args.config.config.as_deref())?;
    let stages = stages_of(&args.functions);
    let has = |function| args.functions.contains(&function);
    let name = worker_name(&config);
    let device = device(&config, if stages.is_empty() { "host" } else { &args.device })?;
    if !stages.is_empty() {
        has_room(&device).await?;
    }
    let listen = args.listen.or(has(Function::Gateway).then_some(GATEWAY_LISTEN));
    if let Some(address) = listen.filter(|_| has(Function::Gateway)) {
        config.gateway.may_listen(address)?;
    }
    let metrics = Metrics::install()?;
    let telemetry = Telemetry::start(&config.telemetry, &name)?;
    let ports = tokio::select! {
        ports = distributed::connect(&config) => ports?,
        () = shutdown.cancelled() => return Err(Refusal::Stopped),
    };
    // Bound only when nothing else stands in the way, and before anything works.
    let listener = match listen {
        Some(address) => Some(bind(&address.to_string()).await?),
        None => None,
    };
    let mut pipeline = Pipeline::new(shutdown);
    let mut ready = json!({"ready": true});
    if let Some(listener) = listener {
        let address = listener.local_addr().map_err(|e| Refusal::Io(e.to_string()))?;
        let what = if has(Function::Gateway) {
            pipeline.gateway(&ports, &config, listener, &metrics)?;
            "gateway"
        } else {
            pipeline.health(&ports, &config, listener, &metrics);
            "metrics"
        };
        ready[what] = format!("http://{address}").into();
        if !json {
            say!("{what} on http://{address}");
        }
    }
    if has(Function::Ingest) {
        pipeline.ingest(&ports, &config)?;
    }
    if has(Function::Planner) {
        pipeline.planner(&ports, &config, &name);
    }
    if !stages.is_empty() {
        pipeline.worker(&ports, &config, &stages, (&name, device))?;
    }
    let tell_ready = || if json { say!("{ready}") } else { say!("ready") };
    let ended = pipeline.wait(tell_ready).await;
    telemetry.finish().await;
    ended
}

/// Binds, or says who is in the way.
pub(crate) async fn bind(address: &str) -> Outcome<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener
        .map_err(|e| Refusal::Io(format!("listen on {address}: {e}; choose another address with --listen")))
}

/// The configured name, or the host's: with the process id, so that several workers fit on one host.
fn worker_name(config: &Config) -> String {
    if let Some(name) = &config.worker.name {
        return name.clone();
    }
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let safe = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let host: String = host.chars().map(safe).take(48).collect();
    format!("{host}-{}", std::process::id())
}
