//! The sweep's decision (step R of the protocol): what nothing in the queue would finish. Pure.
//!
//! A job is 40 bytes here and an upload that is known is none, so that a bucket of a million uploads fits.

use domain::{JobId, Site, Stage, StateKey, Timestamp, Upload, UploadId, parse_state_key};
use ports::{JobState, Listed};
use std::time::Duration;

/// A job record, as a LIST shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordSeen {
    /// The upload.
    pub upload: UploadId,
    /// The job.
    pub job: JobId,
    /// When it was written, by the store's clock.
    pub written_at: Timestamp,
}

/// All job records of a LIST of `j/`, in the order of uploads.
#[derive(Clone, Debug, Default)]
pub struct Records(Vec<RecordSeen>);

impl Records {
    /// Adds what a page shows; foreign names are ignored.
    pub fn add(&mut self, page: &[Listed]) {
        self.0.extend(page.iter().filter_map(|object| match parse_state_key(&object.key) {
            Some(StateKey::JobRecord(upload, job)) => {
                Some(RecordSeen { upload, job, written_at: object.last_modified })
            }
            _ => None,
        }));
    }

    /// To be called after the last page.
    pub fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// Whether the upload has a record of its own, whatever its recipe: an upload accepted under an earlier
    /// default recipe is known. A record beside it does not count, and its key tells that it is one.
    pub fn knows(&self, upload: UploadId) -> bool {
        let at = self.0.partition_point(|record| record.upload < upload);
        let of_it = self.0[at..].iter().take_while(|record| record.upload == upload);
        of_it.into_iter().any(|record| !record.job.is_beside())
    }
}

/// What each job needs next, from a LIST of `m/`; jobs are adjacent there, so only one is held by name at a
/// time.
#[derive(Clone, Debug, Default)]
pub struct States {
    /// Sorted; none for a job whose current life has an outcome.
    next: Vec<(JobId, Option<Stage>)>,
    open: Option<(JobId, Vec<String>)>,
}

impl States {
    /// Adds what a page shows; foreign names are ignored.
    pub fn add(&mut self, page: Vec<Listed>) {
        for object in page {
            let job = match parse_state_key(&object.key) {
                Some(
                    StateKey::Manifest(job, _) | StateKey::Outcome(job, _) | StateKey::LifeStart(job, _),
                ) => job,
                _ => continue,
            };
            match &mut self.open {
                Some((open, keys)) if *open == job => keys.push(object.key),
                _ => {
                    self.close();
                    self.open = Some((job, vec![object.key]));
                }
            }
        }
    }

    /// To be called after the last page.
    pub fn sort(&mut self) {
        self.close();
        self.next.sort_unstable();
    }

    fn close(&mut self) {
        if let Some((job, keys)) = self.open.take() {
            let state = JobState::from_keys(job, keys.iter().map(String::as_str));
            self.next.push((job, (!state.has_outcome).then(|| state.next_stage())));
        }
    }

    /// The stage that a job needs next; none if its current life has ended.
    pub fn next_stage(&self, job: JobId) -> Option<Stage> {
        match self.next.binary_search_by_key(&job, |(job, _)| *job) {
            Ok(at) => self.next[at].1,
            Err(_) => Some(Stage::Preprocess),
        }
    }
}

/// What a sweep does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepAction {
    /// An upload without record: accept it (I1).
    Accept(Upload),
    /// A job without outcome: queue this stage. A task that is queued already makes it harmless.
    Queue {
        /// The upload, for the record's key.
        upload: UploadId,
        /// The job.
        job: JobId,
        /// What it needs next.
        stage: Stage,
    },
}

/// Uploads of one page of an input bucket that have no record of their own. Their age does not matter: if
/// their event is on its way, one of the two finds the other's record.
pub fn plan_uploads(site: &Site, bucket: &str, page: Vec<Listed>, records: &Records) -> Vec<SweepAction> {
    let is_folder = |object: &Listed| object.key.ends_with('/');
    let uploads = page.into_iter().filter(|object| !is_folder(object)).map(|object| Upload {
        store: site.store.clone(),
        bucket: bucket.to_owned(),
        key: object.key,
        version_id: None,
        etag: object.etag,
        size_bytes: object.size,
        last_modified_s: object.last_modified.whole_seconds(),
    });
    uploads.filter(|upload| !records.knows(upload.id())).map(SweepAction::Accept).collect()
}

