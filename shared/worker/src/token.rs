//! Tokens: keeps a delivery ours while it is worked on, by the token rules of the protocol.
//!
//! An acknowledgement is not a lock and a token is no proof: all that hangs on it is who works, never who
//! won.

use domain::{AckToken, Times};
use ports::Queue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A delivery in our hands. It is extended until this value is dropped.
pub(crate) struct HeldToken {
    token: AckToken,
    queue: Arc<dyn Queue>,
    lost: Arc<AtomicBool>,
    extender: JoinHandle<()>,
}

impl HeldToken {
    /// Begins to extend, right away: the planner's last extension may be old.
    pub(crate) fn hold(token: AckToken, queue: Arc<dyn Queue>, times: Times) -> HeldToken {
        let lost = Arc::new(AtomicBool::new(false));
        let extender = tokio::spawn(extend(token.clone(), queue.clone(), times, lost.clone()));
        HeldToken { token, queue, lost, extender }
    }

    /// Removes the task from the queue. A failure leaves it there; it is delivered again and found finished.
    pub(crate) async fn done(self) {
        self.extender.abort();
        if let Err(error) = self.queue.done(&self.token).await {
            tracing::info!(%error, "acknowledge a task: left to redelivery");
        }
    }

    /// Makes the task deliverable at once, unless the token is too old: then it may be another's delivery by
    /// now.
    pub(crate) async fn give_back(self) {
        self.extender.abort();
        if self.lost.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.queue.give_back(&self.token).await {
            tracing::info!(%error, "give a task back: left to redelivery");
        }
    }

    /// Stops extending and says nothing: the task is delivered again after the ack wait, or its giver uses
    /// the token.
    pub(crate) fn let_go(self) {
        self.extender.abort();
    }
}

impl Drop for HeldToken {
    fn drop(&mut self) {
        self.extender.abort();
    }
}

async fn extend(token: AckToken, queue: Arc<dyn Queue>, times: Times, lost: Arc<AtomicBool>) {
    let mut last_success = Instant::now();
    loop {
        let asked = Instant::now();
        match queue.extend(&token).await {
            Ok(()) => last_success = asked,
            Err(error) => tracing::debug!(%error, "extend a task"),
        }
        if last_success.elapsed() > times.ack_wait {
            lost.store(true, Ordering::Relaxed);
            tracing::info!("a token is older than the ack wait and is dropped");
            return;
        }
        sleep(times.extend_every).await;
    }
}
