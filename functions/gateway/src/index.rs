//! What is known of all jobs: a fold of the bucket's names and of the events. Names give the truth, events
//! give the moment.

use crate::end::End;
use crate::filter::{Filter, Origin, Origins};
use crate::pace::Pace;
use crate::states::States;
use domain::{DeadLetter, Event, EventKind, JobId, JobRecord, Life, Outcome, Stage, Timestamp, UploadId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Jobs that are kept in view; the oldest ended ones drop out first.
const JOBS_MAX: usize = 100_000;

/// What a job is, as the API says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shown {
    /// Waits for a stage.
    Queued,
    /// A stage is being computed.
    Running,
    /// All files are there.
    Done,
    /// It cannot become a model.
    Rejected,
    /// It was set aside for a person.
    Dead,
    /// A person, or a newer upload, ended it.
    Cancelled,
    /// It has ended, and what says how cannot be read.
    Unreadable,
}

/// One job in view.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) upload: Option<UploadId>,
    /// The upload's key, once an event or a look into the record told it; empty if it cannot be read.
    pub(crate) key: Option<String>,
    pub(crate) origin: Option<Arc<Origin>>,
    /// Its record was looked into, or written here.
    pub(crate) is_recorded: bool,
    /// What of its recipe makes times alike, once somebody read its record.
    pub(crate) kind: Option<String>,
    /// When its record was written, by the store; until the bucket was looked at, when this gateway first
    /// heard of it, which is later.
    pub(crate) seen_at: Timestamp,
    /// The store said when that was: the same in every gateway, so that a cursor of one is good for all.
    pub(crate) is_placed: bool,
    pub(crate) committed: BTreeSet<Stage>,
    /// Stage, fraction and phase of what runs.
    pub(crate) running: Option<(Stage, f32, String)>,
    /// When that began to be computed, as far as events tell.
    pub(crate) started_at: Timestamp,
    pub(crate) end: Option<End>,
    /// The bucket says that there is an outcome; which one is read when somebody asks.
    pub(crate) has_outcome: bool,
    /// Something of it in the bucket is not ours.
    pub(crate) unreadable: bool,
    pub(crate) life: u32,
    /// When it was accepted or its newest stage was done, as events tell; 0 until one does.
    pub(crate) mark: Timestamp,
    /// Place of its newest event in the log.
    pub(crate) told_to: u64,
    /// Life and attempts of its newest dead letter.
    pub(crate) letter: Option<(u32, u32)>,
}

impl Known {
    /// As the API says it; none only until somebody reads how it ended.
    pub(crate) fn state(&self) -> Option<Shown> {
        match (&self.end, self.has_outcome, &self.running) {
            (Some(end), _, _) => Some(end.state),
            (None, true, _) if self.unreadable => Some(Shown::Unreadable),
            (None, true, _) => None,
            (None, false, Some(_)) => Some(Shown::Running),
            (None, false, None) => Some(Shown::Queued),
        }
    }

    /// Whether the bucket knows something that a list shows and nobody has read yet.
    pub(crate) fn is_unread(&self) -> bool {
        self.state().is_none() || (self.key.is_none() && self.upload.is_some())
    }

    /// Whether the bucket knows better what a list shows.
    pub(crate) fn is_rough(&self) -> bool {
        let is_told = self.end.as_ref().is_some_and(|end| end.is_told);
        is_told || self.lacks_kind() || (!self.is_placed && self.upload.is_some())
    }

    /// Whether its record would tell how long it will take.
    pub(crate) fn lacks_kind(&self) -> bool {
        self.kind.is_none() && !self.is_recorded && self.upload.is_some() && !self.has_ended()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some() || self.has_outcome
    }

    /// Where it is: the stage that runs, or the first that is not done; none when all are.
    pub(crate) fn stage(&self) -> Option<Stage> {
        let running = self.running.as_ref().map(|(stage, ..)| *stage);
        let lacking = |stage: &Stage| !self.committed.contains(stage);
        running.filter(lacking).or_else(|| Stage::ALL.into_iter().find(lacking))
    }

    /// How much of its way it has gone, 0 to 1.
    pub(crate) fn fraction(&self) -> f32 {
        let running = self.running.as_ref().filter(|(stage, ..)| !self.committed.contains(stage));
        let running = running.map_or(0.0, |(_, fraction, _)| fraction.clamp(0.0, 1.0));
        (self.committed.len() as f32 + running) / Stage::ALL.len() as f32
    }

    /// Forgets the moment of an older life.
    fn begin(&mut self, life: u32) {
        if life > self.life {
            (self.life, self.end, self.running) = (life, None, None);
            (self.has_outcome, self.unreadable, self.mark) = (false, false, Timestamp(0));
        }
    }

