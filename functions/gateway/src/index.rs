//! What is known of all jobs: a fold of the bucket's names and of the events. Names give the truth, events
//! give the moment.

use crate::Gateway;
use domain::{
    EVENTS, Ending, Event, EventKind, JOBS_PREFIX, JobId, JobRecord, Life, MANIFESTS_PREFIX, Outcome, Stage,
    StateKey, Timestamp, UploadId, parse_state_key,
};
use futures::StreamExt;
use ports::{JobState, list_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Jobs that are kept in view; the oldest ended ones drop out first.
const JOBS_MAX: usize = 100_000;
/// Time between two looks at the bucket, for jobs whose events were lost.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// One job in view.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) upload: Option<UploadId>,
    /// The upload's key, once an event or a look into the record told it.
    pub(crate) key: Option<String>,
    pub(crate) seen_at: Timestamp,
    pub(crate) committed: BTreeSet<Stage>,
    /// Stage, fraction and phase of what runs.
    pub(crate) running: Option<(Stage, f32, String)>,
    /// Outcome word and its reason.
    pub(crate) end: Option<(&'static str, Option<String>)>,
    /// The bucket says that there is an outcome; which one is read when somebody asks.
    pub(crate) has_outcome: bool,
    pub(crate) life: u32,
}

impl Known {
    /// As the API says it.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.end, self.has_outcome, &self.running) {
            (Some((word, _)), _, _) => word,
            // Only until somebody asks how; no answer says it.
            (None, true, _) => "ended",
            (None, false, Some(_)) => "running",
            (None, false, None) => "queued",
        }
    }

    /// Whether the bucket knows something that a list shows and nobody has read yet.
    pub(crate) fn is_unread(&self) -> bool {
        let end = self.has_outcome && self.end.is_none();
        end || (self.key.is_none() && self.upload.is_some())
    }

    /// Forgets the moment of an older life.
    fn begin(&mut self, life: u32) {
        if life > self.life {
            (self.life, self.end, self.has_outcome, self.running) = (life, None, false, None);
        }
    }
}

/// As the API says how a job ended: the word, and the reason if there is one.
pub(crate) fn end_of(ending: &Ending) -> (&'static str, Option<String>) {
    let reason = match ending {
        Ending::Done { unpublished, .. } => unpublished.clone(),
        Ending::Rejected { reason } | Ending::Cancelled { reason } => Some(reason.clone()),
        Ending::Dead { stage, error } => Some(format!("{stage}: {error}")),
    };
    (ending.as_str(), reason)
}

/// All jobs in view.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) jobs: BTreeMap<JobId, Known>,
}

pub(crate) type SharedIndex = RwLock<Index>;

impl Index {
    /// Takes an event in.
    pub(crate) fn hear(&mut self, event: &Event) {
        let known = self.jobs.entry(event.job).or_default();
        known.begin(event.life.0);
        if known.seen_at == Timestamp(0) {
            known.seen_at = event.at;
        }
        match &event.kind {
            EventKind::Accepted { key, .. } => known.key = Some(key.clone()),
            EventKind::StageDone { stage } => {
                known.committed.insert(*stage);
                known.running = None;
            }
            // The log is read from its beginning: an old life's end is none.
            _ if event.life.0 < known.life => {}
            EventKind::Started { stage } => known.running = Some((*stage, 0.0, "started".to_owned())),
            EventKind::Progress { stage, fraction, phase } => {
                known.running = Some((*stage, *fraction, phase.clone()));
            }
            EventKind::Finished => known.end = Some(("done", None)),
            EventKind::Rejected { reason } => known.end = Some(("rejected", Some(reason.clone()))),
            EventKind::Dead { stage, error } => known.end = Some(("dead", Some(format!("{stage}: {error}")))),
            EventKind::Cancelled { reason } => known.end = Some(("cancelled", Some(reason.clone()))),
        }
        if known.end.is_some() {
            known.running = None;
        }
        self.trim();
    }

