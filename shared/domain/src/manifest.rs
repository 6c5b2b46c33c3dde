//! The manifest: the object that commits a stage of a job. Written once, never changed.

use crate::{AttemptId, Batch, Bytes, JobId, Life, Stage, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// SHA-256 in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sha256(pub String);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object that a stage wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Its name within the stage, as `mesh.glb`.
    pub name: String,
    /// Its key in the state bucket.
    pub key: String,
    /// Of its bytes.
    pub sha256: Sha256,
    /// Its size.
    pub size_bytes: Bytes,
    /// MIME type.
    pub content_type: String,
}

/// What a stage read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputHash {
    /// The name under which the stage function found it.
    pub name: String,
    /// Of its bytes.
    pub sha256: Sha256,
}

/// Which code made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct EngineVersion {
    /// As `inflate`.
    pub name: String,
    /// Changes whenever results may change.
    pub version: String,
}

/// Absolute marks of a task, all from the worker's clock named in `clock`, except `published_at` (the
/// broker's) and `drawn_at` (the planner's).
///
/// A manifest cannot know its own commit. The next stage's `published_at` closes it: a task is published
/// once its predecessor is committed, and the predecessor's acknowledgement follows. The outcome's
/// `decided_at` closes export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Marks {
    /// Whose clock: the worker's id.
    pub clock: String,
    /// When the task entered the queue, by the broker: by then its predecessor had been committed.
    pub published_at: Timestamp,
    /// When the planner drew it.
    #[serde(default)]
    pub drawn_at: Timestamp,
    /// When the worker accepted its batch.
    pub accepted_at: Timestamp,
    /// When all inputs had been fetched.
    pub fetched_at: Timestamp,
    /// When computing began.
    pub started_at: Timestamp,
    /// When computing ended.
    pub computed_at: Timestamp,
    /// When all artifacts were stored.
    pub stored_at: Timestamp,
}

/// The batch in which a task was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchNote {
    /// Its tasks.
    pub items: u32,
    /// What was reserved for it.
    pub bytes: Bytes,
    /// Why it had this size and place, with numbers, for a person.
    pub why: String,
}

impl BatchNote {
    /// Of this batch.
    pub fn of(batch: &Batch) -> BatchNote {
        let items = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
        BatchNote { items, bytes: batch.bytes, why: batch.why.clone() }
    }
}

/// The manifest `m/<job_id>/<stage>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The job.
    pub job: JobId,
    /// The stage that it commits.
    pub stage: Stage,
    /// The life in which it was committed.
    pub life: Life,
    /// The attempt that won.
    pub attempt: AttemptId,
    /// What was read.
    pub inputs: Vec<InputHash>,
    /// What was written.
    pub artifacts: Vec<Artifact>,
    /// By which code.
    pub engine: EngineVersion,
    /// When what happened; the commit itself is not in it.
    pub marks: Marks,
    /// In which batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchNote>,
    /// What a person should know of the result, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// W3C trace context of the attempt, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Manifest {
    /// The artifact of this name.
    pub fn artifact(&self, name: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.name == name)
    }
}
