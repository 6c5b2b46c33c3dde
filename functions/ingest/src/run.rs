//! The process: takes events, hands them to `accept`, acknowledges; beside it sweeps and collects.
//!
//! An event is acknowledged once its jobs are recorded and queued. While a port does not answer, events
//! stay where they are: one is tried at a time, the log says so once.

use crate::accept::{Accepted, Acceptor, json};
use crate::collect::{CollectSettings, Collector};
use crate::events::{Parsed, parse};
use crate::outage::Outage;
use crate::sweep::{SweepReport, Sweeper};
use crate::telemetry::count_event;
use domain::{Bytes, Consumer, SWEEP_SUBJECT, Site, Times};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use ports::{Delivery, Message, PortError, PortResult, Ports, Queue};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Events handled at once. Each costs a HEAD, a PUT and a publish, so waiting dominates.
const EVENTS_AT_ONCE: usize = 32;
/// A pull waits this long for events; shutdown does not wait for it.
const TAKE_WAIT: Duration = Duration::from_secs(5);
/// Sweeps and collections may use this share of the time: one part in so many.
const PAUSE_PER_DURATION: u32 = 50;
/// Bytes of an unreadable event that the log shows.
const SHOWN_BYTES: usize = 200;

/// What ingest needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The buckets.
    pub site: Site,
    /// The protocol's times.
    pub times: Times,
    /// Whether this process sweeps and collects; two that do are harmless.
    pub sweep: bool,
    /// How it collects.
    pub collect: CollectSettings,
    /// Told once it can take events.
    pub ready: Arc<Notify>,
}

impl Settings {
    /// For this site: with sweep, without retention.
    pub fn new(site: Site, times: Times) -> Settings {
        let (collect, ready) = (CollectSettings::new(&times), Arc::default());
        Settings { site, times, sweep: true, collect, ready }
    }

    /// With retention: at most so many bytes in total, finished jobs at most so long.
    pub fn keeping(mut self, bytes_max: Option<Bytes>, age_max: Option<Duration>) -> Settings {
        self.collect.retention.bytes_max = bytes_max;
        self.collect.retention.age_max = age_max;
        self
    }
}

/// A request on subject `sweep`; an empty message asks for a sweep over everything, however young.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SweepRequest {
    /// Leave younger jobs to the queue.
    age_min_ms: u64,
    /// Collect afterwards.
    collect: bool,
}

/// Runs until `shutdown`, then finishes what it has taken.
///
/// # Errors
/// What only a changed configuration mends: a denied or invalid call on the queue.
pub async fn run(ports: Ports, settings: Settings, shutdown: CancellationToken) -> Result<(), PortError> {
    crate::telemetry::describe_metrics();
    let acceptor = Arc::new(Acceptor::new(ports.clone(), settings.site.clone()));
    let intake = Arc::new(Intake {
        ports: ports.clone(),
        times: settings.times,
        acceptor: acceptor.clone(),
        outage: Outage::of("what an event needs"),
    });
    let consumer = Consumer::Uploads(settings.site.store.clone());
    let events = take_events(intake, consumer, settings.ready.clone(), shutdown.clone());
    if !settings.sweep {
        return events.await;
    }
    let walker = Walker {
        sweeper: Sweeper::new(ports.clone(), settings.site.clone(), acceptor),
        collector: Collector::new(ports.clone(), settings.site.clone(), settings.collect.clone()),
        ports,
        times: settings.times,
        every: settings.collect.every,
        outage: Outage::of("what a sweep needs"),
    };
    tokio::try_join!(events, walker.run(shutdown))?;
    Ok(())
}

/// Handles events.
struct Intake {
    ports: Ports,
    times: Times,
    acceptor: Arc<Acceptor>,
    outage: Outage,
}