    /// Takes the bucket's names in.
    pub(crate) fn look(&mut self, records: &[(StateKey, Timestamp)], states: &[String]) {
        let mut by_job: BTreeMap<JobId, Vec<&str>> = BTreeMap::new();
        for key in states {
            if let Some(
                StateKey::Manifest(job, _) | StateKey::Outcome(job, _) | StateKey::LifeStart(job, _),
            ) = parse_state_key(key)
            {
                by_job.entry(job).or_default().push(key);
            }
        }
        for (key, at) in records {
            let StateKey::JobRecord(upload, job) = key else { continue };
            let state = JobState::from_keys(*job, by_job.get(job).into_iter().flatten().copied());
            let known = self.jobs.entry(*job).or_default();
            known.upload = Some(*upload);
            if known.seen_at == Timestamp(0) {
                known.seen_at = *at;
            }
            known.begin(state.life.0);
            known.committed.extend(state.committed);
            if state.life.0 == known.life {
                known.has_outcome |= state.has_outcome;
            }
        }
        self.trim();
    }

    /// Takes in what this gateway did itself, before any event tells it.
    pub(crate) fn learn(&mut self, record: &JobRecord) {
        let known = self.jobs.entry(record.job_id()).or_default();
        known.upload = Some(record.upload.id());
        known.key = Some(record.upload.key.clone());
        if known.seen_at == Timestamp(0) {
            known.seen_at = record.accepted_at;
        }
        self.trim();
    }

    /// A next life has begun.
    pub(crate) fn begin(&mut self, job: JobId, life: Life) {
        self.jobs.entry(job).or_default().begin(life.0);
    }

    /// Takes in what was read of a job: its key, and how this life ended. What is gone is not asked for
    /// again.
    pub(crate) fn read(&mut self, job: JobId, life: u32, key: Option<String>, outcome: Option<Outcome>) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        known.key.get_or_insert(key.unwrap_or_default());
        if known.life == life && known.end.is_none() {
            known.end = outcome.map(|outcome| end_of(&outcome.ending));
            known.has_outcome = known.end.is_some();
        }
    }

    /// Jobs behind a place, newest first, and whether there are more. One whose end is not read yet counts
    /// as every kind of end.
    pub(crate) fn page(
        &self,
        after: Option<(u64, JobId)>,
        state: Option<&str>,
        limit: usize,
    ) -> (Vec<(JobId, Known)>, bool) {
        let wanted = |(job, known): &(&JobId, &Known)| {
            let is = known.state();
            after.is_none_or(|after| (known.seen_at.0, **job) < after)
                && state.is_none_or(|state| {
                    is == state || (is == "ended" && !matches!(state, "queued" | "running"))
                })
        };
        let mut found: Vec<(&JobId, &Known)> = self.jobs.iter().filter(wanted).collect();
        found.sort_by_key(|(job, known)| std::cmp::Reverse((known.seen_at.0, **job)));
        let more = found.len() > limit;
        (found.into_iter().take(limit).map(|(job, known)| (*job, known.clone())).collect(), more)
    }

    fn trim(&mut self) {
        while self.jobs.len() > JOBS_MAX {
            let ended = self.jobs.iter().filter(|(_, known)| known.end.is_some() || known.has_outcome);
            let oldest = ended.min_by_key(|(_, known)| known.seen_at).map(|(job, _)| *job);
            let Some(oldest) = oldest.or_else(|| self.jobs.keys().next().copied()) else { return };
            self.jobs.remove(&oldest);
        }
    }
}

