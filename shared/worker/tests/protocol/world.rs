//! A worker in a world of its own, and the test as its planner: it draws tasks, proposes batches, and hears
//! all that the worker says.

use crate::faults::{FaultyBoards, FaultyStore, SlowWire};
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{
    Batch, BatchEnded, BatchId, BatchReply, BatchTask, Bytes, Consumer, DeviceClass, DeviceEntry,
    ENDED_SUBJECT, Epoch, Event, JobId, JobRecord, Life, Manifest, OFFER_SUBJECT, Offer, Outcome, Reading,
    RefusedReason, Released, Site, Stage, Stop, Task, Times, Timing, Upload, WorkerId, control_subject,
    release_subject, run_subject, stop_subject, task_subject,
};
use embedded::MemoryBroker;
use embedded::s3_server::{RunningS3, S3ServerConfig, start};
use futures::StreamExt;
use futures::stream::BoxStream;
use ports::{
    Answer, Backlog, Clock, Condition, Device, GetOptions, Got, Ledger, Message, PortResult, Ports,
    PutOptions, SystemClock, list_all,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use worker::{RunnerCommand, Settings, XidTable};

/// No wait in a test is longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file that says what self-tests find broken.
const PROBE: &str = "probe";

/// A host of 16 GiB with nothing on it.
struct Host;

#[async_trait]
impl Device for Host {
    fn name(&self) -> String {
        "16 GiB".to_owned()
    }

    fn class(&self) -> DeviceClass {
        DeviceClass("host".to_owned())
    }

    async fn reading(&self, _own_pids: &[u32]) -> PortResult<Reading> {
        Ok(Reading { total_bytes: Bytes::gib(16), read_at: SystemClock.now(), ..Reading::default() })
    }
}

pub struct World {
    pub ports: Ports,
    pub ledger: Ledger,
    pub store: Arc<FaultyStore>,
    pub boards: Arc<FaultyBoards>,
    pub wire: Arc<SlowWire>,
    pub folder: tempfile::TempDir,
    pub shutdown: CancellationToken,
    pub worker: JoinHandle<PortResult<()>>,
    name: WorkerId,
    numbers: AtomicU64,
    timings: tokio::sync::Mutex<BoxStream<'static, Message>>,
    /// Timings that were heard before anybody asked for them.
    told: std::sync::Mutex<Vec<Timing>>,
    ends: tokio::sync::Mutex<BoxStream<'static, Message>>,
    events: tokio::sync::Mutex<BoxStream<'static, Message>>,
    offers: tokio::sync::Mutex<BoxStream<'static, Message>>,
    _server: RunningS3,
}

async fn next<T: DeserializeOwned>(
    stream: &tokio::sync::Mutex<BoxStream<'static, Message>>,
    is_it: impl Fn(&T) -> bool,
) -> T {
    let mut stream = stream.lock().await;
    let found = async {
        loop {
            let message = stream.next().await.expect("a wire");
            let said: T = serde_json::from_slice(&message.payload).expect("our own words");
            if is_it(&said) {
                return said;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {}", std::any::type_name::<T>()))
}

/// A loopback store with the site's buckets.
async fn serve(folder: &std::path::Path, site: &Site) -> (RunningS3, Arc<FaultyStore>) {
    let config = S3ServerConfig {
        data_dir: folder.join("data"),
        access_key: "test".to_owned(),
        secret_key: "test-secret".to_owned(),
        buckets: site.buckets().into_iter().map(str::to_owned).collect(),
        ..S3ServerConfig::default()
    };
    let server = start(config).await.expect("a loopback server");
    let store = FaultyStore::new(s3::connect(s3::Config {
        endpoint: Some(server.endpoint.clone()),
        region: "us-east-1".to_owned(),
        access_key: "test".to_owned(),
        secret_key: s3::Secret::new("test-secret".to_owned()),
        session_token: None,
        path_style: true,
    }));
    (server, store)
}

impl World {
    pub async fn new() -> World {
        World::on(Arc::new(Host)).await
    }

    /// A worker that owns this device.
    pub async fn on(device: Arc<dyn Device>) -> World {
        let times = Times::PRODUCTION.scaled(5);
        let site = Site::simple("test".parse().expect("a store name"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (server, store) = serve(folder.path(), &site).await;
        let broker = MemoryBroker::new(times, Arc::new(SystemClock));
        let (boards, wire) = (FaultyBoards::new(broker.boards()), SlowWire::new(broker.wire()));
        let ports = Ports {
            queue: broker.queue(),
            boards: boards.clone(),
            wire: wire.clone(),
            store: store.clone(),
            clock: Arc::new(SystemClock),
        };
        let hear = async |filter: &str| {
            tokio::sync::Mutex::new(ports.wire.subscribe(filter).await.expect("a subscription"))
        };
        let (timings, ends) = (hear("timing.*").await, hear(ENDED_SUBJECT).await);
        let (events, offers) = (hear("event.*.*").await, hear(OFFER_SUBJECT).await);
        let name: WorkerId = "worker".parse().expect("a name");
        let settings = Settings {
            worker: name.clone(),
            device_id: "device".parse().expect("a name"),
            device,
            stages: Stage::ALL.to_vec(),
            lanes: 1,
            fetches_ahead: true,
            runner: RunnerCommand {
                program: std::env::current_exe().expect("this test binary"),
                args: vec!["runner".into(), folder.path().join(PROBE).into()],
            },
            site: site.clone(),
            times,
            runner_idle: PATIENCE,
            drain_max: PATIENCE,
            xids: XidTable::default(),
            ready: Arc::default(),
        };
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn(worker::run(ports.clone(), settings, shutdown.clone()));
        let (ledger, numbers) = (Ledger::new(store.clone(), &site.state), AtomicU64::new(0));
        let world = World {
            ports,
            ledger,
            store,
            boards,
            wire,
            folder,
            shutdown,
            worker,
            name,
            numbers,
            timings,
            ends,
            events,
            offers,
            _server: server,
            told: std::sync::Mutex::default(),
        };
        world.offer(|offer| offer.lanes_free == 1).await;
        world
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// An upload that says what is to be done with it, its record, and its first task in the queue.
    pub async fn upload(&self, script: &str) -> Task {
        let key = format!("{}.png", self.number());
        self.put("uploads", &key, script).await;
        let info = self.ports.store.head("uploads", &key).await.expect("an answer").expect("an upload");
        let record = JobRecord {
            upload: Upload {
                store: "test".parse().expect("a store name"),
                bucket: "uploads".to_owned(),
                key,
                version_id: None,
                etag: info.etag,
                size_bytes: info.size,
                last_modified_s: info.last_modified_s,
            },
            tenant: "default".parse().expect("a name"),
            class: domain::Class::Normal,
            recipe: domain::Recipe::default(),
            accepted_at: self.ports.clock.now(),
            secondary: false,
            traceparent: None,
        };
        self.ledger.put_record(&record).await.expect("a record");
        let task = record.task(Stage::Preprocess);
        self.queue(&task).await;
        task
    }

    pub async fn put(&self, bucket: &str, key: &str, text: &str) {
        let options = PutOptions::of("text/plain", Condition::Always);
        let body = Payload::from(text.as_bytes().to_vec());
        self.ports.store.put(bucket, key, body, &options).await.expect("a write");
    }

    pub async fn queue(&self, task: &Task) -> ports::Put {
        let body = serde_json::to_vec(task).expect("a task").into();
        self.ports.queue.put_if_absent(&task_subject(task), body).await.expect("room")
    }

    /// Draws the tasks, in this order, as what they are delivered for the next time.
    pub async fn draw(&self, tasks: &[Task]) -> Vec<BatchTask> {
        let consumer = Consumer::of_task(&tasks[0]);
        let mut drawn = Vec::new();
        while drawn.len() < tasks.len() {
            let deliveries = self.ports.queue.take(&consumer, tasks.len(), PATIENCE).await.expect("a queue");
            assert!(!deliveries.is_empty(), "no task in time");
            drawn.extend(deliveries.into_iter().map(|delivery| BatchTask {
                task: serde_json::from_slice(&delivery.payload).expect("a task"),
                ack_token: delivery.token,
                delivery: delivery.count,
                published_at: delivery.published_at,
                drawn_at: self.ports.clock.now(),
            }));
        }
        let place = |given: &BatchTask| tasks.iter().position(|task| task.job == given.task.job);
        drawn.sort_by_key(place);
        drawn
    }

    /// Draws the tasks so that this is not their first delivery: their attempts count.
    pub async fn draw_again(&self, tasks: &[Task]) -> Vec<BatchTask> {
        for given in self.draw(tasks).await {
            self.ports.queue.give_back(&given.ack_token).await.expect("a queue");
        }
        self.draw(tasks).await
    }

    pub fn batch(&self, tasks: Vec<BatchTask>) -> Batch {
        let (id, stage) = (BatchId([self.number() as u8; 16]), tasks[0].task.stage);
        Batch {
            id,
            epoch: Epoch(1),
            stage,
            tasks,
            bytes: Bytes::mib(256),
            why: String::new(),
            held_ms: None,
            expected_ms: None,
        }
    }

    /// Proposes a batch; how the worker answers.
    pub async fn propose(&self, batch: &Batch) -> BatchReply {
        let body = serde_json::to_vec(batch).expect("a batch").into();
        match self.ports.wire.request(&run_subject(&self.name), body, PATIENCE).await.expect("a wire") {
            Answer::Reply(reply) => serde_json::from_slice(&reply).expect("an answer"),
            other => panic!("a worker answers: {other:?}"),
        }
    }

    /// Runs tasks as one batch that is accepted, as soon as the lane is free: an item's end may be heard of
    /// before that.
    pub async fn run(&self, tasks: Vec<BatchTask>) -> BatchId {
        let batch = self.batch(tasks);
        loop {
            match self.propose(&batch).await {
                BatchReply::Refused { reason: RefusedReason::NoLane, .. } => {
                    self.offer(|offer| offer.lanes_free > 0).await;
                }
                reply => {
                    assert_eq!(reply, BatchReply::Accepted);
                    return batch.id;
                }
            }
        }
    }

    pub async fn stop(&self, batch: BatchId) {
        let body = serde_json::to_vec(&Stop { batch, epoch: Epoch(1) }).expect("a stop").into();
        let answer = self.ports.wire.request(&stop_subject(&self.name), body, PATIENCE).await;
        assert!(matches!(answer, Ok(Answer::Reply(_))), "{answer:?}");
    }

    /// Asks for the memory of idle runners; how many ended.
    pub async fn release(&self) -> u32 {
        let answer = self.ports.wire.request(&release_subject(&self.name), Payload::new(), PATIENCE).await;
        let Ok(Answer::Reply(body)) = answer else { panic!("{answer:?}") };
        let released: Released = serde_json::from_slice(&body).expect("what was given back");
        released.runners
    }

    pub async fn cancel(&self, job: JobId) {
        let body = br#""cancel""#.as_slice().into();
        self.ports.wire.publish(&control_subject(job), body).await.expect("a wire");
    }

    /// The next timing of this job.
    pub async fn timing(&self, job: JobId) -> Timing {
        loop {
            let told = self.told.lock().expect("a plain list").extract_if(.., |t| t.job == job).next();
            if let Some(timing) = told {
                return timing;
            }
            let timing = next(&self.timings, |_: &Timing| true).await;
            self.told.lock().expect("a plain list").push(timing);
        }
    }

    /// The end of this batch.
    pub async fn ended(&self, batch: BatchId) -> BatchEnded {
        next(&self.ends, |ended: &BatchEnded| ended.batch == batch).await
    }

    /// Waits until this job's computation has begun.
    pub async fn started(&self, job: JobId) {
        let is_it =
            |event: &Event| event.job == job && matches!(event.kind, domain::EventKind::Started { .. });
        next(&self.events, is_it).await;
    }

    /// The next offer of which this is true.
    pub async fn offer(&self, is_it: impl Fn(&Offer) -> bool) -> Offer {
        next(&self.offers, is_it).await
    }

    pub async fn backlog(&self, task: &Task) -> Backlog {
        self.ports.queue.backlog(&Consumer::of_task(task)).await.expect("an answer")
    }

    /// Keys below `a/` of a job's stage.
    pub async fn artifacts(&self, task: &Task) -> Vec<String> {
        let prefix = domain::attempts_prefix(task.job, task.stage);
        let listed = list_all(&*self.ports.store, self.ledger.bucket(), &prefix).await.expect("a LIST");
        listed.into_iter().map(|object| object.key).collect()
    }

    /// An object of the state bucket, as text.
    pub async fn text(&self, key: &str) -> String {
        let got = self.ports.store.get(self.ledger.bucket(), key, &GetOptions::default()).await;
        let Ok(Got::Found(object)) = got else { panic!("no {key}: {got:?}") };
        String::from_utf8_lossy(&object.body).into_owned()
    }

    /// How many attempts are marked.
    pub async fn markers(&self, task: &Task) -> usize {
        self.artifacts(task).await.iter().filter(|key| key.ends_with("/start")).count()
    }

    pub async fn manifest(&self, task: &Task) -> Option<Manifest> {
        self.ledger.manifest(task.job, task.stage).await.expect("an answer")
    }

    pub async fn outcome(&self, task: &Task) -> Option<Outcome> {
        self.ledger.outcome(task.job, Life(0)).await.expect("an answer")
    }

    /// A named pipe: who computes `until <pipe>` waits until it is written.
    pub fn pipe(&self) -> std::path::PathBuf {
        let path = self.folder.path().join(format!("pipe-{}", self.number()));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let made = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0);
        made.expect("a pipe");
        path
    }

    /// From now on self-tests fail with this, or pass.
    pub fn break_probe(&self, why: Option<&str>) {
        let file = self.folder.path().join(PROBE);
        let done = match why {
            Some(why) => std::fs::write(file, why),
            None => std::fs::remove_file(file),
        };
        done.expect("a small file");
    }

    /// The device's entry, once this is true of it.
    pub async fn entry(&self, is_it: impl Fn(&DeviceEntry) -> bool) -> DeviceEntry {
        let found = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            loop {
                look.tick().await;
                let entry = self.ports.boards.read(&domain::DEVICES, "device").await.expect("a board");
                let entry = entry.map(|entry| serde_json::from_slice(&entry.value).expect("an entry"));
                if let Some(entry) = entry.filter(&is_it) {
                    return entry;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("such an entry")
    }

    /// Lets whoever waits at the pipe go on.
    pub async fn write(&self, pipe: std::path::PathBuf) {
        let written = tokio::task::spawn_blocking(move || std::fs::write(pipe, "on")).await;
        written.expect("no panic").expect("a reader");
    }

    /// The revision of the device's entry, once it is newer than this.
    pub async fn entry_after(&self, revision: u64) -> u64 {
        let newer = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            loop {
                look.tick().await;
                let entry = self.ports.boards.read(&domain::DEVICES, "device").await.expect("a board");
                if let Some(entry) = entry.filter(|entry| entry.revision > revision) {
                    return entry.revision;
                }
            }
        };
        timeout(PATIENCE, newer).await.expect("a newer entry")
    }
}