    /// Order of dropping out: ended ones first, then by age.
    fn rank(&self, job: JobId) -> Rank {
        (!self.has_ended(), self.seen_at, job)
    }
}

type Rank = (bool, Timestamp, JobId);

/// A place in the list of jobs, newest first.
pub(crate) type Place = (Timestamp, JobId);

/// All jobs in view.
pub(crate) struct Index {
    pub(crate) jobs: BTreeMap<JobId, Known>,
    /// The log of events was taken in up to here.
    pub(crate) heard_to: u64,
    pub(crate) pace: Pace,
    origins: Origins,
    max: usize,
    /// The last that dropped out: what ranks below it is not taken from the bucket again.
    cut: Option<Rank>,
}

impl Default for Index {
    fn default() -> Index {
        let (jobs, pace, origins) = (BTreeMap::new(), Pace::default(), Origins::default());
        Index { jobs, heard_to: 0, pace, origins, max: JOBS_MAX, cut: None }
    }
}

impl Index {
    /// The log of events was lost and begins anew.
    pub(crate) fn forget_log(&mut self) {
        self.heard_to = 0;
        self.jobs.values_mut().for_each(|known| known.told_to = 0);
    }

    /// Takes an event in.
    pub(crate) fn hear(&mut self, sequence: u64, event: &Event) {
        let known = self.jobs.entry(event.job).or_default();
        known.told_to = sequence;
        known.begin(event.life.0);
        if known.seen_at == Timestamp(0) {
            known.seen_at = event.at;
        }
        match &event.kind {
            EventKind::Accepted { bucket, key, upload } => {
                known.key = Some(key.clone());
                known.origin.get_or_insert_with(|| self.origins.of(bucket, None));
                known.upload = known.upload.or(*upload);
                if known.mark == Timestamp(0) && event.life.0 == known.life {
                    known.mark = event.at;
                }
            }
            EventKind::StageDone { stage } => {
                known.committed.insert(*stage);
                known.running = None;
                if known.mark != Timestamp(0) && event.life.0 == known.life {
                    self.pace.add(*stage, event.at.since(known.mark));
                }
                known.mark = event.at;
            }
            // The log is read from its beginning: an old life's end is none.
            _ if event.life.0 < known.life => {}
            EventKind::Started { stage } => {
                known.running = Some((*stage, 0.0, "started".to_owned()));
                known.started_at = event.at;
            }
            EventKind::Progress { stage, fraction, phase } => {
                if known.running.as_ref().is_none_or(|(running, ..)| running != stage) {
                    known.started_at = event.at;
                }
                known.running = Some((*stage, *fraction, phase.clone()));
            }
            _ if known.end.as_ref().is_none_or(|end| end.is_told) => known.end = End::told(event),
            _ => {}
        }
        if known.has_ended() {
            known.running = None;
        }
        self.trim();
    }

    /// Takes a dead letter in.
    pub(crate) fn hear_letter(&mut self, letter: &DeadLetter) {
        let known = self.jobs.entry(letter.task.job).or_default();
        known.upload = Some(letter.task.upload);
        known.letter = Some((letter.life.0, letter.attempts));
        if known.seen_at == Timestamp(0) {
            known.seen_at = letter.task.accepted_at;
        }
        self.trim();
    }

    /// Takes in what the bucket's names tell: a page of records, and the states of all jobs.
    pub(crate) fn look(&mut self, records: &[(UploadId, JobId, Timestamp)], states: &States) {
        for (upload, job, at) in records {
            let seen = states.of(*job);
            let rank = (!seen.has_outcome, *at, *job);
            if self.cut.is_some_and(|cut| rank <= cut) && !self.jobs.contains_key(job) {
                continue;
            }
            let known = self.jobs.entry(*job).or_default();
            known.upload = Some(*upload);
            (known.seen_at, known.is_placed) = (*at, true);
            known.begin(seen.life);
            known.committed.extend(seen.committed);
            if seen.life == known.life && seen.has_outcome {
                (known.has_outcome, known.running) = (true, None);
            }
        }
        self.trim();
    }

    /// Takes in a record that this gateway wrote or found itself by now, before any event tells it.
    pub(crate) fn learn(&mut self, record: &JobRecord, now: Timestamp) {
        let origin = self.origins.of(&record.upload.bucket, Some(&record.tenant));
        let known = self.jobs.entry(record.job_id()).or_default();
        known.upload = Some(record.upload.id());
        known.key = Some(record.upload.key.clone());
        (known.origin, known.is_recorded) = (Some(origin), true);
        known.kind = Some(record.recipe.kind());
        if known.seen_at == Timestamp(0) {
            known.seen_at = now;
        }
        self.trim();
    }

