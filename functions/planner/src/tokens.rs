//! The drawn tasks' tokens: extended while the planner holds them. A token not extended for an ack wait is
//! dropped and never given back: by then it may be another's delivery.

use domain::{AckToken, BatchTask, JobId, Stage, Times};
use ports::Queue;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// A token that is ours.
struct Held {
    stage: Stage,
    job: JobId,
    /// When its last successful extension was asked for.
    extended: Instant,
    /// It was shown to a worker, who may be using it.
    shown: bool,
}

/// Tokens that are ours.
pub(crate) struct Tokens {
    queue: Arc<dyn Queue>,
    times: Times,
    held: BTreeMap<AckToken, Held>,
}

impl Tokens {
    pub(crate) fn new(queue: Arc<dyn Queue>, times: Times) -> Tokens {
        Tokens { queue, times, held: BTreeMap::new() }
    }

    /// Begins to hold a fresh delivery.
    pub(crate) fn hold(&mut self, given: &BatchTask) {
        let (stage, job) = (given.task.stage, given.task.job);
        let held = Held { stage, job, extended: Instant::now(), shown: false };
        self.held.insert(given.ack_token.clone(), held);
    }

    /// A worker is shown the token, or has declined it.
    pub(crate) fn show(&mut self, token: &AckToken, shown: bool) {
        if let Some(held) = self.held.get_mut(token) {
            held.shown = shown;
        }
    }

    /// Stops holding: the task is a worker's now, or nobody's.
    pub(crate) fn release(&mut self, token: &AckToken) {
        self.held.remove(token);
    }

    /// Makes a task deliverable again, if its token is still surely ours.
    pub(crate) fn give_back(&mut self, token: AckToken) {
        if let Some(giving) = self.giving_back(token) {
            tokio::spawn(giving);
        }
    }

    fn giving_back(&mut self, token: AckToken) -> Option<impl Future<Output = ()> + use<>> {
        let held = self.held.remove(&token)?;
        if held.shown || held.extended.elapsed() >= self.times.ack_wait {
            return None;
        }
        let queue = self.queue.clone();
        Some(async move {
            if let Err(error) = queue.give_back(&token).await {
                tracing::debug!(%error, "give a task back: left to redelivery");
            }
        })
    }

    /// Makes all tasks deliverable again that no worker may have, at a drain.
    pub(crate) async fn give_all_back(&mut self) {
        let tokens: Vec<AckToken> = self.held.keys().cloned().collect();
        let giving: Vec<_> = tokens.into_iter().filter_map(|token| self.giving_back(token)).collect();
        futures::future::join_all(giving).await;
    }

    /// Extends all; returns those that were lost.
    pub(crate) async fn extend(&mut self) -> Vec<(Stage, JobId, AckToken)> {
        let asked = Instant::now();
        let extensions = self.held.keys().cloned().map(|token| {
            let queue = self.queue.clone();
            async move { (queue.extend(&token).await.is_ok(), token) }
        });
        for (extended, token) in futures::future::join_all(extensions).await {
            if let Some(held) = self.held.get_mut(&token).filter(|_| extended) {
                held.extended = asked;
            }
        }
        let ack_wait = self.times.ack_wait;
        let lost = self.held.extract_if(.., |_, held| held.extended.elapsed() >= ack_wait);
        lost.map(|(token, held)| (held.stage, held.job, token)).collect()
    }
}
