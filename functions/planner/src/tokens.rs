//! The drawn tasks' tokens: extended while the planner holds them. A token not extended for an ack wait is
//! dropped and never given back: by then it may be another's delivery.

use domain::{AckToken, Times};
use ports::Queue;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Tokens that are ours.
pub(crate) struct Tokens {
    queue: Arc<dyn Queue>,
    times: Times,
    held: BTreeMap<AckToken, Instant>,
}

impl Tokens {
    pub(crate) fn new(queue: Arc<dyn Queue>, times: Times) -> Tokens {
        Tokens { queue, times, held: BTreeMap::new() }
    }

    /// Begins to hold a fresh delivery.
    pub(crate) fn hold(&mut self, token: AckToken) {
        self.held.insert(token, Instant::now());
    }

    /// Stops holding: the task is a worker's now, or nobody's.
    pub(crate) fn release(&mut self, token: &AckToken) {
        self.held.remove(token);
    }

    /// Makes a task deliverable again, if its token is still surely ours.
    pub(crate) fn give_back(&mut self, token: AckToken) {
        let fresh = self.held.remove(&token).is_some_and(|last| last.elapsed() < self.times.ack_wait);
        if !fresh {
            return;
        }
        let queue = self.queue.clone();
        tokio::spawn(async move {
            if let Err(error) = queue.give_back(&token).await {
                tracing::debug!(%error, "give a task back: left to redelivery");
            }
        });
    }

    /// Extends all; returns those that were lost.
    pub(crate) async fn extend(&mut self) -> Vec<AckToken> {
        let asked = Instant::now();
        let extensions = self.held.keys().cloned().map(|token| {
            let queue = self.queue.clone();
            async move { (queue.extend(&token).await.is_ok(), token) }
        });
        for (extended, token) in futures::future::join_all(extensions).await {
            if extended {
                self.held.insert(token, asked);
            }
        }
        let ack_wait = self.times.ack_wait;
        let lost: Vec<AckToken> =
            self.held.iter().filter(|(_, last)| last.elapsed() >= ack_wait).map(|(t, _)| t.clone()).collect();
        for token in &lost {
            self.held.remove(token);
        }
        lost
    }

    /// All tokens, at a drain.
    pub(crate) fn all(&self) -> Vec<AckToken> {
        self.held.keys().cloned().collect()
    }
}
