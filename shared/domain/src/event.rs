//! What happens to a job, for people: `event.<job_id>.<kind>`.

use crate::{JobId, Life, Stage, Timestamp, UploadId};
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
    /// The job record was written; with a life after the first, that life began.
    Accepted {
        /// The upload's bucket.
        bucket: String,
        /// The upload's key.
        key: String,
        /// The upload's id, with which the job record is found; none from an older program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload: Option<UploadId>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_an_older_program_is_read_and_a_new_one_names_the_upload() {
        let job = "11111111111111111111111111111111";
        let old = format!(r#"{{"job":"{job}","life":0,"at":7,"kind":"accepted","bucket":"b","key":"k"}}"#);
        let mut event: Event = serde_json::from_str(&old).expect("an event");
        let EventKind::Accepted { upload, .. } = &mut event.kind else { panic!("{event:?}") };
        assert_eq!(upload.replace(UploadId([2; 16])), None);
        let text = serde_json::to_string(&event).expect("JSON");
        assert!(text.contains("02020202020202020202020202020202"), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("its own JSON"), event);
    }
}
