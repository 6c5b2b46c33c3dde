//! The configuration of the distributed form: one TOML file, environment over it, all of it checked before
//! anything is bound.

use crate::refusal::{Outcome, Refusal};
use crate::service::data_folder;
use domain::{Bytes, Site, Times};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) nats: NatsConfig,
    #[serde(default)]
    pub(crate) s3: S3Config,
    #[serde(default = "simple_site")]
    pub(crate) site: Site,
    #[serde(default)]
    pub(crate) worker: WorkerConfig,
    #[serde(default)]
    pub(crate) gateway: GatewayConfig,
    #[serde(default)]
    pub(crate) ingest: IngestConfig,
    /// All of the protocol's times are divided by this; more than 1 is for tests.
    #[serde(default = "one")]
    pub(crate) times_divided_by: u32,
}

fn one() -> u32 {
    1
}

fn simple_site() -> Site {
    Site::simple("minio".parse().expect("a constant that matches the pattern"))
}

/// Where the broker is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NatsConfig {
    pub(crate) url: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) root_ca_file: Option<PathBuf>,
    pub(crate) client_cert_file: Option<PathBuf>,
    pub(crate) client_key_file: Option<PathBuf>,
}

impl Default for NatsConfig {
    fn default() -> NatsConfig {
        NatsConfig {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password: None,
            credentials_file: None,
            root_ca_file: None,
            client_cert_file: None,
            client_key_file: None,
        }
    }
}

/// Where the object store is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3Config {
    /// None: AWS itself.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) path_style: bool,
}

impl Default for S3Config {
    fn default() -> S3Config {
        S3Config {
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key: String::new(),
            secret_key: Secret::default(),
            path_style: true,
        }
    }
}

/// How a worker uses its device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorkerConfig {
    /// A part of its name; the host's name when not given.
    pub(crate) name: Option<String>,
    /// Places where a batch runs at a time; as many as cores when not given.
    pub(crate) lanes: Option<usize>,
    /// Use no more of the device's memory than this.
    pub(crate) memory_max: Option<String>,
    /// The network that cuts out before any background; `u2netp.onnx` in the user's model folder when not
    /// given.
    pub(crate) matting_model: Option<PathBuf>,
    /// NVIDIA's management library; the system's `libnvidia-ml.so.1` when not given.
    pub(crate) nvml_library: Option<PathBuf>,
    /// An idle runner ends after this long.
    pub(crate) runner_idle_s: u64,
    /// Longest wait for running batches at shutdown.
    pub(crate) drain_s: u64,
}

impl Default for WorkerConfig {
    fn default() -> WorkerConfig {
        WorkerConfig {
            name: None,
            lanes: None,
            memory_max: None,
            matting_model: None,
            nvml_library: None,
            runner_idle_s: 60,
            drain_s: 60,
        }
    }
}

impl WorkerConfig {
    /// The cap on the device's memory.
    pub(crate) fn memory_max(&self) -> Outcome<Option<Bytes>> {
        let Some(text) = &self.memory_max else { return Ok(None) };
        let bytes = Bytes::parse(text).filter(|bytes| *bytes >= Bytes::mib(512));
        let bad = || Refusal::Config(format!("worker.memory_max is {text:?}; use at least 512MiB, as 4GiB"));
        bytes.map(Some).ok_or_else(bad)
    }

    /// Where the matting network's file should be.
    pub(crate) fn matting_place(&self) -> PathBuf {
        self.matting_model.clone().unwrap_or_else(|| data_folder("models").join("u2netp.onnx"))
    }

    /// The matting network's file. One that is named must be there when a runner starts; one that is not
    /// named is used if it is installed.
    pub(crate) fn matting_model(&self) -> Option<PathBuf> {
        Some(self.matting_place()).filter(|place| self.matting_model.is_some() || place.is_file())
    }

    /// How many lanes; `device` is what the device does best with, as many as cores when it does not care.
    pub(crate) fn lanes(&self, device: Option<usize>) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.lanes.or(device).unwrap_or_else(cores).max(1)
    }

    /// See the fields.
    pub(crate) fn spans(&self) -> (Duration, Duration) {
        (Duration::from_secs(self.runner_idle_s), Duration::from_secs(self.drain_s))
    }
}

/// The HTTP side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewayConfig {
    /// Bearer token that every call must carry; none on loopback only.
    pub(crate) token: Option<Secret>,
}

/// The retention of finished jobs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IngestConfig {
    /// Most bytes that finished jobs may take.
    pub(crate) keep: Option<String>,
    /// Finished jobs older than this go.
    pub(crate) keep_days: Option<u32>,
    /// Shortest time between two collections, in seconds.
    pub(crate) collect_every_s: Option<u64>,
}

