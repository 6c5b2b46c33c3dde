//! The loopback S3 server: protocol and signatures by s3s, objects by our own files.
//!
//! Spoken to like any other store. It listens where it is told, which is loopback unless a person decides
//! otherwise.

use crate::s3_disk::Disk;
use crate::s3_room;
pub use crate::s3_room::{room, trouble};
use crate::s3_service::Service;
use bytes::Bytes as Payload;
use domain::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Gets the bucket and the event JSON of every object that was created.
pub type Notify = Arc<dyn Fn(String, Payload) + Send + Sync>;

/// Connections that may be open at once.
const CONNECTIONS_MAX: usize = 1024;
/// Longest wait for open answers at shutdown.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// What to serve.
#[derive(Clone)]
pub struct S3ServerConfig {
    /// Where buckets and objects are kept.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The one access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Buckets that are created if they are missing.
    pub buckets: Vec<String>,
    /// Who hears of new objects.
    pub notify: Option<Notify>,
    /// Largest body of a request, and largest object.
    pub body_bytes_max: Bytes,
}

impl Default for S3ServerConfig {
    fn default() -> S3ServerConfig {
        S3ServerConfig {
            data_dir: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_key: String::new(),
            secret_key: String::new(),
            buckets: Vec::new(),
            notify: None,
            body_bytes_max: Bytes::gib(1),
        }
    }
}

/// A server that runs until it is shut down or dropped.
pub struct RunningS3 {
    /// As `http://127.0.0.1:41234`.
    pub endpoint: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl RunningS3 {
    /// Finishes open answers, up to a limit, and ends.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.serving).await {
            tracing::debug!(%error, "end the S3 server");
        }
    }
}

impl Drop for RunningS3 {
    fn drop(&mut self) {
        self.watching.abort();
        self.stop.cancel();
    }
}

/// Opens the data folder, binds, serves.
///
/// # Errors
/// The folder cannot be used, or the address is taken.
pub async fn start(config: S3ServerConfig) -> io::Result<RunningS3> {
    let disk = Disk::open(&config.data_dir)?;
    for bucket in &config.buckets {
        disk.create_bucket(bucket)?;
    }
    let service = Service { disk, notify: config.notify, body_bytes_max: config.body_bytes_max.0 };
    let mut builder = S3ServiceBuilder::new(service);
    builder.set_auth(SimpleAuth::from_single(config.access_key, config.secret_key));
    let listener = TcpListener::bind(config.listen).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, builder.build(), stop.clone()));
    let watching = tokio::spawn(s3_room::watch(config.data_dir));
    Ok(RunningS3 { endpoint, stop, serving, watching })
}

async fn serve(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let server = Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (place.await, listener.accept().await) } => accepted,
            () = stop.cancelled() => break,
        };
        let (place, (socket, _)) = match accepted {
            (place, Ok(accepted)) => (place, accepted),
            (_, Err(error)) => {
                tracing::debug!(%error, "accept a connection");
                continue;
            }
        };
        // Small answers must not wait for the client's delayed acknowledgement.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
        let connection = server.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "serve a connection");
            }
            drop(place);
        });
    }
    if tokio::time::timeout(SHUTDOWN_MAX, graceful.shutdown()).await.is_err() {
        tracing::info!("some S3 connections did not end in time");
    }
}
