//! The ports of a test: those of the twins, with faults on request.

use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{BoardSpec, StreamSpec, Timestamp};
use futures::stream::BoxStream;
use ports::{
    Answer, Boards, Entry, Expect, GetOptions, Got, LogRange, Logged, Message, ObjectInfo, Page, PortError,
    PortResult, PutOptions, Store, Stored, Wire, Write,
};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A gate that lets everything pass until it is closed; who comes then waits until it is opened.
pub struct Gate {
    closed: AtomicBool,
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    fn new() -> Gate {
        Gate { closed: AtomicBool::new(false), arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        self.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Waits until somebody waits.
    pub async fn somebody(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    async fn pass(&self) {
        if self.closed.load(Ordering::SeqCst) {
            self.arrived.add_permits(1);
            self.open.acquire().await.expect("never closed").forget();
        }
    }
}

/// A store with a gate before its LISTs, and a wrong word about PUTs that it has made.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    pub lists: Gate,
    lied_about: Mutex<Option<String>>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>) -> Arc<FaultyStore> {
        Arc::new(FaultyStore { inner, lists: Gate::new(), lied_about: Mutex::default() })
    }

    /// The next PUT of a key that ends so is made, and answered with 412: as after an answer that was lost.
    pub fn lie_about(&self, ending: &str) {
        *self.lied_about.lock().expect("a plain word") = Some(ending.to_owned());
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn head(&self, bucket: &str, key: &str) -> PortResult<Option<ObjectInfo>> {
        self.inner.head(bucket, key).await
    }

    async fn get(&self, bucket: &str, key: &str, options: &GetOptions) -> PortResult<Got> {
        self.inner.get(bucket, key, options).await
    }

    async fn put(&self, bucket: &str, key: &str, body: Payload, options: &PutOptions) -> PortResult<Stored> {
        let stored = self.inner.put(bucket, key, body, options).await?;
        let mut lied_about = self.lied_about.lock().expect("a plain word");
        if lied_about.take_if(|ending| key.ends_with(ending.as_str())).is_some() {
            return Ok(Stored::ConditionFailed);
        }
        Ok(stored)
    }

    async fn list(&self, bucket: &str, prefix: &str, next: Option<String>) -> PortResult<Page> {
        self.lists.pass().await;
        self.inner.list(bucket, prefix, next).await
    }

    async fn delete(&self, bucket: &str, keys: &[String]) -> PortResult<()> {
        self.inner.delete(bucket, keys).await
    }

    async fn abort_uploads(&self, bucket: &str, begun_before: Timestamp) -> PortResult<usize> {
        self.inner.abort_uploads(bucket, begun_before).await
    }
}

/// Boards that cannot be written while they are down.
pub struct FaultyBoards {
    inner: Arc<dyn Boards>,
    down: AtomicBool,
}

impl FaultyBoards {
    pub fn new(inner: Arc<dyn Boards>) -> Arc<FaultyBoards> {
        Arc::new(FaultyBoards { inner, down: AtomicBool::new(false) })
    }

    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

#[async_trait]
impl Boards for FaultyBoards {
    async fn write(&self, board: &BoardSpec, key: &str, value: Payload, expect: Expect) -> PortResult<Write> {
        if self.down.load(Ordering::SeqCst) {
            return Err(PortError::Unavailable("a fault of the test".to_owned()));
        }
        self.inner.write(board, key, value, expect).await
    }

    async fn read(&self, board: &BoardSpec, key: &str) -> PortResult<Option<Entry>> {
        self.inner.read(board, key).await
    }

    async fn list(&self, board: &BoardSpec) -> PortResult<Vec<Entry>> {
        self.inner.list(board).await
    }

    async fn remove(&self, board: &BoardSpec, key: &str) -> PortResult<()> {
        self.inner.remove(board, key).await
    }
}

/// A wire that is slow to take what is published on subjects with a certain ending.
pub struct SlowWire {
    inner: Arc<dyn Wire>,
    slow: Mutex<Option<(String, Duration)>>,
}

impl SlowWire {
    pub fn new(inner: Arc<dyn Wire>) -> Arc<SlowWire> {
        Arc::new(SlowWire { inner, slow: Mutex::default() })
    }

    pub fn slow_down(&self, ending: &str, by: Duration) {
        *self.slow.lock().expect("a plain word") = Some((ending.to_owned(), by));
    }
}

#[async_trait]
impl Wire for SlowWire {
    async fn publish(&self, subject: &str, payload: Payload) -> PortResult<()> {
        let slow = self.slow.lock().expect("a plain word").clone();
        if let Some((_, by)) = slow.filter(|(ending, _)| subject.ends_with(ending.as_str())) {
            // The link's latency: the only time that this test lets pass.
            let _always_too_late = tokio::time::timeout(by, std::future::pending::<()>()).await;
        }
        self.inner.publish(subject, payload).await
    }

    async fn append(&self, subject: &str, payload: Payload) -> PortResult<u64> {
        self.inner.append(subject, payload).await
    }

    async fn request(&self, subject: &str, payload: Payload, wait: Duration) -> PortResult<Answer> {
        self.inner.request(subject, payload, wait).await
    }

    async fn subscribe(&self, filter: &str) -> PortResult<BoxStream<'static, Message>> {
        self.inner.subscribe(filter).await
    }

    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>> {
        self.inner.follow(log, filter, from_sequence).await
    }

    async fn range(&self, log: &StreamSpec) -> PortResult<LogRange> {
        self.inner.range(log).await
    }
}
