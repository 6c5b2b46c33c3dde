//! Work queues on JetStream: one durable pull consumer per filter, every acknowledgement a request that the
//! server answers.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use crate::errors::{BAD_REQUEST, CONSUMER_NOT_FOUND, MESSAGE_TOO_LARGE, STORE_FAILED, STREAM_NOT_FOUND};
use crate::trace::trace_headers;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerCreateStrictErrorKind, LastRawMessageErrorKind};
use async_nats::{Request, RequestErrorKind};
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{
    ACK_PENDING_MAX, AckToken, Consumer, Retention, STREAMS, StreamSpec, TASKS, Timestamp, UPLOADS,
    subject_matches,
};
use futures::StreamExt;
use ports::{Backlog, Delivery, PortError, PortResult, Put, Queue};
use serde::Deserialize;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::timeout;

/// The server ends a pull itself. One that is silent for this much longer is lost. Below the 5 s after which
/// the client ends it without a word, which would read as an empty queue.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Puts of a task whose subject was full and free again before it was looked at: each needs an
/// acknowledgement in between, so that two in a row mean a full stream.
const PUTS_MAX: usize = 3;

/// What JetStream answers to a publish.
#[derive(Deserialize)]
struct PubAck {
    error: Option<PubError>,
    #[serde(default)]
    seq: u64,
}

#[derive(Deserialize)]
struct PubError {
    err_code: u64,
    description: String,
}

fn consumer_config(consumer: &Consumer, ack_wait: Duration) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer.durable_name()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_deliver: -1,
        filter_subject: consumer.filter(),
        max_ack_pending: ACK_PENDING_MAX as i64,
        ..pull::Config::default()
    }
}

/// # Errors
/// `Invalid`, with a sentence, if a consumer was made with other settings.
fn verify(name: &str, expected: &pull::Config, found: &consumer::Config) -> PortResult<()> {
    let pairs = [
        ("filter", format!("{:?}", expected.filter_subject), format!("{:?}", found.filter_subject)),
        ("ack policy", format!("{:?}", expected.ack_policy), format!("{:?}", found.ack_policy)),
        ("ack wait", format!("{:?}", expected.ack_wait), format!("{:?}", found.ack_wait)),
        ("max deliver", expected.max_deliver.to_string(), found.max_deliver.to_string()),
        ("max ack pending", expected.max_ack_pending.to_string(), found.max_ack_pending.to_string()),
    ];
    match pairs.into_iter().find(|(_, expected, found)| expected != found) {
        None => Ok(()),
        Some((field, expected, found)) => Err(PortError::Invalid(format!(
            "consumer {name} has {field} {found}, and {expected} is needed; delete it with the nats CLI: its \
             messages stay, and it is made anew"
        ))),
    }
}

fn stream_of(consumer: &Consumer) -> &'static str {
    match consumer {
        Consumer::Uploads(_) => UPLOADS.name,
        Consumer::Tasks(..) => TASKS.name,
    }
}

/// The stream of this kind that takes a message of this size on this subject. Asked before the broker, which
/// tells neither apart from an outage.
pub(crate) fn place(kind: Retention, subject: &str, size: usize) -> PortResult<&'static StreamSpec> {
    let takes = |spec: &&StreamSpec| spec.retention == kind && subject_matches(spec.subjects, subject);
    let spec = STREAMS.iter().find(takes);
    let spec = spec.ok_or_else(|| PortError::Missing(format!("no stream takes {subject}")))?;
    if size as u64 > spec.message_bytes_max.0 {
        return Err(PortError::Invalid(format!("a message of {size} bytes on {subject}")));
    }
    Ok(spec)
}

