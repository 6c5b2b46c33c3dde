//! Friendly copies: `models/<upload key>/<stem>.<ext>`. Repeatable, and never an older version over a newer
//! one.
//!
//! Per file: read the friendly object's etag, **then** HEAD the upload; the files of the version that stands
//! there now are copied under that etag. Whoever wrote in between makes the copy fail, and it begins again.

use crate::steps::Steps;
use domain::{Artifact, Ending, JobRecord, Manifest, Stage, Upload};
use ports::{PortError, PortResult};

/// Times a copy begins again because somebody else wrote; each round some writer has succeeded.
const ROUNDS_MAX: usize = 20;

/// Whose files belong under the friendly keys now.
enum Standing {
    /// This job's.
    Own,
    /// Those of a newer version of the upload.
    Newer(Box<Manifest>),
    /// Those of a newer version that has none, or none yet.
    NotYet,
}

/// Publishes the files of a job whose export is committed. Returns the keys that hold them, and why a file
/// was not published.
pub(crate) async fn friendly_copies(
    steps: &Steps,
    record: &JobRecord,
) -> PortResult<(Vec<String>, Option<String>)> {
    let job = record.job_id();
    let Some(manifest) = steps.ledger.manifest(job, Stage::Export).await? else {
        return Err(PortError::Missing(format!("the export manifest of job {job}")));
    };
    let (mut keys, mut unpublished) = (Vec::new(), None);
    for artifact in &manifest.artifacts {
        match steps.site.friendly_key(record, &artifact.name) {
            Ok(key) if copy(steps, record, artifact, &key).await? => keys.push(key),
            Ok(key) => {
                let why = "a newer version of the upload has its place";
                unpublished = Some(format!("not published: {key}: {why}"));
            }
            Err(why) => unpublished = Some(why),
        }
    }
    Ok((keys, unpublished))
}

/// Brings one friendly object up to date. True if it holds this job's artifact then.
async fn copy(steps: &Steps, record: &JobRecord, own: &Artifact, key: &str) -> PortResult<bool> {
    for _ in 0..ROUNDS_MAX {
        let etag = steps.ports.store.head(&steps.site.models, key).await?.map(|info| info.etag);
        match standing(steps, record).await? {
            Standing::Own => {
                if steps.put_friendly(key, etag, own).await? {
                    return Ok(true);
                }
            }
            Standing::Newer(manifest) => {
                let Some(newer) = manifest.artifact(&own.name) else { return Ok(false) };
                if steps.put_friendly(key, etag, newer).await? {
                    return Ok(false);
                }
            }
            Standing::NotYet => return Ok(false),
        }
    }
    Err(PortError::Unavailable(format!("{key} is written by others all the time")))
}

/// Which version stands under the upload's key now, and what it has committed, unless it was ended
/// otherwise.
async fn standing(steps: &Steps, record: &JobRecord) -> PortResult<Standing> {
    let upload = &record.upload;
    let Some(info) = steps.ports.store.head(&upload.bucket, &upload.key).await? else {
        // Deleted after it was accepted: its model was wanted once, and no newer version claims the place.
        return Ok(Standing::Own);
    };
    let now = Upload {
        etag: info.etag,
        size_bytes: info.size,
        last_modified_s: info.last_modified_s,
        ..upload.clone()
    };
    if now.id() == upload.id() {
        return Ok(Standing::Own);
    }
    if record.secondary {
        return Ok(Standing::NotYet);
    }
    let Some(newer) = steps.own_record(now.id()).await? else { return Ok(Standing::NotYet) };
    let job = newer.job_id();
    let state = steps.ledger.state(job).await?;
    if state.has_outcome {
        let outcome = steps.ledger.outcome(job, state.life).await?;
        if !outcome.is_some_and(|outcome| matches!(outcome.ending, Ending::Done { .. })) {
            return Ok(Standing::NotYet);
        }
    }
    let manifest = steps.ledger.manifest(job, Stage::Export).await?;
    Ok(manifest.map_or(Standing::NotYet, |manifest| Standing::Newer(Box::new(manifest))))
}

#[cfg(test)]
mod tests;
