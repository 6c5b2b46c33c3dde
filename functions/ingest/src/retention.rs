//! Retention: how much and how long finished jobs keep their files. The decision is pure; the acting part
//! removes one job's files.
//!
//! What goes: the job's friendly copies, then everything below `a/<job>/`, then, where uploads are ours to
//! remove, the upload once all of its jobs are retired. What stays: the job record, manifests and outcomes,
//! so that no sweep makes the job again. When the upload is gone they have nothing left to prevent; then they
//! go as well, after a time in which any straggler still finds them. A dead or cancelled job may be redriven
//! until its intermediates expire, and is not retired before.

use crate::collect::{delete, readable};
use crate::retention_uploads::Holdings;
use domain::{
    ARTIFACTS_PREFIX, Bytes, Ending, INTERMEDIATES_KEPT, JobId, Life, Site, Timestamp, Upload, UploadId,
    job_record_key, job_state_prefix,
};
use ports::{Ledger, PortResult, Ports, list_all};
use std::time::Duration;

/// The limits; none keeps everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Most bytes below `a/` and in the output bucket together; with `uploads` those of the input buckets
    /// too.
    pub bytes_max: Option<Bytes>,
    /// Longest time after the end of a job.
    pub age_max: Option<Duration>,
    /// Whether uploads are retired with their jobs. Off where input buckets belong to somebody else.
    pub uploads: bool,
}

/// What a job weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobWeight {
    /// The job.
    pub job: JobId,
    /// Its current life.
    pub life: Life,
    /// When that ended; none while it lives.
    pub ended_at: Option<Timestamp>,
    /// How many objects it has below `a/`.
    pub artifacts: usize,
    /// Its artifacts, and those of export once more for their friendly copies.
    pub bytes: Bytes,
}

impl Retention {
    /// Whether there is any limit.
    pub fn is_set(&self) -> bool {
        self.bytes_max.is_some() || self.age_max.is_some()
    }

    /// Whether a job that ended then has to go while `held` bytes are kept in total. For jobs tried oldest
    /// first: if it need not go, no younger one need.
    pub fn must_go(&self, now: Timestamp, ended_at: Timestamp, held: Bytes) -> bool {
        self.age_max.is_some_and(|age| now.since(ended_at) > age)
            || self.bytes_max.is_some_and(|bytes| held > bytes)
    }
}

/// The jobs that have ended, oldest first.
pub fn oldest_first(weights: &[JobWeight]) -> Vec<(Timestamp, JobWeight)> {
    let mut ended: Vec<_> =
        weights.iter().filter_map(|weight| weight.ended_at.map(|at| (at, *weight))).collect();
    ended.sort_unstable_by_key(|(at, weight)| (*at, weight.job));
    ended
}

/// Removes the files of retired jobs.
pub(crate) struct Retirer<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) ledger: &'a Ledger,
    pub(crate) site: &'a Site,
    /// How long a straggler may still come after what it belongs to has ended.
    pub(crate) grace: Duration,
}

