//! The door: takes connections, gives each call time for its head, and ends within a limit.

use crate::Limits;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause after a connection could not be taken, as when all file handles are in use.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until shutdown; then open answers have `drain_max`, and those that are not finished are cut off.
pub(crate) async fn serve(listener: TcpListener, app: Router, limits: Limits, shutdown: CancellationToken) {
    // Not both versions of HTTP: telling them apart would wait for the first byte without a limit.
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_max);
    let service = TowerToHyperService::new(app);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned();
        let accepted = tokio::select! {
            accepted = async { (place.await, listener.accept().await) } => accepted,
            () = shutdown.cancelled() => break,
        };
        let (place, (socket, _)) = match accepted {
            (place, Ok(accepted)) => (place, accepted),
            (_, Err(error)) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        // An event must not wait for the client's delayed acknowledgement.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
        let connection = server.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
        let watched = graceful.watch(connection);
        open.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "serve a connection");
            }
            drop(place);
        });
        // Those that have ended are forgotten.
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_max, graceful.shutdown()).await.is_err() {
        tracing::info!("some answers were not taken in time and are cut off");
    }
    open.shutdown().await;
}
