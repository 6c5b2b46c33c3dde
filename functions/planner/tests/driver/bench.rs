//! A planner on the embedded twins, and workers whose every word the test speaks. Time is tokio's, paused.

use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{
    Batch, BatchEnd, BatchEnded, BatchReply, Bytes, Class, Consumer, DeviceClass, ENDED_SUBJECT, JobId,
    OFFER_SUBJECT, Offer, Reading, Recipe, RefusedReason, Site, Stage, Stop, StoreId, Task, TenantId, Times,
    Timestamp, UploadId, WorkerId, run_subject, stop_subject, task_subject,
};
use embedded::MemoryBroker;
use futures::StreamExt;
use futures::stream::BoxStream;
use ports::{
    Backlog, Clock, GetOptions, Got, Message, ObjectInfo, Page, PortResult, Ports, PutOptions, Store, Stored,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Tokio's time as a clock, so that it stands still and jumps with it.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000) + self.0.elapsed()
    }
}

/// No test here decides about a job, so nobody may ask the store.
struct NobodysStore;

#[async_trait]
impl Store for NobodysStore {
    async fn head(&self, _: &str, key: &str) -> PortResult<Option<ObjectInfo>> {
        panic!("the planner asks the store for {key}")
    }
    async fn get(&self, _: &str, key: &str, _: &GetOptions) -> PortResult<Got> {
        panic!("the planner asks the store for {key}")
    }
    async fn put(&self, _: &str, key: &str, _: Payload, _: &PutOptions) -> PortResult<Stored> {
        panic!("the planner writes {key}")
    }
    async fn list(&self, _: &str, prefix: &str, _: Option<String>) -> PortResult<Page> {
        panic!("the planner lists {prefix}")
    }
    async fn delete(&self, _: &str, keys: &[String]) -> PortResult<()> {
        panic!("the planner deletes {keys:?}")
    }
    async fn abort_uploads(&self, bucket: &str, _: Timestamp) -> PortResult<usize> {
        panic!("the planner aborts uploads in {bucket}")
    }
}

pub struct Bench {
    pub ports: Ports,
    site: Site,
}

/// A planner that runs. Dropped, it is killed: it gives nothing up and nothing back.
pub struct Running {
    pub shutdown: CancellationToken,
    pub task: JoinHandle<PortResult<()>>,
}

impl Running {
    pub fn kill(self) {
        self.task.abort();
    }

    pub async fn drain(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("no refusal");
    }
}

pub fn tenant(n: u8) -> TenantId {
    format!("tenant-{n}").parse().expect("a name")
}

pub fn consumer(of: u8, class: Class) -> Consumer {
    Consumer::Tasks(Stage::Shape, class, tenant(of))
}

impl Bench {
    pub fn new() -> Bench {
        let clock = Arc::new(TokioClock(Instant::now()));
        let broker = MemoryBroker::new(Times::PRODUCTION, clock.clone());
        let (queue, boards, wire) = (broker.queue(), broker.boards(), broker.wire());
        let store: StoreId = "store".parse().expect("a name");
        let mut site = Site::simple(store);
        let input = site.inputs.remove(0);
        for n in 0..2u8 {
            let bucket = format!("uploads-{n}");
            site.inputs.push(domain::InputBucket { bucket, tenant: tenant(n), ..input.clone() });
        }
        Bench { ports: Ports { queue, boards, wire, store: Arc::new(NobodysStore), clock }, site }
    }

    pub fn planner(&self, holder: &str) -> Running {
        let shutdown = CancellationToken::new();
        let settings = planner::Settings {
            times: Times::PRODUCTION,
            holder: holder.to_owned(),
            shard: 0,
            site: self.site.clone(),
            batch_rule: planning::BatchRule::Learned,
            ready: Arc::default(),
        };
        let task = tokio::spawn(planner::run(self.ports.clone(), settings, shutdown.clone()));
        Running { shutdown, task }
    }

    /// Queues a task of the stage `shape`.
    pub async fn put(&self, n: u64, of: u8, class: Class) -> JobId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        let task = Task {
            job: JobId(id),
            upload: UploadId(id),
            stage: Stage::Shape,
            class,
            tenant: tenant(of),
            recipe: Recipe::default(),
            size_bytes: Bytes::kib(100),
            accepted_at: self.ports.clock.now(),
            deadline: None,
        };
        let body = serde_json::to_vec(&task).expect("a task").into();
        self.ports.queue.put_if_absent(&task_subject(&task), body).await.expect("room");
        task.job
    }

    pub async fn backlog(&self, of: u8, class: Class) -> Backlog {
        self.ports.queue.backlog(&consumer(of, class)).await.expect("an answer")
    }

    pub async fn worker(&self, name: &str) -> Worker {
        let id: WorkerId = name.parse().expect("a name");
        let wire = &self.ports.wire;
        Worker {
            runs: wire.subscribe(&run_subject(&id)).await.expect("a subscription"),
            stops: wire.subscribe(&stop_subject(&id)).await.expect("a subscription"),
            ports: self.ports.clone(),
            id,
        }
    }

    /// Waits until a planner calls for offers: it leads and listens.
    pub async fn led(&self, calls: &mut BoxStream<'static, Message>) {
        timeout(Duration::from_secs(60), calls.next()).await.expect("a leader").expect("a call");
    }
}

