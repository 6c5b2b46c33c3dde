//! Queue: work that waits. At least once, never exclusive: an acknowledgement is not a lock.

use crate::PortResult;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{AckToken, Consumer, Timestamp};
use std::time::Duration;

/// What became of a message that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored, durably.
    Stored,
    /// A message with this subject waits or is in flight already. For a task that is success: it is queued.
    AlreadyThere,
}

/// One delivery of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it was put.
    pub subject: String,
    /// What was put.
    pub payload: Payload,
    /// The handle of this delivery.
    pub token: AckToken,
    /// Which delivery of the message this is, from 1.
    pub count: u64,
    /// When the message was stored, by the broker's clock.
    pub published_at: Timestamp,
}

/// What waits at a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Not delivered yet.
    pub waiting: u64,
    /// Delivered and neither acknowledged nor given back.
    pub in_flight: u64,
}

/// Work queues: `UPLOADS` and `TASKS`.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores a message, unless its stream keeps one message per subject and has this one. Returns once it
    /// is durable.
    async fn put_if_absent(&self, subject: &str, payload: Payload) -> PortResult<Put>;

    /// Takes up to `max` messages. Returns as soon as there is at least one, or empty after `wait`. An
    /// outage is an error, never empty.
    async fn take(&self, consumer: &Consumer, max: usize, wait: Duration) -> PortResult<Vec<Delivery>>;

    /// Keeps a delivery from being delivered again for another ack wait. Success only when the broker
    /// recorded it.
    async fn extend(&self, token: &AckToken) -> PortResult<()>;

    /// Removes the message. Success only when the broker recorded it (sure-ack).
    async fn done(&self, token: &AckToken) -> PortResult<()>;

    /// Makes the message deliverable again at once.
    async fn give_back(&self, token: &AckToken) -> PortResult<()>;

    /// What waits, as of a moment ago.
    async fn backlog(&self, consumer: &Consumer) -> PortResult<Backlog>;
}
