//! Drives `planning`: tasks and offers in, batches out; holds the lease. It decides nothing itself.
//!
//! `lead` is one term of leadership, `calls` what it asks of others, `asked` what is
//! asked of it, `tokens` keeps the drawn tasks ours meanwhile, `learned` keeps what was learned.
#![forbid(unsafe_code)]

mod asked;
mod calls;
mod lead;
mod learned;
mod telemetry;
mod tokens;

pub use telemetry::{METRICS, describe_metrics};

use domain::{Site, Times};
use planning::BatchRule;
use ports::lease::{Claim, acquire};
use ports::{PortResult, Ports};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Everything that a planner is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The protocol's times.
    pub times: Times,
    /// Who this process is.
    pub holder: String,
    /// Which shard it plans.
    pub shard: u32,
    /// The buckets, and by them the tenants.
    pub site: Site,
    /// How batch sizes are chosen; anything but the default is for measuring.
    pub batch_rule: BatchRule,
    /// Told once it leads, or stands by for one that does.
    pub ready: Arc<Notify>,
}

/// Waits for the lease, leads while it has it, and waits again. Ends at shutdown.
///
/// # Errors
/// The broker denies what a planner needs.
pub async fn run(ports: Ports, settings: Settings, shutdown: CancellationToken) -> PortResult<()> {
    telemetry::describe_metrics();
    let tenants: Vec<_> = settings.site.tenants().into_iter().collect();
    telemetry::leads(false, &tenants);
    let claim = Claim {
        key: format!("planner.{}", settings.shard),
        holder: settings.holder.clone(),
        renew_every: settings.times.renew_every,
    };
    while !shutdown.is_cancelled() {
        let stand_by = || settings.ready.notify_one();
        let Some(lease) = acquire(&ports, &claim, stand_by, &shutdown).await? else { break };
        tracing::info!(epoch = lease.epoch().0, "leads");
        telemetry::leads(true, &tenants);
        let led = lead::lead(&ports, &settings, &lease, &shutdown).await;
        telemetry::leads(false, &tenants);
        match led {
            Err(error) if error.is_transient() => tracing::warn!(%error, "begin to lead; trying again"),
            ended => ended?,
        }
        lease.give_up(&ports).await;
    }
    Ok(())
}
