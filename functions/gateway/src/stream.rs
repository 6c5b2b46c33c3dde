//! What happens, as it happens, resumed where a client was cut off: as server-sent events here, over a
//! WebSocket in `socket`.
//!
//! The id of an event is its place in the log; that of an event which ends a life says so too, so that a
//! browser which comes back after the end is told to stay away (204) instead of hearing the end for ever.
//! The past of a client is read from the log for it alone; what is new comes from the one follower of this
//! gateway. A place that the log does not have yet is of a log that was lost, and what followed an old one
//! may be gone from it: the client hears `reload` (forget what you know of the moment), then the log from
//! where it begins now.

use crate::Gateway;
use crate::follow::Told;
use crate::jobs::{job_id, record};
use crate::problem::Problem;
use crate::telemetry::Follower;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use domain::{EVENTS, Ending, Event, EventKind, JobId, Life, job_events_subject};
use futures::stream::{BoxStream, StreamExt, unfold};
use ports::{Logged, PortResult};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, timeout, timeout_at};

/// Longest pause within the reading of a past that has an end: what was removed leaves a gap there.
const PAST_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Silence after which the bucket is asked: an event may be lost, an outcome is not.
const SILENCE: Duration = Duration::from_secs(10);

/// Where a client was cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    sequence: u64,
    /// The life whose end it has heard.
    ended: Option<u32>,
}

impl Place {
    /// A place that is none of ours lies behind every event: the client is told to load again.
    pub(crate) fn said(text: &str) -> Place {
        Place::parse(text).unwrap_or(Place { sequence: u64::MAX, ended: None })
    }

    fn parse(text: &str) -> Option<Place> {
        let (sequence, ended) = match text.split_once("-end") {
            Some((sequence, life)) => (sequence, Some(life.parse().ok()?)),
            None => (text, None),
        };
        Some(Place { sequence: sequence.parse().ok()?, ended })
    }

    fn of(headers: &HeaderMap) -> Option<Place> {
        Some(Place::said(headers.get("last-event-id")?.to_str().unwrap_or_default()))
    }
}

/// What a client is told: its place from here on, and what happened.
#[derive(Serialize)]
pub(crate) struct Said {
    id: String,
    /// Without one it is the place alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Event>,
}

impl Said {
    fn event(sequence: u64, event: &Event) -> Said {
        let id = match event.kind.is_end() {
            true => format!("{sequence}-end{}", event.life.0),
            false => sequence.to_string(),
        };
        Said { id, event: Some(event.kind.as_str()), data: Some(event.clone()) }
    }

    /// Where a client is before it hears anything: no event by itself, but it resumes there.
    fn greeting(sequence: u64) -> Said {
        Said { id: sequence.to_string(), event: None, data: None }
    }

    /// What a client knows of the moment is void; it is before the beginning of the log from here on.
    fn reload(sequence: u64) -> Said {
        Said { event: Some("reload"), ..Said::greeting(sequence) }
    }

    fn sse(self) -> Sse {
        let sse = Sse::default().id(self.id);
        let Some(event) = self.event else { return sse };
        let data = self.data.as_ref().map(serde_json::to_string).and_then(Result::ok);
        sse.event(event).data(data.unwrap_or_else(|| "{}".to_owned()))
    }
}

fn read(logged: &Logged) -> Option<Event> {
    serde_json::from_slice(&logged.payload).ok()
}

/// Events on their way to one client: of one job until its life ends, or of all.
pub(crate) struct Client {
    gateway: Arc<Gateway>,
    job: Option<JobId>,
    /// The log as far as it is this client's past, and where that ends.
    past: Option<BoxStream<'static, PortResult<Logged>>>,
    past_to: u64,
    live: Receiver<Told>,
    /// The newest that it was sent.
    sent: u64,
    /// Ends of older lives are history.
    life: Life,
    /// The bucket knew the end before this client came.
    has_ended: bool,
    /// Said before everything else.
    greeting: Option<Said>,
    over: bool,
    _place: OwnedSemaphorePermit,
    _counted: Follower,
}

impl Client {
    /// What it is told next; none when that was all.
    pub(crate) async fn next(mut self) -> Option<(Said, Client)> {
        if let Some(greeting) = self.greeting.take() {
            return Some((greeting, self));
        }
        if self.over {
            return None;
        }
        let said = match self.next_past().await {
            Some(said) => Some(said),
            None => self.next_live().await,
        };
        said.map(|said| (said, self))
    }

    fn say(&mut self, sequence: u64, event: &Event) -> Said {
        self.sent = sequence;
        self.over = self.job.is_some() && event.kind.is_end() && event.life >= self.life;
        Said::event(sequence, event)
    }

