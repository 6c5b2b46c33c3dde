//! The oracle of every fault test: whatever happened, each accepted upload has exactly one outcome, the
//! expected one, with the files that it names. That the system is at rest then is judged by `rest`.

use crate::Cluster;
use crate::rest::check_rest;
use anyhow::{Context, Result, bail, ensure};
use domain::{Artifact, Ending, JobId, Outcome, Stage, StateKey, parse_state_key};
use harness::until_every;
use ports::{GetOptions, Got, JobState, list_all};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time between two looks at a whole bucket.
pub(crate) const LIST_EVERY: Duration = Duration::from_millis(100);

/// What must become of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A model.
    Done,
    /// A rejection with a reason.
    Rejected,
    /// A dead letter.
    Dead,
    /// Ended by a person or by a newer upload.
    Cancelled,
    /// A model or a cancellation: who was first is a race.
    DoneOrCancelled,
}

/// What must become of all jobs.
pub type Wanted = BTreeMap<JobId, Expect>;

impl Expect {
    fn holds(self, ending: &Ending) -> bool {
        match (self, ending) {
            (Expect::Done | Expect::DoneOrCancelled, Ending::Done { .. }) => true,
            (Expect::Cancelled | Expect::DoneOrCancelled, Ending::Cancelled { .. }) => true,
            (Expect::Rejected, Ending::Rejected { reason }) => !reason.is_empty(),
            (Expect::Dead, Ending::Dead { .. }) => true,
            _ => false,
        }
    }
}

/// Waits until every job has its outcome and nothing is queued, then looks at everything that must hold.
///
/// # Errors
/// What does not hold, in words.
pub async fn check(cluster: &Cluster, wanted: &Wanted, within: Duration) -> Result<()> {
    let outcomes = outcomes(cluster, wanted, within).await?;
    for (job, outcome) in &outcomes {
        let wanted = wanted[job];
        ensure!(wanted.holds(&outcome.ending), "job {job}: wanted {wanted:?}, found {:?}", outcome.ending);
    }
    check_files(cluster, &outcomes).await?;
    check_rest(cluster, wanted, &outcomes, within).await?;
    // The collector has run meanwhile: it took nothing that is needed.
    check_files(cluster, &outcomes).await.context("after a collection")
}

/// Waits until the current life of every job has an outcome.
///
/// # Errors
/// Some have none in time, or an object in the state bucket is not ours.
pub async fn outcomes(
    cluster: &Cluster,
    wanted: &Wanted,
    within: Duration,
) -> Result<BTreeMap<JobId, Outcome>> {
    let mut found: BTreeMap<JobId, Outcome> = BTreeMap::new();
    let waited = until_every(LIST_EVERY, "all outcomes", within, async || {
        // An outage of the store is part of some tests: it is asked again.
        let Ok(objects) = list_all(&*cluster.ports.store, &cluster.site.state, "m/").await else {
            return Ok(None);
        };
        let mut by_job: BTreeMap<JobId, Vec<&str>> = BTreeMap::new();
        for object in &objects {
            match parse_state_key(&object.key) {
                Some(
                    StateKey::Manifest(job, _) | StateKey::Outcome(job, _) | StateKey::LifeStart(job, _),
                ) => {
                    by_job.entry(job).or_default().push(&object.key);
                }
                _ => bail!("{} in the state bucket is not ours", object.key),
            }
        }
        for job in wanted.keys().filter(|job| !found.contains_key(job)).copied().collect::<Vec<_>>() {
            let state = JobState::from_keys(job, by_job.get(&job).into_iter().flatten().copied());
            if state.has_outcome {
                let Ok(outcome) = cluster.ledger.outcome(job, state.life).await else { return Ok(None) };
                found.extend(outcome.map(|outcome| (job, outcome)));
            }
        }
        Ok((found.len() == wanted.len()).then_some(()))
    });
    if let Err(error) = waited.await {
        let missing: Vec<String> =
            wanted.keys().filter(|job| !found.contains_key(job)).map(ToString::to_string).collect();
        bail!("{error:#}: {} of {} jobs have no outcome: {}", missing.len(), wanted.len(), missing.join(" "));
    }
    Ok(found)
}

/// Every artifact that a manifest of a finished job names exists with its hash, and every file that it
/// published is one of those. A key that several versions published has the file of one of them.
async fn check_files(cluster: &Cluster, outcomes: &BTreeMap<JobId, Outcome>) -> Result<()> {
    let mut published: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (job, outcome) in outcomes {
        let Ending::Done { files, unpublished } = &outcome.ending else { continue };
        ensure!(!files.is_empty() || unpublished.is_some(), "job {job} published nothing and says no reason");
        let exported = check_artifacts(cluster, *job).await?;
        for key in files {
            published.entry(key).or_default().extend(exported.iter().cloned());
        }
    }
    for (key, hashes) in published {
        let found = hash(&read(cluster, &cluster.site.models, key).await?);
        ensure!(hashes.contains(&found), "{key} is not what was exported");
    }
    Ok(())
}

/// Hashes of what the job exported.
async fn check_artifacts(cluster: &Cluster, job: JobId) -> Result<BTreeSet<String>> {
    let mut exported: Vec<Artifact> = Vec::new();
    for stage in Stage::ALL {
        let manifest = cluster.ledger.manifest(job, stage).await?;
        let artifacts = manifest.with_context(|| format!("job {job} has no manifest of {stage}"))?.artifacts;
        for artifact in &artifacts {
            let found = read(cluster, &cluster.site.state, &artifact.key).await?;
            ensure!(
                hash(&found) == artifact.sha256.0,
                "{} has another hash than its manifest says",
                artifact.key
            );
        }
        if stage == Stage::Export {
            exported = artifacts;
        }
    }
    ensure!(
        exported.iter().any(|artifact| artifact.name == "preview.png"),
        "job {job} exported {exported:?}"
    );
    Ok(exported.into_iter().map(|artifact| artifact.sha256.0).collect())
}

pub(crate) async fn read(cluster: &Cluster, bucket: &str, key: &str) -> Result<bytes::Bytes> {
    match cluster.ports.store.get(bucket, key, &GetOptions::default()).await? {
        Got::Found(object) => Ok(object.body),
        Got::Absent | Got::Changed => bail!("{key} is not in bucket {bucket}"),
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
