//! The ledger: what the bucket says of a job. Every decision about a job is one conditional PUT, made here
//! and nowhere else.
//!
//! It queues nothing and computes nothing; ingest, worker, gateway and CLI read and decide through it.

use crate::{Condition, GetOptions, Got, PortError, PortResult, PutOptions, Store, Stored, list_all};
use bytes::Bytes as Payload;
use domain::{
    Bytes, JobId, JobRecord, Life, LifeStart, Manifest, Outcome, Stage, StateKey, Told, UploadId,
    job_record_key, job_state_prefix, life_key, manifest_key, outcome_key, parse_state_key, told_key,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Largest JSON object that is read back; ours are a few KiB.
const JSON_BYTES_MAX: Bytes = Bytes::mib(4);

/// What became of a conditional create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided<T> {
    /// This call decided it.
    Mine,
    /// It had been decided before, thus (possibly by this caller's own PUT whose answer was lost).
    Already(T),
}

/// What the names of a job's objects tell: its current life, how that ended, what is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobState {
    /// The current life: the highest that was started.
    pub life: Life,
    /// Whether the current life has an outcome.
    pub has_outcome: bool,
    /// Stages with a manifest.
    pub committed: BTreeSet<Stage>,
}

impl JobState {
    /// From the names of the objects below `m/<job>/`; names of other jobs and foreign names are ignored.
    pub fn from_keys<'a>(job: JobId, keys: impl IntoIterator<Item = &'a str>) -> JobState {
        let (mut life, mut outcomes, mut committed) = (Life(0), BTreeSet::new(), BTreeSet::new());
        for key in keys {
            match parse_state_key(key) {
                Some(StateKey::LifeStart(of, n)) if of == job => life = life.max(n),
                Some(StateKey::Outcome(of, n)) if of == job => drop(outcomes.insert(n)),
                Some(StateKey::Manifest(of, stage)) if of == job => drop(committed.insert(stage)),
                _ => {}
            }
        }
        JobState { life, has_outcome: outcomes.contains(&life), committed }
    }

    /// The stage that a live job needs next: the first without a manifest, or export if all have one (its
    /// copies or its
    /// outcome are missing).
    pub fn next_stage(&self) -> Stage {
        Stage::ALL.into_iter().find(|stage| !self.committed.contains(stage)).unwrap_or(Stage::Export)
    }
}

/// Reads and decides about jobs in one state bucket. Cloning is cheap.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    bucket: String,
}

impl Ledger {
    /// On this bucket.
    pub fn new(store: Arc<dyn Store>, state_bucket: &str) -> Ledger {
        Ledger { store, bucket: state_bucket.to_owned() }
    }

