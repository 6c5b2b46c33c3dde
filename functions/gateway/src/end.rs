//! How a job's life ended, as an event tells it or as its outcome says it.

use crate::index::Shown;
use domain::{Ending, Event, EventKind, Outcome, Stage, Timestamp};

/// How a life ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) state: Shown,
    /// The reason or the error, if there is one.
    pub(crate) text: Option<String>,
    /// Where a dead one died.
    pub(crate) stage: Option<Stage>,
    pub(crate) at: Timestamp,
    /// An event told it: the outcome says it better.
    pub(crate) is_told: bool,
}

impl End {
    pub(crate) fn of(outcome: &Outcome) -> End {
        let (state, text, stage) = match &outcome.ending {
            Ending::Done { unpublished, .. } => (Shown::Done, unpublished.clone(), None),
            Ending::Rejected { reason } => (Shown::Rejected, Some(reason.clone()), None),
            Ending::Cancelled { reason } => (Shown::Cancelled, Some(reason.clone()), None),
            Ending::Dead { stage, error } => (Shown::Dead, Some(error.clone()), Some(*stage)),
        };
        End { state, text, stage, at: outcome.decided_at, is_told: false }
    }

    pub(crate) fn told(event: &Event) -> Option<End> {
        let (state, text, stage) = match &event.kind {
            EventKind::Finished => (Shown::Done, None, None),
            EventKind::Rejected { reason } => (Shown::Rejected, Some(reason.clone()), None),
            EventKind::Cancelled { reason } => (Shown::Cancelled, Some(reason.clone()), None),
            EventKind::Dead { stage, error } => (Shown::Dead, Some(error.clone()), Some(*stage)),
            _ => return None,
        };
        Some(End { state, text, stage, at: event.at, is_told: true })
    }

    /// For a person.
    pub(crate) fn reason(&self) -> Option<String> {
        match (self.stage, &self.text) {
            (Some(stage), Some(text)) => Some(format!("{stage}: {text}")),
            (_, text) => text.clone(),
        }
    }
}