impl Broker {
    /// Publishes and waits for the stream's word; the error's code if it refuses.
    pub(crate) async fn publish_stored(
        &self,
        subject: &str,
        payload: Payload,
    ) -> PortResult<Result<u64, u64>> {
        let what = || format!("publish on {subject}");
        let mut request = Request::new().payload(payload).timeout(Some(ANSWER_MAX));
        if let Some(headers) = trace_headers(subject) {
            request = request.headers(headers);
        }
        let answer = match self.client.send_request(subject.to_owned(), request).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                self.declare_again().await;
                return Err(PortError::Unavailable(format!("{}: no stream took it", what())));
            }
            Err(error) => return Err(self.failed_request(&what(), subject, &error)),
        };
        let ack: PubAck = serde_json::from_slice(&answer.payload).map_err(|error| {
            PortError::Invalid(format!("{}: the answer is no JetStream one: {error}", what()))
        })?;
        match ack.error {
            None => Ok(Ok(ack.seq)),
            Some(PubError { err_code: STORE_FAILED, .. }) => Ok(Err(STORE_FAILED)),
            Some(PubError { err_code: MESSAGE_TOO_LARGE, description }) => {
                Err(PortError::Invalid(format!("{}: {description}", what())))
            }
            Some(error) => Err(PortError::Unavailable(format!("{}: {}", what(), error.description))),
        }
    }

    /// Whether a message with this subject is in the stream: what tells a full subject from a full stream,
    /// which share a code.
    async fn is_queued(&self, stream: &str, subject: &str) -> PortResult<bool> {
        let what = || format!("look for {subject}");
        let found = self.jetstream.get_stream_no_info(stream).await;
        let found = found.map_err(|error| self.unanswered(&what(), stream, &error))?;
        match found.get_last_raw_message_by_subject(subject).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(self.unanswered(&what(), stream, &error)),
        }
    }

    /// The durable consumer, made or verified: never updated, since another process may rely on it.
    async fn consumer(&self, consumer: &Consumer) -> PortResult<PullConsumer> {
        let name = consumer.durable_name();
        if let Some(known) = self.consumers.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(known.clone());
        }
        let config = consumer_config(consumer, self.times.ack_wait);
        let (stream, what) = (stream_of(consumer), format!("make consumer {name}"));
        let made = match self.jetstream.create_consumer_strict_on_stream(config.clone(), stream).await {
            Ok(made) => made,
            Err(error) => match error.kind() {
                ConsumerCreateStrictErrorKind::AlreadyExists => {
                    let found = self.jetstream.get_consumer_from_stream::<pull::Config, _, _>(&name, stream);
                    let found = found.await.map_err(|error| self.unanswered(&what, &name, &error))?;
                    verify(&name, &config, &found.cached_info().config)?;
                    found
                }
                ConsumerCreateStrictErrorKind::JetStream(inner)
                    if inner.error_code().0 == STREAM_NOT_FOUND =>
                {
                    self.declare_again().await;
                    return Err(PortError::Unavailable(format!("{what}: {error}")));
                }
                ConsumerCreateStrictErrorKind::JetStream(inner) if inner.code() == BAD_REQUEST => {
                    return Err(PortError::Invalid(format!("{what}: {error}")));
                }
                // An election, a lack of room, a server that restarts.
                ConsumerCreateStrictErrorKind::JetStream(_) => {
                    return Err(PortError::Unavailable(format!("{what}: {error}")));
                }
                _ => return Err(self.unanswered(&what, &name, &error)),
            },
        };
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner).insert(name, made.clone());
        Ok(made)
    }

    /// Forgets a consumer that failed: it may have gone with its stream.
    fn forget(&self, consumer: &Consumer) {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner).remove(&consumer.durable_name());
    }

    /// One pull to its very end, so that no delivered message is dropped.
    async fn pull(
        &self,
        from: &PullConsumer,
        max: usize,
        wait: Option<Duration>,
    ) -> PortResult<Vec<Delivery>> {
        let name = from.cached_info().name.as_str();
        let failed = |error: &dyn std::fmt::Display| self.unanswered("pull", name, error);
        let mut messages = match wait {
            None => from.fetch().max_messages(max).messages().await,
            Some(wait) => from.batch().max_messages(max).expires(wait).messages().await,
        }
        .map_err(|error| failed(&error))?;
        let (mut deliveries, mut broken) = (Vec::new(), None);
        let silence_max = wait.unwrap_or_default() + SILENCE_MAX;
        loop {
            match timeout(silence_max, messages.next()).await {
                Ok(Some(Ok(message))) => deliveries.extend(delivery(message)),
                Ok(Some(Err(error))) => broken = Some(failed(&error)),
                Ok(None) => break,
                Err(elapsed) => {
                    broken = Some(failed(&elapsed));
                    break;
                }
            }
        }
        // What was delivered before the pull broke is delivered.
        match broken {
            Some(error) if deliveries.is_empty() => Err(error),
            _ => Ok(deliveries),
        }
    }

    /// An acknowledgement of any kind, confirmed by the server.
    async fn confirm(&self, token: &AckToken, word: &'static [u8]) -> PortResult<()> {
        let request = Request::new().payload(Payload::from_static(word)).timeout(Some(ANSWER_MAX));
        let answered = self.client.send_request(token.0.clone(), request).await;
        answered.map(drop).map_err(|error| self.failed_request("acknowledge", &token.0, &error))
    }
}

