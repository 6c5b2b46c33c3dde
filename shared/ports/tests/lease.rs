//! A lease on boards whose link can be cut, in simulated time.

use bytes::Bytes as Payload;
use domain::{BoardSpec, Epoch, LEASE, Lease, Times, Timestamp};
use embedded::MemoryBroker;
use ports::lease::{Claim, HeldLease, acquire};
use ports::{Boards, Clock, Entry, Expect, PortError, PortResult, Ports, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shows what a test sets.
#[derive(Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(SeqCst))
    }
}

/// Boards behind a link that can be cut.
struct Link(Arc<MemoryBroker>, Arc<AtomicBool>);

impl Link {
    fn up(&self) -> PortResult<()> {
        let cut = self.1.load(SeqCst);
        if cut { Err(PortError::Unavailable("the link is cut".to_owned())) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Boards for Link {
    async fn write(&self, board: &BoardSpec, key: &str, value: Payload, when: Expect) -> PortResult<Write> {
        self.up()?;
        self.0.write(board, key, value, when).await
    }
    async fn read(&self, board: &BoardSpec, key: &str) -> PortResult<Option<Entry>> {
        self.up()?;
        self.0.read(board, key).await
    }
    async fn list(&self, board: &BoardSpec) -> PortResult<Vec<Entry>> {
        self.up()?;
        self.0.list(board).await
    }
    async fn remove(&self, board: &BoardSpec, key: &str) -> PortResult<()> {
        self.up()?;
        self.0.remove(board, key).await
    }
}

struct NoStore;

#[async_trait::async_trait]
impl ports::Store for NoStore {
    async fn head(&self, _: &str, _: &str) -> PortResult<Option<ports::ObjectInfo>> {
        unreachable!("a lease is on a board")
    }
    async fn get(&self, _: &str, _: &str, _: &ports::GetOptions) -> PortResult<ports::Got> {
        unreachable!("a lease is on a board")
    }
    async fn put(&self, _: &str, _: &str, _: Payload, _: &ports::PutOptions) -> PortResult<ports::Stored> {
        unreachable!("a lease is on a board")
    }
    async fn list(&self, _: &str, _: &str, _: Option<String>) -> PortResult<ports::Page> {
        unreachable!("a lease is on a board")
    }
    async fn delete(&self, _: &str, _: &[String]) -> PortResult<()> {
        unreachable!("a lease is on a board")
    }
    async fn abort_uploads(&self, _: &str, _: Timestamp) -> PortResult<usize> {
        unreachable!("a lease is on a board")
    }
}

struct Office {
    broker: Arc<MemoryBroker>,
    clock: Arc<SetClock>,
}

impl Office {
    fn new() -> Office {
        let clock = Arc::new(SetClock(AtomicU64::new(1_000)));
        Office { broker: MemoryBroker::new(Times::PRODUCTION, clock.clone()), clock }
    }

    /// Ports of one planner, and what cuts its link to the boards.
    fn ports(&self) -> (Ports, Arc<AtomicBool>) {
        let cut = Arc::new(AtomicBool::new(false));
        let boards = Arc::new(Link(self.broker.clone(), cut.clone()));
        let (queue, wire, clock) = (self.broker.queue(), self.broker.wire(), self.clock.clone());
        (Ports { queue, boards, wire, store: Arc::new(NoStore), clock }, cut)
    }
}

fn claim(holder: &str) -> Claim {
    Claim {
        key: "planner.0".to_owned(),
        holder: holder.to_owned(),
        renew_every: Times::PRODUCTION.renew_every,
    }
}

async fn held(ports: &Ports, holder: &str) -> HeldLease {
    let acquired = acquire(ports, &claim(holder), || (), &CancellationToken::new()).await;
    acquired.expect("no refusal").expect("no shutdown")
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_renew_has_stopped_before_another_leads() {
    let office = Office::new();
    let ((one, cut), (two, _)) = (office.ports(), office.ports());
    let first = held(&one, "one").await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!first.lost.is_cancelled(), "it is renewed");
    cut.store(true, SeqCst);
    let since = Instant::now();
    let second = held(&two, "two").await;
    assert!(first.lost.is_cancelled(), "property: no two active leaders");
    assert!(since.elapsed() <= Duration::from_secs(11), "{:?}", since.elapsed());
    assert!(second.epoch() > first.epoch());
    // The link is mended: the first one does not come back as if nothing had been.
    cut.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!second.lost.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn epochs_rise_though_the_clock_goes_back() {
    let office = Office::new();
    let ((one, _), (two, _)) = (office.ports(), office.ports());
    let first = held(&one, "one").await;
    assert_eq!(first.epoch(), Epoch(1_000));
    let next = tokio::spawn(async move { held(&two, "two").await.epoch() });
    tokio::time::sleep(Duration::from_secs(5)).await;
    office.clock.0.store(10, SeqCst);
    // Killed: the entry stays until it is too old.
    drop(first);
    assert_eq!(next.await.expect("no panic"), Epoch(1_001));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_up_is_free_at_once_and_a_lost_one_is_not_given_up() {
    let office = Office::new();
    let ((one, cut), (two, _)) = (office.ports(), office.ports());
    held(&one, "one").await.give_up(&one).await;
    let since = Instant::now();
    held(&two, "two").await.give_up(&two).await;
    assert!(since.elapsed() <= Duration::from_secs(1), "{:?}", since.elapsed());
    let lost = held(&one, "one").await;
    cut.store(true, SeqCst);
    let second = held(&two, "two").await;
    cut.store(false, SeqCst);
    lost.give_up(&one).await;
    let entry = office.broker.read(&LEASE, "planner.0").await.expect("a board").expect("a lease");
    let lease: Lease = serde_json::from_slice(&entry.value).expect("a lease");
    assert_eq!(lease.epoch, second.epoch());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_and_a_shutdown_ends_the_waiting() {
    let office = Office::new();
    let (one, cut) = office.ports();
    cut.store(true, SeqCst);
    let shutdown = CancellationToken::new();
    let waiting = {
        let (one, shutdown) = (one.clone(), shutdown.clone());
        tokio::spawn(async move {
            acquire(&one, &claim("one"), || (), &shutdown).await.map(|held| held.is_some())
        })
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    shutdown.cancel();
    assert_eq!(waiting.await.expect("no panic"), Ok(false));
    cut.store(false, SeqCst);
    held(&one, "one").await;
}
