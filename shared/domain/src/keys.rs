//! Object keys: built and parsed in one place. They contain ids and closed vocabularies only.

use crate::{AttemptId, JobId, Life, Stage, UploadId};
use std::time::Duration;

/// Prefix of job records.
pub const JOBS_PREFIX: &str = "j/";
/// Prefix of manifests, outcomes and lives.
pub const MANIFESTS_PREFIX: &str = "m/";
/// Prefix of artifacts and attempt markers.
pub const ARTIFACTS_PREFIX: &str = "a/";
/// Prefix of notes of calls that may be repeated.
pub const NOTES_PREFIX: &str = "i/";
/// How long such a note is kept.
pub const NOTES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Longest key that S3 takes, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest segment that stores on a file system take, in bytes.
pub const SEGMENT_BYTES_MAX: usize = 255;

/// `j/<upload_id>/<job_id>.json`
pub fn job_record_key(upload: UploadId, job: JobId) -> String {
    format!("j/{upload}/{job}.json")
}

/// `m/<job_id>/<stage>.json`
pub fn manifest_key(job: JobId, stage: Stage) -> String {
    format!("m/{job}/{stage}.json")
}

/// `m/<job_id>/outcome.<life>.json`
pub fn outcome_key(job: JobId, life: Life) -> String {
    format!("m/{job}/outcome.{life}.json")
}

/// `m/<job_id>/life.<life>.json`; life 0 needs no object.
pub fn life_key(job: JobId, life: Life) -> String {
    format!("m/{job}/life.{life}.json")
}

/// `m/<job_id>/told.<life>.<listener>.json`: an outside listener was told how a life ended; `listener` is 8
/// hex digits.
pub fn told_key(job: JobId, life: Life, listener: u32) -> String {
    format!("m/{job}/told.{life}.{listener:08x}.json")
}

/// `m/<job_id>/`: everything that decides a job.
pub fn job_state_prefix(job: JobId) -> String {
    format!("m/{job}/")
}

/// `i/<hash>.json`: what a call under an `Idempotency-Key` made; `hash` is that of the key, in hex.
pub fn note_key(hash: &str) -> String {
    format!("{NOTES_PREFIX}{hash}.json")
}

/// `a/<job_id>/<stage>/<attempt>/<name>`; `name` is a stage function's artifact name, never a person's text.
pub fn artifact_key(job: JobId, stage: Stage, attempt: AttemptId, name: &str) -> String {
    format!("a/{job}/{stage}/{attempt}/{name}")
}

/// `a/<job_id>/<stage>/<attempt>/start`: the attempt marker.
pub fn attempt_marker_key(job: JobId, stage: Stage, attempt: AttemptId) -> String {
    artifact_key(job, stage, attempt, "start")
}

/// `a/<job_id>/<stage>/`: all attempts at a stage.
pub fn attempts_prefix(job: JobId, stage: Stage) -> String {
    format!("a/{job}/{stage}/")
}

/// A key of the state bucket, parsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKey {
    /// A job record.
    JobRecord(UploadId, JobId),
    /// A manifest.
    Manifest(JobId, Stage),
    /// An outcome.
    Outcome(JobId, Life),
    /// The start of a life.
    LifeStart(JobId, Life),
    /// A listener was told of an outcome.
    Told(JobId, Life, u32),
    /// An artifact.
    Artifact(JobId, Stage, AttemptId, String),
    /// An attempt marker.
    AttemptMarker(JobId, Stage, AttemptId),
}

/// Reads a key of the state bucket; `None` for anything that this program did not write.
pub fn parse_state_key(key: &str) -> Option<StateKey> {
    let parts: Vec<&str> = key.splitn(5, '/').collect();
    match parts.as_slice() {
        ["j", upload, job] => {
            Some(StateKey::JobRecord(upload.parse().ok()?, job.strip_suffix(".json")?.parse().ok()?))
        }
        ["m", job, name] => {
            let job = job.parse().ok()?;
            let name = name.strip_suffix(".json")?;
            let life = |text: &str| text.parse().ok().map(Life);
            if let Some(text) = name.strip_prefix("outcome.") {
                return Some(StateKey::Outcome(job, life(text)?));
            }
            if let Some(text) = name.strip_prefix("life.") {
                return Some(StateKey::LifeStart(job, life(text)?));
            }
            if let Some((text, listener)) = name.strip_prefix("told.").and_then(|told| told.split_once('.')) {
                let listener = u32::from_str_radix(listener, 16).ok()?;
                return Some(StateKey::Told(job, life(text)?, listener));
            }
            Some(StateKey::Manifest(job, name.parse().ok()?))
        }
        ["a", job, stage, attempt, name] => {
            let (job, stage) = (job.parse().ok()?, stage.parse().ok()?);
            let attempt = attempt.parse().ok()?;
            match *name {
                "start" => Some(StateKey::AttemptMarker(job, stage, attempt)),
                name => Some(StateKey::Artifact(job, stage, attempt, name.to_owned())),
            }
        }
        _ => None,
    }
}

