//! The configuration of the distributed form: one TOML file, environment over it, all of it checked before
//! anything is bound.

use crate::refusal::{Outcome, Refusal};
use crate::telemetry::TelemetryConfig;
use crate::webhooks::{WebhookConfig, listeners};
use crate::worker_config::WorkerConfig;
use domain::{Bytes, Site, Times};
use planning::BatchRule;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Shortest token of a gateway: 256 bits in hex are 64 characters, in base64 43; shorter ones are guessed.
const TOKEN_CHARACTERS_MIN: usize = 32;

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl<'de> Deserialize<'de> for Secret {
    /// What else stands there is not repeated in the error.
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        let bad = |_| serde::de::Error::custom("a secret is a text in quotes");
        String::deserialize(from).map(Secret).map_err(bad)
    }
}

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
    #[serde(default)]
    pub(crate) planner: PlannerConfig,
    #[serde(default)]
    pub(crate) telemetry: TelemetryConfig,
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
    /// Servers that keep each stream: 3 in a cluster.
    pub(crate) replicas: usize,
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
            replicas: 1,
        }
    }
}

/// Where the object store is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3Config {
    /// None: AWS itself.
    pub(crate) endpoint: Option<String>,
    /// `us-east-1` when not given.
    pub(crate) region: Option<String>,
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    /// That of temporary credentials.
    pub(crate) session_token: Option<Secret>,
    pub(crate) path_style: bool,
}

impl Default for S3Config {
    fn default() -> S3Config {
        S3Config {
            endpoint: None,
            region: None,
            access_key: String::new(),
            secret_key: Secret::default(),
            session_token: None,
            path_style: true,
        }
    }
}

/// The HTTP side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewayConfig {
    /// Bearer token that every call must carry; none on loopback only.
    pub(crate) token: Option<Secret>,
    /// Names under which people reach it without a token, besides those of this machine.
    pub(crate) public_hosts: Vec<String>,
    /// Pages of these origins may call from a browser, each as `https://shop.example`.
    pub(crate) cors_origins: Vec<String>,
    /// Jobs that each tenant may make in a minute over HTTP; no limit when not given.
    pub(crate) jobs_per_minute: Option<NonZeroU32>,
    /// Who is told how jobs end.
    pub(crate) webhooks: Vec<WebhookConfig>,
}

/// The retention of finished jobs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IngestConfig {
    /// Most bytes that finished jobs may take.
    pub(crate) keep: Option<String>,
    /// Finished jobs older than this go.
    pub(crate) keep_days: Option<u32>,
    /// Whether the uploads of jobs that go are kept (`true` when not given): an input bucket may be somebody
    /// else's.
    pub(crate) keep_uploads: Option<bool>,
    /// Shortest time between two collections, in seconds.
    pub(crate) collect_every_s: Option<u64>,
}

/// How batches are cut.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlannerConfig {
    /// How their sizes are chosen; anything but `learned` is for measuring.
    pub(crate) batch_rule: BatchRule,
}

impl GatewayConfig {
    /// The environment's token, where there is one.
    pub(crate) fn apply_environment(&mut self, get: impl Fn(&str) -> Option<String>) {
        if let Some(token) = get("MESHWRIGHT_GATEWAY_TOKEN") {
            self.token = Some(Secret(token));
        }
    }

    /// The origins whose pages may call.
    pub(crate) fn origins(&self) -> Outcome<Vec<gateway::Origin>> {
        let one = |text: &String| gateway::Origin::parse(text);
        let all: Result<_, String> = self.cors_origins.iter().map(one).collect();
        all.map_err(|why| Refusal::Config(format!("gateway.cors_origins: {why}")))
    }