    /// The next of what was before this client came; none once all of that is told.
    async fn next_past(&mut self) -> Option<Said> {
        while self.sent < self.past_to
            && let Some(past) = &mut self.past
        {
            match timeout(PAST_PAUSE_MAX, past.next()).await {
                Ok(Some(Ok(logged))) => match read(&logged) {
                    Some(event) => return Some(self.say(logged.sequence, &event)),
                    None => self.sent = logged.sequence,
                },
                Ok(Some(Err(error))) => tracing::debug!(%error, "read the past of a client"),
                Ok(None) | Err(_) => break,
            }
        }
        self.past = None;
        if std::mem::take(&mut self.has_ended) { self.end_in_bucket().await } else { None }
    }

    /// The next that is new; none when the stream is to end. A client that lags too far is cut off: it comes
    /// back with its place and reads the log.
    async fn next_live(&mut self) -> Option<Said> {
        let mut ask_at = Instant::now() + SILENCE;
        loop {
            match timeout_at(ask_at, self.live.recv()).await {
                Ok(Ok(Told::Event(sequence, event))) => {
                    if sequence > self.sent && self.job.is_none_or(|job| job == event.job) {
                        return Some(self.say(sequence, &event));
                    }
                }
                Ok(Ok(Told::Anew)) => {
                    self.sent = 0;
                    return Some(Said::reload(0));
                }
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return None,
                Err(_) => {
                    ask_at = Instant::now() + SILENCE;
                    let known = self.job.and_then(|job| self.gateway.hub.known(job));
                    if known.is_some_and(|known| known.has_ended())
                        && let Some(said) = self.end_in_bucket().await
                    {
                        return Some(said);
                    }
                }
            }
        }
    }

    /// The end that the bucket tells, when no event did.
    async fn end_in_bucket(&mut self) -> Option<Said> {
        match end(&self.gateway, self.job?).await {
            Ok(Some(event)) => Some(self.say(self.sent, &event)),
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "ask how a job ended");
                None
            }
        }
    }

    fn answer(self) -> Response {
        let over = self.gateway.shutdown.clone().cancelled_owned();
        let events = unfold(self, Client::next).take_until(over);
        let events = events.map(|said| Ok::<_, Infallible>(said.sse()));
        SseResponse::new(events).keep_alive(KeepAlive::default()).into_response()
    }
}

/// A client at its place in the log. `from`: nobody knows it before; it hears from here on.
async fn client(gateway: Arc<Gateway>, job: Option<JobId>, place: Option<Place>) -> Result<Client, Problem> {
    let full = |_| Problem::unavailable("too many clients follow events; try again");
    let held = gateway.followers.clone().try_acquire_owned().map_err(full)?;
    let range = gateway.ports.wire.range(&EVENTS).await?;
    gateway.hub.catch_up(range.last).await;
    let (live, past_to) = gateway.hub.join(job);
    let must_reload = place.is_some_and(|place| !range.goes_on_from(place.sequence));
    let from = match place {
        Some(place) if !must_reload => place.sequence,
        // A job is told from its beginning, all jobs from now on.
        None if job.is_none() => range.last,
        _ => range.first - 1,
    };
    let past = if from < past_to {
        let subject = job.map_or_else(|| "event.>".to_owned(), job_events_subject);
        Some(gateway.ports.wire.follow(&EVENTS, &subject, from + 1).await?)
    } else {
        None
    };
    Ok(Client {
        gateway,
        job,
        past,
        past_to,
        live,
        sent: from,
        life: Life(0),
        has_ended: false,
        greeting: Some(if must_reload { Said::reload(from) } else { Said::greeting(from) }),
        over: false,
        _place: held,
        _counted: Follower::new(),
    })
}

/// `GET /api/jobs/{id}/events`: from its beginning, or behind `Last-Event-ID`; ends with the job.
pub(crate) async fn of_job(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let client = client_of_job(gateway, &id, Place::of(&headers)).await?;
    Ok(client.map_or_else(|| StatusCode::NO_CONTENT.into_response(), Client::answer))
}

/// A client of one job at its place; none if it has heard the end.
pub(crate) async fn client_of_job(
    gateway: Arc<Gateway>,
    id: &str,
    place: Option<Place>,
) -> Result<Option<Client>, Problem> {
    let job = job_id(id)?;
    record(&gateway, job).await?;
    // Before the look at the bucket: an end that falls between the two is heard.
    let mut client = client(gateway.clone(), Some(job), place).await?;
    let state = gateway.ledger.state(job).await?;
    if state.has_outcome && place.is_some_and(|place| place.ended == Some(state.life.0)) {
        return Ok(None);
    }
    (client.life, client.has_ended) = (state.life, state.has_outcome);
    Ok(Some(client))
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
    Ok(client(gateway, None, Place::of(&headers)).await?.answer())
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
