//! Real servers, clients of them, and processes of the `meshwright` binary on them.

use anyhow::{Context, Result, bail};
use domain::{Site, Stage};
use harness::{Minio, NatsConfig, S3Endpoint, Scratch, Stack, StackConfig};
use ports::{Ports, Store, SystemClock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A connection of its own to the broker.
///
/// # Errors
/// The broker cannot be reached.
pub(crate) async fn broker(url: String, name: &str) -> Result<Arc<nats::Broker>> {
    let config = nats::Config::new(url, name);
    nats::connect(config).await.context("connect to the broker")
}

/// Ports on the broker and any store.
pub(crate) fn ports(broker: &Arc<nats::Broker>, store: Arc<dyn Store>) -> Ports {
    let (queue, boards, wire) = (broker.queue(), broker.boards(), broker.wire());
    Ports { queue, boards, wire, store, clock: Arc::new(SystemClock) }
}

/// The project's client of a store.
pub(crate) fn store(endpoint: S3Endpoint) -> Arc<dyn Store> {
    s3::connect(s3::Config {
        endpoint: Some(endpoint.url),
        region: "us-east-1".to_owned(),
        access_key: endpoint.access_key,
        secret_key: s3::Secret::new(endpoint.secret_key),
        session_token: None,
        path_style: true,
    })
}

/// The usual site, on MinIO.
pub(crate) fn site() -> Site {
    Site::simple("minio".parse().expect("a constant that matches the pattern"))
}

/// Creates the buckets of a site.
///
/// # Errors
/// The store refuses.
pub(crate) async fn create_buckets(minio: &Minio, site: &Site) -> Result<()> {
    for bucket in site.buckets() {
        minio.create_bucket(bucket).await?;
    }
    Ok(())
}

/// The `meshwright` binary of this build, which lies beside this one.
///
/// # Errors
/// It is not built.
pub(crate) fn meshwright() -> Result<PathBuf> {
    let program = match std::env::var_os("MESHWRIGHT_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().context("find this binary")?.with_file_name("meshwright"),
    };
    if !program.is_file() {
        let program = program.display();
        bail!("{program} is not there: run `cargo build --release -p meshwright` or set MESHWRIGHT_BIN");
    }
    Ok(program)
}

/// How a worker uses its device; what is not said is the program's own choice.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct WorkerShare {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lanes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_max: Option<String>,
}

/// A process of the binary that is ready. It dies with this value.
pub(crate) struct Process {
    child: Child,
    /// Where it listens, as `127.0.0.1:20017`.
    pub(crate) address: String,
    /// From its start to its word `ready`.
    pub(crate) ready_after: Duration,
}

impl Process {
    /// Its process id.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("a process has ended")
    }

    /// Ends it and waits for its end.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill a process")
    }
}

/// Broker and store, joined by bucket events, and a configuration for processes on them.
pub(crate) struct Servers {
    pub(crate) stack: Stack,
    pub(crate) site: Site,
    scratch: Scratch,
}

impl Servers {
    /// Starts both and writes the configuration. `event_folder` as in [`StackConfig`].
    ///
    /// # Errors
    /// Something does not start.
    pub(crate) async fn start(nats: NatsConfig, event_folder: bool) -> Result<Servers> {
        Servers::of(site(), WorkerShare::default(), nats, event_folder).await
    }

    /// The same of a site and workers of one's own.
    ///
    /// # Errors
    /// Something does not start.
    pub(crate) async fn of(
        site: Site,
        worker: WorkerShare,
        nats: NatsConfig,
        event_folder: bool,
    ) -> Result<Servers> {
        let scratch = Scratch::new("bench")?;
        let buckets = vec![site.state.clone(), site.models.clone()];
        let config = StackConfig { nats, buckets, event_folder, ..StackConfig::default() };
        let declare = async |url| Ok(broker(url, "bench").await?.ensure().await?);
        let stack = Stack::start(config, declare).await?;
        let servers = Servers { stack, site, scratch };
        servers.write_config(&worker)?;
        Ok(servers)
    }

    fn write_config(&self, worker: &WorkerShare) -> Result<()> {
        #[derive(serde::Serialize)]
        struct File<'a> {
            nats: BTreeMap<&'a str, String>,
            s3: BTreeMap<&'a str, String>,
            site: &'a Site,
            worker: &'a WorkerShare,
        }
        let file = File {
            nats: BTreeMap::from([("url", self.stack.nats.url())]),
            s3: BTreeMap::from([("endpoint", self.stack.minio.endpoint().url)]),
            site: &self.site,
            worker,
        };
        let path = self.scratch.path().join("meshwright.toml");
        std::fs::write(path, toml::to_string(&file)?).context("write the configuration")
    }

    /// This process's own ports.
    ///
    /// # Errors
    /// The broker cannot be reached.
    pub(crate) async fn ports(&self) -> Result<Ports> {
        let broker = broker(self.stack.nats.url(), "bench").await?;
        Ok(ports(&broker, store(self.stack.minio.endpoint())))
    }

    /// Starts a process and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub(crate) async fn process(&self, functions: &[&str]) -> Result<Process> {
        let log = self.scratch.path().join(format!("{}.log", functions.join("-")));
        let log = std::fs::File::create(log).context("make a log")?;
        let endpoint = self.stack.minio.endpoint();
        let began = Instant::now();
        let mut child = Command::new(meshwright()?)
            .arg("run")
            .args(functions)
            .args(["--listen", "127.0.0.1:0"])
            .env("MESHWRIGHT_CONFIG", self.scratch.path().join("meshwright.toml"))
            .env("AWS_ACCESS_KEY_ID", endpoint.access_key)
            .env("AWS_SECRET_ACCESS_KEY", endpoint.secret_key)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start meshwright")?;
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let mut address = String::new();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, listens)) = line.split_once(" on http://") {
                    listens.clone_into(&mut address);
                }
                if line == "ready" {
                    return Ok(began.elapsed());
                }
            }
            bail!("{functions:?} ended before it was ready")
        };
        let ready_after = tokio::time::timeout(READY_WITHIN, ready).await.context("wait for a start")??;
        Ok(Process { child, address, ready_after })
    }

    /// Starts all functions, each in a process of its own.
    ///
    /// # Errors
    /// As [`Servers::process`].
    pub(crate) async fn all_functions(&self) -> Result<AllFunctions> {
        let control = [self.process(&["ingest"]).await?, self.process(&["planner"]).await?];
        let gateway = self.process(&["gateway"]).await?;
        let worker = self.process(&Stage::ALL.map(Stage::as_str)).await?;
        Ok(AllFunctions { gateway, worker, _control: control })
    }
}

/// A process for each function. They die with this value.
pub(crate) struct AllFunctions {
    pub(crate) gateway: Process,
    /// Of all stages.
    pub(crate) worker: Process,
    _control: [Process; 2],
}
