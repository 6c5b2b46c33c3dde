//! A real MinIO on loopback, its data in a scratch folder, its bucket events sent into JetStream if wanted.

use crate::nats::answers_ok;
use crate::{Child, PortLease, S3Endpoint, Scratch, Spec, output, tool, until};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a start may take.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long one administrative command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// The notification target's name, part of its ARN.
const TARGET: &str = "MW";

/// Where bucket events go. The stream that takes `subject` must exist before the server starts: MinIO asks
/// JetStream for a confirmation of each event.
#[derive(Clone, Debug)]
pub struct NotifyNats {
    /// The server's address without a scheme, as [`crate::NatsServer::address`].
    pub address: String,
    /// The subject, as `s3ev.minio`.
    pub subject: String,
    /// User and password, if the server asks for them.
    pub user: Option<(String, String)>,
    /// Whether events go through a folder first: none is lost while the broker is away, and each is up to 3 s
    /// late, since MinIO looks into the folder that often.
    pub folder: bool,
}

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct MinioConfig {
    /// Where bucket events go, if anywhere.
    pub notify_nats: Option<NotifyNats>,
    /// Where the objects live, for tests of full disks; a scratch folder if there is none.
    pub data_folder: Option<PathBuf>,
}

/// A MinIO that is ready.
#[derive(Debug)]
pub struct Minio {
    // Before the folder, so that the process is gone when the folder goes.
    child: Child,
    port: PortLease,
    data: PathBuf,
    scratch: Scratch,
}

impl Minio {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// The tool is missing, or the server does not become ready in time; the message has its log.
    pub async fn start(config: MinioConfig) -> Result<Minio> {
        let program = tool("minio")?;
        let (scratch, port) = (Scratch::new("minio")?, PortLease::new()?);
        let data = config.data_folder.clone().unwrap_or_else(|| scratch.path().join("data"));
        std::fs::create_dir_all(&data).context("create the folder of objects")?;
        let mut spec = Spec::new("minio", program)
            .arg("server")
            .arg(&data)
            .args(["--address".to_owned(), format!("127.0.0.1:{}", port.port())])
            .folder(scratch.path())
            .env("HOME", scratch.path())
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off");
        if let Some(to) = &config.notify_nats {
            spec = notify(spec, to, scratch.path());
        }
        let child = Child::spawn(spec)?;
        let mut minio = Minio { child, port, data, scratch };
        minio.ready().await?;
        Ok(minio)
    }

    /// The store with its root credentials, for our own clients and other people's.
    pub fn endpoint(&self) -> S3Endpoint {
        S3Endpoint {
            url: format!("http://127.0.0.1:{}", self.port.port()),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            folder: self.scratch.path().to_owned(),
        }
    }

    /// The folder of objects.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process, for signals and logs.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Creates a bucket, if it is not there.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.mc(["mb", "--ignore-existing", &format!("local/{bucket}")]).await.map(drop)
    }

    /// Sends an event for each new object of a bucket to the server that the configuration names.
    ///
    /// # Errors
    /// The server was started without one, or refuses.
    pub async fn add_events(&self, bucket: &str) -> Result<()> {
        let arn = format!("arn:minio:sqs::{TARGET}:nats");
        let target = format!("local/{bucket}");
        self.mc(["event", "add", &target, &arn, "--event", "put", "--ignore-existing"]).await.map(drop)
    }

    /// Sends no more events for a bucket.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn remove_events(&self, bucket: &str) -> Result<()> {
        self.mc(["event", "remove", &format!("local/{bucket}"), "--force"]).await.map(drop)
    }

    /// Runs one `mc` command, in which this store is `local`, and returns what it printed.
    ///
    /// # Errors
    /// The command fails; the message has its standard error.
    pub async fn mc<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let mut command = self.endpoint().mc()?;
        command.args(args);
        output(command, COMMAND_WITHIN).await
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().map(drop)
    }

    /// Starts it again on the same port and data (`kill -9` first, if it still runs) and waits until it
    /// serves.
    ///
    /// # Errors
    /// As [`Minio::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.child.restart()?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let port = self.port.port();
        let ready = until("MinIO to serve", READY_WITHIN, async || {
            if let Some(status) = self.child.ended()? {
                bail!("MinIO ended with {status}");
            }
            Ok(answers_ok(port, "/minio/health/ready").await.then_some(()))
        });
        let ready = ready.await;
        ready.with_context(|| self.child.stdout() + &self.child.stderr())
    }
}

const ACCESS_KEY: &str = "harness";
const SECRET_KEY: &str = "harness-secret";

fn notify(spec: Spec, to: &NotifyNats, folder: &Path) -> Spec {
    let name = |what: &str| format!("MINIO_NOTIFY_NATS_{what}_{TARGET}");
    let mut spec = spec
        .env(name("ENABLE"), "on")
        .env(name("ADDRESS"), &to.address)
        .env(name("SUBJECT"), &to.subject)
        .env(name("JETSTREAM"), "on");
    if to.folder {
        spec = spec.env(name("QUEUE_DIR"), folder.join("events"));
    }
    if let Some((user, password)) = &to.user {
        spec = spec.env(name("USERNAME"), user).env(name("PASSWORD"), password);
    }
    spec
}
