//! One follower for all clients: hears the events, folds them, and hands them on to whoever listens. Beside
//! it, the timings, the dead letters, and the looks at the bucket that find what no event told.

use crate::Gateway;
use crate::index::{Index, Known};
use crate::states::States;
use crate::tell::Endings;
use crate::timings;
use domain::{
    DEAD, DeadLetter, EVENTS, Event, JOBS_PREFIX, JobId, MANIFESTS_PREFIX, StateKey, StreamSpec, TIMINGS,
    parse_state_key,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use ports::{Logged, PortResult};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout};

/// Events that a client may lag behind. One that lags more is cut off and resumes where it was.
const LAG_MAX: usize = 4_096;
/// Pause before a log that could not be opened is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a look at the bucket that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A look takes no more than one part in so many of the time: the sweep's rule.
const LOOK_SHARE: u32 = 50;

/// Longest wait until the log is heard to a place that it has: after a start, and where its newest messages
/// were removed.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// What those who listen hear.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// An event and its place in the log.
    Event(u64, Arc<Event>),
    /// The log was lost; places count from its new beginning.
    Anew,
}

/// How far a log was heard.
#[derive(Default)]
pub(crate) struct HeardTo {
    place: watch::Sender<u64>,
    /// What was waited for in vain is not waited for again.
    given_up: AtomicU64,
}

impl HeardTo {
    pub(crate) fn get(&self) -> u64 {
        *self.place.borrow()
    }

    pub(crate) fn set(&self, sequence: u64) {
        self.place.send_replace(sequence);
    }

    /// Waits until the log is heard up to a place, or seems to have nothing there.
    pub(crate) async fn catch_up(&self, sequence: u64) {
        if sequence <= self.given_up.load(Ordering::Relaxed) {
            return;
        }
        let mut place = self.place.subscribe();
        if timeout(CATCH_UP_MAX, place.wait_for(|place| *place >= sequence)).await.is_err() {
            self.given_up.store(sequence, Ordering::Relaxed);
        }
    }
}

/// What is known, and who hears what is new.
pub(crate) struct Hub {
    index: RwLock<Index>,
    live: broadcast::Sender<Told>,
    endings: watch::Sender<Arc<Endings>>,
    heard_to: HeardTo,
}

impl Default for Hub {
    fn default() -> Hub {
        let live = broadcast::Sender::new(LAG_MAX);
        Hub {
            index: RwLock::default(),
            live,
            endings: watch::Sender::default(),
            heard_to: HeardTo::default(),
        }
    }
}

impl Hub {
    /// What is known.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, to be changed.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One job as it is known.
    pub(crate) fn known(&self, job: JobId) -> Option<Known> {
        self.read().jobs.get(&job).cloned()
    }

    /// Waits until the log is heard up to a place, or seems to have nothing there.
    pub(crate) async fn catch_up(&self, sequence: u64) {
        self.heard_to.catch_up(sequence).await;
    }

    /// What the last look found of endings, and each that follows.
    pub(crate) fn endings(&self) -> watch::Receiver<Arc<Endings>> {
        self.endings.subscribe()
    }

    /// From now on, everything that is new; and the place of the newest that is not (of a job, or of all).
    /// Nothing falls between the two.
    pub(crate) fn join(&self, job: Option<JobId>) -> (broadcast::Receiver<Told>, u64) {
        let index = self.read();
        let told_to = match job {
            Some(job) => index.jobs.get(&job).map_or(0, |known| known.told_to),
            None => index.heard_to,
        };
        (self.live.subscribe(), told_to)
    }

    fn hear(&self, logged: &Logged) {
        let event = serde_json::from_slice::<Event>(&logged.payload).ok();
        // Under the lock, so that who joins misses nothing and hears nothing twice. That nobody listens is
        // no error.
        let mut index = self.write();
        if logged.sequence <= index.heard_to {
            index.forget_log();
            let _ = self.live.send(Told::Anew);
        }
        index.heard_to = logged.sequence;
        if let Some(event) = event {
            index.hear(logged.sequence, &event);
            let _ = self.live.send(Told::Event(logged.sequence, Arc::new(event)));
        }
        self.heard_to.set(logged.sequence);
    }
}

