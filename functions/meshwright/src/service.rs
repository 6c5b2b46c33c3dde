//! The embedded form: queue, boards and wire in memory, an S3 server on loopback, all functions in this
//! process.
//!
//! The bucket is on disk and is the truth: after a restart the sweep finds what was not finished.

use crate::config::{
    Config, GatewayConfig, IngestConfig, NatsConfig, PlannerConfig, S3Config, Secret, environment,
};
use crate::distributed;
use crate::metrics_text::Metrics;
use crate::pipeline::{Pipeline, device, has_room};
use crate::refusal::{Outcome, Refusal};
use crate::run::bind;
use crate::telemetry::{Telemetry, TelemetryConfig};
use crate::webhooks::{WebhookConfig, listeners};
use crate::worker_config::WorkerConfig;
use domain::{Recipe, Site, Stage, Times, uploads_subject};
use embedded::s3_server::{RunningS3, S3ServerConfig};
use ports::{Ports, Queue, SystemClock};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The bound of the disk is looked at this often; a look may take a fiftieth of the time at most.
const KEPT_WITHIN_S: u64 = 60;

/// What a person needs to use the S3 endpoint.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// What to start.
pub(crate) struct ServiceOptions {
    pub(crate) data: PathBuf,
    pub(crate) s3: SocketAddr,
    pub(crate) listen: SocketAddr,
    /// Most bytes on disk, and most days.
    pub(crate) keep: (String, u32),
    /// Addresses that are told how jobs end.
    pub(crate) webhooks: Vec<String>,
    /// What uploads become unless they say so themselves.
    pub(crate) recipe: Recipe,
    /// Places where a batch runs at a time; as many as the device does best with if none.
    pub(crate) lanes: Option<usize>,
}

/// Everything, running.
pub(crate) struct Service {
    pub(crate) ports: Ports,
    pub(crate) config: Config,
    pub(crate) endpoint: String,
    pub(crate) page: String,
    pub(crate) credentials: Credentials,
    pipeline: Pipeline,
    telemetry: Telemetry,
    s3: RunningS3,
    _lock: fs::File,
}

impl Service {
    /// Starts everything, unless it is to stop meanwhile. One process per data folder.
    pub(crate) async fn start(options: ServiceOptions, shutdown: CancellationToken) -> Outcome<Service> {
        tokio::select! {
            service = Service::start_all(options, shutdown.clone()) => service,
            () = shutdown.cancelled() => Err(Refusal::Stopped),
        }
    }

    async fn start_all(options: ServiceOptions, shutdown: CancellationToken) -> Outcome<Service> {
        let mut site = Site::simple("embedded".parse().expect("a constant that matches the pattern"));
        site.inputs.iter_mut().for_each(|input| input.recipe.clone_from(&options.recipe));
        let mut config = config(site.clone(), &options);
        config.worker.checked()?;
        config.ingest.keep()?;
        config.telemetry.checked()?;
        config.gateway.may_listen(options.listen)?;
        let host = device(&config, "host")?;
        has_room(&host).await?;
        let at = |what: &str, error: std::io::Error| {
            Refusal::Io(format!("{what} in {}: {error}", options.data.display()))
        };
        // Pictures and keys of whoever runs it are nobody else's.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.data);
        made.map_err(|e| at("make a folder", e))?;
        let lock = lock(&options.data)?;
        let credentials: Credentials = made_once(&options.data.join("credentials.json"), new_credentials)
            .map_err(|e| at("keep keys", e))?;
        if !options.webhooks.is_empty() {
            let secret = made_once(&webhook_secret_file(&options.data), new_webhook_secret);
            let secret = Secret(secret.map_err(|e| at("keep keys", e))?);
            let webhook = |url: &String| WebhookConfig {
                url: Secret(url.clone()),
                secret: secret.clone(),
                events: BTreeSet::new(),
                tenants: BTreeSet::new(),
            };
            config.gateway.webhooks = options.webhooks.iter().map(webhook).collect();
            listeners(&config.gateway.webhooks)?;
        }
        let metrics = Metrics::install()?;
        let telemetry = Telemetry::start(&config.telemetry, "embedded")?;
        let broker = embedded::MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock));
        let s3 = start_s3(&options, &credentials, &site, broker.queue()).await?;
        config.s3.endpoint = Some(s3.endpoint.clone());
        config.s3.access_key.clone_from(&credentials.access_key);
        config.s3.secret_key = Secret(credentials.secret_key.clone());
        let store = distributed::connect_store(&config.s3);
        distributed::check_buckets(&*store, &config).await?;
        let clock = Arc::new(SystemClock);
        let ports =
            Ports { queue: broker.queue(), boards: broker.boards(), wire: broker.wire(), store, clock };
        let listener = bind(&options.listen.to_string()).await?;
        let page = listener.local_addr().map_err(|e| at("listen", e))?;
        let mut pipeline = Pipeline::new(shutdown);
        let buckets = buckets(&options);
        pipeline.trouble = Arc::new(move || embedded::s3_server::trouble(&buckets));
        pipeline.planner(&ports, &config, "embedded");
        pipeline.worker(&ports, &config, &Stage::ALL.into(), ("embedded", host))?;
        pipeline.gateway(&ports, &config, listener, &metrics)?;
        pipeline.ingest(&ports, &config)?;
        let (endpoint, page) = (s3.endpoint.clone(), format!("http://{page}"));
        Ok(Service { ports, config, endpoint, page, credentials, pipeline, telemetry, s3, _lock: lock })
    }

    /// Starts what ends with the functions, and ends them if it ends before.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Outcome<()>> + Send + 'static,
    ) {
        self.pipeline.spawn(name, task);
    }

    /// Waits until all functions have ended, sends their last spans, then ends the S3 server.
    pub(crate) async fn wait(self) -> Outcome<()> {
        let ended = self.pipeline.wait(|| ()).await;
        self.telemetry.finish().await;
        self.s3.shutdown().await;
        ended
    }
}

