//! Server-sent events: what happens, as it happens, resumed where a client was cut off.
//!
//! The id of an event is its place in the log; that of an event which ends a life says so too, so that a
//! browser which comes back after the end is told to stay away (204) instead of hearing the end for ever.

use crate::Gateway;
use crate::index::SharedIndex;
use crate::jobs::{job_id, record};
use crate::problem::Problem;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use domain::{EVENTS, Ending, Event, EventKind, JobId, Life, job_events_subject};
use futures::stream::{BoxStream, Stream, StreamExt, unfold};
use ports::{Logged, PortResult};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Silence of the log after which an end that the bucket knows is told from there.
const SILENCE_AT_END: Duration = Duration::from_millis(200);
/// Silence of the log after which the bucket is asked: an event may be lost, an outcome is not.
const SILENCE: Duration = Duration::from_secs(10);

/// Where a client was cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    sequence: u64,
    /// The life whose end it has heard.
    ended: Option<u32>,
}

impl Place {
    fn parse(text: &str) -> Option<Place> {
        let (sequence, ended) = match text.split_once("-end") {
            Some((sequence, life)) => (sequence, Some(life.parse().ok()?)),
            None => (text, None),
        };
        Some(Place { sequence: sequence.parse().ok()?, ended })
    }

    fn of(headers: &HeaderMap) -> Option<Place> {
        headers.get("last-event-id")?.to_str().ok().and_then(Place::parse)
    }
}

fn sse(sequence: u64, event: &Event) -> Sse {
    let data = serde_json::to_string(event).unwrap_or_default();
    let id = match event.kind.is_end() {
        true => format!("{sequence}-end{}", event.life.0),
        false => sequence.to_string(),
    };
    Sse::default().event(event.kind.as_str()).data(data).id(id)
}

fn read(logged: &Logged) -> Option<Event> {
    serde_json::from_slice(&logged.payload).ok()
}

fn answer(gateway: &Gateway, events: impl Stream<Item = Sse> + Send + 'static) -> Response {
    let events = events.take_until(gateway.shutdown.clone().cancelled_owned());
    SseResponse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response()
}

/// The events of one job on their way to one client.
struct Following {
    gateway: Arc<Gateway>,
    job: JobId,
    log: BoxStream<'static, PortResult<Logged>>,
    /// Ends of older lives are history.
    life: Life,
    silence: Duration,
    last: u64,
    over: bool,
}

impl Following {
    async fn next(mut self) -> Option<(Sse, Following)> {
        while !self.over {
            match timeout(self.silence, self.log.next()).await {
                Ok(None) => return None,
                Ok(Some(Err(error))) => tracing::debug!(%error, "follow a job's events"),
                Ok(Some(Ok(logged))) => {
                    self.last = logged.sequence;
                    let Some(event) = read(&logged) else { continue };
                    self.over = event.kind.is_end() && event.life >= self.life;
                    return Some((sse(logged.sequence, &event), self));
                }
                Err(_) => {
                    let known = self.silence == SILENCE_AT_END || has_ended(&self.gateway.index, self.job);
                    self.silence = SILENCE;
                    if known && let Ok(Some(event)) = end(&self.gateway, self.job).await {
                        self.over = true;
                        return Some((sse(self.last, &event), self));
                    }
                }
            }
        }
        None
    }
}

/// `GET /api/jobs/{id}/events`: from its beginning, or behind `Last-Event-ID`; ends with the job.
pub(crate) async fn of_job(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = job_id(&id)?;
    record(&gateway, job).await?;
    let place = Place::of(&headers).unwrap_or_default();
    // Before the look at the bucket: an end that falls between the two is in the log.
    let log = gateway.ports.wire.follow(&EVENTS, &job_events_subject(job), place.sequence + 1).await?;
    let state = gateway.ledger.state(job).await?;
    if state.has_outcome && place.ended == Some(state.life.0) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let silence = if state.has_outcome { SILENCE_AT_END } else { SILENCE };
    let (life, last) = (state.life, place.sequence);
    let following = Following { gateway: gateway.clone(), job, log, life, silence, last, over: false };
    Ok(answer(&gateway, unfold(following, Following::next)))
}

fn has_ended(index: &SharedIndex, job: JobId) -> bool {
    let index = index.read().unwrap_or_else(PoisonError::into_inner);
    index.jobs.get(&job).is_some_and(|known| known.has_outcome || known.end.is_some())
}

/// The event that ended the job's current life, made from its outcome.
async fn end(gateway: &Gateway, job: JobId) -> PortResult<Option<Event>> {
    let state = gateway.ledger.state(job).await?;
    if !state.has_outcome {
        return Ok(None);
    }
    let Some(outcome) = gateway.ledger.outcome(job, state.life).await? else { return Ok(None) };
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
) -> Result<Response, Problem> {
    let last = match Place::of(&headers) {
        Some(place) => place.sequence,
        None => gateway.ports.wire.last_sequence(&EVENTS).await?,
    };
    let log = gateway.ports.wire.follow(&EVENTS, "event.>", last + 1).await?;
    let all = log.filter_map(|logged| async move {
        let logged = logged.ok()?;
        Some(sse(logged.sequence, &read(&logged)?))
    });
    Ok(answer(&gateway, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_event_is_read_back() {
        assert_eq!(Place::parse("17"), Some(Place { sequence: 17, ended: None }));
        assert_eq!(Place::parse("17-end2"), Some(Place { sequence: 17, ended: Some(2) }));
        for foreign in ["", "x", "-end", "17-end", "17-endx", "-1"] {
            assert_eq!(Place::parse(foreign), None, "{foreign}");
        }
    }
}
