//! Reaching a server: credentials, TLS, the version gate, and what the server says behind our back.

use crate::errors::Trouble;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError, jetstream};
use domain::Times;
use ports::{Boards, Queue, Wire};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A password: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the broker is, and as whom we speak to it.
#[derive(Clone, Debug)]
pub struct Config {
    /// One or several URLs, by commas.
    pub servers: String,
    /// What the server's monitoring calls this connection.
    pub name: String,
    /// User, with a password.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// A credentials file instead (JWT and NKEY).
    pub credentials_file: Option<PathBuf>,
    /// Whom to trust, beyond the system's own.
    pub root_ca_file: Option<PathBuf>,
    /// Our certificate, where the server asks for one.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
    /// The protocol's times.
    pub times: Times,
    /// Servers that keep each stream and board: 1, or 3 in a cluster.
    pub replicas: usize,
}

impl Config {
    /// One server or several, reached without user, at the times of production; the rest is set by name.
    pub fn new(servers: impl Into<String>, name: impl Into<String>) -> Config {
        Config {
            servers: servers.into(),
            name: name.into(),
            user: None,
            password: None,
            credentials_file: None,
            root_ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            times: Times::PRODUCTION,
            replicas: 1,
        }
    }
}

/// Why the broker cannot be used: one sentence with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("no NATS server answers at {servers} ({error}); start one, or correct nats.url")]
    Unreachable {
        /// Where.
        servers: String,
        /// Why.
        error: String,
    },
    /// It does not let us in.
    #[error("the NATS server at {0} refuses these credentials; correct nats.user and nats.password")]
    Refused(String),
    /// It is too old to keep the protocol's promises.
    #[error(
        "the NATS server is version {0}, which loses or repeats messages; use 2.14.3 or newer (2.12.12 or \
         newer of the 2.12 line)"
    )]
    TooOld(String),
    /// A file or a URL that cannot be used.
    #[error("the NATS configuration cannot be used: {0}")]
    Config(String),
}

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for any answer of the server.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Messages that one subscription may lag behind.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// A connection that reconnects without end, with everything that is made once per connection.
pub struct Broker {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) times: Times,
    pub(crate) replicas: usize,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) consumers: Mutex<HashMap<String, jetstream::consumer::PullConsumer>>,
    pub(crate) boards: Mutex<HashMap<&'static str, jetstream::kv::Store>>,
    /// One declaration at a time, however many calls miss a stream.
    pub(crate) declaring: tokio::sync::Mutex<()>,
}

impl Broker {
    /// As a queue.
    pub fn queue(self: &Arc<Self>) -> Arc<dyn Queue> {
        self.clone()
    }

    /// As boards.
    pub fn boards(self: &Arc<Self>) -> Arc<dyn Boards> {
        self.clone()
    }

    /// As a wire.
    pub fn wire(self: &Arc<Self>) -> Arc<dyn Wire> {
        self.clone()
    }
}

/// Reaches the server, or says at once why not. Later outages are waited out.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(config: Config) -> Result<Arc<Broker>, ConnectError> {
    whole(&config)?;
    if !matches!(config.replicas, 1 | 3 | 5) {
        return Err(ConnectError::Config(format!("nats.replicas is {}; use 1, 3 or 5", config.replicas)));
    }
    let trouble = Arc::new(Trouble::default());
    let options = options(&config, trouble.clone()).await?;
    let servers: Vec<String> = config.servers.split(',').map(|server| server.trim().to_owned()).collect();
    let client = options.connect(servers.as_slice()).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            ConnectError::Refused(config.servers.clone())
        }
        ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => ConnectError::Config(error.to_string()),
        _ => ConnectError::Unreachable { servers: config.servers.clone(), error: error.to_string() },
    })?;
    let version = client.server_info().version;
    if !is_new_enough(&version) {
        return Err(ConnectError::TooOld(version));
    }
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(ANSWER_MAX);
    Ok(Arc::new(Broker {
        client,
        jetstream,
        times: config.times,
        replicas: config.replicas,
        trouble,
        consumers: Mutex::default(),
        boards: Mutex::default(),
        declaring: tokio::sync::Mutex::default(),
    }))
}

/// Half of a pair is a mistake, not an anonymous connection.
fn whole(config: &Config) -> Result<(), ConnectError> {
    let pairs = [
        (config.user.is_some(), "nats.user", config.password.is_some(), "nats.password"),
        (
            config.client_cert_file.is_some(),
            "nats.client_cert_file",
            config.client_key_file.is_some(),
            "nats.client_key_file",
        ),
    ];
    for (has_one, one, has_other, other) in pairs {
        if has_one != has_other {
            let (there, missing) = if has_one { (one, other) } else { (other, one) };
            let text = format!("{there} is set and {missing} is not; set both or neither");
            return Err(ConnectError::Config(text));
        }
    }
    Ok(())
}

async fn options(config: &Config, trouble: Arc<Trouble>) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(CONNECT_MAX)
        .request_timeout(Some(ANSWER_MAX))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .event_callback(move |event| {
            let trouble = trouble.clone();
            async move { hear(event, &trouble) }
        });
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        // An inbox of its own, so that a server can keep users from reading each other's answers.
        let word = user.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        let inbox = format!("_INBOX_{word}");
        options = options.user_and_password(user.clone(), password.0.clone()).custom_inbox_prefix(inbox);
    }
    if let Some(file) = &config.credentials_file {
        let bad = |error| ConnectError::Config(format!("read {}: {error}", file.display()));
        options = options.credentials_file(file).await.map_err(bad)?;
    }
    if let Some(file) = &config.root_ca_file {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&config.client_cert_file, &config.client_key_file) {
        options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

/// What the server says of itself goes to the log once; a missing permission is kept, since the call that
/// caused it only times out.
fn hear(event: Event, trouble: &Trouble) {
    match event {
        Event::ServerError(ServerError::Other(text)) => {
            tracing::warn!(%text, "the broker");
            trouble.hear(text, Instant::now());
        }
        Event::Connected => tracing::debug!("connected to the broker"),
        Event::Disconnected => tracing::warn!("disconnected from the broker; reconnecting"),
        other => tracing::info!(event = %other, "the broker"),
    }
}

/// 2.12.12 of the 2.12 line, 2.14.3 of the 2.14 line, everything newer.
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let version = (next(), next(), next());
    match version {
        (2, 12, patch) => patch >= 12,
        version => version >= (2, 14, 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn half_of_a_pair_is_refused_before_anybody_is_asked() {
        let config = Config::new("nats://127.0.0.1:1", "test");
        let check = async |config: Config, sentence: &str| {
            let refused = connect(config).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains(sentence), "{refused}");
        };
        let user = Config { user: Some("ingest".to_owned()), ..config.clone() };
        check(user, "nats.user is set and nats.password is not").await;
        let password = Config { password: Some(Secret::new("x".to_owned())), ..config.clone() };
        check(password, "nats.password is set and nats.user is not").await;
        let cert = Config { client_cert_file: Some("cert.pem".into()), ..config };
        check(cert, "nats.client_cert_file is set and nats.client_key_file is not").await;
    }

    #[test]
    fn servers_that_lose_messages_are_too_old() {
        let check = |version: &str, expect: bool| assert_eq!(is_new_enough(version), expect, "{version}");
        check("2.9.25", false);
        check("2.12.11", false);
        check("2.12.12", true);
        check("2.14.2", false);
        check("2.14.3", true);
        check("2.15.1", true);
        check("2.15.0-RC.1", true);
        check("nonsense", false);
    }
}
