//! Server-sent events: what happens, as it happens, resumed where a client was cut off.

use crate::Gateway;
use crate::jobs::{job_id, record};
use crate::problem::Problem;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sse, KeepAlive, KeepAliveStream, Sse as SseResponse};
use domain::{EVENTS, Ending, Event, EventKind, JobId, job_events_subject};
use futures::stream::{BoxStream, Stream, StreamExt, once};
use ports::Logged;
use std::convert::Infallible;
use std::sync::Arc;

type Events = SseResponse<KeepAliveStream<BoxStream<'static, Result<Sse, Infallible>>>>;

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

fn sse(sequence: Option<u64>, event: &Event) -> Sse {
    let data = serde_json::to_string(event).unwrap_or_default();
    let sse = Sse::default().event(event.kind.as_str()).data(data);
    sequence.map_or(sse.clone(), |sequence| sse.id(sequence.to_string()))
}

fn read(logged: &Logged) -> Option<Event> {
    serde_json::from_slice(&logged.payload).ok()
}

fn answer(gateway: &Gateway, events: impl Stream<Item = Result<Sse, Infallible>> + Send + 'static) -> Events {
    let events = events.take_until(gateway.shutdown.clone().cancelled_owned()).boxed();
    SseResponse::new(events).keep_alive(KeepAlive::default())
}

/// `GET /api/jobs/{id}/events`: from its beginning, or behind `Last-Event-ID`; ends with the job.
pub(crate) async fn of_job(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Events, Problem> {
    let job = job_id(&id)?;
    let from = last_event_id(&headers).map_or(0, |last| last + 1);
    let log = gateway.ports.wire.follow(&EVENTS, &job_events_subject(job), from).await?;
    if let Some(last) = ended(&gateway, job).await? {
        // The log forgets, the bucket does not: what is over is told from there.
        let past = log.take_until(tokio::time::sleep(std::time::Duration::from_millis(200)));
        let past = past.filter_map(|logged| async move {
            let logged = logged.ok()?;
            let event = read(&logged).filter(|event| !event.kind.is_end())?;
            Some(Ok(sse(Some(logged.sequence), &event)))
        });
        return Ok(answer(&gateway, past.chain(once(async move { Ok(sse(None, &last)) }))));
    }
    // The stream ends with the event that ends the job, not when the next one comes.
    let live = log.flat_map(|logged| {
        let event = logged.ok().and_then(|logged| Some((logged.sequence, read(&logged)?)));
        let is_end = event.as_ref().is_some_and(|(_, event)| event.kind.is_end());
        let told = event.map(|(sequence, event)| Some(sse(Some(sequence), &event)));
        futures::stream::iter(told.into_iter().chain(is_end.then_some(None)))
    });
    let live = live.take_while(|told| std::future::ready(told.is_some()));
    Ok(answer(&gateway, live.filter_map(|told| async move { told.map(Ok) })))
}

/// The event that ended the job's current life, made from its outcome.
async fn ended(gateway: &Gateway, job: JobId) -> Result<Option<Event>, Problem> {
    let state = gateway.ledger.state(job).await?;
    if !state.has_outcome {
        return Ok(None);
    }
    let Some(outcome) = gateway.ledger.outcome(job, state.life).await? else {
        record(gateway, job).await?;
        return Ok(None);
    };
    let kind = match outcome.ending {
        Ending::Done { .. } => EventKind::Finished,
        Ending::Rejected { reason } => EventKind::Rejected { reason },
        Ending::Dead { stage, error } => EventKind::Dead { stage, error },
        Ending::Cancelled { reason } => EventKind::Cancelled { reason },
    };
    Ok(Some(Event { job, life: outcome.life, at: outcome.decided_at, kind }))
}

/// `GET /api/events`: all jobs, from now on or behind `Last-Event-ID`.
pub(crate) async fn of_all(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Events, Problem> {
    let from = match last_event_id(&headers) {
        Some(last) => last + 1,
        None => gateway.ports.wire.last_sequence(&EVENTS).await? + 1,
    };
    let log = gateway.ports.wire.follow(&EVENTS, "event.>", from).await?;
    let all = log.filter_map(|logged| async move {
        let logged = logged.ok()?;
        Some(Ok(sse(Some(logged.sequence), &read(&logged)?)))
    });
    Ok(answer(&gateway, all))
}