/// Jobs whose current life has no outcome and whose record is at least `age_min` old.
pub fn plan_jobs(now: Timestamp, age_min: Duration, records: &Records, states: &States) -> Vec<SweepAction> {
    let old = records.0.iter().filter(|record| now.since(record.written_at) >= age_min);
    old.filter_map(|record| {
        let stage = states.next_stage(record.job)?;
        Some(SweepAction::Queue { upload: record.upload, job: record.job, stage })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Bytes, Life, job_record_key, life_key, manifest_key, outcome_key};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn site() -> Site {
        Site::simple("minio".parse().expect("a store name"))
    }

    fn listed(key: &str, at: u64) -> Listed {
        Listed { key: key.to_owned(), etag: "e".to_owned(), size: Bytes(3), last_modified: Timestamp(at) }
    }

    fn upload(key: &str) -> UploadId {
        let mut actions = plan_uploads(&site(), "uploads", vec![listed(key, 5_500)], &Records::default());
        match actions.pop() {
            Some(SweepAction::Accept(upload)) => upload.id(),
            other => panic!("{other:?}"),
        }
    }

    fn records(of: &[(UploadId, JobId, u64)]) -> Records {
        let mut records = Records::default();
        for (upload, job, at) in of {
            records.add(&[listed(&job_record_key(*upload, *job), *at)]);
        }
        records.sort();
        records
    }

    fn states(keys: &[String]) -> States {
        let mut keys: Vec<String> = keys.to_vec();
        keys.sort();
        let mut states = States::default();
        keys.into_iter().for_each(|key| states.add(vec![listed(&key, 0)]));
        states.sort();
        states
    }

    #[test]
    fn an_upload_is_accepted_unless_it_has_a_record_of_its_own() {
        let (own, beside) = (JobId([8; 16]), JobId([9; 16]));
        assert!(beside.is_beside() && !own.is_beside());
        let known = records(&[
            (upload("known.png"), beside, 0),
            (upload("known.png"), own, 0),
            (upload("behind.png"), beside, 0),
            (upload("z.png"), own, 0),
        ]);
        // 5,999 ms is the same second as 5,500 ms: all that a HEAD tells.
        let names = [("behind.png", 5_500), ("folder/", 0), ("known.png", 5_999), ("new.png", 5_500)];
        let page = names.map(|(key, at)| listed(key, at)).to_vec();
        let actions = plan_uploads(&site(), "uploads", page, &known);
        let [SweepAction::Accept(behind), SweepAction::Accept(new)] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        assert_eq!((new.key.as_str(), new.id()), ("new.png", upload("new.png")));
        assert_eq!(behind.key, "behind.png");
    }

    #[test]
    fn a_job_is_queued_at_the_stage_it_needs_unless_it_is_young_or_ended() {
        let jobs: Vec<JobId> = (1..=6).map(|n| JobId([n; 16])).collect();
        let up = |n: u8| UploadId([n; 16]);
        let old = 1_000_000 - 120_000;
        let records = records(&[
            (up(1), jobs[0], old),     // nothing committed
            (up(2), jobs[1], old + 1), // too young
            (up(3), jobs[2], old),     // shape is next
            (up(4), jobs[3], old),     // ended
            (up(5), jobs[4], old),     // ended once, lives again
            (up(6), jobs[5], old),     // all committed, copies or outcome missing
        ]);
        let mut keys = vec![
            manifest_key(jobs[2], Stage::Preprocess),
            outcome_key(jobs[3], Life(0)),
            outcome_key(jobs[4], Life(0)),
            life_key(jobs[4], Life(1)),
            "m/foreign".to_owned(),
        ];
        keys.extend(Stage::ALL.map(|stage| manifest_key(jobs[5], stage)));
        let actions = plan_jobs(NOW, Duration::from_secs(120), &records, &states(&keys));
        let queue = |n: usize, stage| SweepAction::Queue { upload: up(n as u8 + 1), job: jobs[n], stage };
        let expect = [
            queue(0, Stage::Preprocess),
            queue(2, Stage::Shape),
            queue(4, Stage::Preprocess),
            queue(5, Stage::Export),
        ];
        assert_eq!(actions, expect);
    }

    #[test]
    fn at_the_start_even_the_youngest_job_is_queued() {
        let records = records(&[(UploadId([1; 16]), JobId([1; 16]), NOW.0 + 500)]);
        assert_eq!(plan_jobs(NOW, Duration::ZERO, &records, &states(&[])).len(), 1);
    }
}
