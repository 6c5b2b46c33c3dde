//! Ports that note when a task was published and when a worker accepted it. They only look: every call goes
//! on to the port behind them, but timings where they are not wanted.

use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{AckToken, Batch, BatchReply, Consumer, JobId, Stage, StreamSpec, Task};
use futures::StreamExt;
use futures::stream::BoxStream;
use ports::{Answer, Backlog, Delivery, LogRange, Logged, Message, PortResult, Put, Queue, Wire};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When a task was published (the call began, the broker confirmed) and accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) published: Instant,
    pub(crate) confirmed: Option<Instant>,
    pub(crate) accepted: Option<Instant>,
}

#[derive(Default)]
struct Noted {
    hops: BTreeMap<(JobId, Stage), Hop>,
    /// Batches that a worker has heard of and not answered, by where the answer goes.
    asked: BTreeMap<String, Vec<(JobId, Stage)>>,
    /// Items of each accepted batch.
    batches: Vec<usize>,
    /// Timings go no further than the watched wire.
    drops_timings: bool,
}

/// What the watched ports saw. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

impl Notes {
    fn locked(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All hops that ended so far, without those of earlier calls.
    pub(crate) fn take_hops(&self) -> Vec<Hop> {
        let mut noted = self.locked();
        let ended = |hop: &Hop| hop.accepted.is_some() && hop.confirmed.is_some();
        let taken = std::mem::take(&mut noted.hops);
        taken.into_values().filter(ended).collect()
    }

    /// Items of each batch accepted so far, without those of earlier calls.
    pub(crate) fn take_batches(&self) -> Vec<usize> {
        std::mem::take(&mut self.locked().batches)
    }

    /// From now on the watched wire drops timings, or publishes them as the worker wants.
    pub(crate) fn drop_timings(&self, drops: bool) {
        self.locked().drops_timings = drops;
    }

    fn asked(&self, message: &Message) {
        let (Some(reply), Ok(batch)) = (&message.reply, serde_json::from_slice::<Batch>(&message.payload))
        else {
            return;
        };
        let tasks = batch.tasks.iter().map(|given| (given.task.job, given.task.stage)).collect();
        self.locked().asked.insert(reply.clone(), tasks);
    }

    fn answered(&self, subject: &str, payload: &[u8]) {
        let mut noted = self.locked();
        let Some(tasks) = noted.asked.remove(subject) else { return };
        if !matches!(serde_json::from_slice(payload), Ok(BatchReply::Accepted)) {
            return;
        }
        let now = Instant::now();
        noted.batches.push(tasks.len());
        for place in tasks {
            if let Some(hop) = noted.hops.get_mut(&place) {
                hop.accepted.get_or_insert(now);
            }
        }
    }
}

/// A queue whose publications are noted.
pub(crate) struct WatchedQueue {
    pub(crate) inner: Arc<dyn Queue>,
    pub(crate) notes: Notes,
}

#[async_trait]
impl Queue for WatchedQueue {
    async fn put_if_absent(&self, subject: &str, payload: Payload) -> PortResult<Put> {
        let task = serde_json::from_slice::<Task>(&payload).ok();
        let place = task.map(|task| (task.job, task.stage));
        if let Some(place) = place {
            let hop = Hop { published: Instant::now(), confirmed: None, accepted: None };
            self.notes.locked().hops.insert(place, hop);
        }
        let put = self.inner.put_if_absent(subject, payload).await;
        if let Some(place) = place.filter(|_| put.is_ok())
            && let Some(hop) = self.notes.locked().hops.get_mut(&place)
        {
            hop.confirmed = Some(Instant::now());
        }
        put
    }

    async fn take(&self, consumer: &Consumer, max: usize, wait: Duration) -> PortResult<Vec<Delivery>> {
        self.inner.take(consumer, max, wait).await
    }

    async fn extend(&self, token: &AckToken) -> PortResult<()> {
        self.inner.extend(token).await
    }

    async fn done(&self, token: &AckToken) -> PortResult<()> {
        self.inner.done(token).await
    }

    async fn give_back(&self, token: &AckToken) -> PortResult<()> {
        self.inner.give_back(token).await
    }

    async fn backlog(&self, consumer: &Consumer) -> PortResult<Backlog> {
        self.inner.backlog(consumer).await
    }
}

/// A worker's wire whose acceptances are noted.
pub(crate) struct WatchedWire {
    pub(crate) inner: Arc<dyn Wire>,
    pub(crate) notes: Notes,
}

#[async_trait]
impl Wire for WatchedWire {
    async fn publish(&self, subject: &str, payload: Payload) -> PortResult<()> {
        if subject.starts_with("timing.") && self.notes.locked().drops_timings {
            return Ok(());
        }
        self.notes.answered(subject, &payload);
        self.inner.publish(subject, payload).await
    }

    async fn append(&self, subject: &str, payload: Payload) -> PortResult<u64> {
        self.inner.append(subject, payload).await
    }

    async fn request(&self, subject: &str, payload: Payload, wait: Duration) -> PortResult<Answer> {
        self.inner.request(subject, payload, wait).await
    }

    async fn subscribe(&self, filter: &str) -> PortResult<BoxStream<'static, Message>> {
        let messages = self.inner.subscribe(filter).await?;
        if !filter.starts_with("run.") {
            return Ok(messages);
        }
        let notes = self.notes.clone();
        Ok(messages.inspect(move |message| notes.asked(message)).boxed())
    }

    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>> {
        self.inner.follow(log, filter, from_sequence).await
    }

    async fn range(&self, log: &StreamSpec) -> PortResult<LogRange> {
        self.inner.range(log).await
    }
}
