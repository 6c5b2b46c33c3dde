//! Jobs are made here: of a picture that is sent, or of an object that is there. A picture is stored in the
//! input bucket and goes the way of every upload; its record is written at once, so that the answer's
//! address answers. What the same call said before under the same `Idempotency-Key` is not done twice: `once`
//! remembers it.

use crate::Gateway;
use crate::intake::{Taken, take, take_name};
use crate::once;
use crate::problem::Problem;
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{
    Event, EventKind, InputBucket, JOBS_PREFIX, JobId, JobRecord, KEY_BYTES_MAX, Life, Recipe, Site,
    StateKey, Timestamp, TraceContext, Upload, UploadId, call_span, event_subject, parse_state_key,
    task_subject,
};
use ports::{Condition, Decided, ObjectInfo, PortError, PortResult, Put, PutOptions, list_all, tell_spans};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::time::Instant;

/// Longest name of a picture that becomes a part of its key; stores on a file system take 255 in all.
const NAME_BYTES_MAX: usize = 200;
const _: () = assert!(NAME_BYTES_MAX <= domain::SEGMENT_BYTES_MAX);
/// Longest `Idempotency-Key`.
const ONCE_CHARS_MAX: usize = 255;

/// The input bucket of a call: the named one, or the first.
fn input<'a>(gateway: &'a Gateway, name: Option<&str>) -> Result<&'a InputBucket, Problem> {
    let site = &gateway.settings.site;
    match name {
        Some(name) => site.input(name).ok_or_else(|| Problem::missing("such input bucket")),
        None => site.inputs.first().ok_or_else(|| Problem::missing("input bucket")),
    }
}

/// What a call says besides the picture: where, what it is called, whether it may be a repetition, and
/// options of the recipe.
#[derive(Default)]
struct Said {
    bucket: Option<String>,
    name: Option<String>,
    once: Option<String>,
    options: BTreeMap<String, String>,
}

impl Said {
    fn of(query: BTreeMap<String, String>, headers: &HeaderMap) -> Result<Said, Problem> {
        let mut said = Said::default();
        if let Some(once) = headers.get("idempotency-key") {
            let once = once.to_str().ok().filter(|text| (1..=ONCE_CHARS_MAX).contains(&text.len()));
            let bad = || Problem::bad_request("Idempotency-Key: use 1 to 255 printable ASCII characters");
            said.once = Some(once.ok_or_else(bad)?.to_owned());
        }
        query.into_iter().for_each(|(name, value)| said.set(name, value));
        Ok(said)
    }

    fn set(&mut self, name: String, value: String) {
        match name.as_str() {
            "bucket" => self.bucket = Some(value),
            "name" => self.name = Some(value),
            _ => drop(self.options.insert(name, value)),
        }
    }

    fn over(&self, site: &Site, recipe: &Recipe) -> Result<Recipe, Problem> {
        let options = self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let recipe = recipe.with_options(options).and_then(|recipe| site.permit(recipe));
        recipe.map_err(|error| Problem::bad_recipe(error.to_string()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectName {
    bucket: String,
    key: String,
}

/// A job that was made, or was there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Made {
    id: JobId,
    upload_id: UploadId,
    bucket: String,
    key: String,
    recipe: Recipe,
    /// Where it is shown.
    url: String,
}

/// `POST /api/jobs`: a raw picture, a form with one, or the name of an object.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Result<Response, Problem> {
    let begun = (gateway.ports.clock.now(), Instant::now());
    let headers = request.headers();
    let caller = headers.get("traceparent").and_then(|header| TraceContext::parse(header.to_str().ok()?));
    let mut said = Said::of(query, headers)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let record = if kind.starts_with("application/json") {
        let body = take_name(&gateway, request).await?;
        let name: ObjectName = serde_json::from_slice(&body)
            .map_err(|error| Problem::bad_request(format!("send {{\"bucket\": …, \"key\": …}}: {error}")))?;
        of_object(&gateway, &name, &said).await?
    } else {
        if let Some(trouble) = (gateway.settings.trouble)() {
            return Err(Problem::full(trouble));
        }
        let content = match take(&gateway, request).await? {
            Taken::Raw(content) => content,
            Taken::Form { picture, fields } => {
                fields.into_iter().for_each(|(name, value)| said.set(name, value));
                let (file, content) = picture.ok_or_else(|| Problem::bad_request("the form has no file"))?;
                said.name.get_or_insert(file);
                content
            }
        };
        store(&gateway, content, &said).await?
    };
    gateway.hub.write().learn(&record, gateway.ports.clock.now());
    let (id, url) = (record.job_id(), format!("/api/jobs/{}", record.job_id()));
    tell_spans(|| {
        let call = uuid::Uuid::new_v4().to_string();
        vec![call_span((id, &call), caller, (begun.0, begun.1.elapsed()))]
    });
    let (upload_id, Upload { bucket, key, .. }) = (record.upload.id(), record.upload);
    let made = Made { id, upload_id, bucket, key, recipe: record.recipe, url: url.clone() };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, url)], Json(made)).into_response())
}

