//! Whatever is killed, cut or lost in mid-run: each upload ends once, as expected, and the system comes to
//! rest.

use anyhow::{Context, Result};
use domain::{DEVICES, DeviceEntry, EVENTS, Stage, StateKey, parse_state_key};
use e2e::{Cluster, Expect, Setup, Wanted, check, outcomes, picture};
use futures::StreamExt;
use harness::{Signal, until, until_every};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);
const UPLOADS: u32 = 24;

/// Waits until so many objects that decide something are there: the run is in its middle.
async fn in_the_middle(cluster: &Cluster, decided: usize) -> Result<()> {
    let every = Duration::from_millis(100);
    until_every(every, "the middle of the run", WITHIN, async || {
        Ok((cluster.decisions().await? >= decided).then_some(()))
    })
    .await
}

/// Waits until a worker has started a batch; which one.
async fn in_mid_batch(cluster: &Cluster) -> Result<&'static str> {
    let mut events = cluster.ports.wire.follow(&EVENTS, "event.*.started", 0).await?;
    let waited = tokio::time::timeout(WITHIN, async {
        while let Some(started) = events.next().await {
            started?;
            for worker in ["worker-a", "worker-b"] {
                let process = cluster.processes.get(worker).context("a worker")?.pid();
                let entries = cluster.ports.boards.list(&DEVICES).await?;
                let read = entries.iter().map(|entry| serde_json::from_slice::<DeviceEntry>(&entry.value));
                let entries: Vec<DeviceEntry> = read.collect::<Result<_, _>>()?;
                let name = format!("-{process}");
                let busy = |entry: &DeviceEntry| {
                    entry.worker.to_string().ends_with(&name) && !entry.running.is_empty()
                };
                if entries.iter().any(busy) {
                    return Ok(worker);
                }
            }
        }
        anyhow::bail!("the log of events ended")
    });
    waited.await.context("no worker was seen in a batch")?
}

