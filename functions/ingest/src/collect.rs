//! The collector: removes what nothing needs any more. Reads the bucket in 16 parts, so that its memory
//! stays small.
//!
//! Per part: fix the time, LIST `a/`, then LIST `m/`, read what the names do not tell, delete what the plan
//! says. By itself it never deletes job records, manifests, outcomes, or anything in an input bucket but
//! unfinished multipart uploads; retention does where it is told that uploads are its own.

use crate::collect_plan::{
    Answers, ArtifactSeen, Expiry, JobSeen, Litter, artifacts_seen, jobs_seen, plan_collection, questions,
};
use crate::retention::{JobWeight, Retention, Retirer};
use crate::telemetry::count_collected;
use domain::{
    ARTIFACTS_PREFIX, Bytes, Ending, JobId, Life, MANIFESTS_PREFIX, NOTES_KEPT, NOTES_PREFIX, Outcome, Site,
    Stage, Times,
};
use futures::{StreamExt, TryStreamExt, stream};
use ports::{Ledger, PortError, PortResult, Ports, list_all};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::Mutex;

/// Manifests and outcomes read at once.
const READS_AT_ONCE: usize = 16;
/// Most keys that S3 deletes in one request.
const DELETE_AT_ONCE: usize = 1000;
/// A multipart upload that was begun so long ago is not finished any more.
const MULTIPART_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How the collector works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectSettings {
    /// Shortest time between two collections.
    pub every: Duration,
    /// How old an attempt must be before it may go.
    pub grace: Duration,
    /// How much and how long finished jobs keep their files.
    pub retention: Retention,
}

impl CollectSettings {
    /// By the protocol's times, ten sweeps apart, keeping everything.
    pub fn new(times: &Times) -> CollectSettings {
        CollectSettings {
            every: times.sweep_every_min * 10,
            grace: times.grace(),
            retention: Retention::default(),
        }
    }
}

/// Collects one site.
pub struct Collector {
    ports: Ports,
    ledger: Ledger,
    site: Site,
    settings: CollectSettings,
    /// What outcomes said: they never change, so each is read once in a process.
    remembered: Mutex<Answers>,
}

impl Collector {
    /// Of this site.
    pub fn new(ports: Ports, site: Site, settings: CollectSettings) -> Collector {
        let ledger = Ledger::new(ports.store.clone(), &site.state);
        Collector { ports, ledger, site, settings, remembered: Mutex::default() }
    }

    /// One collection. Returns how many objects were removed.
    ///
    /// # Errors
    /// The first one of the store; the next collection begins anew.
    pub async fn collect(&self) -> PortResult<usize> {
        let mut removed = 0;
        let mut weights = Vec::new();
        let mut remembered = self.remembered.lock().await;
        let mut still_needed = Answers::default();
        for part in 0..16 {
            removed += self.collect_part(part, &mut remembered, &mut still_needed, &mut weights).await?;
        }
        *remembered = still_needed;
        if self.settings.retention.is_set() {
            let (ports, grace) = (&self.ports, self.settings.grace);
            let retirer = Retirer { ports, ledger: &self.ledger, site: &self.site, grace };
            let retired = retirer.retire(&self.settings.retention, &weights).await?;
            count_collected("retention", retired);
            removed += retired;
        }
        removed += self.forget_notes().await?;
        self.abort_multipart_uploads().await?;
        Ok(removed)
    }

    /// Notes of calls that nobody repeats any more.
    async fn forget_notes(&self) -> PortResult<usize> {
        let written_before = self.ports.clock.now() - NOTES_KEPT;
        let notes = list_all(&*self.ports.store, self.ledger.bucket(), NOTES_PREFIX).await?;
        let old = notes.into_iter().filter(|note| note.last_modified < written_before);
        let old: Vec<String> = old.map(|note| note.key).collect();
        let forgotten = delete(&self.ports, self.ledger.bucket(), &old).await?;
        count_collected("note", forgotten);
        Ok(forgotten)
    }

    /// One part: jobs whose id begins with this hexadecimal digit.
    async fn collect_part(
        &self,
        part: u8,
        remembered: &mut Answers,
        still_needed: &mut Answers,
        weights: &mut Vec<JobWeight>,
    ) -> PortResult<usize> {
        let (store, bucket, grace) = (&*self.ports.store, self.ledger.bucket(), self.settings.grace);
        let now = self.ports.clock.now();
        let seen =
            artifacts_seen(now, list_all(store, bucket, &format!("{ARTIFACTS_PREFIX}{part:x}")).await?);
        let with_uploads = self.settings.retention.uploads;
        if seen.is_empty() && !with_uploads {
            return Ok(0);
        }
        let jobs = jobs_seen(&list_all(store, bucket, &format!("{MANIFESTS_PREFIX}{part:x}")).await?);
        let answers = self.read(&seen, &jobs, remembered).await?;
        let plan = plan_collection(now, grace, &seen, &jobs, &answers);
        weigh(&seen, &plan, &jobs, weights);
        if with_uploads {
            weigh_bare(&jobs, weights);
        }
        still_needed.expiries.extend(answers.expiries);
        for why in [Litter::Unreferenced, Litter::Marker, Litter::Expired] {
            let keys: Vec<String> =
                plan.iter().filter(|(_, w)| *w == why).map(|(key, _)| key.clone()).collect();
            count_collected(why.as_str(), delete(&self.ports, bucket, &keys).await?);
        }
        if !plan.is_empty() {
            tracing::debug!(objects = plan.len(), part, "collected");
        }
        Ok(plan.len())
    }

