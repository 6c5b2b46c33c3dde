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

/// What a log holds: all places from `first` to `last` but those in which nothing stands any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// Place of the oldest message that is left; one behind `last` if none is.
    pub first: u64,
    /// Place of the newest message that ever was; 0 before there was one.
    pub last: u64,
}

impl LogRange {
    /// Whether nothing is left in it.
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// Whether who heard everything up to a place can be told all that followed: the log has come that far,
    /// and has lost nothing behind it.
    pub fn goes_on_from(self, place: u64) -> bool {
        place <= self.last && self.first <= place + 1
    }
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
    /// without end. What the log has lost is passed over in silence: ask for its range first.
    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>>;

    /// Where the log begins and ends now.
    async fn range(&self, log: &StreamSpec) -> PortResult<LogRange>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_gone_on_from_while_all_that_followed_it_is_there() {
        let check = |first: u64, last: u64, expect: &[u64]| {
            let range = LogRange { first, last };
            let found = (0..10).chain([u64::MAX]).filter(|place| range.goes_on_from(*place));
            assert_eq!(found.collect::<Vec<_>>(), expect, "{range:?}");
            assert_eq!(range.is_empty(), expect.len() == 1, "{range:?}");
        };
        check(1, 0, &[0]);
        check(1, 3, &[0, 1, 2, 3]);
        check(5, 7, &[4, 5, 6, 7]);
        check(8, 7, &[7]);
    }
}
