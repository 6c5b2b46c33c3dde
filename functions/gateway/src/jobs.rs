//! Jobs, listed and shown: what the bucket says, with the moment that the events tell.

use crate::Gateway;
use crate::index::{Known, end_of};
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, Query, State};
use domain::{Ending, JobId, JobRecord, Stage};
use futures::stream::{StreamExt, TryStreamExt};
use ports::PortResult;
use ports::lives::find_record;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

/// Jobs of one page of the list, unless fewer are asked for.
const PAGE_MAX: usize = 200;
/// Jobs of a page that are read from the bucket at once.
const READS_MAX: usize = 16;
/// What a job may be.
const STATES: [&str; 6] = ["queued", "running", "done", "rejected", "dead", "cancelled"];

/// The job of a path.
pub(crate) fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| Problem::missing("such job; a job's id is 32 hex digits"))
}

/// The job's record, found by what is known of it or by looking for it.
pub(crate) async fn record(gateway: &Gateway, job: JobId) -> Result<JobRecord, Problem> {
    let upload = {
        let index = gateway.index.read().unwrap_or_else(PoisonError::into_inner);
        index.jobs.get(&job).and_then(|known| known.upload)
    };
    let found = match upload {
        Some(upload) => gateway.ledger.record(upload, job).await?,
        None => find_record(&gateway.ports, &gateway.ledger, job).await?,
    };
    found.ok_or_else(|| Problem::missing("such job"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    state: Option<String>,
}

/// `GET /api/jobs`: newest first, by pages.
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Problem> {
    if let Some(state) = query.state.as_deref().filter(|state| !STATES.contains(state)) {
        let known = STATES.join(", ");
        return Err(Problem::bad_request(format!("state is {state:?}; use one of {known}")));
    }
    let bad = || Problem::bad_request("the cursor is not one that this server gave");
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (at, job) = cursor.split_once('-').ok_or_else(bad)?;
            Some((at.parse::<u64>().map_err(|_| bad())?, job.parse::<JobId>().map_err(|_| bad())?))
        }
    };
    let limit = query.limit.unwrap_or(50).clamp(1, PAGE_MAX);
    let (rows, more) = loop {
        let (rows, more) = {
            let index = gateway.index.read().unwrap_or_else(PoisonError::into_inner);
            index.page(after, query.state.as_deref(), limit)
        };
        let unread: Vec<_> = rows.iter().filter(|(_, known)| known.is_unread()).cloned().collect();
        if unread.is_empty() {
            break (rows, more);
        }
        // What was read may belong to another page: it is chosen again.
        let reads = futures::stream::iter(unread).map(|(job, known)| read(&gateway, job, known));
        reads.buffer_unordered(READS_MAX).try_collect::<()>().await?;
    };
    let next = rows.last().filter(|_| more).map(|(job, known)| format!("{}-{job}", known.seen_at.0));
    let jobs: Vec<Value> = rows.iter().map(|(job, known)| brief(*job, known)).collect();
    Ok(Json(json!({"jobs": jobs, "next": next})))
}

/// Reads what names and events did not tell of a job: its key, and how it ended.
async fn read(gateway: &Gateway, job: JobId, known: Known) -> PortResult<()> {
    let record = match known.upload {
        Some(upload) => gateway.ledger.record(upload, job).await?,
        None => None,
    };
    let outcome = match known.has_outcome && known.end.is_none() {
        true => gateway.ledger.outcome(job, domain::Life(known.life)).await?,
        false => None,
    };
    let mut index = gateway.index.write().unwrap_or_else(PoisonError::into_inner);
    index.read(job, known.life, record.map(|record| record.upload.key), outcome);
    Ok(())
}

fn stages(known: &Known) -> Value {
    let one = |stage: Stage| {
        let (state, fraction) = match &known.running {
            _ if known.committed.contains(&stage) => ("done", 1.0),
            Some((running, fraction, _)) if *running == stage => ("running", *fraction),
            _ => ("waiting", 0.0),
        };
        json!({"stage": stage, "state": state, "fraction": fraction})
    };
    Value::Array(Stage::ALL.map(one).into())
}

fn brief(job: JobId, known: &Known) -> Value {
    let reason = known.end.as_ref().and_then(|(_, reason)| reason.clone());
    let phase = known.running.as_ref().map(|(_, _, phase)| phase.clone());
    json!({"id": job, "state": known.state(), "life": known.life, "key": known.key, "reason": reason,
           "phase": phase, "seen_at_ms": known.seen_at, "stages": stages(known)})
}

/// `GET /api/jobs/{id}`: what the bucket says, with the moment that the events tell.
pub(crate) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = job_id(&id)?;
    let record = record(&gateway, job).await?;
    let state = gateway.ledger.state(job).await?;
    let mut known = {
        let index = gateway.index.read().unwrap_or_else(PoisonError::into_inner);
        index.jobs.get(&job).filter(|known| known.life == state.life.0).cloned().unwrap_or_default()
    };
    known.life = state.life.0;
    known.key = Some(record.upload.key.clone());
    known.seen_at = record.accepted_at;
    known.committed.extend(state.committed.iter().copied());
    known.has_outcome = state.has_outcome;
    known.end = None;
    let outcome = if state.has_outcome { gateway.ledger.outcome(job, state.life).await? } else { None };
    let mut files = Vec::new();
    if let Some(outcome) = &outcome {
        known.running = None;
        if let Ending::Done { files: published, .. } = &outcome.ending {
            files.clone_from(published);
        }
        known.end = Some(end_of(&outcome.ending));
    }
    let mut artifacts = Vec::new();
    for stage in &state.committed {
        for artifact in gateway.ledger.manifest(job, *stage).await?.into_iter().flat_map(|m| m.artifacts) {
            let url = format!("/api/jobs/{job}/artifacts/{}", artifact.name);
            artifacts.push(json!({"name": artifact.name, "stage": stage, "size_bytes": artifact.size_bytes,
                                  "content_type": artifact.content_type, "sha256": artifact.sha256,
                                  "url": url}));
        }
    }
    let mut shown = brief(job, &known);
    shown["bucket"] = json!(record.upload.bucket);
    shown["recipe"] = json!(record.recipe);
    shown["tenant"] = json!(record.tenant);
    shown["class"] = json!(record.class);
    shown["accepted_at_ms"] = json!(record.accepted_at);
    shown["decided_at_ms"] = json!(outcome.map(|outcome| outcome.decided_at));
    shown["artifacts"] = Value::Array(artifacts);
    shown["published"] = json!(files);
    Ok(Json(shown))
}