pub struct Worker {
    runs: BoxStream<'static, Message>,
    stops: BoxStream<'static, Message>,
    ports: Ports,
    id: WorkerId,
}

/// A proposal, and where its answer goes.
pub struct Asked {
    pub batch: Batch,
    reply: String,
}

pub fn reading(used_gib: u64) -> Reading {
    let (total_bytes, used_bytes) = (Bytes::gib(16), Bytes::gib(used_gib));
    Reading { total_bytes, used_bytes, ..Reading::default() }
}

impl Worker {
    async fn say(&self, subject: &str, what: &impl serde::Serialize) {
        let body = serde_json::to_vec(what).expect("JSON");
        self.ports.wire.publish(subject, body.into()).await.expect("a wire");
    }

    fn word(&self, lanes_free: u32) -> Offer {
        Offer {
            worker: self.id.clone(),
            device: "device".parse().expect("a name"),
            device_class: DeviceClass("host".to_owned()),
            lanes_free,
            lanes: lanes_free.max(1),
            reading: reading(0),
            reserved_bytes: Bytes::ZERO,
            stages: vec![Stage::Shape],
            warm: Vec::new(),
            valid_for_ms: 15_000,
            running: Vec::new(),
            next_bytes: None,
        }
    }

    pub async fn offer(&self, lanes_free: u32) {
        self.say(OFFER_SUBJECT, &self.word(lanes_free)).await;
    }

    /// An offer of a newer version, which has a stage more.
    pub async fn offer_besides(&self, stage: &str) {
        let mut word = serde_json::to_value(self.word(1)).expect("JSON");
        word["stages"] = serde_json::json!([stage, Stage::Shape]);
        word["warm"] = serde_json::json!([stage]);
        self.say(OFFER_SUBJECT, &word).await;
    }

    /// The next proposal.
    pub async fn asked(&mut self) -> Asked {
        let wait = timeout(Duration::from_secs(60), self.runs.next());
        let message = wait.await.expect("a proposal").expect("a wire");
        let batch = serde_json::from_slice(&message.payload).expect("a batch");
        Asked { batch, reply: message.reply.expect("a request") }
    }

    /// Whether nothing is proposed for so long.
    pub async fn hears_nothing(&mut self, wait: Duration) -> bool {
        timeout(wait, self.runs.next()).await.is_err()
    }

    pub async fn accept(&self, asked: &Asked) {
        self.say(&asked.reply, &BatchReply::Accepted).await;
    }

    pub async fn refuse(&self, asked: &Asked, used_gib: u64, reason: RefusedReason) {
        self.say(&asked.reply, &BatchReply::Refused { reading: reading(used_gib), reason }).await;
    }

    /// The next request to stop a batch; answers it if `answers`.
    pub async fn stopped(&mut self, answers: bool) -> Stop {
        let wait = timeout(Duration::from_secs(60), self.stops.next());
        let message = wait.await.expect("a stop").expect("a wire");
        if answers {
            self.say(&message.reply.expect("a request"), &BatchReply::Accepted).await;
        }
        serde_json::from_slice(&message.payload).expect("a stop")
    }

    /// Runs what it accepted to its end, at once.
    pub async fn finish(&self, batch: &Batch) {
        for given in &batch.tasks {
            self.ports.queue.done(&given.ack_token).await.expect("a token");
        }
        let ended = BatchEnded {
            batch: batch.id,
            worker: self.id.clone(),
            device_class: DeviceClass("host".to_owned()),
            stage: batch.stage,
            end: BatchEnd::Done,
            items: batch.tasks.len() as u32,
            peak_bytes: Bytes::mib(50),
            reserved_bytes: batch.bytes,
            lane_us: 100_000 * batch.tasks.len() as u64,
            ran_out: Vec::new(),
            engine: domain::EngineVersion::default(),
            precision: String::new(),
            load_ms: 0,
        };
        self.say(ENDED_SUBJECT, &ended).await;
    }
}
