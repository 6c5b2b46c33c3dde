//! A real nats-server with JetStream, on loopback, its store in a scratch folder.

use crate::{Child, PortLease, Scratch, Spec, infra, tool, until};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a start may take, recovery of a large store included.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What JetStream may promise to streams. The server's own choice is a share of the disk's free space, and
/// streams that are declared larger than it would be refused on a full machine. Nothing is taken in advance.
const FILE_STORE_MAX: &str = "64GB";

/// Of each user of [`NatsConfig::with_roles`].
pub const ROLE_PASSWORD: &str = "role-password";

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct NatsConfig {
    /// Whether each message is on the disk before it is confirmed (`sync_interval: always`).
    pub sync_always: bool,
    /// Where the store lives, for tests of full disks; a scratch folder if there is none.
    pub store_folder: Option<PathBuf>,
    /// More lines of the server's own configuration language: users, limits, TLS.
    pub extra: String,
}

impl NatsConfig {
    /// Each message is on the disk before it is confirmed, as in production.
    pub fn durable() -> NatsConfig {
        NatsConfig { sync_always: true, ..NatsConfig::default() }
    }

    /// As [`NatsConfig::durable`], with the users of `infra/nats/authorization.conf`: `admin`, `store` and
    /// one for each function, all with [`ROLE_PASSWORD`].
    ///
    /// # Errors
    /// It does not run in a checkout.
    pub fn with_roles() -> Result<NatsConfig> {
        let roles = ["ADMIN", "STORE", "INGEST", "PLANNER", "WORKER", "GATEWAY"];
        let password = |role| format!("MESHWRIGHT_NATS_{role}_PASSWORD: {ROLE_PASSWORD}\n");
        let passwords: String = roles.map(password).concat();
        let file = infra("nats/authorization.conf")?;
        let users = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(NatsConfig { extra: passwords + &users, ..NatsConfig::durable() })
    }
}

/// A nats-server that is ready.
#[derive(Debug)]
pub struct NatsServer {
    // Before the folder, so that the process is gone when the folder goes.
    child: Child,
    client: PortLease,
    monitor: PortLease,
    store: PathBuf,
    scratch: Scratch,
}

impl NatsServer {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// The tool is missing, or the server does not become ready in time; the message has its log.
    pub async fn start(config: NatsConfig) -> Result<NatsServer> {
        let program = tool("nats-server")?;
        let (scratch, client, monitor) = (Scratch::new("nats")?, PortLease::new()?, PortLease::new()?);
        let store = config.store_folder.clone().unwrap_or_else(|| scratch.path().join("store"));
        let file = scratch.path().join("nats.conf");
        std::fs::write(&file, text(&config, client.port(), monitor.port(), &store))
            .context("write the server's configuration")?;
        let child =
            Child::spawn(Spec::new("nats-server", program).arg("-c").arg(file).folder(scratch.path()))?;
        let mut server = NatsServer { child, client, monitor, store, scratch };
        server.ready().await?;
        Ok(server)
    }

    /// For clients, as `nats://127.0.0.1:20017`; the same after a restart.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// For those who want no scheme, as `127.0.0.1:20017`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client.port())
    }

    /// Its monitoring, as `http://127.0.0.1:20018`.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor.port())
    }

    /// The JetStream store's folder.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Its configuration, logs and, unless it was placed elsewhere, its store.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The process, for signals and logs.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().map(drop)
    }

    /// Starts it again on the same port and store (`kill -9` first, if it still runs) and waits until it
    /// serves.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.child.restart()?;
        self.ready().await
    }

    /// Removes the whole JetStream store; the server must be down.
    ///
    /// # Errors
    /// The server runs, or the folder cannot be removed.
    pub fn lose_store(&mut self) -> Result<()> {
        if self.child.ended()?.is_none() {
            bail!("kill the server before its store is removed");
        }
        std::fs::remove_dir_all(&self.store).context("remove the JetStream store")
    }

    /// `/healthz` says 200 only when JetStream has recovered and every stream and consumer serves.
    async fn ready(&mut self) -> Result<()> {
        let monitor = self.monitor.port();
        let ready = until("nats-server to serve", READY_WITHIN, async || {
            if let Some(status) = self.child.ended()? {
                bail!("nats-server ended with {status}");
            }
            Ok(answers_ok(monitor, "/healthz").await.then_some(()))
        });
        let ready = ready.await;
        ready.with_context(|| self.child.stderr())
    }
}

/// Whether a loopback port answers a GET with 200.
pub(crate) async fn answers_ok(port: u16, path: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0_u8; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

fn text(config: &NatsConfig, client: u16, monitor: u16, store: &Path) -> String {
    let sync = if config.sync_always { "sync_interval: always" } else { "" };
    let extra = &config.extra;
    let store = store.display();
    format!(
        "listen: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
         jetstream {{\n  store_dir: \"{store}\"\n  max_file_store: {FILE_STORE_MAX}\n  {sync}\n}}\n{extra}\n"
    )
}
