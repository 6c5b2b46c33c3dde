//! `run FUNCTION…`: one or several functions of the distributed form in this process.

use crate::cli::{Function, RunArgs};
use crate::config::Config;
use crate::distributed;
use crate::metrics_text::Metrics;
use crate::pipeline::{Pipeline, device, stages_of};
use crate::refusal::{Outcome, Refusal};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where the gateway listens unless told otherwise.
const GATEWAY_LISTEN: &str = "127.0.0.1:8787";

pub(crate) async fn run(args: RunArgs, shutdown: CancellationToken) -> Outcome<()> {
    let config = Config::load(args.config.config.as_deref())?;
    let stages = stages_of(&args.functions);
    let has = |function| args.functions.contains(&function);
    let name = worker_name(&config);
    let device = device(&config, if stages.is_empty() { "host" } else { &args.device })?;
    let metrics = Metrics::install()?;
    let ports = distributed::connect(&config).await?;
    let mut pipeline = Pipeline::new(shutdown);
    if has(Function::Ingest) {
        pipeline.ingest(&ports, &config)?;
    }
    if has(Function::Planner) {
        pipeline.planner(&ports, &config, &name);
    }
    if !stages.is_empty() {
        pipeline.worker(&ports, &config, &stages, (&name, device))?;
    }
    if has(Function::Gateway) {
        let address = args.listen.map_or_else(|| GATEWAY_LISTEN.to_owned(), |address| address.to_string());
        if config.gateway.token.is_none() && !is_loopback(&address) {
            return Err(Refusal::Config(format!(
                "the gateway would listen on {address} without a token; set gateway.token, or listen on \
                 127.0.0.1"
            )));
        }
        let listener = bind(&address).await?;
        let address = listener.local_addr().map_err(|e| Refusal::Io(e.to_string()))?;
        pipeline.gateway(&ports, &config, listener, &metrics)?;
        println!("gateway on http://{address}");
    }
    println!("ready");
    pipeline.wait().await
}

/// Binds, or says who is in the way.
pub(crate) async fn bind(address: &str) -> Outcome<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener
        .map_err(|e| Refusal::Io(format!("listen on {address}: {e}; choose another address with --listen")))
}

fn is_loopback(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
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
