//! Work queues in memory, with JetStream's rules: redelivery after the ack wait, a delivery count that rises
//! with every delivery, tokens that work from anywhere, and old tokens that act on the newest delivery.

use crate::MemoryBroker;
use crate::broker::locked;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{AckToken, Bytes, Consumer, StreamSpec, TASKS, Timestamp, UPLOADS, subject_matches};
use ports::{Backlog, Delivery, PortError, PortResult, Put, Queue};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A queue of one process takes no more than this, whatever the stream's limit is.
const QUEUE_BYTES_MAX: Bytes = Bytes::mib(512);

/// A message in a work queue.
struct Queued {
    subject: String,
    payload: Payload,
    published_at: Timestamp,
    deliveries: u64,
    /// When it is delivered again, while it is in flight.
    due: Option<Instant>,
}

#[derive(Default)]
pub(crate) struct QueueState {
    last: u64,
    messages: BTreeMap<u64, Queued>,
    by_subject: HashMap<String, u64>,
    /// What waits at each consumer, oldest first, by its filter.
    waiting: HashMap<String, BTreeSet<u64>>,
    in_flight: BTreeSet<(Instant, u64)>,
    bytes: HashMap<&'static str, u64>,
}

/// The stream of a subject, and the filter of the consumer that gets it.
fn place(subject: &str) -> Option<(&'static StreamSpec, String)> {
    if subject_matches(TASKS.subjects, subject) {
        let (group, _job) = subject.rsplit_once('.')?;
        return Some((&TASKS, format!("{group}.*")));
    }
    subject_matches(UPLOADS.subjects, subject).then(|| (&UPLOADS, subject.to_owned()))
}

impl QueueState {
    fn put(&mut self, subject: &str, payload: Payload, now: Timestamp) -> PortResult<Put> {
        let (stream, filter) =
            place(subject).ok_or_else(|| PortError::Missing(format!("no work queue takes {subject}")))?;
        let size = payload.len() as u64;
        if size > stream.message_bytes_max.0 {
            return Err(PortError::Invalid(format!("a message of {size} bytes on {subject}")));
        }
        if stream.one_per_subject && self.by_subject.contains_key(subject) {
            return Ok(Put::AlreadyThere);
        }
        let bytes = self.bytes.entry(stream.name).or_default();
        if *bytes + size > stream.bytes_max.min(QUEUE_BYTES_MAX).0 {
            return Err(PortError::Unavailable(format!("stream {} is full", stream.name)));
        }
        *bytes += size;
        self.last += 1;
        let subject = subject.to_owned();
        self.by_subject.insert(subject.clone(), self.last);
        self.waiting.entry(filter).or_default().insert(self.last);
        let queued = Queued { subject, payload, published_at: now, deliveries: 0, due: None };
        self.messages.insert(self.last, queued);
        Ok(Put::Stored)
    }

