//! Friendly copies: `models/<upload key>/<stem>.<ext>`. Repeatable, and never an older version over a newer
//! one.
//!
//! Per file: read the friendly object's etag, **then** HEAD the upload; the files of the version that stands
//! there now are
//! copied under that etag. Whoever wrote in between makes the copy fail, and it begins again.

use crate::steps::Steps;
use domain::{Artifact, Bytes, Ending, JobRecord, Manifest, Stage, Upload, friendly_key};
use ports::{PortError, PortResult};

/// Times a copy begins again because somebody else wrote; each round some writer has succeeded.
const ROUNDS_MAX: usize = 20;

/// Publishes the files of a job whose export is committed. Returns the keys, and why a file was not
/// published.
pub(crate) async fn friendly_copies(
    steps: &Steps,
    record: &JobRecord,
) -> PortResult<(Vec<String>, Option<String>)> {
    let job = record.job_id();
    let Some(manifest) = steps.ledger.manifest(job, Stage::Export).await? else {
        return Err(PortError::Missing(format!("the export manifest of job {job}")));
    };
    let beside = record.secondary.then_some(job);
    let (mut keys, mut unpublished) = (Vec::new(), None);
    for artifact in &manifest.artifacts {
        match friendly_key(&record.upload.key, beside, &artifact.name) {
            Ok(key) => {
                copy(steps, record, &manifest, artifact, &key).await?;
                keys.push(key);
            }
            Err(why) => unpublished = Some(why),
        }
    }
    Ok((keys, unpublished))
}

async fn copy(
    steps: &Steps,
    record: &JobRecord,
    own: &Manifest,
    artifact: &Artifact,
    key: &str,
) -> PortResult<()> {
    for _ in 0..ROUNDS_MAX {
        let etag = steps.ports.store.head(&steps.site.models, key).await?.map(|info| info.etag);
        let manifest = match current(steps, record, own).await? {
            Some(manifest) => manifest,
            None => return Ok(()),
        };
        let Some(artifact) = manifest.artifact(&artifact.name) else { return Ok(()) };
        if steps.put_friendly(key, etag, artifact).await? {
            return Ok(());
        }
    }
    Err(PortError::Unavailable(format!("{key} is written by others all the time")))
}

/// The export manifest of the version that stands under the upload's key now, if it has one and was not
/// ended otherwise.
async fn current(steps: &Steps, record: &JobRecord, own: &Manifest) -> PortResult<Option<Manifest>> {
    let upload = &record.upload;
    let Some(info) = steps.ports.store.head(&upload.bucket, &upload.key).await? else {
        // Deleted after it was accepted: its model was wanted once, and no newer version claims the place.
        return Ok(Some(own.clone()));
    };
    let now = Upload {
        etag: info.etag,
        size_bytes: Bytes(info.size.0),
        last_modified_s: info.last_modified_s,
        ..upload.clone()
    };
    if now.id() == upload.id() {
        return Ok(Some(own.clone()));
    }
    if record.secondary {
        return Ok(None);
    }
    let Some(newer) = steps.own_record(now.id()).await? else { return Ok(None) };
    let job = newer.job_id();
    let state = steps.ledger.state(job).await?;
    if state.has_outcome {
        let outcome = steps.ledger.outcome(job, state.life).await?;
        if !outcome.is_some_and(|outcome| matches!(outcome.ending, Ending::Done { .. })) {
            return Ok(None);
        }
    }
    steps.ledger.manifest(job, Stage::Export).await
}
