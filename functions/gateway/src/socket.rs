//! The same events over a WebSocket, for those who cannot read server-sent ones: each message is one event,
//! `{"id", "event", "data"}`, and the connection is closed with the job.

use crate::Gateway;
use crate::problem::Problem;
use crate::stream::{Client, Place, client_of_job};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::interval;

/// Nothing is expected of a client but control frames.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// How often a silent connection is shown to be alive, to both ends and to what is between them.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Where a client was cut off; a browser cannot say it in a header here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resume {
    last_event_id: Option<String>,
}

/// `GET /api/jobs/{id}/ws`: from its beginning, or behind `last_event_id`.
pub(crate) async fn of_job(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    Query(resume): Query<Resume>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let place = resume.last_event_id.as_deref().map(Place::said);
    let shutdown = gateway.shutdown.clone();
    let client = client_of_job(gateway, &id, place).await?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |mut socket| {
        let code = tokio::select! {
            code = tell(&mut socket, client) => code,
            () = shutdown.cancelled() => Some(close_code::RESTART),
        };
        let Some(code) = code else { return };
        let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
        let _gone_already = socket.send(close).await;
    }))
}

/// Tells a client everything until the end. With which code the connection is to be closed; none if it is
/// gone.
async fn tell(socket: &mut WebSocket, client: Option<Client>) -> Option<u16> {
    let mut ping = interval(PING_EVERY);
    let Some(client) = client else { return Some(close_code::NORMAL) };
    let mut next = Box::pin(client.next());
    loop {
        tokio::select! {
            said = &mut next => {
                let Some((said, client)) = said else { return Some(close_code::NORMAL) };
                let text = serde_json::to_string(&said).ok()?;
                send(socket, Message::text(text)).await?;
                next = Box::pin(client.next());
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            },
            _ = ping.tick() => send(socket, Message::Ping(axum::body::Bytes::new())).await?,
        }
    }
}

/// The door cuts off who takes nothing: it comes back with its place.
async fn send(socket: &mut WebSocket, message: Message) -> Option<()> {
    socket.send(message).await.ok()
}
