//! The oracle of every fault test: whatever happened, each accepted upload has exactly one outcome, the
//! expected one, and the system is at rest.

use crate::Cluster;
use anyhow::{Context, Result, bail, ensure};
use domain::{Consumer, DEAD, Ending, JobId, Manifest, Outcome, Stage, StateKey, parse_state_key};
use harness::until;
use ports::{GetOptions, Got, JobState, list_all};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
pub async fn check(cluster: &Cluster, expect: &BTreeMap<JobId, Expect>, within: Duration) -> Result<()> {
    let outcomes = wait_for_outcomes(cluster, expect, within).await?;
    for (job, outcome) in &outcomes {
        let wanted = expect[job];
        ensure!(wanted.holds(&outcome.ending), "job {job}: wanted {wanted:?}, found {:?}", outcome.ending);
        if matches!(outcome.ending, Ending::Done { .. }) {
            check_files(cluster, *job, outcome).await?;
        }
    }
    wait_for_rest(cluster, within).await?;
    for sweep in ["first", "second"] {
        let answer = cluster.sweep().await?;
        let queued = answer["queued"].as_u64().context("a sweep says how many it queued")?;
        let accepted = answer["accepted"].as_u64().context("a sweep says how many it accepted")?;
        ensure!(queued + accepted == 0, "the {sweep} sweep after the end still found work: {answer}");
    }
    check_records(cluster, expect).await?;
    check_written_once(cluster).await?;
    let dead = outcomes.values().filter(|o| matches!(o.ending, Ending::Dead { .. })).count();
    let letters = cluster.ports.wire.last_sequence(&DEAD).await?;
    ensure!(dead as u64 <= letters, "{dead} dead outcomes and only {letters} dead letters");
    Ok(())
}

async fn wait_for_outcomes(
    cluster: &Cluster,
    expect: &BTreeMap<JobId, Expect>,
    within: Duration,
) -> Result<BTreeMap<JobId, Outcome>> {
    let mut found: BTreeMap<JobId, Outcome> = BTreeMap::new();
    let waited = until("all outcomes", within, async || {
        // An outage of the store is part of some tests: it is asked again.
        let Ok(objects) = list_all(&*cluster.ports.store, &cluster.site.state, "m/").await else {
            return Ok(None);
        };
        let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        let mut by_job: BTreeMap<JobId, Vec<&str>> = BTreeMap::new();
        for key in keys {
            match parse_state_key(key) {
                Some(
                    StateKey::Manifest(job, _) | StateKey::Outcome(job, _) | StateKey::LifeStart(job, _),
                ) => {
                    by_job.entry(job).or_default().push(key);
                }
                _ => bail!("{key} in the state bucket is not ours"),
            }
        }
        for job in expect.keys().filter(|job| !found.contains_key(job)).copied().collect::<Vec<_>>() {
            let state = JobState::from_keys(job, by_job.get(&job).into_iter().flatten().copied());
            if state.has_outcome {
                let Ok(outcome) = cluster.ledger.outcome(job, state.life).await else { return Ok(None) };
                found.extend(outcome.map(|outcome| (job, outcome)));
            }
        }
        Ok((found.len() == expect.len()).then_some(()))
    });
    if let Err(error) = waited.await {
        let missing: Vec<String> =
            expect.keys().filter(|job| !found.contains_key(job)).map(ToString::to_string).collect();
        bail!("{error}: {} of {} jobs have no outcome: {}", missing.len(), expect.len(), missing.join(" "));
    }
    Ok(found)
}

/// Every artifact that a manifest names exists with its hash, and every published file too.
async fn check_files(cluster: &Cluster, job: JobId, outcome: &Outcome) -> Result<()> {
    let mut exported: BTreeMap<String, String> = BTreeMap::new();
    for stage in Stage::ALL {
        let manifest: Manifest =
            cluster.ledger.manifest(job, stage).await?.with_context(|| format!("no manifest of {stage}"))?;
        for artifact in &manifest.artifacts {
            let found = read(cluster, &cluster.site.state, &artifact.key).await?;
            ensure!(
                hash(&found) == artifact.sha256.0,
                "{} has another hash than its manifest says",
                artifact.key
            );
            if stage == Stage::Export {
                exported.insert(artifact.name.clone(), artifact.sha256.0.clone());
            }
        }
    }
    ensure!(exported.contains_key("model.glb"), "job {job} exported {:?}", exported.keys());
    if let Ending::Done { files, unpublished } = &outcome.ending {
        ensure!(!files.is_empty() || unpublished.is_some(), "job {job} published nothing and says no reason");
        for key in files {
            read(cluster, &cluster.site.models, key).await?;
        }
    }
    Ok(())
}

async fn read(cluster: &Cluster, bucket: &str, key: &str) -> Result<bytes::Bytes> {
    match cluster.ports.store.get(bucket, key, &GetOptions::default()).await? {
        Got::Found(object) => Ok(object.body),
        Got::Absent | Got::Changed => bail!("{key} is not in bucket {bucket}"),
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// No task waits or is in flight, no event either.
async fn wait_for_rest(cluster: &Cluster, within: Duration) -> Result<()> {
    let mut consumers = vec![Consumer::Uploads(cluster.site.store.clone())];
    for stage in Stage::ALL {
        for tenant in cluster.site.tenants() {
            consumers.extend(domain::Class::ALL.map(|class| Consumer::Tasks(stage, class, tenant.clone())));
        }
    }
    until("empty queues", within, async || {
        for consumer in &consumers {
            let Ok(backlog) = cluster.ports.queue.backlog(consumer).await else { return Ok(None) };
            if backlog.waiting + backlog.in_flight > 0 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// No upload has more than one job, and no job is unexpected.
async fn check_records(cluster: &Cluster, expect: &BTreeMap<JobId, Expect>) -> Result<()> {
    let mut jobs = BTreeSet::new();
    for object in list_all(&*cluster.ports.store, &cluster.site.state, "j/").await? {
        match parse_state_key(&object.key) {
            Some(StateKey::JobRecord(_, job)) => ensure!(jobs.insert(job), "two records of job {job}"),
            _ => bail!("{} in the state bucket is not ours", object.key),
        }
    }
    let unexpected: Vec<_> = jobs.iter().filter(|job| !expect.contains_key(job)).collect();
    ensure!(unexpected.is_empty(), "jobs that nobody expects: {unexpected:?}");
    Ok(())
}

/// The state bucket keeps versions in tests: whatever decides a job has exactly one.
async fn check_written_once(cluster: &Cluster) -> Result<()> {
    for prefix in ["j/", "m/"] {
        let mut aws = cluster.stack.minio.endpoint().aws()?;
        aws.args(["s3api", "list-object-versions", "--output", "json", "--bucket"]);
        aws.arg(&cluster.site.state).args(["--prefix", prefix]);
        let text = harness::output(aws, Duration::from_secs(120)).await?;
        let listed: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for version in listed["Versions"].as_array().into_iter().flatten() {
            let key = version["Key"].as_str().unwrap_or_default().to_owned();
            ensure!(seen.insert(key.clone()), "{key} was written more than once");
        }
        ensure!(!seen.is_empty(), "no versions below {prefix}: the check looked at nothing");
        let deleted = listed["DeleteMarkers"].as_array().map_or(0, Vec::len);
        ensure!(deleted == 0, "{deleted} objects below {prefix} were deleted");
    }
    Ok(())
}
