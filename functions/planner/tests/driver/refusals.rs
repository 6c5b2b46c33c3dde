//! A broker that denies what a planner needs.

use crate::bench::Bench;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{AckToken, CALL_SUBJECT, Consumer};
use ports::{Backlog, Delivery, PortError, PortResult, Put, Queue};
use std::sync::Arc;
use std::time::Duration;

/// A queue from which nobody may take.
struct MayNotTake(Arc<dyn Queue>);

fn denied() -> PortError {
    PortError::Denied("pull: permissions violation".to_owned())
}

#[async_trait]
impl Queue for MayNotTake {
    async fn put_if_absent(&self, subject: &str, payload: Payload) -> PortResult<Put> {
        self.0.put_if_absent(subject, payload).await
    }
    async fn take(&self, _: &Consumer, _: usize, _: Duration) -> PortResult<Vec<Delivery>> {
        Err(denied())
    }
    async fn extend(&self, token: &AckToken) -> PortResult<()> {
        self.0.extend(token).await
    }
    async fn done(&self, token: &AckToken) -> PortResult<()> {
        self.0.done(token).await
    }
    async fn give_back(&self, token: &AckToken) -> PortResult<()> {
        self.0.give_back(token).await
    }
    async fn backlog(&self, consumer: &Consumer) -> PortResult<Backlog> {
        self.0.backlog(consumer).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_may_not_draw_ends_and_says_why() {
    let mut bench = Bench::new();
    bench.ports.queue = Arc::new(MayNotTake(bench.ports.queue.clone()));
    let mut calls = bench.ports.wire.subscribe(CALL_SUBJECT).await.expect("a subscription");
    let worker = bench.worker("a").await;
    let planner = bench.planner("one");
    bench.led(&mut calls).await;
    worker.offer(1).await;
    assert_eq!(planner.task.await.expect("no panic"), Err(denied()));
}
