//! Messages and logs in memory.

use crate::MemoryBroker;
use crate::broker::locked;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{Bytes, Discard, Retention, STREAMS, StreamSpec, subject_matches};
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use ports::{Answer, LogRange, Logged, Message, PortError, PortResult, Wire};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Messages that one subscriber may lag behind before it misses some, as a slow consumer of the real broker
/// does.
const LAG_MAX: usize = 65_536;

/// A log of one process takes no more than this, whatever the stream's limit is.
const LOG_BYTES_MAX: Bytes = Bytes::mib(64);

#[derive(Default)]
pub(crate) struct WireState {
    last_subscriber: u64,
    subscribers: BTreeMap<u64, (String, mpsc::Sender<Message>)>,
    logs: BTreeMap<&'static str, Log>,
}

#[derive(Default)]
struct Log {
    last: u64,
    bytes: u64,
    messages: VecDeque<(Logged, Instant)>,
}

impl Log {
    fn append(&mut self, spec: &StreamSpec, mut message: Logged) -> PortResult<u64> {
        let size = bytes_of(&message);
        if message.payload.len() as u64 > spec.message_bytes_max.0 {
            return Err(PortError::Invalid(format!("a message of {size} bytes in log {}", spec.name)));
        }
        self.last += 1;
        message.sequence = self.last;
        self.bytes += size;
        self.messages.push_back((message, Instant::now()));
        let bytes_max = spec.bytes_max.min(LOG_BYTES_MAX).0;
        let too_old = |since: &Instant| spec.age_max.is_some_and(|age| since.elapsed() > age);
        while let Some((oldest, since)) = self.messages.front() {
            let over = self.bytes > bytes_max && spec.discard == Discard::Old;
            if !over && !too_old(since) {
                break;
            }
            self.bytes -= bytes_of(oldest);
            self.messages.pop_front();
        }
        Ok(self.last)
    }

    fn range(&self) -> LogRange {
        let first = self.messages.front().map_or(self.last + 1, |(message, _)| message.sequence);
        LogRange { first, last: self.last }
    }

    /// Removes what stands before a place.
    fn purge(&mut self, before: u64) {
        while let Some((oldest, _)) = self.messages.pop_front_if(|(oldest, _)| oldest.sequence < before) {
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// The first message from `sequence` on that matches.
    fn next(&self, sequence: u64, filter: &str) -> Option<&Logged> {
        let start = self.messages.partition_point(|(message, _)| message.sequence < sequence);
        let mut rest = self.messages.range(start..).map(|(message, _)| message);
        rest.find(|message| subject_matches(filter, &message.subject))
    }
}

/// What a message takes of its log's room.
fn bytes_of(message: &Logged) -> u64 {
    (message.payload.len() + message.subject.len()) as u64
}

/// The log that owns a subject.
fn log_of(subject: &str) -> Option<&'static StreamSpec> {
    STREAMS.iter().find(|s| s.retention == Retention::Limits && subject_matches(s.subjects, subject))
}

impl MemoryBroker {
    /// Removes from a log what stands before a place, as whoever administers the real broker may.
    pub fn purge(&self, log: &StreamSpec, before: u64) {
        if let Some(log) = locked(&self.wire).logs.get_mut(log.name) {
            log.purge(before);
        }
    }

    fn append_now(&self, spec: &'static StreamSpec, subject: &str, payload: Payload) -> PortResult<u64> {
        let message = Logged { sequence: 0, subject: subject.to_owned(), payload, at: self.clock.now() };
        let sequence = locked(&self.wire).logs.entry(spec.name).or_default().append(spec, message)?;
        self.logged.notify_waiters();
        Ok(sequence)
    }

    /// Hands a message to everybody who listens; tells how many.
    fn send(&self, message: &Message) -> usize {
        let mut state = locked(&self.wire);
        let mut heard = 0;
        state.subscribers.retain(|_, (filter, sender)| {
            if subject_matches(filter, &message.subject) {
                match sender.try_send(message.clone()) {
                    Ok(()) => heard += 1,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        tracing::warn!(subject = %message.subject, "a slow subscriber misses a message");
                        heard += 1;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                }
            }
            true
        });
        heard
    }

    fn listen(&self, filter: &str) -> mpsc::Receiver<Message> {
        let (sender, receiver) = mpsc::channel(LAG_MAX);
        let mut state = locked(&self.wire);
        state.last_subscriber += 1;
        let id = state.last_subscriber;
        // Those who have stopped listening are forgotten here too, so that silence does not collect them.
        state.subscribers.retain(|_, (_, sender)| !sender.is_closed());
        state.subscribers.insert(id, (filter.to_owned(), sender));
        receiver
    }
}

#[async_trait]
impl Wire for MemoryBroker {
    async fn publish(&self, subject: &str, payload: Payload) -> PortResult<()> {
        if let Some(spec) = log_of(subject) {
            self.append_now(spec, subject, payload.clone())?;
        }
        self.send(&Message { subject: subject.to_owned(), payload, reply: None });
        Ok(())
    }

    async fn append(&self, subject: &str, payload: Payload) -> PortResult<u64> {
        let spec = log_of(subject).ok_or_else(|| PortError::Missing(format!("no log takes {subject}")))?;
        let sequence = self.append_now(spec, subject, payload.clone())?;
        self.send(&Message { subject: subject.to_owned(), payload, reply: None });
        Ok(sequence)
    }

    async fn request(&self, subject: &str, payload: Payload, wait: Duration) -> PortResult<Answer> {
        let inbox = {
            let mut state = locked(&self.wire);
            state.last_subscriber += 1;
            format!("_INBOX.{}", state.last_subscriber)
        };
        let mut answers = self.listen(&inbox);
        let message = Message { subject: subject.to_owned(), payload, reply: Some(inbox) };
        if self.send(&message) == 0 {
            return Ok(Answer::NoResponders);
        }
        match tokio::time::timeout(wait, answers.recv()).await {
            Ok(Some(answer)) => Ok(Answer::Reply(answer.payload)),
            Ok(None) | Err(_) => Ok(Answer::TimedOut),
        }
    }

    async fn subscribe(&self, filter: &str) -> PortResult<BoxStream<'static, Message>> {
        let receiver = self.listen(filter);
        Ok(unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed())
    }

    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>> {
        let broker = self.this.upgrade();
        let start = (broker, log.name, filter.to_owned(), from_sequence);
        type Place = (Option<Arc<MemoryBroker>>, &'static str, String, u64);
        let next = |(broker, log, filter, mut from): Place| async move {
            let held = broker?;
            loop {
                let mut woken = std::pin::pin!(held.logged.notified());
                woken.as_mut().enable();
                let (found, last) = match locked(&held.wire).logs.get(log) {
                    Some(log) => (log.next(from, &filter).cloned(), log.last),
                    None => (None, 0),
                };
                if let Some(found) = found {
                    let after = found.sequence + 1;
                    return Some((Ok(found), (Some(held.clone()), log, filter, after)));
                }
                // What is there was looked through: next time only what comes after it.
                from = from.max(last + 1);
                woken.await;
            }
        };
        Ok(unfold(start, next).boxed())
    }

    async fn range(&self, log: &StreamSpec) -> PortResult<LogRange> {
        Ok(locked(&self.wire).logs.get(log.name).map_or(LogRange { first: 1, last: 0 }, Log::range))
    }
}
