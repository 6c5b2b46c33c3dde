//! A system at rest: nothing is queued, sweeps find nothing, no object is left over, nothing was written
//! twice, dead letters are those of dead jobs, and the gateway says what the bucket says.

use crate::Cluster;
use crate::oracle::{LIST_EVERY, Wanted};
use anyhow::{Context, Result, bail, ensure};
use domain::{Consumer, DEAD, DeadLetter, Ending, JobId, Life, Outcome, Stage, StateKey, parse_state_key};
use futures::StreamExt;
use harness::{output, until, until_every};
use ports::list_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a log or a gateway may take to show what is long decided.
const SOON: Duration = Duration::from_secs(60);

/// Waits until nothing is queued, then looks at everything that must hold of a system at rest.
pub(crate) async fn check_rest(
    cluster: &Cluster,
    wanted: &Wanted,
    outcomes: &BTreeMap<JobId, Outcome>,
    within: Duration,
) -> Result<()> {
    wait_for_rest(cluster, within).await?;
    for collect in [false, true] {
        let answer = cluster.sweep(collect).await?;
        let count = |name: &str| answer[name].as_u64().unwrap_or_default();
        ensure!(answer["error"].is_null() && count("failed") == 0, "a sweep failed: {answer}");
        ensure!(answer["queued"].is_u64() && answer["accepted"].is_u64(), "a sweep did not count: {answer}");
        let found = count("queued") + count("accepted");
        ensure!(found == 0, "a sweep after the end found work: {answer}");
        ensure!(answer["collected"].is_u64() == collect, "asked to collect? {collect}: {answer}");
    }
    check_records(cluster, wanted).await?;
    check_written_once(cluster).await?;
    check_dead_letters(cluster).await?;
    check_litter(cluster).await?;
    check_gateway(cluster, outcomes).await
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
async fn check_records(cluster: &Cluster, wanted: &Wanted) -> Result<()> {
    let mut jobs = BTreeSet::new();
    for object in list_all(&*cluster.ports.store, &cluster.site.state, "j/").await? {
        match parse_state_key(&object.key) {
            Some(StateKey::JobRecord(_, job)) => ensure!(jobs.insert(job), "two records of job {job}"),
            _ => bail!("{} in the state bucket is not ours", object.key),
        }
    }
    let unexpected: Vec<_> = jobs.iter().filter(|job| !wanted.contains_key(job)).collect();
    ensure!(unexpected.is_empty(), "jobs that nobody expects: {unexpected:?}");
    let missing: Vec<_> = wanted.keys().filter(|job| !jobs.contains(job)).collect();
    ensure!(missing.is_empty(), "jobs without a record: {missing:?}");
    Ok(())
}

/// The state bucket keeps versions in tests: whatever decides a job has exactly one.
async fn check_written_once(cluster: &Cluster) -> Result<()> {
    for prefix in ["j/", "m/"] {
        let mut aws = cluster.stack.minio.endpoint().aws()?;
        aws.args(["s3api", "list-object-versions", "--output", "json", "--bucket"]);
        aws.arg(&cluster.site.state).args(["--prefix", prefix]);
        let text = output(aws, Duration::from_secs(120)).await?;
        let listed: serde_json::Value = serde_json::from_str(&text).context("read a list of versions")?;
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

/// The lives that ended dead are those of which a letter tells, no more and no fewer.
async fn check_dead_letters(cluster: &Cluster) -> Result<()> {
    let mut dead = BTreeSet::new();
    for object in list_all(&*cluster.ports.store, &cluster.site.state, "m/").await? {
        let Some(StateKey::Outcome(job, life)) = parse_state_key(&object.key) else { continue };
        let outcome = cluster.ledger.outcome(job, life).await?.with_context(|| object.key.clone())?;
        if matches!(outcome.ending, Ending::Dead { .. }) {
            dead.insert((job, life));
        }
    }
    let letters: BTreeSet<(JobId, Life)> =
        dead_letters(cluster).await?.into_iter().map(|letter| (letter.task.job, letter.life)).collect();
    ensure!(letters == dead, "dead lives {dead:?}, but letters tell of {letters:?}");
    Ok(())
}

/// All dead letters, repeated ones too.
async fn dead_letters(cluster: &Cluster) -> Result<Vec<DeadLetter>> {
    let range = cluster.ports.wire.range(&DEAD).await?;
    let mut letters = Vec::new();
    if range.is_empty() {
        return Ok(letters);
    }
    let mut log = cluster.ports.wire.follow(&DEAD, "dead.>", 0).await?;
    let reading = tokio::time::timeout(SOON, async {
        while let Some(logged) = log.next().await {
            let logged = logged?;
            letters.push(serde_json::from_slice(&logged.payload).context("read a dead letter")?);
            if logged.sequence >= range.last {
                return Ok(());
            }
        }
        bail!("the log of dead letters ended")
    });
    reading.await.context("read the dead letters")??;
    Ok(letters)
}

/// A collector to which nothing is too young leaves only what a manifest names: nothing computes any more,
/// so nothing else will ever be named.
async fn check_litter(cluster: &Cluster) -> Result<()> {
    let collector = cluster.collector(Duration::ZERO);
    let mut left = Vec::new();
    // A straggler of a lost broker may still store what nobody waits for.
    let waited = until_every(LIST_EVERY, "a clean bucket", SOON, async || {
        collector.collect().await?;
        left = cluster.unreferenced().await?;
        Ok(left.is_empty().then_some(()))
    });
    let waited = waited.await;
    waited.with_context(|| format!("objects that no manifest names: {left:?}"))
}

/// The gateway shows each job as the bucket has it, alone and in its list.
async fn check_gateway(cluster: &Cluster, outcomes: &BTreeMap<JobId, Outcome>) -> Result<()> {
    let (http, url) = (cluster.http(), cluster.gateway_url()?);
    for (job, outcome) in outcomes {
        let answer = http.get(format!("{url}/api/jobs/{job}")).send().await?;
        let answer = answer.error_for_status().with_context(|| format!("show job {job}"))?;
        let shown: serde_json::Value = answer.json().await?;
        let ends = (shown["state"].as_str(), shown["life"].as_u64());
        let wanted = (Some(name(&outcome.ending)), Some(u64::from(outcome.life.0)));
        ensure!(ends == wanted, "the gateway shows {ends:?} of job {job}, the bucket has {wanted:?}");
    }
    let wanted: BTreeMap<String, &str> =
        outcomes.iter().map(|(job, outcome)| (job.to_string(), name(&outcome.ending))).collect();
    let mut listed = BTreeMap::new();
    let waited = until_every(LIST_EVERY, "the gateway's list", SOON, async || {
        listed = list_jobs(&http, &url).await?;
        Ok(listed
            .iter()
            .map(|(job, state)| (job, state.as_str()))
            .eq(wanted.iter().map(|(j, s)| (j, *s)))
            .then_some(()))
    });
    let waited = waited.await;
    waited.with_context(|| format!("the gateway lists {listed:?}, the bucket has {wanted:?}"))
}

/// State of every job that the gateway lists, page by page.
async fn list_jobs(http: &reqwest::Client, url: &str) -> Result<BTreeMap<String, String>> {
    let (mut jobs, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let answer = http.get(format!("{url}/api/jobs?limit=200{cursor}")).send().await?;
        let page: serde_json::Value = answer.error_for_status()?.json().await?;
        for job in page["jobs"].as_array().context("a list without jobs")? {
            let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
            ensure!(jobs.insert(text("id"), text("state")).is_none(), "{} is listed twice", text("id"));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(jobs),
        }
    }
}

/// As the gateway names an ending.
fn name(ending: &Ending) -> &'static str {
    match ending {
        Ending::Done { .. } => "done",
        Ending::Rejected { .. } => "rejected",
        Ending::Dead { .. } => "dead",
        Ending::Cancelled { .. } => "cancelled",
    }
}