    /// The state bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Life, outcome and manifests of a job, from one LIST.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn state(&self, job: JobId) -> PortResult<JobState> {
        let objects = list_all(&*self.store, &self.bucket, &job_state_prefix(job)).await?;
        Ok(JobState::from_keys(job, objects.iter().map(|object| object.key.as_str())))
    }

    /// The job record.
    ///
    /// # Errors
    /// As [`Store::get`]; `Invalid` if the object is not a job record.
    pub async fn record(&self, upload: UploadId, job: JobId) -> PortResult<Option<JobRecord>> {
        self.read(&job_record_key(upload, job)).await
    }

    /// Writes the job record before the first publish.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_record(&self, record: &JobRecord) -> PortResult<Decided<JobRecord>> {
        self.create(&job_record_key(record.upload.id(), record.job_id()), record).await
    }

    /// The manifest of a stage.
    ///
    /// # Errors
    /// As [`Store::get`]; `Invalid` if the object is not a manifest.
    pub async fn manifest(&self, job: JobId, stage: Stage) -> PortResult<Option<Manifest>> {
        self.read(&manifest_key(job, stage)).await
    }

    /// Commits a stage. The winner's manifest comes back when it is another's; the caller's own one, found
    /// again after a lost
    /// answer, counts as `Mine`.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn commit(&self, manifest: &Manifest) -> PortResult<Decided<Manifest>> {
        match self.create(&manifest_key(manifest.job, manifest.stage), manifest).await? {
            Decided::Already(winner) if winner.attempt == manifest.attempt => Ok(Decided::Mine),
            decided => Ok(decided),
        }
    }

    /// The outcome of a life.
    ///
    /// # Errors
    /// As [`Store::get`]; `Invalid` if the object is not an outcome.
    pub async fn outcome(&self, job: JobId, life: Life) -> PortResult<Option<Outcome>> {
        self.read(&outcome_key(job, life)).await
    }

    /// Decides how a life ended.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn decide(&self, outcome: &Outcome) -> PortResult<Decided<Outcome>> {
        match self.create(&outcome_key(outcome.job, outcome.life), outcome).await? {
            Decided::Already(first) if first == *outcome => Ok(Decided::Mine),
            decided => Ok(decided),
        }
    }

    /// Whether a listener was told of an outcome.
    ///
    /// # Errors
    /// As [`Store::head`].
    pub async fn was_told(&self, job: JobId, life: Life, listener: u32) -> PortResult<bool> {
        Ok(self.store.head(&self.bucket, &told_key(job, life, listener)).await?.is_some())
    }

    /// Keeps that a listener was told.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_told(&self, told: &Told) -> PortResult<Decided<Told>> {
        self.create(&told_key(told.job, told.life, told.listener), told).await
    }

    /// Starts a life after a dead or cancelled one.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn start_life(&self, start: &LifeStart) -> PortResult<Decided<LifeStart>> {
        self.create(&life_key(start.job, start.life), start).await
    }

    /// Creates a JSON object once. On 412 the winner is read; if it is gone again, the PUT is repeated (a
    /// bounded number of times).
    async fn create<T: Serialize + DeserializeOwned>(&self, key: &str, value: &T) -> PortResult<Decided<T>> {
        let body = serde_json::to_vec(value).map_err(|e| PortError::Invalid(format!("write {key}: {e}")))?;
        let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::json_if_absent() };
        for _ in 0..3 {
            match self.store.put(&self.bucket, key, Payload::from(body.clone()), &options).await? {
                Stored::Written(_) => return Ok(Decided::Mine),
                Stored::ConditionFailed => {
                    if let Some(winner) = self.read(key).await? {
                        return Ok(Decided::Already(winner));
                    }
                }
            }
        }
        Err(PortError::Unavailable(format!("{key} exists for a PUT and not for a GET")))
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> PortResult<Option<T>> {
        let options = GetOptions { size_max: JSON_BYTES_MAX, ..GetOptions::default() };
        match self.store.get(&self.bucket, key, &options).await? {
            Got::Found(object) => serde_json::from_slice(&object.body)
                .map(Some)
                .map_err(|e| PortError::Invalid(format!("{key} in bucket {} is not ours: {e}", self.bucket))),
            Got::Absent | Got::Changed => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_job_is_read_from_names_alone() {
        let (job, other) = (JobId([1; 16]), JobId([2; 16]));
        let keys = [
            manifest_key(job, Stage::Preprocess),
            manifest_key(other, Stage::Shape),
            outcome_key(job, Life(0)),
            life_key(job, Life(1)),
            format!("m/{job}/foreign.txt"),
        ];
        let state = JobState::from_keys(job, keys.iter().map(String::as_str));
        assert_eq!((state.life, state.has_outcome), (Life(1), false));
        assert_eq!(state.next_stage(), Stage::Shape);
    }

    #[test]
    fn a_job_with_all_manifests_and_no_outcome_needs_export_again() {
        let job = JobId([1; 16]);
        let keys = Stage::ALL.map(|stage| manifest_key(job, stage));
        let state = JobState::from_keys(job, keys.iter().map(String::as_str));
        assert_eq!(state.next_stage(), Stage::Export);
    }
}
