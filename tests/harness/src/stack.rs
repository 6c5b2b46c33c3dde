//! nats-server and MinIO, joined: an upload into a bucket becomes a message in a stream.

use crate::{Minio, MinioConfig, NatsConfig, NatsServer, NotifyNats};
use anyhow::{Context, Result};

/// How both are set up.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// The broker.
    pub nats: NatsConfig,
    /// As whom the store publishes, if the broker asks for users.
    pub store_user: Option<(String, String)>,
    /// The subject of bucket events.
    pub subject: String,
    /// Whether events go through a folder of the store first, as [`NotifyNats::folder`] says.
    pub event_folder: bool,
    /// Buckets whose uploads are events.
    pub event_buckets: Vec<String>,
    /// Buckets without events.
    pub buckets: Vec<String>,
}

impl Default for StackConfig {
    /// Bucket `uploads` with events on `s3ev.minio`.
    fn default() -> StackConfig {
        StackConfig {
            nats: NatsConfig::default(),
            store_user: None,
            subject: "s3ev.minio".to_owned(),
            event_folder: true,
            event_buckets: vec!["uploads".to_owned()],
            buckets: Vec::new(),
        }
    }
}

/// Both servers, ready, with their buckets.
#[derive(Debug)]
pub struct Stack {
    /// The broker.
    pub nats: NatsServer,
    /// The store.
    pub minio: Minio,
}

impl Stack {
    /// Starts the broker, lets the test create its streams (the one that takes the events must be among
    /// them), then starts the store and creates the buckets. `create_streams` is given the broker's URL.
    ///
    /// # Errors
    /// A tool is missing, a server does not become ready, or `create_streams` fails.
    pub async fn start(
        config: StackConfig,
        create_streams: impl AsyncFnOnce(String) -> Result<()>,
    ) -> Result<Stack> {
        let nats = NatsServer::start(config.nats).await?;
        create_streams(nats.url()).await.context("create the streams")?;
        let notify = NotifyNats {
            address: nats.address(),
            subject: config.subject,
            user: config.store_user,
            folder: config.event_folder,
        };
        let minio = Minio::start(MinioConfig { notify_nats: Some(notify), ..MinioConfig::default() }).await?;
        for bucket in config.event_buckets.iter().chain(&config.buckets) {
            minio.create_bucket(bucket).await?;
        }
        for bucket in &config.event_buckets {
            minio.add_events(bucket).await?;
        }
        Ok(Stack { nats, minio })
    }
}