    /// Whether the gateway may listen there: without a token on loopback only, and with none that is guessed.
    pub(crate) fn may_listen(&self, address: SocketAddr) -> Outcome<()> {
        let text = match &self.token {
            Some(Secret(token)) if token.len() < TOKEN_CHARACTERS_MIN => format!(
                "the gateway's token has {} characters; use at least {TOKEN_CHARACTERS_MIN}, as from \
                 `openssl rand -hex 32`",
                token.len()
            ),
            None if !address.ip().is_loopback() => format!(
                "the gateway would listen on {address} without a token; set MESHWRIGHT_GATEWAY_TOKEN (or \
                 gateway.token), or listen on 127.0.0.1"
            ),
            _ => return Ok(()),
        };
        Err(Refusal::Config(text))
    }
}

impl IngestConfig {
    /// The most bytes that are kept.
    pub(crate) fn keep(&self) -> Outcome<Option<Bytes>> {
        if self.keep_days == Some(0) {
            let text = "keep_days is 0, which removes each model when it is made; use 1 or more";
            return Err(Refusal::Config(text.to_owned()));
        }
        let Some(text) = &self.keep else { return Ok(None) };
        let bad = || Refusal::Config(format!("keep is {text:?}; use a size, as 50GB"));
        Bytes::parse(text).filter(|keep| *keep > Bytes::ZERO).map(Some).ok_or_else(bad)
    }
}

