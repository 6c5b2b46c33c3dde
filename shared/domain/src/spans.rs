//! The spans of a job's trace, decided from what processes know anyway: an outcome, a batch, a timing. Names
//! and attributes are those of OpenTelemetry's conventions where it has some, and `meshwright.…` otherwise.
//!
//! ```text
//! job                     one life, from acceptance to outcome; told by whoever decides the outcome
//!   POST /api/jobs        gateway
//!   accept upload         ingest
//!   process <stage>       worker: from the task's publication until it leaves the worker's hands
//!     queued fetch load wait compute store commit
//!               bake      what the stage function does, inside compute
//!     planned             planner: drawn until a worker has accepted its batch
//! ```
//! Of a phase and of what is inside compute is known how long it took, not when: they stand one after the
//! other in their order, and their lengths are what was measured.

use crate::{
    Batch, BatchTask, Ending, JobId, Life, Outcome, Phase, SpanId, SpanTime, Stage, TaskEnd, Timestamp,
    Timing, TraceContext, Upload,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// A span of a job's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The function that tells it: `ingest`, `planner`, `worker` or `gateway`.
    pub by: &'static str,
    /// The job, and so the trace.
    pub job: JobId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What happened; one of few names.
    pub name: String,
    /// Its role.
    pub kind: SpanKind,
    /// When it began, since the Unix epoch.
    pub begin: Duration,
    /// How long it took.
    pub length: Duration,
    /// Details.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// A span of another trace that asked for it.
    pub link: Option<TraceContext>,
    /// Why it failed, if so.
    pub error: Option<String>,
}

/// The role of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A part of another one.
    Internal,
    /// An HTTP call that was answered.
    Server,
    /// A message that was worked on.
    Consumer,
}