impl Retirer<'_> {
    /// Retires the oldest ended jobs until the limits hold. Returns how many objects were removed.
    pub(crate) async fn retire(&self, keep: &Retention, weights: &[JobWeight]) -> PortResult<usize> {
        let now = self.ports.clock.now();
        let mut held: Bytes = weights.iter().map(|weight| weight.bytes).sum();
        let mut holdings = None;
        if keep.uploads {
            let read = Holdings::read(self.ports, self.ledger, self.site, true).await?;
            held += read.upload_bytes();
            holdings = Some(read);
        }
        let mut removed = 0;
        let ended = oldest_first(weights);
        for (ended_at, weight) in &ended {
            if !keep.must_go(now, *ended_at, held) {
                break;
            }
            let holdings = match &mut holdings {
                Some(holdings) => holdings,
                none => none.insert(Holdings::read(self.ports, self.ledger, self.site, false).await?),
            };
            if weight.artifacts == 0 && holdings.upload_of(weight.job).is_none() {
                continue;
            }
            let Some(files) = self.may_go(now, weight).await? else { continue };
            let gone = self.remove_files(weight, *ended_at, files, holdings).await?;
            held = held.saturating_sub(weight.bytes);
            if gone > 0 {
                tracing::info!(job = %weight.job, bytes = %weight.bytes, "retention removed a job's files");
            }
            removed += gone;
            if let Some(upload) = holdings.retired(weight.job)
                && !self.is_superseded(&upload).await?
            {
                removed += delete(self.ports, &upload.bucket, std::slice::from_ref(&upload.key)).await?;
                held = held.saturating_sub(upload.size_bytes);
                tracing::info!(job = %weight.job, bytes = %upload.size_bytes, "retention removed an upload");
            }
        }
        if let Some(holdings) = holdings.filter(|_| keep.uploads) {
            removed += self.forget(now, &ended, &holdings).await?;
        }
        Ok(removed)
    }

    /// The friendly copies of a job that may be retired; none while it may be redriven, or cannot be read.
    async fn may_go(&self, now: Timestamp, weight: &JobWeight) -> PortResult<Option<Vec<String>>> {
        let Some(outcome) = readable(self.ledger.outcome(weight.job, weight.life).await)? else {
            return Ok(None);
        };
        let expired = now > outcome.intermediates_expire_at + self.grace;
        Ok(match outcome.ending {
            Ending::Done { files, .. } => Some(files),
            Ending::Rejected { .. } => Some(Vec::new()),
            Ending::Dead { .. } | Ending::Cancelled { .. } => expired.then(Vec::new),
        })
    }

    /// Copies first: while artifacts are left, the job is found again after a crash.
    async fn remove_files(
        &self,
        weight: &JobWeight,
        ended_at: Timestamp,
        files: Vec<String>,
        holdings: &Holdings,
    ) -> PortResult<usize> {
        let mut removed = 0;
        if !files.is_empty() && weight.artifacts > 0 {
            let copies = self.own_copies(weight, ended_at, files, holdings).await?;
            removed += delete(self.ports, &self.site.models, &copies).await?;
        }
        if weight.artifacts > 0 {
            let prefix = format!("{ARTIFACTS_PREFIX}{}/", weight.job);
            let artifacts = list_all(&*self.ports.store, self.ledger.bucket(), &prefix).await?;
            let artifacts: Vec<String> = artifacts.into_iter().map(|object| object.key).collect();
            removed += delete(self.ports, self.ledger.bucket(), &artifacts).await?;
        }
        Ok(removed)
    }

    /// Removes what decides a job once nothing can make it again: its upload is gone, so no sweep accepts it,
    /// and whatever of it was under way has had its time. The record first: without it no sweep queues the
    /// job when its outcome is gone.
    async fn forget(
        &self,
        now: Timestamp,
        ended: &[(Timestamp, JobWeight)],
        holdings: &Holdings,
    ) -> PortResult<usize> {
        let mut removed = 0;
        for (ended_at, weight) in ended {
            let young = now.since(*ended_at) <= INTERMEDIATES_KEPT + self.grace;
            if young || weight.artifacts > 0 || holdings.upload_of(weight.job).is_some() {
                continue;
            }
            let (bucket, job) = (self.ledger.bucket(), weight.job);
            if let Some(upload) = holdings.upload_id_of(job) {
                removed += delete(self.ports, bucket, &[job_record_key(upload, job)]).await?;
            }
            let state = list_all(&*self.ports.store, bucket, &job_state_prefix(job)).await?;
            let state: Vec<String> = state.into_iter().map(|object| object.key).collect();
            removed += delete(self.ports, bucket, &state).await?;
        }
        Ok(removed)
    }

    /// Those of its friendly copies that are still this job's: none once another version of the upload
    /// stands under its key, since that one publishes under the same names; and none that were written
    /// after this job had ended.
    async fn own_copies(
        &self,
        weight: &JobWeight,
        ended_at: Timestamp,
        files: Vec<String>,
        holdings: &Holdings,
    ) -> PortResult<Vec<String>> {
        let Some(upload): Option<UploadId> = holdings.upload_id_of(weight.job) else { return Ok(vec![]) };
        let Some(record) = readable(self.ledger.record(upload, weight.job).await)? else {
            return Ok(vec![]);
        };
        if !record.secondary && self.is_superseded(&record.upload).await? {
            return Ok(vec![]);
        }
        let mut own = Vec::new();
        for key in files {
            let info = self.ports.store.head(&self.site.models, &key).await?;
            if info.is_some_and(|info| info.last_modified_s <= ended_at.whole_seconds()) {
                own.push(key);
            }
        }
        Ok(own)
    }

    async fn is_superseded(&self, upload: &Upload) -> PortResult<bool> {
        let Some(info) = self.ports.store.head(&upload.bucket, &upload.key).await? else { return Ok(false) };
        let now = Upload {
            etag: info.etag,
            size_bytes: info.size,
            last_modified_s: info.last_modified_s,
            ..upload.clone()
        };
        Ok(now.id() != upload.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn weight(job: u8, ended_at: Option<u64>) -> JobWeight {
        let ended_at = ended_at.map(Timestamp);
        JobWeight { job: JobId([job; 16]), life: Life(0), ended_at, artifacts: 1, bytes: Bytes(10) }
    }

    #[test]
    fn the_oldest_ended_jobs_come_first_and_living_ones_not_at_all() {
        let order = oldest_first(&[weight(1, Some(9)), weight(2, None), weight(3, Some(4))]);
        let jobs: Vec<u8> = order.iter().map(|(_, weight)| weight.job.0[0]).collect();
        assert_eq!(jobs, [3, 1]);
    }

    #[test]
    fn a_job_goes_for_its_age_or_for_want_of_room() {
        let check = |bytes_max: Option<u64>, age_max: Option<u64>, held: u64, expect: bool| {
            let bytes_max = bytes_max.map(Bytes);
            let age_max = age_max.map(Duration::from_millis);
            let keep = Retention { bytes_max, age_max, uploads: false };
            assert_eq!(keep.must_go(NOW, Timestamp(NOW.0 - 500), Bytes(held)), expect);
        };
        check(None, None, u64::MAX, false);
        check(Some(100), None, 100, false);
        check(Some(100), None, 101, true);
        check(None, Some(500), 0, false);
        check(None, Some(499), 0, true);
        check(Some(100), Some(499), 0, true);
    }
}
