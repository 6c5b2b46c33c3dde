//! Work queues on JetStream: one durable pull consumer per filter, every acknowledgement a request that the
//! server answers.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use crate::errors::{CONSUMER_NOT_FOUND, STORE_FAILED, STREAM_NOT_FOUND};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerErrorKind, LastRawMessageErrorKind};
use async_nats::{Request, RequestErrorKind};
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{AckToken, Consumer, TASKS, Timestamp, UPLOADS, subject_matches};
use futures::StreamExt;
use ports::{Backlog, Delivery, PortError, PortResult, Put, Queue};
use serde::Deserialize;
use std::sync::PoisonError;
use std::time::Duration;

/// Deliveries that a consumer may have in flight: more than all lanes and windows together ever hold.
const ACK_PENDING_MAX: i64 = 10_000;

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

fn stream_of(consumer: &Consumer) -> &'static str {
    match consumer {
        Consumer::Uploads(_) => UPLOADS.name,
        Consumer::Tasks(..) => TASKS.name,
    }
}

impl Broker {
    /// Publishes and waits for the stream's word; the error's code if it refuses.
    pub(crate) async fn publish_stored(
        &self,
        subject: &str,
        payload: Payload,
    ) -> PortResult<Result<u64, u64>> {
        let what = || format!("publish on {subject}");
        let request = Request::new().payload(payload).timeout(Some(ANSWER_MAX));
        let answer = match self.client.send_request(subject.to_owned(), request).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                self.declare_again().await;
                return Err(PortError::Unavailable(format!("{}: no stream took it", what())));
            }
            Err(error) => return Err(self.failed_request(&what(), &error)),
        };
        let ack: PubAck = serde_json::from_slice(&answer.payload).map_err(|error| {
            PortError::Invalid(format!("{}: the answer is no JetStream one: {error}", what()))
        })?;
        match ack.error {
            None => Ok(Ok(ack.seq)),
            Some(PubError { err_code: STORE_FAILED, .. }) => Ok(Err(STORE_FAILED)),
            Some(error) => Err(PortError::Unavailable(format!("{}: {}", what(), error.description))),
        }
    }

    /// Whether a message with this subject is in the stream: what tells a full subject from a full stream,
    /// which share a code.
    async fn is_queued(&self, stream: &str, subject: &str) -> PortResult<bool> {
        let what = || format!("look for {subject}");
        let stream = self.jetstream.get_stream_no_info(stream).await;
        let stream = stream.map_err(|error| self.unanswered(&what(), &error))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(self.unanswered(&what(), &error)),
        }
    }

    async fn consumer(&self, consumer: &Consumer) -> PortResult<PullConsumer> {
        let name = consumer.durable_name();
        if let Some(known) = self.consumers.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(known.clone());
        }
        let config = pull::Config {
            durable_name: Some(name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.times.ack_wait,
            max_deliver: -1,
            filter_subject: consumer.filter(),
            max_ack_pending: ACK_PENDING_MAX,
            ..pull::Config::default()
        };
        let stream = stream_of(consumer);
        let made = self.jetstream.create_consumer_on_stream(config, stream).await;
        match made {
            Ok(made) => {
                let mut known = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(name, made.clone());
                Ok(made)
            }
            Err(error) => {
                let what = format!("make consumer {name}");
                match error.kind() {
                    ConsumerErrorKind::JetStream(inner) if inner.error_code().0 == STREAM_NOT_FOUND => {
                        self.declare_again().await;
                        Err(PortError::Unavailable(format!("{what}: {error}")))
                    }
                    ConsumerErrorKind::JetStream(_) => Err(PortError::Invalid(format!("{what}: {error}"))),
                    _ => Err(self.unanswered(&what, &error)),
                }
            }
        }
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
        let failed = |error: &dyn std::fmt::Display| self.unanswered("pull", error);
        let mut messages = match wait {
            None => from.fetch().max_messages(max).messages().await,
            Some(wait) => from.batch().max_messages(max).expires(wait).messages().await,
        }
        .map_err(|error| failed(&error))?;
        let (mut deliveries, mut broken) = (Vec::new(), None);
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => deliveries.extend(delivery(message)),
                Err(error) => broken = Some(failed(&error)),
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
        answered.map(drop).map_err(|error| self.failed_request("acknowledge", &error))
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
        if self.publish_stored(subject, payload).await?.is_ok() {
            return Ok(Put::Stored);
        }
        if subject_matches(TASKS.subjects, subject) && self.is_queued(TASKS.name, subject).await? {
            return Ok(Put::AlreadyThere);
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
            let mut first = self.pull(&from, 1, Some(wait)).await?;
            if !first.is_empty() && max > 1 {
                // What came with it. A failure here must not lose the first.
                first.extend(self.pull(&from, max - 1, None).await.unwrap_or_default());
            }
            Ok(first)
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
                Err(self.unanswered(&what(), &error))
            }
        }
    }
}