/// What the environment says; an empty value says nothing.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
        config.apply_environment(environment);
        config.checked()
    }

    fn parse(text: &str) -> Outcome<Config> {
        // Not the whole error: it shows the line, and that may hold a secret.
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (line, why) = (before.matches('\n').count() + 1, error.message().replace('\n', " "));
            Refusal::Config(format!("line {line}: {why}"))
        })
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
        if let Some(region) = get("AWS_REGION").filter(|_| self.s3.region.is_none()) {
            self.s3.region = Some(region);
        }
        if let Some(key) = get("AWS_ACCESS_KEY_ID").filter(|_| self.s3.access_key.is_empty()) {
            self.s3.access_key = key;
            // A token belongs to the key that it came with.
            self.s3.session_token = get("AWS_SESSION_TOKEN").map(Secret).or(self.s3.session_token.take());
        }
        if let Some(key) = get("AWS_SECRET_ACCESS_KEY").filter(|_| self.s3.secret_key.0.is_empty()) {
            self.s3.secret_key = Secret(key);
        }
        self.worker.apply_environment(&get);
        self.gateway.apply_environment(&get);
        self.telemetry.apply_environment(&get);
    }

    fn checked(self) -> Outcome<Config> {
        self.site.clone().validated().map_err(|error| Refusal::Config(error.to_string()))?;
        self.worker.checked()?;
        self.ingest.keep()?;
        listeners(&self.gateway.webhooks)?;
        self.telemetry.checked()?;
        self.gateway.origins()?;
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
        check("nonsense = 1", Err("line 1: unknown field"));
        for keep in ["much", "0"] {
            check(&format!("{KEYS}[ingest]\nkeep = '{keep}'\n"), Err("use a size, as 50GB"));
        }
        check(&format!("{KEYS}[ingest]\nkeep_days = 0\n"), Err("keep_days is 0"));
        let site = |bucket: &str, tenant: &str| {
            let inputs = format!("[[site.inputs]]\nbucket = '{bucket}'\ntenant = '{tenant}'\n");
            format!("{KEYS}[site]\nstore = 'minio'\nstate = 's'\nmodels = 'm'\n{inputs}")
        };
        let rule = |rule: &str| format!("{KEYS}[planner]\nbatch_rule{rule}\n");
        check(&rule(" = 'one'"), Ok(()));
        check(&rule(".fixed = { shape = 4, texture = 2 }"), Ok(()));
        check(&rule(" = 'two'"), Err("unknown variant `two`"));
        check(&site("uploads", "shop"), Ok(()));
        check(&site("m", "shop"), Err("named twice"));
        check(&site("uploads", "Shop!"), Err("TenantId must match [a-z0-9-]{1,32}"));
        check(&format!("{KEYS}[worker]\nmemory_max = '1 apple'\n"), Err("at least 512MiB"));
        check(&format!("{KEYS}[worker]\nmemory_max = '0'\n"), Err("at least 512MiB"));
        check(&format!("{KEYS}[worker]\nlanes = 0\n"), Err("worker.lanes is 0"));
        check(&format!("{KEYS}[worker]\nrunner_idle_s = 0\n"), Err("worker.runner_idle_s is 0"));
        check(&format!("{KEYS}[worker.xid]\n63 = 'drain'\nunknown = 'note'\n"), Ok(()));
        check(&format!("{KEYS}[worker.xid]\nsixty = 'drain'\n"), Err("worker.xid has \"sixty\""));
        check(&format!("{KEYS}[worker.xid]\n63 = 'reboot'\n"), Err("unknown variant `reboot`"));
        check(&format!("{KEYS}[worker]\nmatting_model = '/nowhere'\n"), Err("no such file"));
        check(&format!("{KEYS}[gateway]\ncors_origins = ['https://shop.example']\n"), Ok(()));
        check(&format!("{KEYS}[gateway]\ncors_origins = ['*']\n"), Err("gateway.cors_origins: \"*\" is no"));
    }

    #[test]
    fn a_broken_line_is_named_and_not_shown() {
        let bad = ["secret_key = 'hunter2", "secret_key = 40772", "secret_key = hunter2", "path_style = 'x'"];
        for line in bad {
            let refused = Config::parse(&format!("[s3]\naccess_key = 'a'\n{line}\n")).expect_err(line);
            let said = refused.to_string();
            assert!(said.starts_with("line 3: ") && !said.contains('\n'), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("40772"), "{said}");
        }
    }

    #[test]
    fn a_gateway_listens_outside_only_with_a_token_that_nobody_guesses() {
        let check = |token: Option<&str>, address: &str, expect: Option<&str>| {
            let config =
                GatewayConfig { token: token.map(|token| Secret(token.to_owned())), ..Default::default() };
            let found = config.may_listen(address.parse().expect("an address"));
            match (found, expect) {
                (Ok(()), None) => {}
                (Err(found), Some(part)) => {
                    assert!(found.to_string().contains(part), "{found}");
                    assert_eq!(found.exit_code(), 78);
                }
                (found, _) => panic!("{token:?} on {address} gave {found:?}"),
            }
        };
        let long = "0123456789abcdef0123456789abcdef";
        check(None, "127.0.0.1:8787", None);
        check(None, "[::1]:8787", None);
        check(None, "0.0.0.0:8787", Some("without a token"));
        check(Some("short"), "127.0.0.1:8787", Some("has 5 characters"));
        check(Some(long), "0.0.0.0:8787", None);
    }

    #[test]
    fn temporary_credentials_are_taken_together() {
        let get = |name: &str| name.starts_with("AWS_").then(|| format!("of-{name}"));
        let mut config = Config::parse("").expect("all defaults");
        config.apply_environment(get);
        assert_eq!(config.s3.region.as_deref(), Some("of-AWS_REGION"));
        assert_eq!(config.s3.session_token, Some(Secret("of-AWS_SESSION_TOKEN".to_owned())));
        let mut config = Config::parse(KEYS).expect("keys of its own");
        config.apply_environment(get);
        assert_eq!((config.s3.access_key.as_str(), config.s3.session_token), ("a", None));
    }

    #[test]
    fn the_environment_rules_over_the_file_and_secrets_are_not_printed() {
        let mut config = Config::parse("").expect("all defaults");
        config.apply_environment(|name| Some(format!("of-{name}")));
        assert_eq!(config.nats.url, "of-MESHWRIGHT_NATS_URL");
        assert!(!format!("{config:?}").contains("of-AWS_SECRET_ACCESS_KEY"));
    }
}
