//! The drawn tasks' tokens: extended while the planner holds them. A token not extended for an ack wait is
//! dropped and never given back: by then it may be another's delivery.

use domain::{AckToken, BatchTask, JobId, Stage, Times};
use ports::Queue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
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

/// A token that was lost, and of which task.
pub(crate) type Lost = (Stage, JobId, AckToken);

/// What became of an extension of many tokens.
pub(crate) struct Answers {
    asked: Instant,
    extended: Vec<AckToken>,
}

/// Tokens that are ours.
pub(crate) struct Tokens {
    queue: Arc<dyn Queue>,
    times: Times,
    held: BTreeMap<AckToken, Held>,
    /// The newest token of each task: older ones of it are extended only while a worker may be using them.
    newest: BTreeMap<(Stage, JobId), AckToken>,
}

impl Tokens {
    pub(crate) fn new(queue: Arc<dyn Queue>, times: Times) -> Tokens {
        Tokens { queue, times, held: BTreeMap::new(), newest: BTreeMap::new() }
    }

    /// Begins to hold a fresh delivery. An older one of the same task is not ours any more: extending it
    /// would extend the newer one, whoever has that by then.
    pub(crate) fn hold(&mut self, given: &BatchTask) {
        let (stage, job) = (given.task.stage, given.task.job);
        let older = self.newest.insert((stage, job), given.ack_token.clone());
        let held = Held { stage, job, extended: Instant::now(), shown: false };
        self.held.insert(given.ack_token.clone(), held);
        if let Some(older) = older.filter(|older| *older != given.ack_token) {
            self.drop_superseded(&older);
        }
    }