/// The friendly key in the output bucket of export's artifact `name` for an upload under `upload_key`, on a
/// site with one input bucket (else see [`crate::Site::friendly_key`]).
///
/// The default recipe's files are `<upload key>/<stem>.<ext>`; those of other recipes `<upload
/// key>/<job8>/…`.
/// `model.<ext>` takes the upload's stem, other names stay.
///
/// # Errors
/// A sentence for a person: the key or one of its segments is longer than a store takes.
pub fn friendly_key(upload_key: &str, other_recipe: Option<JobId>, name: &str) -> Result<String, String> {
    let base = upload_key.rsplit('/').next().unwrap_or(upload_key);
    let stem = base.rsplit_once('.').map_or(base, |(stem, _)| if stem.is_empty() { base } else { stem });
    let file = match name.strip_prefix("model.") {
        Some(extension) => format!("{stem}.{extension}"),
        None => name.to_owned(),
    };
    let key = match other_recipe {
        Some(job) => format!("{upload_key}/{}/{file}", &job.to_string()[..8]),
        None => format!("{upload_key}/{file}"),
    };
    if key.len() > KEY_BYTES_MAX {
        return Err(format!("not published: the key would have {} bytes, a store takes 1024", key.len()));
    }
    if let Some(long) = key.split('/').find(|segment| segment.len() > SEGMENT_BYTES_MAX) {
        return Err(format!("not published: a segment would have {} bytes, a store takes 255", long.len()));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_parsed_back_to_what_built_it() {
        let (upload, job, attempt) = (UploadId([1; 16]), JobId([2; 16]), AttemptId([3; 16]));
        let name = "mesh.glb";
        let cases = [
            (job_record_key(upload, job), StateKey::JobRecord(upload, job)),
            (manifest_key(job, Stage::Shape), StateKey::Manifest(job, Stage::Shape)),
            (outcome_key(job, Life(2)), StateKey::Outcome(job, Life(2))),
            (life_key(job, Life(1)), StateKey::LifeStart(job, Life(1))),
            (told_key(job, Life(1), 0xab), StateKey::Told(job, Life(1), 0xab)),
            (
                artifact_key(job, Stage::Shape, attempt, name),
                StateKey::Artifact(job, Stage::Shape, attempt, name.to_owned()),
            ),
            (
                attempt_marker_key(job, Stage::Export, attempt),
                StateKey::AttemptMarker(job, Stage::Export, attempt),
            ),
        ];
        for (key, expect) in cases {
            assert_eq!(parse_state_key(&key), Some(expect), "{key}");
        }
        for foreign in ["", "j/x", "m/../x.json", "a/b/c/d/e", "x/y/z", "m/x/told.0.json"] {
            assert_eq!(parse_state_key(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn friendly_keys_follow_the_upload() {
        let check = |key: &str, name: &str, expect: &str| {
            assert_eq!(friendly_key(key, None, name).as_deref(), Ok(expect));
        };
        check("chairs/red.png", "model.glb", "chairs/red.png/red.glb");
        check("red", "model.stl", "red/red.stl");
        check(".png", "model.stl", ".png/.png.stl");
        check("a/b.tar.png", "preview.png", "a/b.tar.png/preview.png");
        let job = JobId([0xab; 16]);
        assert_eq!(friendly_key("r.png", Some(job), "model.glb").as_deref(), Ok("r.png/abababab/r.glb"));
        assert!(friendly_key(&"x/".repeat(511), None, "model.glb").is_err());
    }
}
