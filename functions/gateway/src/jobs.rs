//! Jobs: made from a picture or from an object that is there, listed, shown.

use crate::Gateway;
use crate::index::Known;
use crate::problem::Problem;
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{
    Ending, Event, EventKind, InputBucket, JobId, JobRecord, Life, Recipe, Stage, Upload, event_subject,
    job_id as id_of, task_subject,
};
use ports::lives::find_record;
use ports::{Condition, ObjectInfo, PutOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use time::OffsetDateTime;

/// Jobs of one page of the list, unless fewer are asked for.
const PAGE_MAX: usize = 200;
/// Longest name of a picture that becomes a part of its key.
const NAME_CHARS_MAX: usize = 100;

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

/// The input bucket of a call: the named one, or the first.
fn input<'a>(gateway: &'a Gateway, name: Option<&str>) -> Result<&'a InputBucket, Problem> {
    let site = &gateway.settings.site;
    match name {
        Some(name) => site.input(name).ok_or_else(|| Problem::missing("such input bucket")),
        None => site.inputs.first().ok_or_else(|| Problem::missing("input bucket")),
    }
}

/// What a call says besides the picture: where, what it is called, and options of the recipe.
struct Said {
    bucket: Option<String>,
    name: Option<String>,
    options: BTreeMap<String, String>,
}

impl Said {
    fn of(mut query: BTreeMap<String, String>) -> Said {
        Said { bucket: query.remove("bucket"), name: query.remove("name"), options: query }
    }

    fn over(&self, recipe: &Recipe) -> Result<Recipe, Problem> {
        let options = self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        recipe.with_options(options).map_err(|error| Problem::bad_recipe(error.to_string()))
    }
}

#[derive(Deserialize)]
struct ObjectName {
    bucket: String,
    key: String,
}

/// `POST /api/jobs`: a raw picture, a form with one, or the name of an object.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Result<Response, Problem> {
    let mut said = Said::of(query);
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let job = if kind.starts_with("application/json") {
        let body = body(request).await?;
        let name: ObjectName = serde_json::from_slice(&body)
            .map_err(|error| Problem::bad_request(format!("send {{\"bucket\": …, \"key\": …}}: {error}")))?;
        of_object(&gateway, &name, &said).await?
    } else if kind.starts_with("multipart/form-data") {
        let content = form(request, &mut said).await?;
        store(&gateway, content, &said).await?
    } else {
        let content = body(request).await?;
        store(&gateway, content, &said).await?
    };
    let location = format!("/api/jobs/{}", job.job_id());
    let answer = json!({"id": job.job_id(), "upload_id": job.upload.id(), "bucket": job.upload.bucket,
                        "key": job.upload.key, "recipe": job.recipe, "url": location});
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(answer)).into_response())
}

async fn body(request: Request) -> Result<Body, Problem> {
    Body::from_request(request, &()).await.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("the picture is larger than this server takes"),
        _ => Problem::bad_request(error.body_text()),
    })
}

