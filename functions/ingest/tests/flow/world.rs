//! What every test of the flow needs: a store with its buckets, a broker, a clock that can be set, faults
//! on request.

use crate::store::{Faults, new_store};
use bytes::Bytes as Payload;
use domain::{
    Artifact, AttemptId, Bytes, Class, Consumer, Ending, EngineVersion, INTERMEDIATES_KEPT, JobRecord, Life,
    Manifest, Marks, Outcome, Sha256, Site, Stage, Task, Times, Timestamp, Upload, artifact_key, job_id,
    uploads_subject,
};
use ingest::{Accepted, Acceptor, ObjectEvent, Settings, Sweeper};
use ports::{
    Clock, Condition, Decided, Delivery, Ledger, PortError, Ports, PutOptions, SystemClock, list_all,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No wait in a test is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine's clock, set forward.
#[derive(Default)]
pub struct ClockAhead(AtomicU64);

impl ClockAhead {
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for ClockAhead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

pub struct World {
    pub ports: Ports,
    pub site: Site,
    pub times: Times,
    pub clock: Arc<ClockAhead>,
    pub faults: Arc<Faults>,
}

impl World {
    pub async fn new() -> World {
        let mut site = Site::simple("test".parse().expect("a store name"));
        site.upload_bytes_max = Bytes(100);
        let times = Times::PRODUCTION.scaled(50);
        let faults = new_store(&mut site).await;
        let clock = Arc::new(ClockAhead::default());
        let broker = embedded::MemoryBroker::new(times, Arc::new(SystemClock));
        let ports = Ports {
            queue: broker.queue(),
            boards: broker.boards(),
            wire: broker.wire(),
            store: faults.clone(),
            clock: clock.clone(),
        };
        World { ports, site, times, clock, faults }
    }

    pub fn settings(&self) -> Settings {
        Settings::new(self.site.clone(), self.times)
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.ports.store.clone(), &self.site.state)
    }

    pub fn sweeper(&self) -> Sweeper {
        let acceptor = Arc::new(Acceptor::new(self.ports.clone(), self.site.clone()));
        Sweeper::new(self.ports.clone(), self.site.clone(), acceptor)
    }

    /// Ends when the clock shows another millisecond: what ends after it is younger.
    pub async fn tick(&self) {
        let before = self.clock.now();
        while self.clock.now() == before {
            tokio::task::yield_now().await;
        }
    }

    pub async fn put(&self, bucket: &str, key: &str, body: &'static [u8]) {
        let options = PutOptions::of("image/png", Condition::Always);
        self.ports.store.put(bucket, key, body.into(), &options).await.expect("a put");
    }

    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let listed = list_all(&*self.ports.store, bucket, "").await.expect("a list");
        listed.into_iter().map(|object| object.key).collect()
    }

    /// Puts a picture; nobody is told of it.
    pub async fn upload(&self, key: &str, body: &[u8], metadata: &[(&str, &str)]) -> Upload {
        let bucket = self.site.inputs[0].bucket.clone();
        let mut options = PutOptions::of("image/png", Condition::Always);
        options.metadata = metadata.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let store = &self.ports.store;
        store.put(&bucket, key, Payload::copy_from_slice(body), &options).await.expect("a put");
        let info = store.head(&bucket, key).await.expect("a head").expect("the upload");
        Upload {
            store: self.site.store.clone(),
            bucket,
            key: key.to_owned(),
            version_id: info.version_id,
            etag: info.etag,
            size_bytes: info.size,
            last_modified_s: info.last_modified_s,
        }
    }

    /// Its event, as AWS writes it.
    pub fn event_of(&self, upload: &Upload) -> String {
        let object = serde_json::json!({ "key": upload.key, "size": upload.size_bytes, "eTag": upload.etag });
        let s3 = serde_json::json!({ "bucket": { "name": upload.bucket }, "object": object });
        serde_json::json!({ "Records": [{ "eventName": "ObjectCreated:Put", "s3": s3 }] }).to_string()
    }

    /// What a store says on its subject.
    pub async fn send(&self, event: &str) {
        let subject = uploads_subject(&self.site.store);
        self.ports.queue.put_if_absent(&subject, event.to_owned().into()).await.expect("a put");
    }

    /// Accepts an upload that is new.
    pub async fn accept(&self, acceptor: &Acceptor, upload: &Upload) -> JobRecord {
        assert_eq!(acceptor.event(&object_event(upload), false).await, Ok(Accepted::New));
        let job = job_id(upload.id(), &self.site.inputs[0].recipe);
        self.ledger().record(upload.id(), job).await.expect("read").expect("a record")
    }

    fn consumer(&self, stage: Stage) -> Consumer {
        Consumer::Tasks(stage, Class::Normal, self.site.inputs[0].tenant.clone())
    }

    async fn take(&self, stage: Stage, wait: Duration) -> Vec<Delivery> {
        self.ports.queue.take(&self.consumer(stage), 100, wait).await.expect("a take")
    }

    /// The tasks that wait at a stage; they stay there.
    pub async fn tasks(&self, stage: Stage) -> Vec<Task> {
        let deliveries = self.take(stage, Duration::ZERO).await;
        for delivery in &deliveries {
            self.ports.queue.give_back(&delivery.token).await.expect("give it back");
        }
        deliveries.iter().map(task).collect()
    }

    /// Removes the tasks that wait at a stage; returns how many.
    pub async fn lose_tasks(&self, stage: Stage) -> usize {
        let deliveries = self.take(stage, Duration::ZERO).await;
        for delivery in &deliveries {
            self.ports.queue.done(&delivery.token).await.expect("remove it");
        }
        deliveries.len()
    }

    /// Waits for a task and removes it.
    pub async fn next_task(&self, stage: Stage) -> Task {
        let delivery = self.take(stage, PATIENCE).await.pop().expect("a task in time");
        self.ports.queue.done(&delivery.token).await.expect("remove it");
        task(&delivery)
    }

    pub async fn until_no_event_waits(&self) {
        let consumer = Consumer::Uploads(self.site.store.clone());
        let empty = async {
            loop {
                let backlog = self.ports.queue.backlog(&consumer).await.expect("a backlog");
                if backlog.waiting + backlog.in_flight == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, empty).await.expect("all events acknowledged");
    }

    /// The artifact that [`World::commit`] writes.
    pub fn artifact_of(&self, record: &JobRecord, stage: Stage) -> String {
        artifact_key(record.job_id(), stage, AttemptId([1; 16]), "model.glb")
    }

    /// Commits a stage with one artifact of ten bytes.
    pub async fn commit(&self, record: &JobRecord, stage: Stage) {
        let key = self.artifact_of(record, stage);
        self.put(&self.site.state, &key, b"0123456789").await;
        let artifact = Artifact {
            name: "model.glb".to_owned(),
            key,
            sha256: Sha256("00".repeat(32)),
            size_bytes: Bytes(10),
            content_type: "model/gltf-binary".to_owned(),
        };
        let manifest = Manifest {
            job: record.job_id(),
            stage,
            life: Life(0),
            attempt: AttemptId([1; 16]),
            inputs: vec![],
            artifacts: vec![artifact],
            engine: EngineVersion { name: "none".to_owned(), version: "1".to_owned() },
            marks: Marks::default(),
            batch: None,
            notes: Vec::new(),
            traceparent: None,
        };
        assert_eq!(self.ledger().commit(&manifest).await, Ok(Decided::Mine));
    }

    /// Ends the first life of a job.
    pub async fn end(&self, record: &JobRecord, ending: Ending) {
        let now = self.clock.now();
        let outcome = Outcome {
            job: record.job_id(),
            life: Life(0),
            ending,
            decided_at: now,
            intermediates_expire_at: now + INTERMEDIATES_KEPT,
        };
        assert_eq!(self.ledger().decide(&outcome).await, Ok(Decided::Mine));
    }

    /// Starts the process.
    pub fn run(&self, settings: Settings) -> Running {
        let shutdown = CancellationToken::new();
        let process = tokio::spawn(ingest::run(self.ports.clone(), settings, shutdown.clone()));
        Running { shutdown, process }
    }
}

pub struct Running {
    shutdown: CancellationToken,
    process: JoinHandle<Result<(), PortError>>,
}

impl Running {
    /// Asks it to end, and waits.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.process).await.expect("it ends in time");
        assert_eq!(ended.expect("it does not panic"), Ok(()));
    }
}

fn task(delivery: &Delivery) -> Task {
    serde_json::from_slice(&delivery.payload).expect("a task")
}

/// The event of an upload, read.
pub fn object_event(upload: &Upload) -> ObjectEvent {
    ObjectEvent {
        bucket: upload.bucket.clone(),
        key_candidates: vec![upload.key.clone()],
        etag: Some(upload.etag.clone()),
        size: Some(upload.size_bytes),
        version_id: None,
        sequencer: None,
    }
}
