//! Wire: messages to whoever listens, requests with an answer, and logs that remember.

use crate::PortResult;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{StreamSpec, Timestamp};
use futures::stream::BoxStream;
use std::time::Duration;

/// A message as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was sent.
    pub subject: String,
    /// What was sent.
    pub payload: Payload,
    /// Where an answer goes, if one is expected: publish it there.
    pub reply: Option<String>,
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer.
    Reply(Payload),
    /// Nobody listens on that subject; known at once.
    NoResponders,
    /// Nobody answered in time. The request may have been heard.
    TimedOut,
}

/// A message in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its place: rises by at least one.
    pub sequence: u64,
    /// Where it was appended.
    pub subject: String,
    /// What was appended.
    pub payload: Payload,
    /// When, by the broker's clock.
    pub at: Timestamp,
}

/// Messages and logs.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends to whoever listens now. Nothing remembers it unless the subject belongs to a log, and then
    /// nobody waits for it.
    async fn publish(&self, subject: &str, payload: Payload) -> PortResult<()>;

    /// Appends to the log that owns the subject; returns its sequence once it is stored.
    async fn append(&self, subject: &str, payload: Payload) -> PortResult<u64>;

    /// Asks and waits for one answer.
    async fn request(&self, subject: &str, payload: Payload, wait: Duration) -> PortResult<Answer>;

    /// Hears everything that matches the filter from now on: when this returns, the subscription is in
    /// force. The stream ends
    /// when the connection is closed for good.
    async fn subscribe(&self, filter: &str) -> PortResult<BoxStream<'static, Message>>;

    /// Everything in the log that matches the filter from `from_sequence` on, oldest first, then live
    /// without end.
    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>>;

    /// The sequence of the newest message of the log; 0 when it is empty.
    async fn last_sequence(&self, log: &StreamSpec) -> PortResult<u64>;
}