    /// The longest time since one of these tokens was extended; none if one of them is not ours.
    pub(crate) fn oldest(&self, tasks: &[BatchTask]) -> Option<Duration> {
        let ages = tasks.iter().map(|given| Some(self.held.get(&given.ack_token)?.extended.elapsed()));
        ages.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// A worker is shown the token, or has declined it.
    pub(crate) fn show(&mut self, token: &AckToken, shown: bool) {
        if let Some(held) = self.held.get_mut(token) {
            held.shown = shown;
            self.drop_superseded(token);
        }
    }

    /// Forgets a token that no worker has seen, if there is a newer one of its task.
    fn drop_superseded(&mut self, token: &AckToken) {
        let Some(held) = self.held.get(token).filter(|held| !held.shown) else { return };
        if self.newest.get(&(held.stage, held.job)) != Some(token) {
            self.held.remove(token);
        }
    }

    /// Stops holding: the task is a worker's now, or nobody's.
    pub(crate) fn release(&mut self, token: &AckToken) {
        self.take(token);
    }

    fn take(&mut self, token: &AckToken) -> Option<Held> {
        let held = self.held.remove(token)?;
        self.forget_newest(held.stage, held.job, token);
        Some(held)
    }

    fn forget_newest(&mut self, stage: Stage, job: JobId, token: &AckToken) {
        if self.newest.get(&(stage, job)) == Some(token) {
            self.newest.remove(&(stage, job));
        }
    }

    /// Makes a task deliverable again, if its token is still surely ours.
    pub(crate) fn give_back(&mut self, token: AckToken) {
        if let Some(giving) = self.giving_back(token) {
            tokio::spawn(giving);
        }
    }

    fn giving_back(&mut self, token: AckToken) -> Option<impl Future<Output = ()> + use<>> {
        let held = self.take(&token)?;
        if held.shown || held.extended.elapsed() >= self.times.ack_wait {
            return None;
        }
        let (queue, job, stage) = (self.queue.clone(), held.job, held.stage);
        Some(async move {
            if let Err(error) = queue.give_back(&token).await {
                tracing::debug!(%job, %stage, %error, "give a task back: left to redelivery");
            }
        })
    }

    /// Makes all tasks deliverable again that no worker may have, at a drain.
    pub(crate) async fn give_all_back(&mut self) {
        let tokens: Vec<AckToken> = self.held.keys().cloned().collect();
        let giving: Vec<_> = tokens.into_iter().filter_map(|token| self.giving_back(token)).collect();
        futures::future::join_all(giving).await;
    }

    /// Asks for an extension of all that are still surely ours. Tells what was lost, and gives the asking,
    /// which nobody here waits for: its answers go to [`Tokens::extended`]. What is lost is never extended
    /// again: its delivery may be another's by now.
    pub(crate) fn extend(&mut self) -> (Vec<Lost>, impl Future<Output = Answers> + use<>) {
        let lost = self.take_lost();
        let asked = Instant::now();
        let extensions: Vec<_> = self
            .held
            .keys()
            .cloned()
            .map(|token| {
                let queue = self.queue.clone();
                async move { queue.extend(&token).await.is_ok().then_some(token) }
            })
            .collect();
        let asking = async move {
            let extended = futures::future::join_all(extensions).await.into_iter().flatten().collect();
            Answers { asked, extended }
        };
        (lost, asking)
    }

    /// Takes in which tokens were extended; returns those that are lost by now.
    pub(crate) fn extended(&mut self, Answers { asked, extended }: Answers) -> Vec<Lost> {
        for token in extended {
            if let Some(held) = self.held.get_mut(&token) {
                held.extended = held.extended.max(asked);
            }
        }
        self.take_lost()
    }

    fn take_lost(&mut self) -> Vec<Lost> {
        let ack_wait = self.times.ack_wait;
        let lost = self.held.extract_if(.., |_, held| held.extended.elapsed() >= ack_wait);
        let lost: Vec<Lost> = lost.map(|(token, held)| (held.stage, held.job, token)).collect();
        for (stage, job, token) in &lost {
            self.forget_newest(*stage, *job, token);
        }
        lost
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

    fn given(job: u8, token: &str) -> BatchTask {
        let task = Task {
            job: JobId([job; 16]),
            upload: UploadId([job; 16]),
            stage: Stage::Shape,
            class: Class::Normal,
            tenant: "tenant".parse().expect("a name"),
            recipe: Recipe::default(),
            size_bytes: Bytes::ZERO,
            accepted_at: Timestamp(0),
            deadline: None,
        };
        let (ack_token, at) = (AckToken(token.to_owned()), Timestamp(0));
        BatchTask { task, ack_token, delivery: 1, published_at: at, drawn_at: at }
    }

    fn holding(tokens: &[&str]) -> (Arc<Counter>, Tokens) {
        let queue = Arc::new(Counter::default());
        let mut held = Tokens::new(queue.clone(), Times::PRODUCTION);
        for (job, token) in tokens.iter().enumerate() {
            held.hold(&given(job as u8, token));
        }
        (queue, held)
    }

    async fn extend(held: &mut Tokens) -> Vec<Lost> {
        let (mut lost, asking) = held.extend();
        lost.extend(held.extended(asking.await));
        lost
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_not_extended_for_an_ack_wait_is_dropped_and_never_given_back() {
        let (queue, mut held) = holding(&["good", "bad"]);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(extend(&mut held).await.is_empty());
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let lost = extend(&mut held).await;
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
        assert_eq!(extend(&mut held).await.len(), 1);
        assert!(queue.said().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_delivery_ends_an_older_token_at_once_or_once_its_worker_has_declined_it() {
        let (queue, mut held) = holding(&["good-1", "good-2"]);
        held.show(&AckToken("good-2".to_owned()), true);
        held.hold(&given(1, "good-3"));
        held.show(&AckToken("good-2".to_owned()), false);
        held.hold(&given(0, "good-4"));
        held.give_all_back().await;
        assert_eq!(queue.said(), ["good-3", "good-4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_token_is_not_given_back() {
        let (queue, mut held) = holding(&["good"]);
        tokio::time::sleep(Times::PRODUCTION.ack_wait).await;
        held.give_all_back().await;
        assert!(queue.said().is_empty());
    }
}
