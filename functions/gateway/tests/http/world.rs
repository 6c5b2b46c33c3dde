//! What every test needs: buckets on a loopback store, a broker, a gateway, a caller; and a worker's words.

use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{
    Artifact, AttemptId, BatchNote, Bytes, Class, Consumer, DeadLetter, Ending, EngineVersion, Event,
    EventKind, INTERMEDIATES_KEPT, JobId, JobRecord, Life, Manifest, Marks, Outcome, Sha256, Site, Stage,
    StreamSpec, Task, Times, Timestamp, artifact_key, dead_subject, event_subject,
};
use embedded::MemoryBroker;
use embedded::s3_server::{RunningS3, S3ServerConfig, start};
use futures::stream::BoxStream;
use gateway::{Limits, Listener, Network, Origin};
use harness::until;
use ports::{
    Answer, Condition, Decided, Ledger, LogRange, Logged, Message, PortError, PortResult, Ports, PutOptions,
    SystemClock, Wire,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// No wait in a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Largest upload of these sites.
pub const UPLOAD_BYTES_MAX: usize = 1000;

/// What a flood of events is, all together: more than the sockets of both ends hold, less than a log.
const FLOOD_BYTES: usize = 40 << 20;
/// One of them.
const FLOOD_EVENT_BYTES: usize = 48 << 10;

/// What `/metrics` answers.
pub const METRICS_TEXT: &str = "test_total 1\n";

pub struct World {
    pub ports: Ports,
    pub site: Site,
    pub broker: Arc<MemoryBroker>,
    s3: Option<RunningS3>,
    listeners: Vec<Listener>,
    pub broker_is_away: Arc<AtomicBool>,
    http: reqwest::Client,
    base: String,
    stop: DropGuard,
    served: JoinHandle<std::io::Result<()>>,
    _data: Option<TempDir>,
}

impl World {
    pub async fn new() -> World {
        World::with(None, Limits::default()).await
    }

    pub async fn with_token(token: Option<&str>) -> World {
        World::with(token, Limits::default()).await
    }

    /// One whose gateway tells these how jobs end, and soon again.
    pub async fn telling(listeners: Vec<Listener>) -> World {
        let limits = Limits { webhook_pause: Duration::from_millis(20), ..Limits::default() };
        World::of(None, limits, listeners).await
    }

    pub async fn with(token: Option<&str>, limits: Limits) -> World {
        World::of(token, limits, Vec::new()).await
    }

    async fn of(token: Option<&str>, limits: Limits, listeners: Vec<Listener>) -> World {
        let mut site = Site::simple("test".parse().expect("a store name"));
        site.upload_bytes_max = Bytes(UPLOAD_BYTES_MAX as u64);
        let data = tempfile::tempdir().expect("a folder");
        let buckets = site.buckets().iter().map(|bucket| (*bucket).to_owned()).collect();
        let (access_key, secret_key) = ("access".to_owned(), "secret".to_owned());
        let data_dir = data.path().to_owned();
        let s3 = start(S3ServerConfig { data_dir, access_key, secret_key, buckets, ..Default::default() });
        let s3 = s3.await.expect("a store");
        let broker = MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock));
        let broker_is_away = Arc::new(AtomicBool::new(false));
        let wire = Arc::new(AwayWire { inner: broker.wire(), is_away: broker_is_away.clone() });
        let ports = Ports {
            queue: broker.queue(),
            boards: broker.boards(),
            wire,
            store: s3::connect(s3::Config {
                endpoint: Some(s3.endpoint.clone()),
                region: "us-east-1".to_owned(),
                access_key: "access".to_owned(),
                secret_key: s3::Secret::new("secret".to_owned()),
                session_token: None,
                path_style: true,
            }),
            clock: Arc::new(SystemClock),
        };
        let door = Door { token, origins: &[], listeners: &listeners };
        let (base, stop, served) = serve(&ports, &site, limits, door).await;
        let http = reqwest::Client::new();
        let (s3, data) = (Some(s3), Some(data));
        World { ports, site, broker, s3, listeners, broker_is_away, http, base, stop, served, _data: data }
    }

    /// Host and port of the gateway.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// A call past every client: sends these bytes and returns the beginning of what is answered.
    pub async fn raw(&self, sent: &str) -> String {
        let mut socket = TcpStream::connect(self.address()).await.expect("a connection");
        socket.write_all(sent.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.windows(4).any(|part| part == b"\r\n\r\n") {
            let read = timeout(PATIENCE, socket.read(&mut piece)).await.expect("in time").expect("read");
            if read == 0 {
                break;
            }
            answer.extend(&piece[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection that holds little of what its client does not read.
    pub async fn narrow_connection(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small one");
        socket.connect(self.address().parse().expect("an address")).await.expect("a connection")
    }

    /// Says more of a job than a client's connection holds, in fewer events than it may lag behind.
    pub async fn flood(&self, job: JobId) {
        for _ in 0..FLOOD_BYTES / FLOOD_EVENT_BYTES {
            let (stage, phase) = (Stage::Shape, "x".repeat(FLOOD_EVENT_BYTES));
            self.tell(job, 0, EventKind::Progress { stage, fraction: 0.5, phase }).await;
        }
    }

    /// The gateway is told to end; returns once it has.
    pub async fn end(self) {
        drop(self.stop);
        timeout(PATIENCE, self.served).await.expect("an end in time").expect("no panic").expect("an end");
    }

    /// Another gateway on the same buckets and broker: the first one has ended and knows nothing any more.
    pub async fn restart_gateway(&mut self) {
        self.open_to(&[], None).await;
    }

    /// Another gateway, which pages of these origins may call.
    pub async fn open_to(&mut self, origins: &[&str], token: Option<&str>) {
        let door = Door { token, origins, listeners: &self.listeners };
        (self.base, self.stop, self.served) = serve(&self.ports, &self.site, Limits::default(), door).await;
    }

    /// A second gateway beside this one, on the same buckets and broker.
    pub async fn beside(&self) -> World {
        let door = Door { token: None, origins: &[], listeners: &self.listeners };
        let (base, stop, served) = serve(&self.ports, &self.site, Limits::default(), door).await;
        World {
            ports: self.ports.clone(),
            site: self.site.clone(),
            broker: self.broker.clone(),
            s3: None,
            listeners: self.listeners.clone(),
            broker_is_away: self.broker_is_away.clone(),
            http: reqwest::Client::new(),
            base,
            stop,
            served,
            _data: None,
        }
    }

    /// Another gateway, on the same buckets, that has heard no event.
    pub async fn forgetful_gateway(&mut self) {
        let broker = MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock));
        self.broker = broker.clone();
        (self.ports.queue, self.ports.boards, self.ports.wire) =
            (broker.queue(), broker.boards(), broker.wire());
        self.restart_gateway().await;
    }

    /// From now on nobody answers there.
    pub async fn lose_store(&mut self) {
        self.s3.take().expect("it is lost once").shutdown().await;
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Response {
        sent(self.call(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        sent(self.call(Method::POST, path).body(body)).await
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.ports.store.clone(), &self.site.state)
    }

    /// Puts an object into the input bucket, past the gateway.
    pub async fn put(&self, key: &str, content: &'static [u8]) {
        let options = PutOptions::of("image/png", Condition::Always);
        self.ports.store.put("uploads", key, content.into(), &options).await.expect("a put");
    }

    /// A job made by a call.
    pub async fn job(&self, path: &str, content: &'static [u8]) -> JobRecord {
        let made = json(self.post(path, content).await, StatusCode::ACCEPTED).await;
        let id = |name: &str| made[name].as_str().expect("an id").to_owned();
        let (upload, job) = (id("upload_id").parse().expect("an id"), id("id").parse().expect("an id"));
        self.ledger().record(upload, job).await.expect("a read").expect("a record")
    }

    /// Tasks that wait at a stage; they stay there.
    pub async fn tasks(&self, stage: Stage) -> Vec<Task> {
        let consumer = Consumer::Tasks(stage, Class::Normal, self.site.inputs[0].tenant.clone());
        let taken = self.ports.queue.take(&consumer, 100, Duration::ZERO).await.expect("a take");
        for delivery in &taken {
            self.ports.queue.give_back(&delivery.token).await.expect("give it back");
        }
        taken.iter().map(|delivery| serde_json::from_slice(&delivery.payload).expect("a task")).collect()
    }

    /// Commits a stage with these files, as a worker does, and says so.
    pub async fn commit(&self, job: JobId, stage: Stage, files: &[(&str, &str, &[u8])]) {
        let (attempt, mut artifacts) = (AttemptId([stage as u8; 16]), Vec::new());
        for (name, content_type, content) in files {
            let key = artifact_key(job, stage, attempt, name);
            let options = PutOptions::of(content_type, Condition::Always);
            let body = Payload::copy_from_slice(content);
            self.ports.store.put(&self.site.state, &key, body, &options).await.expect("a put");
            artifacts.push(Artifact {
                name: (*name).to_owned(),
                key,
                // Any word that stands for the content alone.
                sha256: Sha256(blake3::hash(content).to_hex().to_string()),
                size_bytes: Bytes(content.len() as u64),
                content_type: (*content_type).to_owned(),
            });
        }
        let engine = EngineVersion { name: "none".to_owned(), version: "1".to_owned() };
        let (life, inputs, marks) = (Life(0), vec![], Marks::default());
        let why = "1 of 1 waiting".to_owned();
        let batch = Some(BatchNote { items: 1, bytes: Bytes::mib(320), why });
        let manifest = Manifest {
            job,
            stage,
            life,
            attempt,
            inputs,
            artifacts,
            engine,
            marks,
            batch,
            notes: vec![format!("{stage} is to be looked at")],
            traceparent: None,
        };
        assert_eq!(self.ledger().commit(&manifest).await, Ok(Decided::Mine));
        self.tell(job, 0, EventKind::StageDone { stage }).await;
    }

    /// Decides a life, as a worker does; nobody is told.
    pub async fn decide(&self, job: JobId, life: u32, ending: Ending) {
        let decided_at = now();
        let intermediates_expire_at = decided_at + INTERMEDIATES_KEPT;
        let outcome = Outcome { job, life: Life(life), ending, decided_at, intermediates_expire_at };
        assert_eq!(self.ledger().decide(&outcome).await, Ok(Decided::Mine));
    }

    /// A job that has died at a stage, with its letter and its event.
    pub async fn die(&self, record: &JobRecord, stage: Stage) {
        let (job, error) = (record.job_id(), "it broke".to_owned());
        let ending = Ending::Dead { stage, error: error.clone() };
        let task = record.task(stage);
        let at = now();
        let letter = DeadLetter { task, life: Life(0), attempts: 3, error: error.clone(), at };
        let letter = serde_json::to_vec(&letter).expect("JSON");
        self.ports.wire.append(&dead_subject(stage, job), letter.into()).await.expect("stored");
        self.decide(job, 0, ending).await;
        self.tell(job, 0, EventKind::Dead { stage, error }).await;
    }

    /// Says that something happened.
    pub async fn tell(&self, job: JobId, life: u32, kind: EventKind) {
        let subject = event_subject(job, &kind);
        let event = Event { job, life: Life(life), at: now(), kind };
        let event = serde_json::to_vec(&event).expect("JSON");
        self.ports.wire.append(&subject, event.into()).await.expect("stored");
    }

    /// Waits until a job's state in the list is this.
    pub async fn until_listed(&self, job: JobId, state: &str) {
        let what = format!("job {job} to be listed as {state}");
        let listed = until(&what, PATIENCE, async || {
            let list = json(self.get("/api/jobs").await, StatusCode::OK).await;
            let rows = list["jobs"].as_array().expect("rows").clone();
            let found = rows.iter().any(|row| row["id"] == job.to_string() && row["state"] == state);
            Ok(found.then_some(()))
        });
        listed.await.expect("in time");
    }
}

/// By the clock of everybody here.
pub fn now() -> Timestamp {
    ports::Clock::now(&SystemClock)
}

/// Who may call a gateway, and whom it tells.
struct Door<'a> {
    token: Option<&'a str>,
    origins: &'a [&'a str],
    listeners: &'a [Listener],
}

async fn serve(
    ports: &Ports,
    site: &Site,
    limits: Limits,
    Door { token, origins, listeners }: Door<'_>,
) -> (String, DropGuard, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let settings = gateway::Settings {
        site: site.clone(),
        times: Times::PRODUCTION,
        token: token.map(|text| gateway::Token::new(text.to_owned())),
        public_hosts: vec!["models.example.org".to_owned()],
        cors_origins: origins.iter().map(|text| Origin::parse(text).expect("an origin")).collect(),
        listeners: listeners.to_vec(),
        networks: vec![Network {
            name: "cutter".to_owned(),
            what: "cuts out".to_owned(),
            licence: "MIT".to_owned(),
            installed: true,
        }],
        has_matting: false,
        limits,
        trouble: Arc::new(|| None),
        metrics: Arc::new(|| METRICS_TEXT.to_owned()),
        sample: Arc::new(|span| Box::pin(sample(span))),
        version: "1.2.3".to_owned(),
    };
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(gateway::serve(listener, ports.clone(), settings, shutdown.clone()));
    (base, shutdown.drop_guard(), served)
}

/// A profile of so long, at once; a minute never ends, and a second less cannot be had.
async fn sample(span: Duration) -> Result<Vec<u8>, gateway::Unsampled> {
    match span.as_secs() {
        60 => std::future::pending().await,
        59 => Err(gateway::Unsampled::Failed("it has no timer".to_owned())),
        seconds => Ok(format!("{seconds} s").into_bytes()),
    }
}

pub async fn sent(request: RequestBuilder) -> Response {
    request.timeout(PATIENCE).send().await.expect("an answer")
}

/// The JSON of an answer with this status.
pub async fn json(response: Response, status: StatusCode) -> Value {
    let found = response.status();
    let text = response.text().await.expect("a body");
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asserts that an answer is a problem of this kind, as RFC 9457 has it; returns its detail.
pub async fn problem(response: Response, status: u16, kind: &str) -> String {
    let content_type = response.headers().get("content-type").cloned();
    let status = StatusCode::from_u16(status).expect("a status");
    let body = json(response, status).await;
    assert_eq!(content_type.expect("a type"), "application/problem+json", "{body}");
    assert_eq!(body["type"], format!("urn:meshwright:problem:{kind}"), "{body}");
    assert_eq!((&body["status"], body["title"].is_string()), (&Value::from(status.as_u16()), true));
    let detail = body["detail"].as_str().expect("a sentence").to_owned();
    assert!(!detail.is_empty());
    detail
}

/// A wire that is away when told to.
struct AwayWire {
    inner: Arc<dyn Wire>,
    is_away: Arc<AtomicBool>,
}

impl AwayWire {
    fn inner(&self) -> PortResult<&dyn Wire> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(PortError::Unavailable("a fault of the test".to_owned())),
            false => Ok(&*self.inner),
        }
    }
}

#[async_trait]
impl Wire for AwayWire {
    async fn publish(&self, subject: &str, payload: Payload) -> PortResult<()> {
        self.inner()?.publish(subject, payload).await
    }

    async fn append(&self, subject: &str, payload: Payload) -> PortResult<u64> {
        self.inner()?.append(subject, payload).await
    }

    async fn request(&self, subject: &str, payload: Payload, wait: Duration) -> PortResult<Answer> {
        self.inner()?.request(subject, payload, wait).await
    }

    async fn subscribe(&self, filter: &str) -> PortResult<BoxStream<'static, Message>> {
        self.inner()?.subscribe(filter).await
    }

    async fn follow(
        &self,
        log: &StreamSpec,
        filter: &str,
        from_sequence: u64,
    ) -> PortResult<BoxStream<'static, PortResult<Logged>>> {
        self.inner()?.follow(log, filter, from_sequence).await
    }

    async fn range(&self, log: &StreamSpec) -> PortResult<LogRange> {
        self.inner()?.range(log).await
    }
}
