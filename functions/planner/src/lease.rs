//! The lease: one active planner per shard. Held by renewing an entry of board `lease` with compare-and-set;
//! whoever cannot renew it in time stops leading, whatever it was doing.

use crate::Settings;
use domain::{Epoch, LEASE, Lease};
use ports::{Expect, PortError, PortResult, Ports, Write};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// A lease that is renewed until it is dropped, lost or given up.
pub(crate) struct HeldLease {
    epoch: Epoch,
    key: String,
    /// Cancelled when the lease is lost.
    pub(crate) lost: CancellationToken,
    renewing: tokio::task::JoinHandle<()>,
}

impl HeldLease {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Makes room for a standby at once, unless the lease is another's by now.
    pub(crate) async fn give_up(self, ports: &Ports) {
        self.renewing.abort();
        if self.lost.is_cancelled() {
            return;
        }
        if let Err(error) = ports.boards.remove(&LEASE, &self.key).await {
            tracing::debug!(%error, "give the lease up: it expires by itself");
        }
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Waits until the lease is ours. None at shutdown.
pub(crate) async fn acquire(
    ports: &Ports,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> PortResult<Option<HeldLease>> {
    let key = format!("planner.{}", settings.shard);
    let (mut look, mut last_seen, mut outage) = (interval(settings.times.renew_every / 3), Epoch(0), false);
    loop {
        tokio::select! { _ = look.tick() => {}, () = shutdown.cancelled() => return Ok(None) }
        match try_acquire(ports, settings, &key, &mut last_seen).await {
            Ok(Some(held)) => return Ok(Some(held)),
            Ok(None) => outage = false,
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut outage, true) {
                    tracing::warn!(%error, "ask for the lease; waiting");
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn try_acquire(
    ports: &Ports,
    settings: &Settings,
    key: &str,
    last_seen: &mut Epoch,
) -> PortResult<Option<HeldLease>> {
    if let Some(entry) = ports.boards.read(&LEASE, key).await? {
        if let Ok(lease) = serde_json::from_slice::<Lease>(&entry.value) {
            *last_seen = (*last_seen).max(lease.epoch);
        }
        return Ok(None);
    }
    let epoch = Epoch((last_seen.0 + 1).max(ports.clock.now().0));
    let lease = Lease { holder: settings.holder.clone(), epoch };
    let value = serde_json::to_vec(&lease).map_err(|error| PortError::Invalid(error.to_string()))?;
    let asked = Instant::now();
    let Write::Written(revision) =
        ports.boards.write(&LEASE, key, value.clone().into(), Expect::Absent).await?
    else {
        return Ok(None);
    };
    let lost = CancellationToken::new();
    let renew = Renew { ports: ports.clone(), key: key.to_owned(), value, revision, asked };
    let renewing = tokio::spawn(renew.run(settings.times.renew_every, lost.clone()));
    Ok(Some(HeldLease { epoch, key: key.to_owned(), lost, renewing }))
}

struct Renew {
    ports: Ports,
    key: String,
    value: Vec<u8>,
    revision: u64,
    /// When the last successful write was asked for.
    asked: Instant,
}

impl Renew {
    async fn run(mut self, every: std::time::Duration, lost: CancellationToken) {
        let age_max = LEASE.age_max.unwrap_or(every * 3).min(every * 3);
        let mut tick = interval(every);
        tick.tick().await;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = tokio::time::sleep_until(self.asked + age_max) => break,
            }
            let asked = Instant::now();
            let expect = Expect::Revision(self.revision);
            let write = self.ports.boards.write(&LEASE, &self.key, self.value.clone().into(), expect);
            match tokio::time::timeout_at(self.asked + age_max, write).await {
                Ok(Ok(Write::Written(revision))) => (self.revision, self.asked) = (revision, asked),
                Ok(Ok(Write::Conflict)) | Err(_) => break,
                Ok(Err(error)) => tracing::debug!(%error, "renew the lease"),
            }
        }
        tracing::warn!("the lease is lost");
        lost.cancel();
    }
}