/// A file name as the last part of a key: letters, digits, dots, dashes, underscores, blanks.
fn safe_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' };
    let name: String = base.chars().map(safe).collect();
    let name = name[..name.floor_char_boundary(NAME_BYTES_MAX)].trim_matches(['.', ' ']).to_owned();
    if name.is_empty() { "picture".to_owned() } else { name }
}

/// Stores a picture in the input bucket, where it goes the way of every upload.
async fn store(gateway: &Gateway, content: Body, said: &Said) -> Result<JobRecord, Problem> {
    let input = input(gateway, said.bucket.as_deref())?;
    gateway.rates.take(&input.tenant).map_err(Problem::too_many)?;
    let max = gateway.settings.site.upload_bytes_max;
    if content.len() as u64 > max.0 {
        let has = content.len();
        return Err(Problem::too_large(format!("the picture has {has} bytes; at most {max} are taken")));
    }
    if content.is_empty() {
        return Err(Problem::bad_request("send a picture as the body"));
    }
    let recipe = said.over(&gateway.settings.site, &input.recipe)?;
    let name = safe_name(said.name.as_deref().unwrap_or_default());
    let mut options = PutOptions::of("application/octet-stream", Condition::Always);
    for (name, value) in &said.options {
        options.metadata.insert(format!("{}{name}", domain::RECIPE_METADATA_PREFIX), value.clone());
    }
    // Before its event: nobody takes it earlier.
    let accepted_at = gateway.ports.clock.now();
    let key = match &said.once {
        None => {
            let key = format!("{}/{name}", fresh_folder(gateway));
            gateway.ports.store.put(&input.bucket, &key, content, &options).await?;
            key
        }
        Some(once) => once::store(gateway, &input.bucket, (once, &name), (content, options)).await?,
    };
    let head = gateway.ports.store.head(&input.bucket, &key).await?;
    let info = head.ok_or_else(|| Problem::unavailable("the picture was stored and is gone again"))?;
    let record = record_of(input, upload_of(gateway, input, &key, info), recipe, accepted_at);
    // The upload is safe already: what goes wrong here is made good by its event or by the sweep.
    if let Err(error) = gateway.ledger.put_record(&record).await {
        tracing::warn!(job = %record.job_id(), %error, "write the record of an upload");
    }
    Ok(record)
}

/// `web/<date>/<random>`: nobody else's.
fn fresh_folder(gateway: &Gateway) -> String {
    let now = gateway.ports.clock.now();
    let date = OffsetDateTime::from_unix_timestamp(now.whole_seconds() as i64).map(OffsetDateTime::date);
    let date = date.map_or_else(|_| "undated".to_owned(), |date| date.to_string());
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("web/{date}/{}", &random[..8])
}

fn upload_of(gateway: &Gateway, input: &InputBucket, key: &str, info: ObjectInfo) -> Upload {
    Upload {
        store: gateway.settings.site.store.clone(),
        bucket: input.bucket.clone(),
        key: key.to_owned(),
        version_id: info.version_id.filter(|version| !matches!(version.as_str(), "" | "null")),
        etag: info.etag,
        size_bytes: info.size,
        last_modified_s: info.last_modified_s,
    }
}

fn record_of(input: &InputBucket, upload: Upload, recipe: Recipe, accepted_at: Timestamp) -> JobRecord {
    let (tenant, class) = (input.tenant.clone(), input.class);
    JobRecord { upload, tenant, class, recipe, accepted_at, secondary: false, traceparent: None }
}

/// A job for an object that is there. Under an `Idempotency-Key` it is the one that was made before, whatever
/// has become of the object.
async fn of_object(gateway: &Gateway, name: &ObjectName, said: &Said) -> Result<JobRecord, Problem> {
    let input = input(gateway, Some(&name.bucket))?;
    gateway.rates.take(&input.tenant).map_err(Problem::too_many)?;
    if name.key.is_empty() || name.key.len() > KEY_BYTES_MAX {
        return Err(Problem::bad_request(format!("a key has 1 to {KEY_BYTES_MAX} bytes")));
    }
    let words = (&name.bucket, &name.key, &said.options);
    let call = said.once.as_deref().map(|once| once::Call::new(once, &words));
    if let Some(call) = &call
        && let Some(made) = call.made(gateway).await?
    {
        return Ok(start(gateway, made).await?);
    }
    let (own, wanted) = records_for(gateway, input, &name.key, said).await?;
    if let Some(call) = &call
        && let Some(made) = call.note(gateway, &wanted).await?
    {
        return Ok(start(gateway, made).await?);
    }
    // The upload's own job first, or a job beside it would hide from ingest that it lacks one.
    let own = start(gateway, own).await?;
    if wanted.recipe == own.recipe { Ok(own) } else { Ok(start(gateway, wanted).await?) }
}

