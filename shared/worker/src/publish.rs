//! Friendly copies: `models/<upload key>/<stem>.<ext>`. Repeatable, and never an older version over a newer
//! one.
//!
//! Per file: read the friendly object's etag, **then** HEAD the upload; the files of the version that stands
//! there now are copied under that etag. Whoever wrote in between makes the copy fail, and it begins again.
//! Copies of a life that turns out to have ended otherwise meanwhile are withdrawn.

use crate::steps::Steps;
use domain::{Artifact, Ending, JobRecord, Life, Manifest, Stage, Upload};
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

/// A friendly object that holds this job's artifact.
struct Copy {
    key: String,
    etag: String,
    of: Artifact,
}

/// What was published.
#[derive(Default)]
pub(crate) struct Copies {
    copies: Vec<Copy>,
    /// Why a file was not published.
    pub(crate) unpublished: Option<String>,
}

impl Copies {
    /// The keys that hold this job's files.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.copies.iter().map(|copy| copy.key.clone()).collect()
    }
}

/// Publishes the files of a job whose export is committed.
pub(crate) async fn friendly_copies(steps: &Steps, record: &JobRecord) -> PortResult<Copies> {
    let job = record.job_id();
    let Some(manifest) = steps.ledger.manifest(job, Stage::Export).await? else {
        return Err(PortError::Missing(format!("the export manifest of job {job}")));
    };
    let mut copies = Copies::default();
    for artifact in manifest.artifacts {
        match steps.site.friendly_key(record, &artifact.name) {
            Ok(key) => match copy(steps, record, &artifact, &key).await? {
                Some(etag) => copies.copies.push(Copy { key, etag, of: artifact }),
                None => {
                    let why = "a newer version of the upload has its place";
                    copies.unpublished = Some(format!("not published: {key}: {why}"));
                }
            },
            Err(why) => copies.unpublished = Some(why),
        }
    }
    Ok(copies)
}

/// Takes back the copies of a life that was ended otherwise while they were made. An object that somebody
/// wrote over is theirs; one that came between the look and the deletion is put again.
pub(crate) async fn withdraw(
    steps: &Steps,
    record: &JobRecord,
    life: Life,
    copies: &Copies,
) -> PortResult<()> {
    let models = &steps.site.models;
    for Copy { key, etag, of } in &copies.copies {
        let there = steps.ports.store.head(models, key).await?;
        if there.is_none_or(|info| info.etag != *etag) {
            continue;
        }
        steps.ports.store.delete(models, std::slice::from_ref(key)).await?;
        let newer = match standing(steps, record).await? {
            Standing::Newer(manifest) => manifest.artifact(&of.name).cloned(),
            // The next life of the same upload publishes the same bytes.
            Standing::Own if steps.ledger.state(record.job_id()).await?.life != life => Some(of.clone()),
            Standing::Own | Standing::NotYet => None,
        };
        if let Some(newer) = newer {
            steps.put_friendly(key, None, &newer).await?;
        }
        tracing::info!("a copy is taken back: its job was ended meanwhile");
    }
    Ok(())
}

/// Brings one friendly object up to date. Its etag if it holds this job's artifact then.
async fn copy(steps: &Steps, record: &JobRecord, own: &Artifact, key: &str) -> PortResult<Option<String>> {
    for _ in 0..ROUNDS_MAX {
        let etag = steps.ports.store.head(&steps.site.models, key).await?.map(|info| info.etag);
        match standing(steps, record).await? {
            Standing::Own => {
                if let Some(written) = steps.put_friendly(key, etag, own).await? {
                    return Ok(Some(written));
                }
            }
            Standing::Newer(manifest) => {
                let Some(newer) = manifest.artifact(&own.name) else { return Ok(None) };
                if steps.put_friendly(key, etag, newer).await?.is_some() {
                    return Ok(None);
                }
            }
            Standing::NotYet => return Ok(None),
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