/// Looks at the bucket and hears events until the gateway ends.
pub(crate) async fn follow(gateway: Arc<Gateway>) {
    let write = |gateway: &Gateway, event: &Event| {
        gateway.index.write().unwrap_or_else(std::sync::PoisonError::into_inner).hear(event);
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut events = loop {
        match gateway.ports.wire.follow(&EVENTS, "event.>", 0).await {
            Ok(events) => break events,
            Err(error) => tracing::warn!(%error, "follow the events"),
        }
        look.tick().await;
    };
    loop {
        tokio::select! {
            _ = look.tick() => {
                if let Err(error) = look_once(&gateway).await {
                    tracing::debug!(%error, "look at the bucket");
                }
            }
            logged = events.next() => match logged {
                Some(Ok(logged)) => {
                    if let Ok(event) = serde_json::from_slice(&logged.payload) {
                        write(&gateway, &event);
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "follow the events"),
                None => return,
            }
        }
    }
}

async fn look_once(gateway: &Gateway) -> ports::PortResult<()> {
    let (store, bucket) = (&*gateway.ports.store, gateway.ledger.bucket());
    let records = list_all(store, bucket, JOBS_PREFIX).await?;
    let states = list_all(store, bucket, MANIFESTS_PREFIX).await?;
    let parse = |object: ports::Listed| Some((parse_state_key(&object.key)?, object.last_modified));
    let records: Vec<(StateKey, Timestamp)> = records.into_iter().filter_map(parse).collect();
    let states: Vec<String> = states.into_iter().map(|object| object.key).collect();
    gateway.index.write().unwrap_or_else(std::sync::PoisonError::into_inner).look(&records, &states);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{job_record_key, manifest_key, outcome_key};

    fn event(life: u32, kind: EventKind) -> Event {
        Event { job: JobId([1; 16]), life: Life(life), at: Timestamp(9), kind }
    }

    #[test]
    fn a_job_is_followed_through_its_lives() {
        let mut index = Index::default();
        let job = JobId([1; 16]);
        let stage = Stage::Shape;
        let mut check = |event: Event, expect: &str| {
            index.hear(&event);
            assert_eq!(index.jobs[&job].state(), expect);
        };
        check(event(0, EventKind::Accepted { bucket: "b".into(), key: "k".into() }), "queued");
        check(event(0, EventKind::Started { stage }), "running");
        check(event(0, EventKind::StageDone { stage }), "queued");
        check(event(0, EventKind::Dead { stage, error: "e".into() }), "dead");
        check(event(1, EventKind::Started { stage }), "running");
        check(event(1, EventKind::Finished), "done");
        assert_eq!(index.jobs[&job].key.as_deref(), Some("k"));
        // A log that is read again, or late.
        index.hear(&event(0, EventKind::Dead { stage, error: "e".into() }));
        assert_eq!(index.jobs[&job].state(), "done");
    }

    #[test]
    fn an_old_end_in_the_log_does_not_end_the_life_that_the_bucket_tells() {
        let (upload, job, stage) = (UploadId([2; 16]), JobId([1; 16]), Stage::Shape);
        let record = parse_state_key(&job_record_key(upload, job)).expect("our own key");
        let mut index = Index::default();
        let states = [outcome_key(job, Life(0)), domain::life_key(job, Life(1))];
        index.look(&[(record, Timestamp(5))], &states);
        index.hear(&event(0, EventKind::Dead { stage, error: "e".into() }));
        assert_eq!(index.jobs[&job].state(), "queued");
    }

    #[test]
    fn the_bucket_alone_tells_what_no_event_told() {
        let (upload, job) = (UploadId([2; 16]), JobId([1; 16]));
        let record = parse_state_key(&job_record_key(upload, job)).expect("our own key");
        let mut index = Index::default();
        index.look(&[(record.clone(), Timestamp(5))], &[manifest_key(job, Stage::Preprocess)]);
        assert_eq!(index.jobs[&job].state(), "queued");
        assert_eq!(index.jobs[&job].committed.len(), 1);
        index.look(&[(record, Timestamp(5))], &[outcome_key(job, Life(0))]);
        assert_eq!(index.jobs[&job].state(), "ended");
    }
}
