//! The processes of a distributed Meshwright, each of which a test may kill and start again.

use crate::oracle::{Expect, Wanted};
use crate::pictures::picture;
use anyhow::{Context, Result};
use domain::{JobId, Recipe, Site, Stage, StateKey, Times, Upload, job_id, parse_state_key};
use harness::{
    Child, NatsConfig, Proxy, ROLE_PASSWORD, S3Endpoint, Scratch, Stack, StackConfig, meshwright, until,
};
use ingest::{CollectSettings, Collector};
use ports::{Ledger, Ports, Store, SystemClock, list_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Name and functions of a process. What stands before the first `-` of its name is its role.
pub type Process = (&'static str, &'static [&'static str]);

/// A usual cluster: two workers, each for every stage.
pub const PROCESSES: [Process; 5] = [
    ("ingest", &["ingest"]),
    ("planner", &["planner"]),
    ("worker-a", &["preprocess", "shape", "texture", "export"]),
    ("worker-b", &["preprocess", "shape", "texture", "export"]),
    ("gateway", &["gateway"]),
];

/// Each function in a process of its own.
pub const EACH_ITS_OWN: [Process; 7] = [
    ("ingest", &["ingest"]),
    ("planner", &["planner"]),
    ("worker-preprocess", &["preprocess"]),
    ("worker-shape", &["shape"]),
    ("worker-texture", &["texture"]),
    ("worker-export", &["export"]),
    ("gateway", &["gateway"]),
];

/// How long a process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long one answer of the gateway may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whether uploads are announced at all; without, only the sweep finds them.
    pub events: bool,
    /// Lanes of each worker: what a test needs does not depend on the machine's cores.
    pub lanes: usize,
    /// What uploads get unless their metadata says otherwise.
    pub recipe: Recipe,
    /// What runs.
    pub processes: Vec<Process>,
    /// Whether recipes may ask for synthetic loads.
    pub synthetic: bool,
    /// The protocol's times are divided by this; 5 gives an ack wait of 2 s.
    pub times_divided_by: u32,
    /// The collector of their spans, if any.
    pub otlp: Option<String>,
}

impl Default for Setup {
    /// Small models, so that tests are quick.
    fn default() -> Setup {
        let recipe = Recipe::default().with_options([("quality", "draft"), ("texture-px", "256")]);
        let recipe = recipe.expect("two good options");
        let (processes, synthetic) = (PROCESSES.into(), false);
        Setup { events: true, lanes: 2, recipe, processes, synthetic, times_divided_by: 5, otlp: None }
    }
}

/// Servers and processes of one test.
pub struct Cluster {
    /// The servers.
    pub stack: Stack,
    /// The link between `worker-a` and the store.
    pub link: Proxy,
    /// The link between `worker-a` and the broker.
    pub broker_link: Proxy,
    /// The link between `ingest` and the store.
    pub ingest_link: Proxy,
    /// The processes, by name.
    pub processes: BTreeMap<String, Child>,
    /// The test's own eyes on broker and store.
    pub ports: Ports,
    /// What the bucket says of jobs.
    pub ledger: Ledger,
    /// The buckets.
    pub site: Site,
    /// The protocol's times here.
    pub times: Times,
    /// A folder for the test's files.
    pub scratch: Scratch,
    setup: Setup,
}

impl Cluster {
    /// Starts everything and waits until every process is ready.
    ///
    /// # Errors
    /// Something does not start; the error says what and has its log.
    pub async fn start(setup: Setup) -> Result<Cluster> {
        let times = Times::PRODUCTION.scaled(setup.times_divided_by);
        let store = "minio".parse().map_err(anyhow::Error::msg)?;
        let mut site = Site::simple(store);
        site.inputs[0].recipe = setup.recipe.clone();
        site.synthetic = setup.synthetic;
        let mut buckets = StackConfig {
            nats: NatsConfig::with_roles()?,
            store_user: Some(("store".to_owned(), ROLE_PASSWORD.to_owned())),
            buckets: vec![site.state.clone(), site.models.clone()],
            ..StackConfig::default()
        };
        if !setup.events {
            buckets.buckets.append(&mut buckets.event_buckets);
        }
        let stack = Stack::start(buckets, async |url| declare_streams(url, times).await).await?;
        stack.minio.mc(["version", "enable", "local/state"]).await?;
        let scratch = Scratch::new("cluster")?;
        let endpoint = stack.minio.endpoint();
        let to_store = async || Proxy::start(endpoint.url.trim_start_matches("http://")).await;
        let (link, ingest_link) = (to_store().await?, to_store().await?);
        let broker_link = Proxy::start(stack.nats.url().trim_start_matches("nats://")).await?;
        let broker = nats::connect(nats_config(stack.nats.url(), times)).await?;
        let store = connect_store(&endpoint);
        let ledger = Ledger::new(store.clone(), &site.state);
        let (queue, boards, wire) = (broker.queue(), broker.boards(), broker.wire());
        let ports = Ports { queue, boards, wire, store, clock: Arc::new(SystemClock) };
        let processes = BTreeMap::new();
        let mut cluster = Cluster {
            stack,
            link,
            broker_link,
            ingest_link,
            processes,
            ports,
            ledger,
            site,
            times,
            scratch,
            setup,
        };
        cluster.write_config()?;
        for (name, functions) in cluster.setup.processes.clone() {
            cluster.launch(name, functions)?;
        }
        let names: Vec<String> = cluster.processes.keys().cloned().collect();
        for name in names {
            cluster.ready(&name).await?;
        }
        Ok(cluster)
    }

    fn launch(&mut self, name: &str, functions: &[&str]) -> Result<()> {
        let config = self.scratch.path().join("meshwright.toml");
        let listen = ["--listen", "127.0.0.1:0"];
        // Each function as the broker's user of its role: the allow-lists that are shipped must be enough.
        let role = name.split('-').next().unwrap_or(name);
        let args = ["run"].iter().chain(functions).chain(&listen).map(|arg| (*arg).to_owned());
        let mut spec = meshwright(name, args.collect::<Vec<_>>())?
            .env("MESHWRIGHT_CONFIG", &config)
            .env("MESHWRIGHT_LOG", "info")
            .env("MESHWRIGHT_NATS_USER", role)
            .env("MESHWRIGHT_NATS_PASSWORD", ROLE_PASSWORD)
            .env("AWS_ACCESS_KEY_ID", self.stack.minio.endpoint().access_key)
            .env("AWS_SECRET_ACCESS_KEY", self.stack.minio.endpoint().secret_key)
            .folder(self.scratch.path());
        if let Some(otlp) = &self.setup.otlp {
            spec = spec.env("OTEL_EXPORTER_OTLP_ENDPOINT", otlp);
        }
        let store = |link: &Proxy| format!("http://{}", link.address());
        match name {
            "worker-a" => {
                spec = spec.env("MESHWRIGHT_S3_ENDPOINT", store(&self.link));
                spec = spec.env("MESHWRIGHT_NATS_URL", format!("nats://{}", self.broker_link.address()));
            }
            "ingest" => spec = spec.env("MESHWRIGHT_S3_ENDPOINT", store(&self.ingest_link)),
            _ => {}
        }
        self.processes.insert(name.to_owned(), Child::spawn(spec)?);
        Ok(())
    }

    /// From the next start of each process on, synthetic loads run or are left out.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn permit_synthetic(&mut self, permitted: bool) -> Result<()> {
        self.site.synthetic = permitted;
        self.write_config()
    }

    fn write_config(&self) -> Result<()> {
        #[derive(serde::Serialize)]
        struct File<'a> {
            times_divided_by: u32,
            nats: BTreeMap<&'a str, String>,
            s3: BTreeMap<&'a str, String>,
            site: &'a Site,
            worker: BTreeMap<&'a str, usize>,
        }
        let file = File {
            times_divided_by: self.setup.times_divided_by,
            nats: BTreeMap::from([("url", self.stack.nats.url())]),
            s3: BTreeMap::from([("endpoint", self.stack.minio.endpoint().url)]),
            site: &self.site,
            worker: BTreeMap::from([("lanes", self.setup.lanes)]),
        };
        std::fs::write(self.scratch.path().join("meshwright.toml"), toml::to_string(&file)?)?;
        Ok(())
    }

    /// Waits until the newest start of a process says that it is ready.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn ready(&mut self, name: &str) -> Result<()> {
        let child = self.processes.get_mut(name).with_context(|| format!("no process {name}"))?;
        let ready = |line: &str| line == "ready";
        child.wait_for_line("ready", READY_WITHIN, ready).await.with_context(|| format!("start {name}"))?;
        Ok(())
    }

    /// `kill -9` of a process.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.processes.get_mut(name).with_context(|| format!("no process {name}"))?.kill()?;
        Ok(())
    }

    /// Starts a killed process again.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        self.processes.get_mut(name).with_context(|| format!("no process {name}"))?.restart()
    }

    /// The address of the gateway's newest start.
    ///
    /// # Errors
    /// It has not said one.
    pub fn gateway_url(&self) -> Result<String> {
        let [said, _] = self.processes.get("gateway").context("no gateway")?.said_since_start();
        let line = said.lines().find_map(|line| line.strip_prefix("gateway on "));
        Ok(line.context("the gateway did not say its address")?.to_owned())
    }

    /// A client for the gateway: no answer may take long.
    ///
    /// # Panics
    /// The client cannot be made, which is a matter of this program alone.
    pub fn http(&self) -> reqwest::Client {
        reqwest::Client::builder().timeout(ANSWER_WITHIN).build().expect("a plain client")
    }

    /// The collector itself, in this process, for which attempts older than `grace` are old.
    pub fn collector(&self, grace: Duration) -> Collector {
        let settings = CollectSettings { grace, ..CollectSettings::new(&self.times) };
        Collector::new(self.ports.clone(), self.site.clone(), settings)
    }

    /// Keys below `a/` that no manifest names.
    ///
    /// # Errors
    /// The store refuses, or an object there is not ours.
    pub async fn unreferenced(&self) -> Result<Vec<String>> {
        let listed = list_all(&*self.ports.store, &self.site.state, "a/").await?;
        let mut stages: BTreeSet<(JobId, Stage)> = BTreeSet::new();
        for object in &listed {
            match parse_state_key(&object.key) {
                Some(StateKey::Artifact(job, stage, ..) | StateKey::AttemptMarker(job, stage, _)) => {
                    stages.insert((job, stage));
                }
                _ => anyhow::bail!("{} in the state bucket is not ours", object.key),
            }
        }
        let mut named = BTreeSet::new();
        for (job, stage) in stages {
            let manifest = self.ledger.manifest(job, stage).await?;
            named.extend(manifest.into_iter().flat_map(|m| m.artifacts).map(|artifact| artifact.key));
        }
        Ok(listed.into_iter().map(|object| object.key).filter(|key| !named.contains(key)).collect())
    }

    /// Uploads as anybody would, with `aws s3 cp`.
    ///
    /// # Errors
    /// The client fails.
    pub async fn aws_cp(&self, content: &[u8], key: &str) -> Result<()> {
        let file = self.write_file(content)?;
        let mut aws = self.stack.minio.endpoint().aws()?;
        aws.args(["s3", "cp", "--only-show-errors"]).arg(&file).arg(format!("s3://uploads/{key}"));
        harness::output(aws, Duration::from_secs(60)).await.map(drop)
    }

    /// Uploads as anybody would, with `mc cp`.
    ///
    /// # Errors
    /// The client fails.
    pub async fn mc_cp(&self, content: &[u8], key: &str) -> Result<()> {
        let file = self.write_file(content)?;
        let mut mc = self.stack.minio.endpoint().mc()?;
        mc.args(["cp", "--quiet"]).arg(&file).arg(format!("local/uploads/{key}"));
        harness::output(mc, Duration::from_secs(60)).await.map(drop)
    }

    /// Uploads a picture whose recipe has one more option; returns its job.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn put_with(&self, content: Vec<u8>, key: &str, option: (&str, &str)) -> Result<domain::JobId> {
        let mut options = ports::PutOptions::of("image/png", ports::Condition::Always);
        options.metadata.insert(format!("meshwright-{}", option.0), option.1.to_owned());
        self.ports.store.put("uploads", key, content.into(), &options).await?;
        let recipe = self.setup.recipe.with_options([option])?;
        Ok(job_id(self.upload(key).await?.id(), &recipe))
    }

    /// Uploads pictures below `prefix`, all of which must become models.
    ///
    /// # Errors
    /// The store refuses one.
    pub async fn put_pictures(&self, prefix: &str, count: u32, wanted: &mut Wanted) -> Result<()> {
        for n in 0..count {
            let key = format!("{prefix}/{n}.png");
            self.put(picture(n), &key).await?;
            wanted.insert(self.job(&key).await?, Expect::Done);
        }
        Ok(())
    }

    /// How many objects that decide something are there: manifests, outcomes, lives.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn decisions(&self) -> Result<usize> {
        Ok(list_all(&*self.ports.store, &self.site.state, "m/").await?.len())
    }

    /// Uploads quickly, through the project's own client of the store.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn put(&self, content: Vec<u8>, key: &str) -> Result<()> {
        let options = ports::PutOptions::of("image/png", ports::Condition::Always);
        self.ports.store.put("uploads", key, content.into(), &options).await?;
        Ok(())
    }

    /// The upload that stands under this key now.
    ///
    /// # Errors
    /// There is none.
    pub async fn upload(&self, key: &str) -> Result<Upload> {
        let info = self.ports.store.head("uploads", key).await?;
        let info = info.with_context(|| format!("no upload {key}"))?;
        Ok(Upload {
            store: self.site.store.clone(),
            bucket: "uploads".to_owned(),
            key: key.to_owned(),
            version_id: None,
            etag: info.etag,
            size_bytes: info.size,
            last_modified_s: info.last_modified_s,
        })
    }

    /// The job that the pipeline makes of the upload under this key.
    ///
    /// # Errors
    /// There is no such upload.
    pub async fn job(&self, key: &str) -> Result<domain::JobId> {
        Ok(job_id(self.upload(key).await?.id(), &self.setup.recipe))
    }

    /// Asks for a sweep now, with a collection after it or without, and returns its answer.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn sweep(&self, collect: bool) -> Result<serde_json::Value> {
        let body = serde_json::json!({ "collect": collect }).to_string();
        until("an answer to a sweep", Duration::from_secs(60), async || {
            let wait = Duration::from_secs(20);
            let request = self.ports.wire.request(domain::SWEEP_SUBJECT, body.clone().into(), wait);
            let answer = request.await?;
            let ports::Answer::Reply(body) = answer else { return Ok(None) };
            Ok(Some(serde_json::from_slice(&body)?))
        })
        .await
    }

    fn write_file(&self, content: &[u8]) -> Result<std::path::PathBuf> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = self.scratch.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }
}

async fn declare_streams(url: String, times: Times) -> Result<()> {
    nats::connect(nats_config(url, times)).await?.ensure().await?;
    Ok(())
}

fn nats_config(url: String, times: Times) -> nats::Config {
    let password = Some(nats::Secret::new(ROLE_PASSWORD.to_owned()));
    nats::Config { user: Some("admin".to_owned()), password, times, ..nats::Config::new(url, "test") }
}

fn connect_store(endpoint: &S3Endpoint) -> Arc<dyn Store> {
    s3::connect(s3::Config {
        endpoint: Some(endpoint.url.clone()),
        region: "us-east-1".to_owned(),
        access_key: endpoint.access_key.clone(),
        secret_key: s3::Secret::new(endpoint.secret_key.clone()),
        session_token: None,
        path_style: true,
    })
}
