//! Moments of a run at which tests interfere: each is waited for, none is guessed.

use crate::Cluster;
use anyhow::{Context, Result};
use domain::{DEVICES, DeviceEntry, EVENTS, Event, EventKind, JobId, LEASE, Lease, Stage};
use futures::StreamExt;
use harness::{until, until_every};
use std::time::Duration;

/// How long any of them may take to come.
const WITHIN: Duration = Duration::from_secs(120);
/// Time between two looks at the bucket.
const LIST_EVERY: Duration = Duration::from_millis(100);

/// Waits until so many objects that decide something are there: the run is in its middle.
///
/// # Errors
/// They are not there in time, or the store does not answer.
pub async fn in_the_middle(cluster: &Cluster, decided: usize) -> Result<()> {
    until_every(LIST_EVERY, "the middle of the run", WITHIN, async || {
        Ok((cluster.decisions().await? >= decided).then_some(()))
    })
    .await
}

/// How many job records there are.
///
/// # Errors
/// The store does not answer.
pub async fn records(cluster: &Cluster) -> Result<usize> {
    Ok(ports::list_all(&*cluster.ports.store, &cluster.site.state, "j/").await?.len())
}

/// Waits until this stage of one of the jobs is being computed; which one.
///
/// # Errors
/// None is in time, or the log of events cannot be read.
pub async fn computing(cluster: &Cluster, jobs: &[JobId], at: Stage) -> Result<JobId> {
    let mut events = cluster.ports.wire.follow(&EVENTS, "event.*.started", 0).await?;
    let waited = tokio::time::timeout(WITHIN, async {
        while let Some(logged) = events.next().await {
            let event: Event = serde_json::from_slice(&logged?.payload)?;
            let started = matches!(event.kind, EventKind::Started { stage } if stage == at);
            if started && jobs.contains(&event.job) {
                return Ok(event.job);
            }
        }
        anyhow::bail!("the log of events ended")
    });
    waited.await.with_context(|| format!("{at} did not start in time"))?
}

/// The name of the process whose batch has this job.
///
/// # Errors
/// No worker says so.
pub async fn worker_of(cluster: &Cluster, job: JobId) -> Result<String> {
    let entries = cluster.ports.boards.list(&DEVICES).await?;
    let read = entries.iter().map(|entry| serde_json::from_slice::<DeviceEntry>(&entry.value));
    let entries: Vec<DeviceEntry> = read.collect::<Result<_, _>>()?;
    let has = |entry: &&DeviceEntry| entry.running.iter().any(|batch| batch.jobs.contains(&job));
    let entry =
        entries.iter().find(has).with_context(|| format!("no batch with job {job} in {entries:?}"))?;
    process(cluster, &entry.worker.to_string())
}

/// Waits until one of these processes leads as a planner; which one.
///
/// # Errors
/// None does in time.
pub async fn leader(cluster: &Cluster, among: &[&str]) -> Result<String> {
    until("a leading planner", WITHIN, async || {
        let Some(entry) = cluster.ports.boards.read(&LEASE, "planner.0").await? else { return Ok(None) };
        let lease: Lease = serde_json::from_slice(&entry.value)?;
        // One that was started again leaves a lease of a process that is no more.
        let leads = process(cluster, &lease.holder).ok();
        Ok(leads.filter(|leads| among.contains(&leads.as_str())))
    })
    .await
}

/// The process that calls itself so: such a name ends with the number of its process.
fn process(cluster: &Cluster, calls_itself: &str) -> Result<String> {
    let is = |pid: u32| calls_itself.ends_with(&format!("-{pid}"));
    let found = cluster.processes.iter().find(|(_, child)| is(child.pid()));
    found.map(|(name, _)| name.clone()).with_context(|| format!("{calls_itself} is none of ours"))
}