/// The record of an object's own job, and the wanted one: the same, or one beside it when another recipe is
/// wanted.
async fn records_for(
    gateway: &Gateway,
    input: &InputBucket,
    key: &str,
    said: &Said,
) -> Result<(JobRecord, JobRecord), Problem> {
    let site = &gateway.settings.site;
    let head = gateway.ports.store.head(&input.bucket, key).await.map_err(Problem::of_input)?;
    let info = head.ok_or_else(|| Problem::missing("such object in the bucket"))?;
    let (size, max) = (info.size, site.upload_bytes_max);
    if size > max {
        return Err(Problem::too_large(format!("the object has {size}; at most {max} are taken")));
    }
    if size.0 == 0 {
        return Err(Problem::bad_request("the object is empty"));
    }
    let metadata: Vec<(String, String)> = info.metadata.clone().into_iter().collect();
    let upload = upload_of(gateway, input, key, info);
    let known = records_of(gateway, upload.id()).await?;
    // A default that was edited since makes no second job of the upload: its own recipe is the recorded one.
    let own = match known.iter().find(|record| !record.secondary) {
        Some(own) => own.clone(),
        None => {
            let metadata = metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let recipe = input.recipe.with_metadata(metadata).and_then(|recipe| site.permit(recipe));
            let recipe = recipe.map_err(|error| Problem::bad_recipe(error.to_string()))?;
            record_of(input, upload, recipe, gateway.ports.clock.now())
        }
    };
    let recipe = if said.options.is_empty() { own.recipe.clone() } else { said.over(site, &own.recipe)? };
    if recipe == own.recipe {
        return Ok((own.clone(), own));
    }
    let beside = known.into_iter().find(|record| record.recipe == recipe);
    let accepted_at = gateway.ports.clock.now();
    let beside = beside.unwrap_or_else(|| JobRecord { recipe, secondary: true, accepted_at, ..own.clone() });
    Ok((own, beside))
}

/// All jobs of an upload.
async fn records_of(gateway: &Gateway, upload: UploadId) -> PortResult<Vec<JobRecord>> {
    let prefix = format!("{JOBS_PREFIX}{upload}/");
    let mut records = Vec::new();
    for object in list_all(&*gateway.ports.store, gateway.ledger.bucket(), &prefix).await? {
        if let Some(StateKey::JobRecord(upload, job)) = parse_state_key(&object.key) {
            records.extend(gateway.ledger.record(upload, job).await?);
        }
    }
    Ok(records)
}

/// Writes a record, if it is not there, and queues what its job needs next, if it has not ended.
async fn start(gateway: &Gateway, record: JobRecord) -> PortResult<JobRecord> {
    let record = match gateway.ledger.put_record(&record).await? {
        Decided::Mine => record,
        Decided::Already(first) => first,
    };
    let job = record.job_id();
    let state = gateway.ledger.state(job).await?;
    if state.has_outcome {
        return Ok(record);
    }
    let task = record.task(state.next_stage());
    let put = gateway.ports.queue.put_if_absent(&task_subject(&task), json(&task)?).await?;
    if put != Put::Stored || state.life != Life(0) || !state.committed.is_empty() {
        return Ok(record);
    }
    let (upload, Upload { bucket, key, .. }) = (Some(record.upload.id()), record.upload.clone());
    let kind = EventKind::Accepted { bucket, key, upload };
    let subject = event_subject(job, &kind);
    let event = Event { job, life: state.life, at: gateway.ports.clock.now(), kind };
    // Nobody waits for it, and a lost event loses no result.
    if let Err(error) = gateway.ports.wire.publish(&subject, json(&event)?).await {
        tracing::debug!(%error, "publish an event");
    }
    Ok(record)
}

fn json<T: Serialize>(value: &T) -> PortResult<Body> {
    serde_json::to_vec(value).map(Into::into).map_err(|e| PortError::Invalid(format!("write a message: {e}")))
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
        // Cut by bytes, and never through a letter.
        check(&"山".repeat(300), &"山".repeat(66));
    }
}
