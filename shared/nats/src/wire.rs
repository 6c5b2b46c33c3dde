//! Messages on core NATS, logs on JetStream streams.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use crate::errors::STORE_FAILED;
use crate::queue::place;
use crate::trace::trace_headers;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::{Request, RequestErrorKind};
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{Retention, StreamSpec, Timestamp};
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use ports::{Answer, LogRange, Logged, Message, PortError, PortResult, Wire};
use std::pin::Pin;
use std::time::{Duration, Instant};

/// A log that broke is opened again after this long.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// A question that every role may ask, since it looks at all streams at its start.
const ANY_QUESTION: &str = "$JS.API.STREAM.INFO.EVENTS";

type Raw = Pin<Box<dyn Stream<Item = Result<jetstream::Message, String>> + Send>>;

/// A log as it is followed: where it stands, and the open stream, if it is open.
struct Follow {
    jetstream: jetstream::Context,
    log: &'static str,
    filter: String,
    next: u64,
    open: Option<Raw>,
}

impl Follow {
    async fn open(&mut self) -> Result<Raw, String> {
        let stream = self.jetstream.get_stream(self.log).await.map_err(|error| error.to_string())?;
        let last = stream.cached_info().state.last_sequence;
        if last + 1 < self.next {
            // The log was lost and began anew, now or before we came: what is in it now was not told.
            self.next = 1;
        }
        let config = pull::OrderedConfig {
            filter_subject: self.filter.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.next.max(1) },
            ..pull::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
        let messages = consumer.messages().await.map_err(|error| error.to_string())?;
        Ok(messages.map(|message| message.map_err(|error| error.to_string())).boxed())
    }

    /// The next message. An error is told once, then the log is opened again where it broke.
    async fn next(mut self) -> Option<(PortResult<Logged>, Follow)> {
        loop {
            let Some(open) = self.open.as_mut() else {
                match self.open().await {
                    Ok(open) => self.open = Some(open),
                    Err(error) => {
                        tokio::time::sleep(OPEN_AGAIN).await;
                        let text = format!("follow {}: {error}", self.log);
                        return Some((Err(PortError::Unavailable(text)), self));
                    }
                }
                continue;
            };
            match open.next().await {
                Some(Ok(message)) => {
                    let Some(logged) = logged(&message) else { continue };
                    self.next = logged.sequence + 1;
                    return Some((Ok(logged), self));
                }
                Some(Err(error)) => {
                    self.open = None;
                    tokio::time::sleep(OPEN_AGAIN).await;
                    let text = format!("follow {}: {error}", self.log);
                    return Some((Err(PortError::Unavailable(text)), self));
                }
                None => self.open = None,
            }
        }
    }
}

fn logged(message: &jetstream::Message) -> Option<Logged> {
    let info = message.info().ok()?;
    let millis = info.published.unix_timestamp_nanos() / 1_000_000;
    Some(Logged {
        sequence: info.stream_sequence,
        subject: message.subject.to_string(),
        payload: message.payload.clone(),
        at: Timestamp(u64::try_from(millis).unwrap_or(0)),
    })
}

#[async_trait]
impl Wire for Broker {
    async fn publish(&self, subject: &str, payload: Payload) -> PortResult<()> {
        let subject = subject.to_owned();
        let published = match trace_headers(&subject) {
            Some(headers) => self.client.publish_with_headers(subject.clone(), headers, payload).await,
            None => self.client.publish(subject.clone(), payload).await,
        };
        published.map_err(|error| PortError::Unavailable(format!("publish on {subject}: {error}")))
    }

    async fn append(&self, subject: &str, payload: Payload) -> PortResult<u64> {
        place(Retention::Limits, subject, payload.len())?;
        match self.publish_stored(subject, payload).await? {
            Ok(sequence) => Ok(sequence),
            Err(code) => {
                debug_assert_eq!(code, STORE_FAILED);
                Err(PortError::Unavailable(format!("append to {subject}: the log is full")))
            }
        }
    }

    async fn request(&self, subject: &str, payload: Payload, wait: Duration) -> PortResult<Answer> {
        let request = Request::new().payload(payload).timeout(Some(wait));
        match self.client.send_request(subject.to_owned(), request).await {
            Ok(answer) => Ok(Answer::Reply(answer.payload)),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Ok(Answer::NoResponders),
                RequestErrorKind::TimedOut => Ok(Answer::TimedOut),
                _ => Err(self.failed_request(&format!("ask on {subject}"), subject, &error)),
            },
        }
    }

    async fn subscribe(&self, filter: &str) -> PortResult<BoxStream<'static, Message>> {
        let what = format!("subscribe {filter}");
        let failed = |error: &dyn std::fmt::Display| self.unanswered(&what, filter, error);
        let subscriber = self.client.subscribe(filter.to_owned()).await.map_err(|error| failed(&error))?;
        // In force once the server has heard of it: what it answers after that, it has read after that. A
        // flush waits for our own socket only. Twice, since a refusal, which comes before the first answer,
        // is heard beside this task.
        for _ in 0..2 {
            let question = Request::new().timeout(Some(ANSWER_MAX));
            match self.client.send_request(ANY_QUESTION, question).await {
                Err(error) if error.kind() != RequestErrorKind::NoResponders => return Err(failed(&error)),
                _ => {}
            }
        }
        if let Some(text) = self.trouble.take(filter, Instant::now()) {
            return Err(PortError::Denied(format!("{what}: {text}")));
        }
        let message = |message: async_nats::Message| Message {
            subject: message.subject.to_string(),
            payload: message.payload,
            reply: message.reply.map(|reply| reply.to_string()),
        };
        Ok(subscriber.map(message).boxed())
    }

    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>> {
        let follow = Follow {
            jetstream: self.jetstream.clone(),
            log: log.name,
            filter: filter.to_owned(),
            next: from_sequence,
            open: None,
        };
        Ok(unfold(follow, Follow::next).boxed())
    }

    async fn range(&self, log: &StreamSpec) -> PortResult<LogRange> {
        let what = || format!("ask log {}", log.name);
        let stream = self.jetstream.get_stream(log.name).await;
        let stream = stream.map_err(|error| self.unanswered(&what(), log.name, &error))?;
        let state = &stream.cached_info().state;
        let last = state.last_sequence;
        // A stream that never had a message says 0 or 1.
        let first = if state.messages == 0 { last + 1 } else { state.first_sequence };
        Ok(LogRange { first, last })
    }
}