fn delivery(message: async_nats::jetstream::Message) -> Option<Delivery> {
    let info = message.info().ok()?;
    let millis = info.published.unix_timestamp_nanos() / 1_000_000;
    let (count, published_at) = (u64::try_from(info.delivered).ok()?, Timestamp(u64::try_from(millis).ok()?));
    let token = AckToken(message.reply.as_ref()?.to_string());
    let (subject, payload) = (message.subject.to_string(), message.payload.clone());
    Some(Delivery { subject, payload, token, count, published_at })
}

#[async_trait]
impl Queue for Broker {
    async fn put_if_absent(&self, subject: &str, payload: Payload) -> PortResult<Put> {
        let stream = place(Retention::WorkQueue, subject, payload.len())?;
        for _ in 0..PUTS_MAX {
            if self.publish_stored(subject, payload.clone()).await?.is_ok() {
                return Ok(Put::Stored);
            }
            if !stream.one_per_subject {
                break;
            }
            if self.is_queued(stream.name, subject).await? {
                return Ok(Put::AlreadyThere);
            }
            // Done between the two calls, or the stream is full: the next put tells.
        }
        Err(PortError::Unavailable(format!("publish on {subject}: the stream is full")))
    }

    async fn take(&self, consumer: &Consumer, max: usize, wait: Duration) -> PortResult<Vec<Delivery>> {
        let taken = async {
            let from = self.consumer(consumer).await?;
            let there = self.pull(&from, max, None).await?;
            if !there.is_empty() || wait.is_zero() {
                return Ok(there);
            }
            // The first in an empty queue waits for no other: what comes behind it is taken next.
            self.pull(&from, 1, Some(wait)).await
        };
        let taken = taken.await;
        if taken.is_err() {
            self.forget(consumer);
        }
        taken
    }

    async fn extend(&self, token: &AckToken) -> PortResult<()> {
        self.confirm(token, b"+WPI").await
    }

    async fn done(&self, token: &AckToken) -> PortResult<()> {
        self.confirm(token, b"+ACK").await
    }

    async fn give_back(&self, token: &AckToken) -> PortResult<()> {
        self.confirm(token, b"-NAK").await
    }

    async fn backlog(&self, consumer: &Consumer) -> PortResult<Backlog> {
        let what = || format!("ask consumer {}", consumer.durable_name());
        let known = self.consumer(consumer).await?;
        match known.get_info().await {
            Ok(info) => Ok(Backlog { waiting: info.num_pending, in_flight: info.num_ack_pending as u64 }),
            Err(error) => {
                self.forget(consumer);
                let text = format!("{}: {error}", what());
                tracing::debug!(CONSUMER_NOT_FOUND, %text, "a consumer is asked in vain");
                Err(self.unanswered(&what(), &consumer.durable_name(), &error))
            }
        }
    }
}