/// A whole run with a fault in its middle.
async fn survives(setup: Setup, fault: impl AsyncFnOnce(&mut Cluster) -> Result<()>) {
    let mut cluster = Cluster::start(setup).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    in_the_middle(&cluster, 12).await.expect("the middle");
    fault(&mut cluster).await.expect("the fault");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// How many job records there are.
async fn records(cluster: &Cluster) -> Result<usize> {
    Ok(ports::list_all(&*cluster.ports.store, &cluster.site.state, "j/").await?.len())
}

async fn kill_and_restart(cluster: &mut Cluster, name: &str) -> Result<()> {
    cluster.kill(name)?;
    cluster.restart(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_and_gateway_may_be_killed() {
    survives(Setup::default(), async |cluster| {
        kill_and_restart(cluster, "ingest").await?;
        kill_and_restart(cluster, "gateway").await?;
        // The oracle asks it of every job.
        cluster.ready("gateway").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_may_be_killed_and_its_window_is_delivered_again() {
    survives(Setup::default(), async |cluster| kill_and_restart(cluster, "planner").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_may_be_killed_for_good() {
    survives(Setup::default(), async |cluster| {
        let worker = in_mid_batch(cluster).await?;
        cluster.kill(worker)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_may_be_killed_and_cost_nobody_else_anything() {
    survives(Setup::default(), async |cluster| {
        let mut killed = 0;
        for _ in 0..5 {
            for worker in ["worker-a", "worker-b"] {
                let worker = cluster.processes.get(worker).context("a worker")?.pid();
                for runner in harness::children(worker)? {
                    // One that has ended meanwhile cannot be killed.
                    killed += usize::from(harness::kill(runner, Signal::KILL).is_ok());
                }
            }
            // Each death is one of its own: the run has gone on after the last one.
            in_the_middle(cluster, cluster.decisions().await? + 4).await?;
        }
        anyhow::ensure!(killed >= 5, "only {killed} runners were killed: the test looked at nothing");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_be_killed() {
    survives(Setup::default(), async |cluster| {
        cluster.stack.nats.kill()?;
        cluster.stack.nats.restart().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_may_be_killed() {
    survives(Setup::default(), async |cluster| {
        cluster.stack.minio.kill()?;
        cluster.stack.minio.restart().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_of_jetstream_may_be_lost() {
    survives(Setup::default(), async |cluster| {
        cluster.stack.nats.kill()?;
        cluster.stack.nats.lose_store()?;
        cluster.stack.nats.restart().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_may_be_lost_and_the_sweep_finds_the_uploads() {
    let cluster = Cluster::start(Setup { events: false, ..Setup::default() }).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("silent", 12, &mut wanted).await.expect("uploads");
    cluster.sweep(false).await.expect("an answer");
    // By this sweep or by the periodic one.
    assert_eq!(records(&cluster).await.expect("a LIST"), 12);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_planners_and_rolling_restarts_lose_and_repeat_nothing() {
    // A busy machine may stop a process for longer than the shortest ack wait; that would be work done twice.
    let more = vec![("planner-b", &["planner"][..])];
    let setup = Setup { more, times_divided_by: 2, ..Setup::default() };
    let mut cluster = Cluster::start(setup).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    in_the_middle(&cluster, 12).await.expect("the middle");
    for round in 0..4 {
        for name in ["planner", "worker-a", "ingest", "worker-b", "planner-b"] {
            let child = cluster.processes.get_mut(name).expect("a process");
            child.terminate().expect("a signal");
            let ended = child.wait(WITHIN).await.unwrap_or_else(|error| panic!("drain {name}: {error:#}"));
            assert!(ended.success(), "{name} ended with {ended} in round {round}");
            cluster.restart(name).expect("a start");
            cluster.ready(name).await.expect("a start");
        }
    }
    outcomes(&cluster, &wanted, WITHIN).await.expect("outcomes");
    // Before the oracle's collection takes what repeated work would have left.
    let repeated = repeated(&cluster).await.expect("a LIST");
    assert!(repeated.is_empty(), "work was done twice: {repeated:?}");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// Stages of jobs at which more than one attempt left something, a marker included.
async fn repeated(cluster: &Cluster) -> Result<Vec<String>> {
    let mut attempts: BTreeMap<(domain::JobId, Stage), BTreeSet<domain::AttemptId>> = BTreeMap::new();
    for object in ports::list_all(&*cluster.ports.store, &cluster.site.state, "a/").await? {
        match parse_state_key(&object.key) {
            Some(StateKey::Artifact(job, stage, at, _) | StateKey::AttemptMarker(job, stage, at)) => {
                attempts.entry((job, stage)).or_default().insert(at);
            }
            _ => anyhow::bail!("{} is not ours", object.key),
        }
    }
    anyhow::ensure!(!attempts.is_empty(), "no attempts: the look was at nothing");
    let several = attempts.into_iter().filter(|(_, attempts)| attempts.len() > 1);
    Ok(several.map(|((job, stage), attempts)| format!("{job} {stage}: {}", attempts.len())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_overwritten_while_its_job_runs_ends_with_the_newer_model_published() {
    let cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    let mut last = None;
    for seed in 0..4 {
        cluster.put(picture(100 + seed), "same.png").await.expect("an upload");
        let job = cluster.job("same.png").await.expect("an upload");
        if let Some(older) = last.replace(job) {
            wanted.insert(older, Expect::DoneOrCancelled);
        }
        in_the_middle(&cluster, 1 + 2 * seed as usize).await.expect("some progress");
    }
    let newest = last.expect("four uploads");
    wanted.insert(newest, Expect::Done);
    // An older version that was replaced before anybody looked has no record: nothing is expected of it.
    for (job, _) in wanted.clone() {
        let record = ports::lives::find_record(&cluster.ports, &cluster.ledger, job).await.expect("a LIST");
        if record.is_none() && job != newest {
            wanted.remove(&job);
        }
    }
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    check_published(&cluster, newest, "same.png/same.glb").await.expect("the newest model");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cancelled_at_any_moment_ends_cancelled_or_done_and_its_neighbours_finish() {
    let cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    let http = cluster.http();
    let gateway = cluster.gateway_url().expect("an address");
    let jobs: Vec<domain::JobId> = wanted.keys().copied().step_by(3).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        in_the_middle(&cluster, 4 * n).await.expect("some progress");
        let answer = until("an answer to a cancel", WITHIN, async || {
            let answer = http.post(format!("{gateway}/api/jobs/{job}/cancel")).send().await?;
            let status = answer.status().as_u16();
            // Not known yet: its event is still on its way.
            Ok((status != 404).then_some(status))
        });
        let status = answer.await.expect("an answer");
        assert!(status == 202 || status == 409, "{status}");
        wanted.insert(job, if status == 202 { Expect::Cancelled } else { Expect::Done });
    }
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    redrive_all(&cluster, &http, &gateway, wanted).await;
}

/// Cancelled jobs live again when they are redriven, and become models.
async fn redrive_all(cluster: &Cluster, http: &reqwest::Client, gateway: &str, mut wanted: Wanted) {
    for (job, expect) in wanted.iter_mut().filter(|(_, expect)| **expect == Expect::Cancelled) {
        let answer = http.post(format!("{gateway}/api/jobs/{job}/redrive")).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
        *expect = Expect::Done;
    }
    check(cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_of_the_events_may_be_lost() {
    let cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("told", 16, &mut wanted).await.expect("uploads");
    cluster.stack.minio.remove_events("uploads").await.expect("an answer");
    cluster.put_pictures("silent", 4, &mut wanted).await.expect("uploads");
    cluster.stack.minio.add_events("uploads").await.expect("an answer");
    cluster.sweep(false).await.expect("an answer");
    assert_eq!(records(&cluster).await.expect("a LIST"), 20);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_friendly_copy_of_an_older_version_never_replaces_the_newer_model() {
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    cluster.kill("worker-b").expect("a process");
    cluster.link.hold("PUT /models/");
    cluster.put(picture(1), "same.png").await.expect("an upload");
    let older = cluster.job("same.png").await.expect("an upload");
    cluster.link.held(WITHIN).await.expect("a request");
    cluster.restart("worker-b").expect("a process");
    // S3 tells versions apart by whole seconds and etags: another picture is another etag.
    cluster.put(picture(2), "same.png").await.expect("an upload");
    let newer = cluster.job("same.png").await.expect("an upload");
    let decided = until("the newer version's outcome", WITHIN, async || {
        Ok(cluster.ledger.outcome(newer, domain::Life(0)).await?)
    });
    decided.await.expect("an outcome");
    cluster.link.release();
    let wanted = Wanted::from([(older, Expect::DoneOrCancelled), (newer, Expect::Done)]);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    check_published(&cluster, newer, "same.png/same.glb").await.expect("the newer model");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_attempts_left_behind_is_collected_after_the_grace_and_not_before() {
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    // A worker that dies between its artifacts and its manifest leaves artifacts that no manifest names. The
    // link is cut before it forwards what the dead worker had sent.
    cluster.link.hold("PUT /state/m/");
    cluster.put_pictures("run", 12, &mut wanted).await.expect("uploads");
    cluster.link.held(WITHIN).await.expect("a commit");
    cluster.kill("worker-a").expect("a process");
    cluster.link.cut();
    cluster.restart("worker-a").expect("a process");
    outcomes(&cluster, &wanted, WITHIN).await.expect("outcomes");
    let left = litter(&cluster).await.expect("a LIST");
    assert!(!left.is_empty(), "nothing was left behind: the test looked at nothing");
    // Young as it is, ingest leaves it alone, and so does any collector with the same grace.
    let answer = cluster.sweep(true).await.expect("an answer");
    assert!(answer["collected"].is_u64() && answer["error"].is_null(), "{answer}");
    cluster.collector(cluster.times.grace()).collect().await.expect("a collection");
    let kept = litter(&cluster).await.expect("a LIST");
    assert!(left.is_subset(&kept), "{kept:?} are left of {left:?}");
    // Once it is older than the grace it goes; the oracle looks that nothing else does.
    cluster.collector(Duration::ZERO).collect().await.expect("a collection");
    let kept = litter(&cluster).await.expect("a LIST");
    assert!(left.is_disjoint(&kept), "{kept:?} are left of {left:?}");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// Artifacts that no manifest names. Markers are something else: they go with their stage, at any age.
async fn litter(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let unreferenced = cluster.unreferenced().await?.into_iter();
    let is_marker = |key: &str| matches!(parse_state_key(key), Some(StateKey::AttemptMarker(..)));
    Ok(unreferenced.filter(|key| !is_marker(key)).collect())
}

/// The friendly copy is the one that this job exported.
async fn check_published(cluster: &Cluster, job: domain::JobId, key: &str) -> Result<()> {
    let manifest = cluster.ledger.manifest(job, domain::Stage::Export).await?.context("a manifest")?;
    let wanted = manifest.artifact("model.glb").context("a model")?;
    let options = ports::GetOptions::default();
    let read = async |bucket: &str, key: &str| match cluster.ports.store.get(bucket, key, &options).await? {
        ports::Got::Found(object) => Ok(object.body),
        _ => anyhow::bail!("{key} is not there"),
    };
    let published = read(&cluster.site.models, key).await?;
    let exported = read(&cluster.site.state, &wanted.key).await?;
    anyhow::ensure!(published == exported, "an older model is published under {key}");
    Ok(())
}
