//! What the same call made before under the same `Idempotency-Key` is not made twice.
//!
//! A picture is remembered by the input bucket, for as long as the upload stays. A call that names an object
//! leaves a note in the state bucket, for a day. Any gateway reads both.

use crate::Gateway;
use crate::listing::readable;
use crate::problem::Problem;
use axum::body::Bytes as Body;
use domain::{Bytes, JobId, JobRecord, UploadId, note_key};
use ports::{Condition, GetOptions, Got, PortError, PortResult, PutOptions, Stored, list_all};
use serde::{Deserialize, Serialize};

/// Metadata of an upload under an `Idempotency-Key`: what exactly was sent.
const FINGERPRINT: &str = "idempotency-fingerprint";
/// A note is far smaller.
const NOTE_BYTES_MAX: Bytes = Bytes::kib(4);

/// The word of a caller as 128 bits in hex: nothing of it becomes a part of a key.
fn hash(once: &str) -> String {
    blake3::hash(once.as_bytes()).to_hex()[..32].to_owned()
}

/// `web/once/<hash>/`: where a picture under this word lies.
fn folder(once: &str) -> String {
    format!("web/once/{}/", hash(once))
}

/// Stores a picture under the name that its `Idempotency-Key` alone decides, if it is not there already;
/// returns its key.
pub(crate) async fn store(
    gateway: &Gateway,
    bucket: &str,
    (once, name): (&str, &str),
    (content, mut options): (Body, PutOptions),
) -> Result<String, Problem> {
    let key = format!("{}{name}", folder(once));
    let store = &*gateway.ports.store;
    let is_other = |(in_bucket, at): &(String, String)| (in_bucket.as_str(), at) != (bucket, &key);
    if pictures(gateway, once).await?.iter().any(is_other) || read_note(gateway, once).await?.is_some() {
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

/// Buckets and keys of the pictures that were stored under a word.
async fn pictures(gateway: &Gateway, once: &str) -> PortResult<Vec<(String, String)>> {
    let (mut found, folder) = (Vec::new(), folder(once));
    for input in &gateway.settings.site.inputs {
        let listed = list_all(&*gateway.ports.store, &input.bucket, &folder).await?;
        found.extend(listed.into_iter().map(|object| (input.bucket.clone(), object.key)));
    }
    Ok(found)
}

/// What a call made.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// Hash of what exactly was said.
    fingerprint: String,
    upload: UploadId,
    job: JobId,
}

/// None too if it is not ours to understand.
async fn read_note(gateway: &Gateway, once: &str) -> PortResult<Option<Note>> {
    let options = GetOptions { size_max: NOTE_BYTES_MAX, ..GetOptions::default() };
    let got = gateway.ports.store.get(gateway.ledger.bucket(), &note_key(&hash(once)), &options).await?;
    let Got::Found(found) = got else { return Ok(None) };
    let note = serde_json::from_slice(&found.body);
    Ok(readable(note.map(Some).map_err(|error| PortError::Invalid(error.to_string())))?.0)
}

/// A call that names an object, and may be a repetition.
pub(crate) struct Call<'a> {
    once: &'a str,
    fingerprint: String,
}

impl<'a> Call<'a> {
    /// `said` is everything that it says.
    pub(crate) fn new(once: &'a str, said: &impl std::fmt::Debug) -> Call<'a> {
        let fingerprint = blake3::hash(format!("{said:?}").as_bytes()).to_hex().to_string();
        Call { once, fingerprint }
    }

    /// What it made before, if it did.
    pub(crate) async fn made(&self, gateway: &Gateway) -> Result<Option<JobRecord>, Problem> {
        let Some(note) = read_note(gateway, self.once).await? else {
            let is_free = pictures(gateway, self.once).await?.is_empty();
            return if is_free { Ok(None) } else { Err(Problem::key_reused()) };
        };
        if note.fingerprint != self.fingerprint {
            return Err(Problem::key_reused());
        }
        // The record is not there if the call that left the note ended right behind it.
        Ok(gateway.ledger.record(note.upload, note.job).await?)
    }

    /// Notes what it is about to make, before that is made. What another one made meanwhile, if it did.
    pub(crate) async fn note(
        &self,
        gateway: &Gateway,
        wanted: &JobRecord,
    ) -> Result<Option<JobRecord>, Problem> {
        let (upload, job) = (wanted.upload.id(), wanted.job_id());
        let note = Note { fingerprint: self.fingerprint.clone(), upload, job };
        let note = serde_json::to_vec(&note).map_err(|error| PortError::Invalid(error.to_string()))?;
        let options = PutOptions::of("application/json", Condition::IfAbsent);
        let key = note_key(&hash(self.once));
        match gateway.ports.store.put(gateway.ledger.bucket(), &key, note.into(), &options).await? {
            Stored::ConditionFailed => self.made(gateway).await,
            _ => Ok(None),
        }
    }
}