/// A detail of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> SpanValue {
        SpanValue::Text(text.to_owned())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> SpanValue {
        SpanValue::Text(text)
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> SpanValue {
        SpanValue::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl Span {
    fn new(by: &'static str, job: JobId, id: SpanId, name: impl Into<String>) -> Span {
        Span {
            by,
            job,
            id,
            parent: None,
            name: name.into(),
            kind: SpanKind::Internal,
            begin: Duration::ZERO,
            length: Duration::ZERO,
            attributes: Vec::new(),
            link: None,
            error: None,
        }
    }

    fn below(self, parent: SpanId) -> Span {
        Span { parent: Some(parent), ..self }
    }

    fn of_kind(self, kind: SpanKind) -> Span {
        Span { kind, ..self }
    }

    fn at(self, begin: Duration, length: Duration) -> Span {
        Span { begin, length, ..self }
    }

    fn with(mut self, name: &'static str, value: impl Into<SpanValue>) -> Span {
        self.attributes.push((name, value.into()));
        self
    }

    /// When it ended, since the Unix epoch.
    pub fn end(&self) -> Duration {
        self.begin + self.length
    }
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_millis(at.0)
}

/// The root: a life of a job that was accepted then and has ended thus. `by` is who decided it.
pub fn life_span(by: &'static str, accepted_at: Timestamp, outcome: &Outcome) -> Span {
    let Outcome { job, life, ending, decided_at, .. } = outcome;
    let span = Span::new(by, *job, SpanId::of_life(*job, *life), "job")
        .at(since_epoch(accepted_at), decided_at.since(accepted_at))
        .with("meshwright.job.id", job.to_string())
        .with("meshwright.job.life", u64::from(life.0))
        .with("meshwright.outcome", ending.as_str());
    match ending {
        Ending::Done { .. } => span,
        Ending::Rejected { reason } | Ending::Cancelled { reason } => {
            span.with("meshwright.reason", reason.as_str())
        }
        Ending::Dead { stage, error } => {
            let span = span.with("meshwright.stage", stage.as_str()).with("error.type", "dead");
            Span { error: Some(error.clone()), ..span }
        }
    }
}

/// How ingest came by an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// An event told of it.
    Event,
    /// A sweep came across it.
    Sweep,
}

/// Ingest: an upload is looked at, from then on for so long, and this became of it.
pub fn accept_span(
    (job, life, upload): (JobId, Life, &Upload),
    found_by: FoundBy,
    (begin, length): (Timestamp, Duration),
    result: &'static str,
) -> Span {
    let root = SpanId::of_life(job, life);
    let id = root.within(&format!("accept upload {} {}", begin.0, length.as_nanos()));
    let span = Span::new("ingest", job, id, "accept upload")
        .below(root)
        .at(since_epoch(begin), length)
        .with("aws.s3.bucket", upload.bucket.as_str())
        .with("aws.s3.key", upload.key.as_str())
        .with("meshwright.upload.bytes", upload.size_bytes.0)
        .with("meshwright.result", result);
    match found_by {
        FoundBy::Sweep => span,
        FoundBy::Event => span
            .of_kind(SpanKind::Consumer)
            .with("messaging.operation.type", "process")
            .with("messaging.destination.name", "UPLOADS"),
    }
}

/// Gateway: a call that made the job, or found it made. `caller` is the span that asked; `call` sets this
/// call apart from others.
pub fn call_span(
    (job, call): (JobId, &str),
    caller: Option<TraceContext>,
    (begin, length): (Timestamp, Duration),
) -> Span {
    let root = SpanId::of_life(job, Life(0));
    let span = Span::new("gateway", job, root.within(call), "POST /api/jobs")
        .below(root)
        .of_kind(SpanKind::Server)
        .at(since_epoch(begin), length)
        .with("http.request.method", "POST")
        .with("http.route", "/api/jobs")
        .with("url.path", "/api/jobs")
        .with("http.response.status_code", 202_u64);
    Span { link: caller, ..span }
}

/// Planner: a task from its drawing until a worker has accepted its batch.
pub fn planned_span(batch: &Batch, task: &BatchTask, accepted_at: Timestamp) -> Span {
    let (job, stage) = (task.task.job, batch.stage);
    let parent = SpanId::of_task(job, stage, batch.id);
    let name = Phase::Planned.as_str();
    Span::new("planner", job, parent.within(name), name)
        .below(parent)
        .at(since_epoch(task.drawn_at), accepted_at.since(task.drawn_at))
        .with("meshwright.stage", stage.as_str())
        .with("meshwright.batch.id", batch.id.to_string())
        .with("messaging.batch.message_count", batch.tasks.len() as u64)
        .with("meshwright.batch.reserved_bytes", batch.bytes.0)
        .with("meshwright.batch.why", batch.why.as_str())
}

/// Worker: a task in its hands, its phases, and what is inside compute. Phase `planned` is the planner's to
/// tell.
pub fn task_spans(timing: &Timing) -> Vec<Span> {
    let (job, stage) = (timing.job, timing.stage);
    let id = SpanId::of_task(job, stage, timing.batch);
    let wall = Duration::from_micros(timing.wall_us);
    let begin = since_epoch(timing.at).saturating_sub(wall);
    let mut spans = vec![whole_task(timing, id).at(begin, wall)];
    let mut at = begin;
    for phase in Phase::ALL {
        let (length, name) = (timing.phases.of(phase), phase.as_str());
        if !length.is_zero() && phase != Phase::Planned {
            let span = Span::new("worker", job, id.within(name), name).below(id).at(at, length);
            spans.push(span.with("meshwright.stage", stage.as_str()));
        }
        if phase == Phase::Compute {
            inside(&mut spans, (job, stage, id.within(name)), (at, length), &timing.spans);
        }
        at += length;
    }
    spans
}

fn whole_task(timing: &Timing, id: SpanId) -> Span {
    let stage = timing.stage.as_str();
    let mut span = Span::new("worker", timing.job, id, format!("process {stage}"))
        .below(SpanId::of_life(timing.job, timing.life))
        .of_kind(SpanKind::Consumer)
        .with("messaging.operation.type", "process")
        .with("messaging.destination.name", "TASKS")
        .with("messaging.batch.message_count", u64::from(timing.batch_items))
        .with("meshwright.stage", stage)
        .with("meshwright.outcome", timing.end.as_str())
        .with("meshwright.batch.id", timing.batch.to_string())
        .with("meshwright.delivery", timing.delivery)
        .with("meshwright.worker", timing.worker.as_str())
        .with("meshwright.device.class", timing.device_class.0.as_str())
        .with("meshwright.peak_bytes", timing.peak_bytes.0)
        .with("meshwright.unaccounted_us", timing.unaccounted_us);
    if !timing.engine.name.is_empty() {
        span = span
            .with("meshwright.engine.name", timing.engine.name.as_str())
            .with("meshwright.engine.version", timing.engine.version.as_str())
            .with("meshwright.engine.precision", timing.precision.as_str());
    }
    match timing.end {
        TaskEnd::Failed | TaskEnd::OutOfMemory | TaskEnd::Dead => {
            let span = span.with("error.type", timing.end.as_str());
            Span { error: Some(timing.end.as_str().replace('_', " ")), ..span }
        }
        _ => span,
    }
}

/// A span that others are laid into: its id, where the next one begins, and where it ends itself.
type Room = (SpanId, Duration, Duration);

/// Spans inside compute. Each stands in the nearest one above it that is there, and no longer than that.
fn inside(
    spans: &mut Vec<Span>,
    (job, stage, compute): (JobId, Stage, SpanId),
    (begin, length): (Duration, Duration),
    told: &[SpanTime],
) {
    if length.is_zero() {
        return;
    }
    let mut rooms: BTreeMap<&str, Room> = BTreeMap::from([("", (compute, begin, begin + length))]);
    let mut told: Vec<&SpanTime> = told.iter().collect();
    // Those above first; the sort keeps their order otherwise.
    told.sort_by_key(|span| span.name.matches('/').count());
    for SpanTime { name, us } in told {
        let above = std::iter::successors(name.rsplit_once('/'), |(above, _)| above.rsplit_once('/'));
        let above = above.map(|(above, _)| above).find(|above| rooms.contains_key(above)).unwrap_or_default();
        let Some((parent, next, end)) = rooms.get_mut(above) else { continue };
        let (begin, length) = (*next, Duration::from_micros(*us).min(end.saturating_sub(*next)));
        let id = compute.within(name);
        let last = name.rsplit('/').next().unwrap_or(name);
        let span = Span::new("worker", job, id, last).below(*parent).at(begin, length);
        spans.push(span.with("meshwright.stage", stage.as_str()));
        *next += length;
        rooms.insert(name, (id, begin, begin + length));
    }
}

#[cfg(test)]
mod tests;
