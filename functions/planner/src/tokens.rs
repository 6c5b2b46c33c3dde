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

    /// Extends all that are still surely ours; returns those that were lost. What is lost is never extended
    /// again: its delivery may be another's by now.
    pub(crate) async fn extend(&mut self) -> Vec<(Stage, JobId, AckToken)> {
        let mut lost = self.take_lost();
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
        lost.append(&mut self.take_lost());
        lost
    }

    fn take_lost(&mut self) -> Vec<(Stage, JobId, AckToken)> {
        let ack_wait = self.times.ack_wait;
        let lost = self.held.extract_if(.., |_, held| held.extended.elapsed() >= ack_wait);
        lost.map(|(token, held)| (held.stage, held.job, token)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use bytes::Bytes as Payload;
    use domain::{Bytes, Class, Consumer, Recipe, Task, Timestamp, UploadId};
    use ports::{Backlog, Delivery, PortError, PortResult, Put};
    use std::sync::Mutex;
    use std::time::Duration;

    /// Counts what is done with tokens; extends only those that begin with `good`.
    #[derive(Default)]
    struct Counter(Mutex<Vec<String>>);

    impl Counter {
        fn said(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().expect("a plain list"))
        }
    }

    #[async_trait]
    impl Queue for Counter {
        async fn put_if_absent(&self, _: &str, _: Payload) -> PortResult<Put> {
            unreachable!("tokens only")
        }
        async fn take(&self, _: &Consumer, _: usize, _: Duration) -> PortResult<Vec<Delivery>> {
            unreachable!("tokens only")
        }
        async fn extend(&self, token: &AckToken) -> PortResult<()> {
            self.0.lock().expect("a plain list").push(format!("extend {}", token.0));
            let good = token.0.starts_with("good");
            if good { Ok(()) } else { Err(PortError::Unavailable("nobody answers".to_owned())) }
        }
        async fn done(&self, _: &AckToken) -> PortResult<()> {
            unreachable!("the planner finishes nothing that it holds")
        }
        async fn give_back(&self, token: &AckToken) -> PortResult<()> {
            self.0.lock().expect("a plain list").push(token.0.clone());
            Ok(())
        }
        async fn backlog(&self, _: &Consumer) -> PortResult<Backlog> {
            unreachable!("tokens only")
        }
    }

    fn given(token: &str) -> BatchTask {
        let task = Task {
            job: JobId([1; 16]),
            upload: UploadId([1; 16]),
            stage: Stage::Shape,
            class: Class::Normal,
            tenant: "tenant".parse().expect("a name"),
            recipe: Recipe::default(),
            size_bytes: Bytes::ZERO,
            accepted_at: Timestamp(0),
        };
        let (ack_token, at) = (AckToken(token.to_owned()), Timestamp(0));
        BatchTask { task, ack_token, delivery: 1, published_at: at, drawn_at: at }
    }

    fn holding(tokens: &[&str]) -> (Arc<Counter>, Tokens) {
        let queue = Arc::new(Counter::default());
        let mut held = Tokens::new(queue.clone(), Times::PRODUCTION);
        tokens.iter().for_each(|token| held.hold(&given(token)));
        (queue, held)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_not_extended_for_an_ack_wait_is_dropped_and_never_given_back() {
        let (queue, mut held) = holding(&["good", "bad"]);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(held.extend().await.is_empty());
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let lost = held.extend().await;
        assert_eq!(lost, [(Stage::Shape, JobId([1; 16]), AckToken("bad".to_owned()))]);
        queue.said();
        held.give_all_back().await;
        assert_eq!(queue.said(), ["good"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_shown_to_a_worker_is_not_given_back_until_it_declines() {
        let (queue, mut held) = holding(&["good-1", "good-2", "good-3"]);
        for token in ["good-1", "good-2"] {
            held.show(&AckToken(token.to_owned()), true);
        }
        held.show(&AckToken("good-2".to_owned()), false);
        held.release(&AckToken("good-3".to_owned()));
        held.give_all_back().await;
        assert_eq!(queue.said(), ["good-2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_already_too_old_is_not_extended_again() {
        let (queue, mut held) = holding(&["good"]);
        tokio::time::sleep(Times::PRODUCTION.ack_wait).await;
        assert_eq!(held.extend().await.len(), 1);
        assert!(queue.said().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_token_is_not_given_back() {
        let (queue, mut held) = holding(&["good"]);
        tokio::time::sleep(Times::PRODUCTION.ack_wait).await;
        held.give_all_back().await;
        assert!(queue.said().is_empty());
    }
}
