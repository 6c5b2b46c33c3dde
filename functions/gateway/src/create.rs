//! Jobs are made here: of a picture that is sent, or of an object that is there. A picture is stored in the
//! input bucket and goes the way of every upload; its record is written at once, so that the answer's
//! address answers. What the same call said before under the same `Idempotency-Key` is not done twice.

use crate::Gateway;
use crate::problem::Problem;
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{
    Event, EventKind, InputBucket, JobRecord, Life, Recipe, Site, Upload, event_subject, job_id as id_of,
    task_subject,
};
use ports::{Condition, ObjectInfo, PutOptions, Stored, list_all};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;

/// Longest name of a picture that becomes a part of its key.
const NAME_CHARS_MAX: usize = 100;
/// Longest `Idempotency-Key`.
const ONCE_CHARS_MAX: usize = 255;
/// Metadata of an upload under an `Idempotency-Key`: what exactly was sent.
const FINGERPRINT: &str = "idempotency-fingerprint";

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

/// `POST /api/jobs`: a raw picture, a form with one, or the name of an object.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let mut said = Said::of(query, headers)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let record = if kind.starts_with("application/json") {
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
    gateway.learn(&record);
    let location = format!("/api/jobs/{}", record.job_id());
    let answer = json!({"id": record.job_id(), "upload_id": record.upload.id(), "bucket": record.upload.bucket,
                        "key": record.upload.key, "recipe": record.recipe, "url": location});
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(answer)).into_response())
}

fn refused(status: StatusCode, text: String) -> Problem {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("the picture is larger than this server takes"),
        _ => Problem::bad_request(text),
    }
}

async fn body(request: Request) -> Result<Body, Problem> {
    Body::from_request(request, &()).await.map_err(|error| refused(error.status(), error.body_text()))
}

/// The picture of a form: its first file; other fields are options.
async fn form(request: Request, said: &mut Said) -> Result<Body, Problem> {
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| refused(error.status(), error.body_text()))?;
    let bad = |error: axum::extract::multipart::MultipartError| refused(error.status(), error.body_text());
    let mut picture = None;
    while let Some(field) = form.next_field().await.map_err(bad)? {
        let name = field.name().unwrap_or_default().to_owned();
        if let Some(file) = field.file_name().map(str::to_owned) {
            let content = field.bytes().await.map_err(bad)?;
            said.name.get_or_insert(file);
            picture.get_or_insert(content);
        } else {
            said.set(name, field.text().await.map_err(bad)?);
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
    let key = match &said.once {
        None => {
            let key = format!("{}/{name}", fresh_folder(gateway));
            gateway.ports.store.put(&input.bucket, &key, content, &options).await?;
            key
        }
        Some(once) => store_once(gateway, &input.bucket, (once, &name), (content, options)).await?,
    };
    let head = gateway.ports.store.head(&input.bucket, &key).await?;
    let info = head.ok_or_else(|| Problem::unavailable("the picture was stored and is gone again"))?;
    let record = record_of(gateway, input, (&key, info), recipe, false);
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

/// Stores a picture under the name that its `Idempotency-Key` alone decides, if it is not there already.
/// The bucket remembers: a repetition finds it for as long as the upload stays.
async fn store_once(
    gateway: &Gateway,
    bucket: &str,
    (once, name): (&str, &str),
    (content, mut options): (Body, PutOptions),
) -> Result<String, Problem> {
    let folder = format!("web/once/{}/", &blake3::hash(once.as_bytes()).to_hex()[..32]);
    let key = format!("{folder}{name}");
    let store = &*gateway.ports.store;
    if list_all(store, bucket, &folder).await?.iter().any(|object| object.key != key) {
        return Err(Problem::key_reused());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", options.metadata).as_bytes()).update(&content);
    let fingerprint = hasher.finalize().to_hex().to_string();
    options.metadata.insert(FINGERPRINT.to_owned(), fingerprint.clone());
    options.condition = Condition::IfAbsent;
    if let Stored::ConditionFailed = store.put(bucket, &key, content, &options).await? {
        let head = store.head(bucket, &key).await?;
        let before = head.ok_or_else(|| Problem::unavailable("the picture was replaced just now"))?;
        if before.metadata.get(FINGERPRINT) != Some(&fingerprint) {
            return Err(Problem::key_reused());
        }
    }
    Ok(key)
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
    let recipe = said.over(&gateway.settings.site, &own)?;
    let (size, max) = (info.size, gateway.settings.site.upload_bytes_max);
    if size > max {
        return Err(Problem::too_large(format!("the object has {size}; at most {max} are taken")));
    }
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