    async fn read(
        &self,
        seen: &[ArtifactSeen],
        jobs: &BTreeMap<JobId, JobSeen>,
        remembered: &Answers,
    ) -> PortResult<Answers> {
        let asked = questions(self.settings.grace, seen, jobs);
        let mut winners = stream::iter(asked.winners)
            .map(|(job, stage)| async move {
                let manifest = readable(self.ledger.manifest(job, stage).await)?;
                Ok::<_, PortError>(manifest.map(|manifest| ((job, stage), manifest.attempt)))
            })
            .buffer_unordered(READS_AT_ONCE);
        let mut answers = Answers::default();
        while let Some(winner) = winners.try_next().await? {
            answers.winners.extend(winner);
        }
        let (known, unknown): (Vec<_>, Vec<_>) =
            asked.expiries.into_iter().partition(|of| remembered.expiries.contains_key(of));
        answers.expiries.extend(known.into_iter().map(|of| (of, remembered.expiries[&of])));
        let mut expiries = stream::iter(unknown)
            .map(|(job, life)| async move {
                let outcome = readable(self.ledger.outcome(job, life).await)?;
                Ok::<_, PortError>(outcome.map(|outcome| ((job, life), expiry(&outcome))))
            })
            .buffer_unordered(READS_AT_ONCE);
        while let Some(expiry) = expiries.try_next().await? {
            answers.expiries.extend(expiry);
        }
        Ok(answers)
    }

    async fn abort_multipart_uploads(&self) -> PortResult<()> {
        let begun_before = self.ports.clock.now() - MULTIPART_AGE_MAX;
        for bucket in self.site.buckets() {
            match self.ports.store.abort_uploads(bucket, begun_before).await {
                Ok(many) => count_collected("multipart", many),
                // Least privilege may well not allow it in a bucket of others.
                Err(PortError::Denied(why)) => tracing::debug!(bucket, why, "abort multipart uploads"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn expiry(outcome: &Outcome) -> Expiry {
    let has_result = matches!(outcome.ending, Ending::Done { .. });
    Expiry { at: outcome.intermediates_expire_at, has_result }
}

/// Adds what each job of a part weighs without what goes now.
fn weigh(
    seen: &[ArtifactSeen],
    plan: &[(String, Litter)],
    jobs: &BTreeMap<JobId, JobSeen>,
    weights: &mut Vec<JobWeight>,
) {
    let gone: BTreeSet<&str> = plan.iter().map(|(key, _)| key.as_str()).collect();
    let mut held: BTreeMap<JobId, (usize, Bytes)> = BTreeMap::new();
    for object in seen.iter().filter(|object| !gone.contains(object.key.as_str())) {
        let copies = if object.stage == Stage::Export { object.size } else { Bytes::ZERO };
        let (artifacts, bytes) = held.entry(object.job).or_default();
        (*artifacts, *bytes) = (*artifacts + 1, *bytes + object.size + copies);
    }
    weights.extend(held.into_iter().map(|(job, (artifacts, bytes))| {
        let seen = jobs.get(&job);
        let life = seen.map_or(Life(0), |seen| seen.state.life);
        JobWeight { job, life, ended_at: seen.and_then(|seen| seen.ended_at), artifacts, bytes }
    }));
}

/// Adds the jobs of a part that have no artifacts: each may still hold an upload.
fn weigh_bare(jobs: &BTreeMap<JobId, JobSeen>, weights: &mut Vec<JobWeight>) {
    let weighed: BTreeSet<JobId> = weights.iter().map(|weight| weight.job).collect();
    let bare = jobs.iter().filter(|(job, _)| !weighed.contains(job));
    weights.extend(bare.map(|(job, seen)| JobWeight {
        job: *job,
        life: seen.state.life,
        ended_at: seen.ended_at,
        artifacts: 0,
        bytes: Bytes::ZERO,
    }));
}

/// What was read, or nothing if it is not ours to understand: then nothing is concluded from it.
pub(crate) fn readable<T>(read: PortResult<Option<T>>) -> PortResult<Option<T>> {
    match read {
        Err(PortError::Invalid(why)) => {
            tracing::warn!(why, "the collector leaves a job alone");
            Ok(None)
        }
        read => read,
    }
}

/// Deletes any number of objects; returns how many.
pub(crate) async fn delete(ports: &Ports, bucket: &str, keys: &[String]) -> PortResult<usize> {
    for keys in keys.chunks(DELETE_AT_ONCE) {
        ports.store.delete(bucket, keys).await?;
    }
    Ok(keys.len())
}