    /// What was in flight for too long waits again.
    fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((due, sequence)) = self.in_flight.first().copied().filter(|(due, _)| *due <= now) {
            self.in_flight.remove(&(due, sequence));
            self.wait_again(sequence);
            any = true;
        }
        any
    }

    fn wait_again(&mut self, sequence: u64) {
        let Some(queued) = self.messages.get_mut(&sequence) else { return };
        if let Some(due) = queued.due.take() {
            self.in_flight.remove(&(due, sequence));
        }
        if let Some((_, filter)) = place(&queued.subject) {
            self.waiting.entry(filter).or_default().insert(sequence);
        }
    }

    fn deliver(&mut self, filter: &str, max: usize, due: Instant) -> Vec<Delivery> {
        let Some(waiting) = self.waiting.get_mut(filter) else { return Vec::new() };
        let mut deliveries = Vec::new();
        while deliveries.len() < max {
            let Some(sequence) = waiting.pop_first() else { break };
            let Some(queued) = self.messages.get_mut(&sequence) else { continue };
            queued.deliveries += 1;
            queued.due = Some(due);
            self.in_flight.insert((due, sequence));
            deliveries.push(Delivery {
                subject: queued.subject.clone(),
                payload: queued.payload.clone(),
                token: AckToken(format!("memory.{sequence}.{}", queued.deliveries)),
                count: queued.deliveries,
                published_at: queued.published_at,
            });
        }
        deliveries
    }

    fn extend(&mut self, sequence: u64, until: Instant) {
        let Some(queued) = self.messages.get_mut(&sequence) else { return };
        if let Some(due) = queued.due.as_mut() {
            self.in_flight.remove(&(*due, sequence));
            *due = until;
            self.in_flight.insert((until, sequence));
        }
    }

    fn remove(&mut self, sequence: u64) {
        let Some(queued) = self.messages.remove(&sequence) else { return };
        if let Some(due) = queued.due {
            self.in_flight.remove(&(due, sequence));
        }
        if self.by_subject.get(&queued.subject) == Some(&sequence) {
            self.by_subject.remove(&queued.subject);
        }
        if let Some((stream, filter)) = place(&queued.subject) {
            if let Some(waiting) = self.waiting.get_mut(&filter) {
                waiting.remove(&sequence);
            }
            if let Some(bytes) = self.bytes.get_mut(stream.name) {
                *bytes = bytes.saturating_sub(queued.payload.len() as u64);
            }
        }
    }
}

/// The message of a token, whatever delivery it was.
fn sequence_of(token: &AckToken) -> PortResult<u64> {
    let parts: Vec<&str> = token.0.split('.').collect();
    let sequence = match parts.as_slice() {
        ["memory", sequence, _delivery] => sequence.parse().ok(),
        _ => None,
    };
    sequence.ok_or_else(|| PortError::Invalid(format!("{} is no token of this broker", token.0)))
}

#[async_trait]
impl Queue for MemoryBroker {
    async fn put_if_absent(&self, subject: &str, payload: Payload) -> PortResult<Put> {
        let put = locked(&self.queue).put(subject, payload, self.clock.now())?;
        self.work.notify_waiters();
        Ok(put)
    }

    async fn take(&self, consumer: &Consumer, max: usize, wait: Duration) -> PortResult<Vec<Delivery>> {
        let (filter, end) = (consumer.filter(), Instant::now() + wait);
        loop {
            let mut woken = std::pin::pin!(self.work.notified());
            woken.as_mut().enable();
            let next_due = {
                let (mut state, now) = (locked(&self.queue), Instant::now());
                if state.expire(now) {
                    self.work.notify_waiters();
                }
                let deliveries = state.deliver(&filter, max, now + self.times.ack_wait);
                if !deliveries.is_empty() || now >= end {
                    return Ok(deliveries);
                }
                state.in_flight.first().map(|(due, _)| *due)
            };
            // Woken by news, by the next redelivery, or by the end of the wait: each is looked at alike.
            let _looked_at_alike = timeout_at(next_due.map_or(end, |due| due.min(end)), woken).await;
        }
    }

    async fn extend(&self, token: &AckToken) -> PortResult<()> {
        let until = Instant::now() + self.times.ack_wait;
        locked(&self.queue).extend(sequence_of(token)?, until);
        Ok(())
    }

    async fn done(&self, token: &AckToken) -> PortResult<()> {
        locked(&self.queue).remove(sequence_of(token)?);
        Ok(())
    }

    async fn give_back(&self, token: &AckToken) -> PortResult<()> {
        locked(&self.queue).wait_again(sequence_of(token)?);
        self.work.notify_waiters();
        Ok(())
    }

    async fn backlog(&self, consumer: &Consumer) -> PortResult<Backlog> {
        let (filter, mut state) = (consumer.filter(), locked(&self.queue));
        state.expire(Instant::now());
        let waiting = state.waiting.get(&filter).map_or(0, BTreeSet::len) as u64;
        let of_filter = |sequence: &u64| {
            state.messages.get(sequence).is_some_and(|queued| subject_matches(&filter, &queued.subject))
        };
        let in_flight = state.in_flight.iter().filter(|(_, sequence)| of_filter(sequence)).count() as u64;
        Ok(Backlog { waiting, in_flight })
    }
}