async fn take_events(
    intake: Arc<Intake>,
    consumer: Consumer,
    ready: Arc<Notify>,
    shutdown: CancellationToken,
) -> Result<(), PortError> {
    // Which makes the consumer. An outage is told by the first pull.
    if intake.ports.queue.backlog(&consumer).await.is_ok() {
        ready.notify_one();
    }
    let queue_outage = Outage::of("the queue of events");
    let mut working = JoinSet::new();
    while !shutdown.is_cancelled() {
        let at_most = if intake.outage.is_on() { 1 } else { EVENTS_AT_ONCE };
        // Half of them free before the next pull: large pulls, and no lull in between.
        while working.len() > at_most / 2 && !shutdown.is_cancelled() {
            tokio::select! {
                ended = working.join_next() => reap(ended),
                () = shutdown.cancelled() => {}
            }
        }
        if intake.outage.is_on() {
            wait(&shutdown, intake.times.extend_every).await;
        }
        let room = at_most.saturating_sub(working.len()).max(1);
        let take = intake.ports.queue.take(&consumer, room, TAKE_WAIT);
        let taken = tokio::select! {
            taken = take => taken,
            () = shutdown.cancelled() => break,
        };
        match taken {
            Ok(deliveries) => {
                ready.notify_one();
                queue_outage.over();
                for delivery in deliveries {
                    let intake = intake.clone();
                    working.spawn(async move { intake.handle(delivery).await });
                }
            }
            Err(error @ (PortError::Denied(_) | PortError::Invalid(_))) => return Err(error),
            Err(error) => {
                queue_outage.failed(&error);
                wait(&shutdown, intake.times.extend_every).await;
            }
        }
        while let Some(ended) = working.try_join_next() {
            reap(Some(ended));
        }
    }
    // What does not end by then is delivered again.
    let drained = timeout(intake.times.ack_wait, async {
        while let Some(ended) = working.join_next().await {
            reap(Some(ended));
        }
    });
    if drained.await.is_err() {
        tracing::info!(events = working.len(), "shutdown leaves events to redelivery");
    }
    Ok(())
}

fn reap(ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended {
        tracing::error!(%error, "handling an event ended badly; it will be delivered again");
    }
}

async fn wait(shutdown: &CancellationToken, span: Duration) {
    tokio::select! {
        () = sleep(span) => {}
        () = shutdown.cancelled() => {}
    }
}

impl Intake {
    /// One delivery: keeps it, works on it, acknowledges it. Whatever fails is left to redelivery.
    async fn handle(&self, delivery: Delivery) {
        let work = timeout(self.times.phase_max, self.work(&delivery));
        let result = tokio::select! {
            result = work => result,
            () = extend(&*self.ports.queue, &delivery, &self.times) => {
                self.outage.failed(&"the queue took an event back");
                return;
            }
        };
        match result {
            Ok(Ok(())) => self.outage.over(),
            Ok(Err(error)) => return self.outage.failed(&error),
            Err(elapsed) => return self.outage.failed(&elapsed),
        }
        if let Err(error) = self.ports.queue.done(&delivery.token).await {
            tracing::debug!(%error, "acknowledge an event: left to redelivery");
        }
    }

    async fn work(&self, delivery: &Delivery) -> PortResult<()> {
        match parse(&delivery.payload) {
            Parsed::Objects { objects, unreadable } => {
                count_event("objects");
                if unreadable > 0 {
                    self.unreadable("some of its records", delivery);
                }
                for object in &objects {
                    self.accept(object, delivery.count > 1).await?;
                }
            }
            Parsed::Ignored { why } => {
                count_event("ignored");
                tracing::debug!(why, subject = delivery.subject, "an event is ignored");
            }
            Parsed::Unreadable { why } => self.unreadable(why, delivery),
        }
        Ok(())
    }