impl Config {
    /// The file (or nothing but defaults), then the environment, then every check.
    pub(crate) fn load(file: Option<&Path>) -> Outcome<Config> {
        let path = file.map_or_else(|| PathBuf::from("meshwright.toml"), Path::to_path_buf);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Refusal::Config(format!("read {}: {error}", path.display()))),
        };
        let mut config = Config::parse(&text).map_err(|error| match error {
            Refusal::Config(text) => Refusal::Config(format!("{}: {text}", path.display())),
            other => other,
        })?;
        config.apply_environment(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        config.checked()
    }

    fn parse(text: &str) -> Outcome<Config> {
        toml::from_str(text).map_err(|error| Refusal::Config(error.to_string().trim().replace('\n', " ")))
    }

    fn apply_environment(&mut self, get: impl Fn(&str) -> Option<String>) {
        if let Some(url) = get("MESHWRIGHT_NATS_URL") {
            self.nats.url = url;
        }
        if let Some(user) = get("MESHWRIGHT_NATS_USER") {
            self.nats.user = Some(user);
        }
        if let Some(password) = get("MESHWRIGHT_NATS_PASSWORD") {
            self.nats.password = Some(Secret(password));
        }
        if let Some(endpoint) = get("MESHWRIGHT_S3_ENDPOINT") {
            self.s3.endpoint = Some(endpoint);
        }
        if let Some(key) = get("AWS_ACCESS_KEY_ID").filter(|_| self.s3.access_key.is_empty()) {
            self.s3.access_key = key;
        }
        if let Some(key) = get("AWS_SECRET_ACCESS_KEY").filter(|_| self.s3.secret_key.0.is_empty()) {
            self.s3.secret_key = Secret(key);
        }
        if let Some(token) = get("MESHWRIGHT_GATEWAY_TOKEN") {
            self.gateway.token = Some(Secret(token));
        }
    }

    fn checked(self) -> Outcome<Config> {
        self.site.clone().validated().map_err(|error| Refusal::Config(error.to_string()))?;
        self.worker.memory_max()?;
        if let Some(model) = self.worker.matting_model.as_ref().filter(|model| !model.is_file()) {
            let model = model.display();
            return Err(Refusal::Config(format!(
                "worker.matting_model is {model}, and there is no such file"
            )));
        }
        if self.s3.access_key.is_empty() || self.s3.secret_key.0.is_empty() {
            return Err(Refusal::Config(
                "no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or s3.access_key and \
                 s3.secret_key in the configuration"
                    .to_owned(),
            ));
        }
        if !(1..=100).contains(&self.times_divided_by) {
            return Err(Refusal::Config("times_divided_by must be 1 to 100".to_owned()));
        }
        Ok(self)
    }

    /// The protocol's times.
    pub(crate) fn times(&self) -> Times {
        Times::PRODUCTION.scaled(self.times_divided_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "[s3]\naccess_key = 'a'\nsecret_key = 'b'\n";

    fn check(text: &str, expect: Result<(), &str>) {
        let found = Config::parse(text).and_then(Config::checked);
        match (found, expect) {
            (Ok(_), Ok(())) => {}
            (Err(found), Err(part)) => {
                assert!(found.to_string().contains(part), "{found}");
                assert_eq!(found.exit_code(), 78);
            }
            (found, _) => panic!("{text:?} gave {found:?}"),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_sentence_and_78() {
        check(KEYS, Ok(()));
        check("", Err("AWS_ACCESS_KEY_ID"));
        check("nonsense = 1", Err("unknown field"));
        let site = |bucket: &str, tenant: &str| {
            let inputs = format!("[[site.inputs]]\nbucket = '{bucket}'\ntenant = '{tenant}'\n");
            format!("{KEYS}[site]\nstore = 'minio'\nstate = 's'\nmodels = 'm'\n{inputs}")
        };
        check(&site("uploads", "shop"), Ok(()));
        check(&site("m", "shop"), Err("named twice"));
        check(&site("uploads", "Shop!"), Err("TenantId must match [a-z0-9-]{1,32}"));
        check(&format!("{KEYS}[worker]\nmemory_max = '1 apple'\n"), Err("at least 512MiB"));
        check(&format!("{KEYS}[worker]\nmatting_model = '/nowhere'\n"), Err("no such file"));
    }

    #[test]
    fn the_environment_rules_over_the_file_and_secrets_are_not_printed() {
        let mut config = Config::parse("").expect("all defaults");
        config.apply_environment(|name| Some(format!("of-{name}")));
        assert_eq!(config.nats.url, "of-MESHWRIGHT_NATS_URL");
        assert!(!format!("{config:?}").contains("of-AWS_SECRET_ACCESS_KEY"));
    }
}