/// The picture of a form: its first file; other fields are options.
async fn form(request: Request, said: &mut Said) -> Result<Body, Problem> {
    let bad = |error: &dyn std::fmt::Display| Problem::bad_request(format!("read the form: {error}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| bad(&error))?;
    let mut picture = None;
    while let Some(field) = form.next_field().await.map_err(|error| bad(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        if let Some(file) = field.file_name().map(str::to_owned) {
            let content = field.bytes().await.map_err(|error| bad(&error))?;
            said.name.get_or_insert(file);
            picture.get_or_insert(content);
        } else {
            said.options.insert(name, field.text().await.map_err(|error| bad(&error))?);
        }
    }
    picture.ok_or_else(|| Problem::bad_request("the form has no file"))
}

/// A file name as the last part of a key: letters, digits, dots, dashes, underscores, blanks.
fn safe_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' };
    let name: String = base.chars().take(NAME_CHARS_MAX).map(safe).collect();
    let name = name.trim_matches(['.', ' ']).to_owned();
    if name.is_empty() { "picture".to_owned() } else { name }
}

/// Stores a picture in the input bucket, where it goes the way of every upload.
async fn store(gateway: &Gateway, content: Body, said: &Said) -> Result<JobRecord, Problem> {
    let input = input(gateway, said.bucket.as_deref())?;
    let max = gateway.settings.site.upload_bytes_max;
    if content.len() as u64 > max.0 {
        return Err(Problem::too_large(format!(
            "the picture has {} bytes; at most {max} are taken",
            content.len()
        )));
    }
    if content.is_empty() {
        return Err(Problem::bad_request("send a picture as the body"));
    }
    let recipe = said.over(&input.recipe)?;
    let now = gateway.ports.clock.now();
    let date = OffsetDateTime::from_unix_timestamp(now.whole_seconds() as i64).map(OffsetDateTime::date);
    let date = date.map_or_else(|_| "undated".to_owned(), |date| date.to_string());
    let random = uuid::Uuid::new_v4().simple().to_string();
    let name = safe_name(said.name.as_deref().unwrap_or_default());
    let key = format!("web/{date}/{}/{name}", &random[..8]);
    let mut options = PutOptions::of("application/octet-stream", Condition::Always);
    for (name, value) in &said.options {
        options.metadata.insert(format!("{}{name}", domain::RECIPE_METADATA_PREFIX), value.clone());
    }
    gateway.ports.store.put(&input.bucket, &key, content, &options).await?;
    let head = gateway.ports.store.head(&input.bucket, &key).await?;
    let info = head.ok_or_else(|| Problem::unavailable("the picture was stored and is gone again"))?;
    Ok(record_of(gateway, input, (&key, info), recipe, false))
}

fn record_of(
    gateway: &Gateway,
    input: &InputBucket,
    (key, info): (&str, ObjectInfo),
    recipe: Recipe,
    secondary: bool,
) -> JobRecord {
    let upload = Upload {
        store: gateway.settings.site.store.clone(),
        bucket: input.bucket.clone(),
        key: key.to_owned(),
        version_id: info.version_id,
        etag: info.etag,
        size_bytes: info.size,
        last_modified_s: info.last_modified_s,
    };
    let (tenant, class, accepted_at) = (input.tenant.clone(), input.class, gateway.ports.clock.now());
    JobRecord { upload, tenant, class, recipe, accepted_at, secondary, traceparent: None }
}

/// A job for an object that is there: its own job, or one beside it when another recipe is wanted.
async fn of_object(gateway: &Gateway, name: &ObjectName, said: &Said) -> Result<JobRecord, Problem> {
    let input = input(gateway, Some(&name.bucket))?;
    let head = gateway.ports.store.head(&input.bucket, &name.key).await?;
    let info = head.ok_or_else(|| Problem::missing("such object in the bucket"))?;
    let metadata = info.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = input.recipe.with_metadata(metadata).map_err(|error| Problem::bad_recipe(error.to_string()))?;
    let recipe = said.over(&own)?;
    let secondary = recipe != own;
    let record = record_of(gateway, input, (&name.key, info), recipe, secondary);
    let job = record.job_id();
    gateway.ledger.put_record(&record).await?;
    let state = gateway.ledger.state(job).await?;
    if !state.has_outcome {
        let task = record.task(state.next_stage());
        let body = serde_json::to_vec(&task).map_err(|e| ports::PortError::Invalid(e.to_string()))?;
        gateway.ports.queue.put_if_absent(&task_subject(&task), body.into()).await?;
        let (bucket, key) = (record.upload.bucket.clone(), record.upload.key.clone());
        let kind = EventKind::Accepted { bucket, key };
        let subject = event_subject(job, &kind);
        let event = Event { job, life: Life(state.life.0), at: record.accepted_at, kind };
        let body = serde_json::to_vec(&event).map_err(|e| ports::PortError::Invalid(e.to_string()))?;
        gateway.ports.wire.publish(&subject, body.into()).await?;
    }
    debug_assert_eq!(job, id_of(record.upload.id(), &record.recipe));
    Ok(record)
}

#[derive(Deserialize)]
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
    let bad = || Problem::bad_request("the cursor is not one that this server gave");
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let (at, job) = cursor.split_once('-').ok_or_else(bad)?;
            Some((at.parse::<u64>().map_err(|_| bad())?, job.parse::<JobId>().map_err(|_| bad())?))
        }
    };
    let limit = query.limit.unwrap_or(50).clamp(1, PAGE_MAX);
    let (rows, more) = {
        let index = gateway.index.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = |(job, known): &(&JobId, &Known)| {
            let place = (known.seen_at.0, **job);
            after.is_none_or(|after| place < after)
                && query.state.as_ref().is_none_or(|state| known.state() == state)
        };
        let mut found: Vec<(&JobId, &Known)> = index.jobs.iter().filter(wanted).collect();
        found.sort_by_key(|(job, known)| std::cmp::Reverse((known.seen_at.0, **job)));
        let more = found.len() > limit;
        let rows: Vec<(JobId, Known)> =
            found.into_iter().take(limit).map(|(job, known)| (*job, known.clone())).collect();
        (rows, more)
    };
    let next = rows.last().filter(|_| more).map(|(job, known)| format!("{}-{job}", known.seen_at.0));
    let jobs: Vec<Value> = rows.iter().map(|(job, known)| brief(*job, known)).collect();
    Ok(Json(json!({"jobs": jobs, "next": next})))
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
    _headers: HeaderMap,
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
        let reason = match &outcome.ending {
            Ending::Done { files: published, unpublished } => {
                files.clone_from(published);
                unpublished.clone()
            }
            Ending::Rejected { reason } | Ending::Cancelled { reason } => Some(reason.clone()),
            Ending::Dead { stage, error } => Some(format!("{stage}: {error}")),
        };
        known.end = Some((outcome.ending.as_str(), reason));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_becomes_more_than_a_name() {
        let check = |name: &str, expect: &str| assert_eq!(safe_name(name), expect);
        check("chair.png", "chair.png");
        check("../../etc/passwd", "passwd");
        check("C:\\pictures\\stühle 1.png", "stühle 1.png");
        check("..", "picture");
        check("a\0b\nc?.png", "a_b_c_.png");
        check("", "picture");
    }
}
