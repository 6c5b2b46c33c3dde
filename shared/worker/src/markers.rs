//! Attempt markers: `a/<job>/<stage>/<attempt>/start`, one for each start of a task's computation from its
//! second delivery on, so that the healthy path pays nothing. Deliveries do not count, starts do.
//!
//! A marker is put before the inputs are fetched: what brings the whole machine down has left one. It is
//! removed again if nothing was computed, and says how the attempt failed once that is known.

use crate::steps::Steps;
use domain::{
    AttemptId, BatchTask, Life, StateKey, Task, attempt_marker_key, attempts_prefix, parse_state_key,
};
use ports::{Condition, GetOptions, Got, PortError, PortResult, PutOptions, list_all};
use serde::{Deserialize, Serialize};

/// Longest error that a marker keeps, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// The content of an attempt marker.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    life: Life,
    worker: String,
    /// How it failed; none while nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What the markers of one life say.
pub(crate) struct Attempts {
    pub(crate) count: usize,
    /// How the last one failed that said so; a sentence for a person.
    pub(crate) last_error: String,
}

impl Steps {
    /// Attempt markers of this life.
    pub(crate) async fn attempts(&self, task: &Task, life: Life) -> PortResult<Attempts> {
        let bucket = self.ledger.bucket();
        let mut objects =
            list_all(&*self.ports.store, bucket, &attempts_prefix(task.job, task.stage)).await?;
        objects.sort_by_key(|object| object.last_modified);
        let (mut count, mut last_worker, mut last_error) = (0, String::new(), None);
        for object in objects {
            if !matches!(parse_state_key(&object.key), Some(StateKey::AttemptMarker(..))) {
                continue;
            }
            let got = self.ports.store.get(bucket, &object.key, &GetOptions::default()).await?;
            let Got::Found(marker) = got else { continue };
            let marker: Option<Marker> = serde_json::from_slice(&marker.body).ok();
            if let Some(marker) = marker.filter(|marker| marker.life == life) {
                count += 1;
                last_worker = marker.worker;
                last_error = marker.error.or(last_error);
            }
        }
        let silent = || format!("worker {last_worker} began it last and never said how it ended");
        Ok(Attempts { count, last_error: last_error.unwrap_or_else(silent) })
    }

    /// An attempt begins; from the second delivery on it counts.
    pub(crate) async fn mark_attempt(
        &self,
        given: &BatchTask,
        life: Life,
        attempt: AttemptId,
    ) -> PortResult<()> {
        self.put_marker(given, life, attempt, None).await
    }

    /// The attempt failed, for this reason.
    pub(crate) async fn mark_failed(
        &self,
        given: &BatchTask,
        life: Life,
        (attempt, error): (AttemptId, &str),
    ) -> PortResult<()> {
        let error = error.chars().take(ERROR_CHARS_MAX).collect();
        self.put_marker(given, life, attempt, Some(error)).await
    }

    async fn put_marker(
        &self,
        given: &BatchTask,
        life: Life,
        attempt: AttemptId,
        error: Option<String>,
    ) -> PortResult<()> {
        if given.delivery <= 1 {
            return Ok(());
        }
        let marker = Marker { life, worker: self.worker.clone(), error };
        let body = serde_json::to_vec(&marker).map_err(|e| PortError::Invalid(e.to_string()))?;
        let key = attempt_marker_key(given.task.job, given.task.stage, attempt);
        let options = PutOptions::of("application/json", Condition::Always);
        self.ports.store.put(self.ledger.bucket(), &key, body.into(), &options).await.map(drop)
    }

    /// Nothing was computed: the attempts are none.
    pub(crate) async fn unmark_attempts(&self, attempts: &[(BatchTask, AttemptId)]) -> PortResult<()> {
        let marked = attempts.iter().filter(|(given, _)| given.delivery > 1);
        let key = |(given, attempt): &(BatchTask, AttemptId)| {
            attempt_marker_key(given.task.job, given.task.stage, *attempt)
        };
        let keys: Vec<String> = marked.map(key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.ports.store.delete(self.ledger.bucket(), &keys).await
    }
}