/// Where objects are kept.
fn buckets(options: &ServiceOptions) -> PathBuf {
    options.data.join("buckets")
}

async fn start_s3(
    options: &ServiceOptions,
    credentials: &Credentials,
    site: &Site,
    queue: Arc<dyn Queue>,
) -> Outcome<RunningS3> {
    let subject = uploads_subject(&site.store);
    let inputs: Vec<String> = site.inputs.iter().map(|input| input.bucket.clone()).collect();
    let notify = move |bucket: String, event: bytes::Bytes| {
        if !inputs.contains(&bucket) {
            return;
        }
        let (queue, subject) = (queue.clone(), subject.clone());
        tokio::spawn(async move {
            // A lost event loses no upload: the sweep finds it.
            if let Err(error) = queue.put_if_absent(&subject, event).await {
                tracing::warn!(%error, "queue an S3 event");
            }
        });
    };
    let config = S3ServerConfig {
        data_dir: buckets(options),
        listen: options.s3,
        access_key: credentials.access_key.clone(),
        secret_key: credentials.secret_key.clone(),
        buckets: site.buckets().into_iter().map(str::to_owned).collect(),
        notify: Some(Arc::new(notify)),
        ..S3ServerConfig::default()
    };
    let address = options.s3;
    embedded::s3_server::start(config).await.map_err(|error| {
        Refusal::Io(format!("start the S3 endpoint on {address}: {error}; choose another address with --s3"))
    })
}

/// What the embedded form runs with; the store's address and keys are not known yet. Its uploads are its own,
/// so they go with their jobs.
fn config(site: Site, options: &ServiceOptions) -> Config {
    let (keep, keep_days) = options.keep.clone();
    let mut config = Config {
        nats: NatsConfig::default(),
        s3: S3Config::default(),
        site,
        worker: WorkerConfig::default(),
        gateway: GatewayConfig::default(),
        ingest: IngestConfig {
            keep: Some(keep),
            keep_days: Some(keep_days),
            keep_uploads: Some(false),
            collect_every_s: Some(KEPT_WITHIN_S),
        },
        planner: PlannerConfig::default(),
        telemetry: TelemetryConfig::default(),
        times_divided_by: 1,
    };
    config.worker.apply_environment(environment);
    config.worker.lanes = options.lanes.or(config.worker.lanes);
    config.gateway.apply_environment(environment);
    config.telemetry.apply_environment(environment);
    config
}

/// Holds the data folder for this process alone.
pub(crate) fn lock(data: &Path) -> Outcome<fs::File> {
    let path = data.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| Refusal::Io(format!("open {}: {e}", path.display())))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let data = data.display();
        Refusal::Config(format!(
            "another meshwright uses {data}; stop it or choose another folder with --data"
        ))
    })?;
    Ok(file)
}

/// Where the secret is by which webhooks know this service.
pub(crate) fn webhook_secret_file(data: &Path) -> PathBuf {
    data.join("webhook-secret.json")
}

fn new_webhook_secret() -> String {
    // Random digits as text, in base64: 32 characters are 24 bytes, the fewest that the standard takes.
    let random = || uuid::Uuid::new_v4().simple().to_string();
    format!("whsec_{}{}", random(), random())
}

fn new_credentials() -> Credentials {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    Credentials { access_key: format!("MW{}", &random()[..18].to_uppercase()), secret_key: random() }
}

/// Something of this data folder that is made once and readable by its owner only.
fn made_once<T: Serialize + DeserializeOwned>(path: &Path, make: impl Fn() -> T) -> std::io::Result<T> {
    match fs::read(path) {
        Ok(text) => return serde_json::from_slice(&text).map_err(std::io::Error::from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let made = make();
    let temporary = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(&made)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // Else a power loss may take them back when objects are signed with them already.
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(made)
}

/// A folder below the person's data folder.
pub(crate) fn data_folder(name: &str) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    base.unwrap_or_else(std::env::temp_dir).join("meshwright").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("credentials.json");
        let first = made_once(&path, new_credentials).expect("a writable folder");
        let again = made_once(&path, new_credentials).expect("a readable file");
        assert_eq!(first.secret_key, again.secret_key);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_data_folder_serves_one_process() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = lock(folder.path()).expect("the first");
        assert!(lock(folder.path()).expect_err("the second").to_string().contains("another meshwright"));
        drop(held);
        assert!(lock(folder.path()).is_ok());
    }
}