    async fn accept(&self, object: &crate::ObjectEvent, redelivered: bool) -> PortResult<()> {
        match self.acceptor.event(object, redelivered).await {
            Ok(Accepted::NotWatched) => {
                tracing::warn!(bucket = object.bucket, "an event names a bucket that is not watched");
            }
            Ok(_) => {}
            // It would fail for ever: acknowledged, and the sweep tries it again.
            Err(PortError::Invalid(why)) => {
                count_event("invalid");
                tracing::warn!(%why, bucket = object.bucket, "an upload cannot be accepted");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn unreadable(&self, why: &str, delivery: &Delivery) {
        count_event("unreadable");
        let shown = &delivery.payload[..delivery.payload.len().min(SHOWN_BYTES)];
        let begins = String::from_utf8_lossy(shown);
        tracing::warn!(why, subject = delivery.subject, %begins, "an event cannot be read");
    }
}

/// Extends a delivery for as long as it is polled; returns when the last success is older than the ack wait.
async fn extend(queue: &dyn Queue, delivery: &Delivery, times: &Times) {
    let mut last_success = Instant::now();
    while last_success.elapsed() <= times.ack_wait {
        sleep(times.extend_every).await;
        let asked = Instant::now();
        match queue.extend(&delivery.token).await {
            Ok(()) => last_success = asked,
            Err(error) => tracing::debug!(%error, "extend an event"),
        }
    }
}

/// Sweeps and collects in turns.
struct Walker {
    ports: Ports,
    times: Times,
    sweeper: Sweeper,
    collector: Collector,
    /// Shortest time between two collections.
    every: Duration,
    outage: Outage,
}

impl Walker {
    async fn run(&self, shutdown: CancellationToken) -> Result<(), PortError> {
        tokio::select! {
            () = self.walk() => Ok(()),
            // Every step repeats harmlessly: nothing needs to be finished.
            () = shutdown.cancelled() => Ok(()),
        }
    }

    async fn walk(&self) {
        let mut asked = self.listen().await;
        let mut age_min = Duration::ZERO;
        // Before any request is heard: a timer that is due now may fire a millisecond later.
        let mut next_sweep = self.periodic_sweep(&mut age_min).await;
        let mut next_collection = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = sleep_until(next_sweep) => {
                    next_sweep = self.periodic_sweep(&mut age_min).await;
                    if asked.is_none() {
                        asked = self.listen().await;
                    }
                }
                () = sleep_until(next_collection) => {
                    let begun = Instant::now();
                    self.collect(&mut SweepReport::default()).await;
                    next_collection = pause(begun, self.every);
                }
                message = heard(&mut asked) => match (message, &mut asked) {
                    (Some(message), Some(asked)) => self.answer(message, asked).await,
                    // Closed: the periodic sweep goes on and listens again.
                    _ => asked = None,
                },
            }
        }
    }

    /// Sweeps in turn; returns when to do so again. Jobs of any age until one has gone through.
    async fn periodic_sweep(&self, age_min: &mut Duration) -> Instant {
        let begun = Instant::now();
        if self.sweep(*age_min).await.is_ok() {
            *age_min = self.times.sweep_age_min;
        }
        pause(begun, self.times.sweep_every_min)
    }

    /// Requests for a sweep; none if the wire does not answer: the periodic sweep must not wait for it.
    async fn listen(&self) -> Option<BoxStream<'static, Message>> {
        match self.ports.wire.subscribe(SWEEP_SUBJECT).await {
            Ok(asked) => Some(asked),
            Err(error) => {
                self.outage.failed(&error);
                None
            }
        }
    }

    /// Answers a request, and with the same sweep all that came meanwhile.
    async fn answer(&self, first: Message, asked: &mut BoxStream<'static, Message>) {
        let mut messages = vec![first];
        while let Some(Some(message)) = asked.next().now_or_never() {
            messages.push(message);
        }
        let requests =
            messages.iter().map(|message| serde_json::from_slice(&message.payload).unwrap_or_default());
        let requests: Vec<SweepRequest> = requests.collect();
        let age_min = requests.iter().map(|request| request.age_min_ms).min().unwrap_or_default();
        let swept = self.sweep(Duration::from_millis(age_min)).await;
        let failed =
            |error: PortError| SweepReport { error: Some(error.to_string()), ..SweepReport::default() };
        let mut report = swept.unwrap_or_else(failed);
        if requests.iter().any(|request| request.collect) {
            self.collect(&mut report).await;
        }
        let Ok(body) = json(&report) else { return };
        for reply in messages.iter().filter_map(|message| message.reply.as_ref()) {
            if let Err(error) = self.ports.wire.publish(reply, body.clone()).await {
                tracing::debug!(%error, "answer a request for a sweep");
            }
        }
    }

    async fn sweep(&self, age_min: Duration) -> PortResult<SweepReport> {
        let swept = self.sweeper.sweep(age_min).await;
        match &swept {
            Ok(_) => self.outage.over(),
            Err(error) => self.outage.failed(error),
        }
        swept
    }

    async fn collect(&self, report: &mut SweepReport) {
        match self.collector.collect().await {
            Ok(collected) => {
                self.outage.over();
                report.collected = Some(collected);
            }
            Err(error) => {
                self.outage.failed(&error);
                report.error.get_or_insert(error.to_string());
            }
        }
    }
}

/// The next request; never returns while nobody listens.
async fn heard(asked: &mut Option<BoxStream<'static, Message>>) -> Option<Message> {
    match asked {
        Some(asked) => asked.next().await,
        None => std::future::pending().await,
    }
}

/// When to begin again: after `least`, or after many times what it took.
fn pause(begun: Instant, least: Duration) -> Instant {
    Instant::now() + least.max(begun.elapsed() * PAUSE_PER_DURATION)
}
