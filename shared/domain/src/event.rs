//! What happens to a job, for people: `event.<job_id>.<kind>`.

use crate::{JobId, Life, Stage, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The job.
    pub job: JobId,
    /// Which of its lives.
    pub life: Life,
    /// When, by the clock of whoever says so.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// The job record was written.
    Accepted {
        /// Bucket and key of the upload.
        bucket: String,
        /// The upload's key.
        key: String,
    },
    /// A stage's computation began.
    Started {
        /// The stage.
        stage: Stage,
    },
    /// It goes on.
    Progress {
        /// The stage.
        stage: Stage,
        /// 0 to 1 within the stage.
        fraction: f32,
        /// What it does now.
        phase: String,
    },
    /// A stage was committed.
    StageDone {
        /// The stage.
        stage: Stage,
    },
    /// Outcome `done`.
    Finished,
    /// Outcome `rejected`.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Outcome `dead`.
    Dead {
        /// The stage that kept failing.
        stage: Stage,
        /// The last known error.
        error: String,
    },
    /// Outcome `cancelled`.
    Cancelled {
        /// Who or what.
        reason: String,
    },
}

impl EventKind {
    /// As in the subject.
    pub const fn as_str(&self) -> &'static str {
        match self {
            EventKind::Accepted { .. } => "accepted",
            EventKind::Started { .. } => "started",
            EventKind::Progress { .. } => "progress",
            EventKind::StageDone { .. } => "stage_done",
            EventKind::Finished => "finished",
            EventKind::Rejected { .. } => "rejected",
            EventKind::Dead { .. } => "dead",
            EventKind::Cancelled { .. } => "cancelled",
        }
    }

    /// Whether the life of the job is over.
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            EventKind::Finished
                | EventKind::Rejected { .. }
                | EventKind::Dead { .. }
                | EventKind::Cancelled { .. }
        )
    }
}
