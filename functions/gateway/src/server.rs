//! The door: takes connections, gives each call time for its head and each client time to take its answer,
//! and ends within a limit.

use crate::Limits;
use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

/// Pause after a connection could not be taken, as when all file handles are in use.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until shutdown; then open answers have `drain_max`, and those that are not finished are cut off.
pub(crate) async fn serve(listener: TcpListener, app: Router, limits: Limits, shutdown: CancellationToken) {
    // Not both versions of HTTP: telling them apart would wait for the first byte without a limit.
    let mut server = Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head_max);
    let service = TowerToHyperService::new(app);
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
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(limits.take_max));
        let socket = TokioIo::new(Box::pin(socket));
        let connection = server.serve_connection(socket, service.clone()).with_upgrades();
        let ending = shutdown.clone();
        open.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = ending.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "serve a connection");
            }
            drop(place);
        });
        // Those that have ended are forgotten.
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_max, finished).await.is_err() {
        tracing::info!("some answers were not taken in time and are cut off");
    }
    open.shutdown().await;
}
