//! Leases: one of several alike processes at a time acts, as the planner of a shard. Held by renewing an
//! entry of board `lease` with compare-and-set; whoever cannot renew it in time stops, whatever it was doing.

use crate::{Expect, PortError, PortResult, Ports, Write};
use domain::{Epoch, LEASE, Lease};
use std::time::Duration;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// Which lease, and who asks.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its key on the board.
    pub key: String,
    /// This process.
    pub holder: String,
    /// It is renewed this often, and lost after three times as long.
    pub renew_every: Duration,
}

/// A lease that is renewed until it is dropped, lost or given up.
pub struct HeldLease {
    epoch: Epoch,
    key: String,
    /// Cancelled when the lease is lost.
    pub lost: CancellationToken,
    renewing: tokio::task::JoinHandle<()>,
}

impl HeldLease {
    /// The term: rises with every holder.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Makes room for a standby at once, unless the lease is another's by now.
    pub async fn give_up(self, ports: &Ports) {
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

/// Waits until the lease is ours, and tells each time that it is another's. None at shutdown.
///
/// # Errors
/// The broker denies the board.
pub async fn acquire(
    ports: &Ports,
    claim: &Claim,
    stand_by: impl Fn(),
    shutdown: &CancellationToken,
) -> PortResult<Option<HeldLease>> {
    let (mut look, mut last_seen, mut outage) = (interval(claim.renew_every / 3), Epoch(0), false);
    loop {
        tokio::select! { biased; () = shutdown.cancelled() => return Ok(None), _ = look.tick() => {} }
        match try_acquire(ports, claim, &mut last_seen).await {
            Ok(Some(held)) => return Ok(Some(held)),
            Ok(None) => {
                stand_by();
                outage = false;
            }
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut outage, true) {
                    tracing::warn!(lease = claim.key, %error, "ask for the lease; waiting");
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn try_acquire(ports: &Ports, claim: &Claim, last_seen: &mut Epoch) -> PortResult<Option<HeldLease>> {
    if let Some(entry) = ports.boards.read(&LEASE, &claim.key).await? {
        if let Ok(lease) = serde_json::from_slice::<Lease>(&entry.value) {
            *last_seen = (*last_seen).max(lease.epoch);
        }
        return Ok(None);
    }
    let epoch = Epoch((last_seen.0 + 1).max(ports.clock.now().0));
    let lease = Lease { holder: claim.holder.clone(), epoch };
    let value = serde_json::to_vec(&lease).map_err(|error| PortError::Invalid(error.to_string()))?;
    let asked = Instant::now();
    let Write::Written(revision) =
        ports.boards.write(&LEASE, &claim.key, value.clone().into(), Expect::Absent).await?
    else {
        return Ok(None);
    };
    let lost = CancellationToken::new();
    let key = claim.key.clone();
    let renew = Renew { ports: ports.clone(), key: key.clone(), value, revision, asked };
    let renewing = tokio::spawn(renew.run(claim.renew_every, lost.clone()));
    Ok(Some(HeldLease { epoch, key, lost, renewing }))
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
    async fn run(mut self, every: Duration, lost: CancellationToken) {
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
        tracing::warn!(lease = self.key, "the lease is lost");
        lost.cancel();
    }
}