/// Follows everything until the gateway ends.
pub(crate) async fn follow(gateway: Arc<Gateway>) {
    let hear_events = each(&gateway, (&EVENTS, "event.>"), None, |logged| gateway.hub.hear(&logged));
    let newest = Some(timings::TIMINGS_MAX as u64);
    let hear_timings = each(&gateway, (&TIMINGS, "timing.>"), newest, |logged| gateway.timings.hear(&logged));
    let hear_letters = each(&gateway, (&DEAD, "dead.>"), None, |logged| {
        if let Ok(letter) = serde_json::from_slice::<DeadLetter>(&logged.payload) {
            gateway.hub.write().hear_letter(&letter);
        }
    });
    tokio::join!(hear_events, hear_letters, hear_timings, look(&gateway));
}

/// Everything in a log from its beginning, or its newest messages, then live. The log itself goes on where it
/// broke.
async fn each(
    gateway: &Gateway,
    log: (&StreamSpec, &str),
    newest: Option<u64>,
    mut take: impl FnMut(Logged),
) {
    let (name, mut messages) = loop {
        match open(gateway, log, newest).await {
            Ok(messages) => break (log.0.name, messages),
            Err(error) => tracing::warn!(log = log.0.name, %error, "follow a log"),
        }
        sleep(OPEN_AGAIN).await;
    };
    while let Some(logged) = messages.next().await {
        match logged {
            Ok(logged) => take(logged),
            Err(error) => tracing::debug!(log = name, %error, "follow a log"),
        }
    }
}

async fn open(
    gateway: &Gateway,
    (log, filter): (&StreamSpec, &str),
    newest: Option<u64>,
) -> PortResult<BoxStream<'static, PortResult<Logged>>> {
    let wire = &gateway.ports.wire;
    let from = match newest {
        Some(newest) => wire.range(log).await?.last.saturating_sub(newest),
        None => 0,
    };
    wire.follow(log, filter, from).await
}

/// Looks at the bucket again and again; by the sweep's rule, so that a large one is not looked at all the
/// time.
async fn look(gateway: &Gateway) {
    loop {
        let begun = Instant::now();
        let looked = look_once(gateway).await;
        let took = begun.elapsed();
        let rest = match looked {
            Ok(()) => gateway.settings.times.sweep_every_min.max(took * LOOK_SHARE),
            Err(error) => {
                tracing::debug!(%error, "look at the bucket");
                LOOK_AGAIN + took
            }
        };
        sleep(rest).await;
    }
}

async fn look_once(gateway: &Gateway) -> PortResult<()> {
    let (store, bucket) = (&*gateway.ports.store, gateway.ledger.bucket());
    let (mut states, mut endings, mut next) = (States::default(), Endings::default(), None);
    let is_told = !gateway.settings.listeners.is_empty();
    loop {
        let page = store.list(bucket, MANIFESTS_PREFIX, next).await?;
        if is_told {
            endings.add(&page.objects, gateway.ports.clock.now());
        }
        states.add(page.objects);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let states = states.close();
    loop {
        let page = store.list(bucket, JOBS_PREFIX, next).await?;
        let records = page.objects.iter().filter_map(|object| match parse_state_key(&object.key) {
            Some(StateKey::JobRecord(upload, job)) => Some((upload, job, object.last_modified)),
            _ => None,
        });
        let records: Vec<_> = records.collect();
        gateway.hub.write().look(&records, &states);
        next = page.next;
        if next.is_none() {
            // Not before: whoever is told of an ending asks for its record.
            gateway.hub.endings.send_replace(Arc::new(endings));
            return Ok(());
        }
    }
}
