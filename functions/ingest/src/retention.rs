//! Retention: how much and how long finished jobs keep their files. The decision is pure; the acting part
//! removes one job's files.
//!
//! What goes: the job's friendly copies, then everything below `a/<job>/`. What stays: the upload, the job
//! record, manifests and outcomes, so that no sweep makes the job again. Only jobs with outcome `done` are
//! retired: a dead or cancelled one may still be redriven and loses its intermediates by their own time to
//! live.

use crate::collect::{delete, readable};
use domain::{
    ARTIFACTS_PREFIX, Bytes, Ending, JOBS_PREFIX, JobId, Life, Site, StateKey, Timestamp, Upload, UploadId,
    parse_state_key,
};
use ports::{Ledger, PortResult, Ports, list_all};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The limits; none keeps everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Most bytes below `a/` and in the output bucket together.
    pub bytes_max: Option<Bytes>,
    /// Longest time after the end of a job.
    pub age_max: Option<Duration>,
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
}

impl Retirer<'_> {
    /// Retires the oldest done jobs until the limits hold. Returns how many objects were removed.
    pub(crate) async fn retire(&self, keep: &Retention, weights: &[JobWeight]) -> PortResult<usize> {
        let now = self.ports.clock.now();
        let mut held: Bytes = weights.iter().map(|weight| weight.bytes).sum();
        let (mut removed, mut uploads) = (0, None);
        for (ended_at, weight) in oldest_first(weights) {
            if !keep.must_go(now, ended_at, held) {
                break;
            }
            let outcome = readable(self.ledger.outcome(weight.job, weight.life).await)?;
            let Some(Ending::Done { files, .. }) = outcome.map(|outcome| outcome.ending) else { continue };
            let uploads = match &mut uploads {
                Some(uploads) => uploads,
                none => none.insert(self.uploads(weights).await?),
            };
            // Copies first: while artifacts are left, the job is found again after a crash.
            let copies = self.own_copies(&weight, ended_at, files, uploads).await?;
            removed += delete(self.ports, &self.site.models, &copies).await?;
            let prefix = format!("{ARTIFACTS_PREFIX}{}/", weight.job);
            let artifacts = list_all(&*self.ports.store, self.ledger.bucket(), &prefix).await?;
            let artifacts: Vec<String> = artifacts.into_iter().map(|object| object.key).collect();
            removed += delete(self.ports, self.ledger.bucket(), &artifacts).await?;
            held = held.saturating_sub(weight.bytes);
            tracing::info!(job = %weight.job, bytes = %weight.bytes, "retention removed a job's files");
        }
        Ok(removed)
    }

    /// The uploads of these jobs: only the names of job records tell.
    async fn uploads(&self, weights: &[JobWeight]) -> PortResult<BTreeMap<JobId, UploadId>> {
        let wanted: BTreeSet<JobId> = weights.iter().map(|weight| weight.job).collect();
        let (mut uploads, mut next) = (BTreeMap::new(), None);
        loop {
            let page = self.ports.store.list(self.ledger.bucket(), JOBS_PREFIX, next).await?;
            for object in page.objects {
                if let Some(StateKey::JobRecord(upload, job)) = parse_state_key(&object.key)
                    && wanted.contains(&job)
                {
                    uploads.insert(job, upload);
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(uploads);
            }
        }
    }

    /// Those of its friendly copies that are still this job's: none once another version of the upload
    /// stands under its key, since that one publishes under the same names; and none that were written
    /// after this job had ended.
    async fn own_copies(
        &self,
        weight: &JobWeight,
        ended_at: Timestamp,
        files: Vec<String>,
        uploads: &BTreeMap<JobId, UploadId>,
    ) -> PortResult<Vec<String>> {
        let Some(upload) = uploads.get(&weight.job) else { return Ok(vec![]) };
        let Some(record) = readable(self.ledger.record(*upload, weight.job).await)? else {
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
        JobWeight { job: JobId([job; 16]), life: Life(0), ended_at, bytes: Bytes(10) }
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
            let keep = Retention { bytes_max, age_max: age_max.map(Duration::from_millis) };
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