    /// A next life has begun.
    pub(crate) fn begin(&mut self, job: JobId, life: Life) {
        self.jobs.entry(job).or_default().begin(life.0);
    }

    /// Takes in what was read of a job: its record, when that was written, and how this life ended. What is
    /// gone or not ours is not asked for again.
    pub(crate) fn read(&mut self, job: JobId, life: u32, read: Read) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        if let Some(record) = read.record {
            known.is_recorded = true;
            let origin = record.as_ref().map(|of| self.origins.of(&of.upload.bucket, Some(&of.tenant)));
            known.origin = origin.or(known.origin.take());
            known.kind = record.as_ref().map(|record| record.recipe.kind()).or(known.kind.take());
            known.key.get_or_insert(record.map(|record| record.upload.key).unwrap_or_default());
        }
        if let Some(at) = read.written_at {
            (known.seen_at, known.is_placed) = (at, true);
        }
        if known.life != life {
            return;
        }
        known.unreadable |= read.unreadable;
        match (read.outcome, &mut known.end) {
            (Some(Some(outcome)), end) => *end = Some(End::of(&outcome)),
            (Some(None), Some(end)) => end.is_told = false,
            (Some(None), None) => known.has_outcome &= read.unreadable,
            (None, _) => {}
        }
        if known.has_ended() {
            known.running = None;
        }
    }

    /// Jobs behind a place that a filter takes or may take, newest first, and whether there are more.
    pub(crate) fn page(
        &self,
        after: Option<Place>,
        filter: &Filter,
        limit: usize,
    ) -> (Vec<(JobId, Known)>, bool) {
        let wanted = |job: JobId, known: &Known| {
            after.is_none_or(|after| (known.seen_at, job) < after) && filter.may_take(known)
        };
        let found = self.jobs.iter().filter(|(job, known)| wanted(**job, known));
        let mut found: Vec<Place> = found.map(|(job, known)| (known.seen_at, *job)).collect();
        let more = found.len() > limit;
        if more {
            found.select_nth_unstable_by(limit, |a, b| b.cmp(a));
            found.truncate(limit);
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        let row = |(_, job): Place| Some((job, self.jobs.get(&job)?.clone()));
        (found.into_iter().filter_map(row).collect(), more)
    }

    /// The median time until a job is done, as recent ones went. None for one that has ended.
    pub(crate) fn left(&self, known: &Known, now: Timestamp) -> Option<Duration> {
        if known.has_ended() { None } else { self.pace.left(&known.committed, known.mark, now) }
    }

    /// Lets the lowest ranks go once there are a tenth too many, so that one pass pays for many jobs.
    fn trim(&mut self) {
        if self.jobs.len() <= self.max + self.max / 10 {
            return;
        }
        let excess = self.jobs.len() - self.max;
        let mut ranks: Vec<Rank> = self.jobs.iter().map(|(job, known)| known.rank(*job)).collect();
        let (low, last, _) = ranks.select_nth_unstable(excess - 1);
        self.cut = Some(*last);
        for (_, _, job) in low.iter().chain([&*last]) {
            self.jobs.remove(job);
        }
    }
}

/// What was read of a job in the bucket: none if nobody looked, some none if nothing of ours is there.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) record: Option<Option<JobRecord>>,
    pub(crate) written_at: Option<Timestamp>,
    pub(crate) outcome: Option<Option<Outcome>>,
    /// One of the two is not ours.
    pub(crate) unreadable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Ending, manifest_key, outcome_key};

    const JOB: JobId = JobId([1; 16]);
    const UPLOAD: UploadId = UploadId([2; 16]);

    fn event(life: u32, kind: EventKind) -> Event {
        Event { job: JOB, life: Life(life), at: Timestamp(9), kind }
    }

    fn accepted() -> EventKind {
        EventKind::Accepted { bucket: "b".into(), key: "k".into(), upload: Some(UPLOAD) }
    }

    #[test]
    fn a_job_is_followed_through_its_lives() {
        let mut index = Index::default();
        let stage = Stage::Shape;
        let mut sequence = 0;
        let mut check = |event: Event, expect: Shown| {
            sequence += 1;
            index.hear(sequence, &event);
            assert_eq!(index.jobs[&JOB].state(), Some(expect));
        };
        check(event(0, accepted()), Shown::Queued);
        check(event(0, EventKind::Started { stage }), Shown::Running);
        check(event(0, EventKind::StageDone { stage }), Shown::Queued);
        check(event(0, EventKind::Dead { stage, error: "e".into() }), Shown::Dead);
        check(event(1, EventKind::Started { stage }), Shown::Running);
        check(event(1, EventKind::Finished), Shown::Done);
        // A log that is read again, or late.
        check(event(0, EventKind::Dead { stage, error: "e".into() }), Shown::Done);
        let known = &index.jobs[&JOB];
        assert_eq!((known.key.as_deref(), known.upload, known.told_to), (Some("k"), Some(UPLOAD), 7));
    }

    #[test]
    fn an_old_end_in_the_log_does_not_end_the_life_that_the_bucket_tells() {
        let mut index = Index::default();
        let states = States::from_keys([outcome_key(JOB, Life(0)), domain::life_key(JOB, Life(1))]);
        index.look(&[(UPLOAD, JOB, Timestamp(5))], &states);
        index.hear(1, &event(0, EventKind::Dead { stage: Stage::Shape, error: "e".into() }));
        assert_eq!(index.jobs[&JOB].state(), Some(Shown::Queued));
    }

    #[test]
    fn the_bucket_alone_tells_what_no_event_told() {
        let mut index = Index::default();
        let record = [(UPLOAD, JOB, Timestamp(5))];
        index.look(&record, &States::from_keys([manifest_key(JOB, Stage::Preprocess)]));
        assert_eq!(index.jobs[&JOB].state(), Some(Shown::Queued));
        assert_eq!(index.jobs[&JOB].fraction(), 0.25);
        index.hear(1, &event(0, EventKind::Started { stage: Stage::Shape }));
        index.look(&record, &States::from_keys([outcome_key(JOB, Life(0))]));
        let known = &index.jobs[&JOB];
        assert_eq!((known.state(), known.running.is_none(), known.seen_at), (None, true, Timestamp(5)));
    }

    #[test]
    fn what_was_read_ends_a_job_and_what_cannot_be_read_says_so() {
        let mut index = Index::default();
        index.look(&[(UPLOAD, JOB, Timestamp(5))], &States::from_keys([outcome_key(JOB, Life(0))]));
        let (record, outcome) = (Some(None), Some(None));
        index.read(JOB, 0, Read { record, outcome, unreadable: true, ..Read::default() });
        let known = &index.jobs[&JOB];
        assert_eq!((known.state(), known.is_unread()), (Some(Shown::Unreadable), false));
        index.begin(JOB, Life(1));
        assert_eq!(index.jobs[&JOB].state(), Some(Shown::Queued));
    }

    #[test]
    fn an_outcome_says_better_what_an_event_told() {
        let mut index = Index::default();
        index.hear(1, &event(0, accepted()));
        index.hear(2, &event(0, EventKind::Finished));
        assert!(index.jobs[&JOB].is_rough());
        let unpublished = Some("its name is too long".to_owned());
        let ending = Ending::Done { files: Vec::new(), unpublished: unpublished.clone() };
        let (decided_at, intermediates_expire_at) = (Timestamp(7), Timestamp(8));
        let outcome = Outcome { job: JOB, life: Life(0), ending, decided_at, intermediates_expire_at };
        let (written_at, outcome) = (Some(Timestamp(5)), Some(Some(outcome)));
        index.read(JOB, 0, Read { written_at, outcome, ..Read::default() });
        // A log that is read again.
        index.hear(2, &event(0, EventKind::Finished));
        let known = &index.jobs[&JOB];
        assert_eq!((known.is_rough(), known.seen_at), (false, Timestamp(5)));
        assert_eq!(known.end.as_ref().and_then(End::reason), unpublished);
    }

    #[test]
    fn above_its_bound_the_oldest_ended_jobs_go_and_looks_do_not_bring_them_back() {
        let mut index = Index { max: 100, ..Index::default() };
        let job = |n: u8| JobId([n; 16]);
        let records: Vec<_> = (0..200).map(|n| (UPLOAD, job(n), Timestamp(1_000 + u64::from(n)))).collect();
        // Every second one has ended.
        let ended = (0..200).filter(|n| n % 2 == 0).map(|n| outcome_key(job(n), Life(0)));
        let states = States::from_keys(ended);
        for _ in 0..3 {
            index.look(&records, &states);
            let open = index.jobs.values().filter(|known| !known.has_ended()).count();
            assert_eq!((index.jobs.len(), open), (100, 100));
        }
        // An old job that runs is no litter, and a new one that has ended is news.
        let rows = index.page(None, &Filter::default(), 3).0;
        let newest: Vec<JobId> = rows.into_iter().map(|(job, _)| job).collect();
        assert_eq!(newest, [job(199), job(197), job(195)]);
    }

    #[test]
    fn a_log_that_begins_anew_is_told_from_its_beginning() {
        let mut index = Index { heard_to: 90, ..Index::default() };
        index.hear(90, &event(0, accepted()));
        index.forget_log();
        assert_eq!((index.heard_to, index.jobs[&JOB].told_to), (0, 0));
    }
}
