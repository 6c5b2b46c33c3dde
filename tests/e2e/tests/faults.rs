//! Whatever is killed, cut or lost in mid-run: each upload ends once, as expected, and the system comes to
//! rest.

use anyhow::{Context, Result};
use domain::{Consumer, JobId, Stage, StateKey, Timestamp, manifest_key, parse_state_key};
use e2e::{
    Cluster, Expect, PROCESSES, Setup, Wanted, check, computing, in_the_middle, leader, outcomes, picture,
    records, worker_of,
};
use harness::{Signal, until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);
const UPLOADS: u32 = 24;
/// A task that runs for long: however busy the machine, what is killed when it starts is killed before it
/// ends.
const LONG: &str = "stage=export,item-ms=2000";

/// A whole run in which something is killed while a batch runs, and mended afterwards. `kill` is told which
/// worker runs the batch.
async fn survives(
    kill: impl FnOnce(&mut Cluster, &str) -> Result<()>,
    mend: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
) {
    let mut cluster = Cluster::start(Setup { synthetic: true, ..Setup::default() }).await.expect("a cluster");
    let mut wanted = Wanted::new();
    let long = cluster.put_with(picture(99), "long.png", ("synthetic", LONG)).await.expect("an upload");
    wanted.insert(long, Expect::Done);
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    computing(&cluster, &[long], Stage::Export).await.expect("a batch");
    let worker = worker_of(&cluster, long).await.expect("its worker");
    kill(&mut cluster, &worker).expect("the fault");
    let killed_at = cluster.ports.clock.now();
    mend(&mut cluster).await.expect("its end");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    let committed_at = committed_at(&cluster, long, Stage::Export).await.expect("a manifest");
    assert!(killed_at < committed_at, "the batch was over: the test looked at nothing");
}

/// When a stage was committed, by the store's clock, which is this machine's.
async fn committed_at(cluster: &Cluster, job: JobId, stage: Stage) -> Result<Timestamp> {
    let listed =
        ports::list_all(&*cluster.ports.store, &cluster.site.state, &manifest_key(job, stage)).await?;
    Ok(listed.first().context("no manifest")?.last_modified)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_may_be_killed() {
    survives(
        |cluster, _| cluster.kill("gateway"),
        async |cluster| {
            cluster.restart("gateway")?;
            // The oracle asks it of every job.
            cluster.ready("gateway").await
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_may_be_killed_with_uploads_in_its_hands() {
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS / 2, &mut wanted).await.expect("uploads");
    in_the_middle(&cluster, 6).await.expect("the middle");
    cluster.ingest_link.hold("PUT /state/j/");
    cluster.put_pictures("more", UPLOADS / 2, &mut wanted).await.expect("uploads");
    cluster.ingest_link.held(WITHIN).await.expect("a job record on its way");
    cluster.kill("ingest").expect("a process");
    // The link is cut before it forwards what the dead process had sent.
    cluster.ingest_link.cut();
    let recorded = records(&cluster).await.expect("a LIST");
    assert!(recorded < wanted.len(), "{recorded} job records: the test looked at nothing");
    let uploads = Consumer::Uploads(cluster.site.store.clone());
    let backlog = cluster.ports.queue.backlog(&uploads).await.expect("an answer");
    assert!(backlog.waiting + backlog.in_flight > 0, "{backlog:?}: it had nothing in its hands");
    cluster.restart("ingest").expect("a start");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_may_be_killed_and_its_window_is_delivered_again() {
    survives(|cluster, _| cluster.kill("planner"), async |cluster| cluster.restart("planner")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_may_be_killed_for_good() {
    survives(|cluster, worker| cluster.kill(worker), async |_| Ok(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_may_be_killed_and_cost_nobody_else_anything() {
    let cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    in_the_middle(&cluster, 12).await.expect("the middle");
    let mut killed = 0;
    for _ in 0..5 {
        for worker in ["worker-a", "worker-b"] {
            for runner in harness::children(cluster.processes[worker].pid()).expect("a worker") {
                // One that has ended meanwhile cannot be killed.
                killed += usize::from(harness::kill(runner, Signal::KILL).is_ok());
            }
        }
        // Each death is one of its own: the run has gone on after the last one.
        let decided = cluster.decisions().await.expect("a LIST");
        in_the_middle(&cluster, decided + 4).await.expect("some progress");
    }
    assert!(killed >= 5, "only {killed} runners were killed: the test looked at nothing");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_be_killed() {
    let mend = async |cluster: &mut Cluster| cluster.stack.nats.restart().await;
    survives(|cluster, _| cluster.stack.nats.kill(), mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_may_be_killed() {
    let mend = async |cluster: &mut Cluster| cluster.stack.minio.restart().await;
    survives(|cluster, _| cluster.stack.minio.kill(), mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_of_jetstream_may_be_lost() {
    survives(
        |cluster, _| cluster.stack.nats.kill(),
        async |cluster| {
            cluster.stack.nats.lose_store()?;
            cluster.stack.nats.restart().await
        },
    )
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

/// A usual cluster with a second planner, which stands by.
fn two_planners() -> Setup {
    let standby = ("planner-b", &["planner"][..]);
    Setup { processes: PROCESSES.into_iter().chain([standby]).collect(), ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_planners_and_rolling_restarts_lose_and_repeat_nothing() {
    // A busy machine may stop a process for longer than the shortest ack wait; that would be work done twice.
    let setup = Setup { times_divided_by: 2, ..two_planners() };
    let mut cluster = Cluster::start(setup).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    in_the_middle(&cluster, 12).await.expect("the middle");
    for round in 0..4 {
        for name in ["planner", "worker-a", "ingest", "worker-b", "planner-b"] {
            // Work comes all the time, and is under way when a process is told to end.
            cluster.put_pictures(&format!("{round}/{name}"), 2, &mut wanted).await.expect("uploads");
            let decided = cluster.decisions().await.expect("a LIST");
            in_the_middle(&cluster, decided + 1).await.expect("some progress");
            let left = left(&cluster, &wanted).await.expect("a LIST");
            assert!(left > 0, "nothing was left to do before the restart of {name} in round {round}");
            let child = cluster.processes.get_mut(name).expect("a process");
            child.terminate().expect("a signal");
            let ended = child.wait(WITHIN).await.unwrap_or_else(|error| panic!("drain {name}: {error:#}"));
            assert!(ended.success(), "{name} ended with {ended} in round {round}");
            cluster.restart(name).expect("a start");
            cluster.ready(name).await.expect("a start");
            println!("round {round}: {left} decisions were left before the restart of {name}");
        }
    }
    outcomes(&cluster, &wanted, WITHIN).await.expect("outcomes");
    // Before the oracle's collection takes what repeated work would have left.
    let repeated = repeated(&cluster).await.expect("a LIST");
    assert!(repeated.is_empty(), "work was done twice: {repeated:?}");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// Manifests and outcomes that are still to come.
async fn left(cluster: &Cluster, wanted: &Wanted) -> Result<usize> {
    let all = wanted.len() * (Stage::ALL.len() + 1);
    Ok(all.saturating_sub(cluster.decisions().await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planner_that_hangs_while_another_takes_over_does_no_harm_when_it_wakes() {
    let mut cluster = Cluster::start(two_planners()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("run", UPLOADS, &mut wanted).await.expect("uploads");
    in_the_middle(&cluster, 12).await.expect("the middle");
    let planners = ["planner", "planner-b"];
    let hung = leader(&cluster, &planners).await.expect("a leader");
    cluster.processes.get_mut(&hung).expect("a process").signal(Signal::STOP).expect("a signal");
    let heirs = planners.into_iter().filter(|name| *name != hung).collect::<Vec<_>>();
    leader(&cluster, &heirs).await.expect("another leader");
    // It wakes with all that it held and believed to lead, in the middle of the other's work.
    let left = left(&cluster, &wanted).await.expect("a LIST");
    assert!(left > 0, "nothing was left to do: the test looked at nothing");
    let zombie = cluster.processes.get_mut(&hung).expect("a process");
    zombie.signal(Signal::CONT).expect("a signal");
    let learned = |line: &str| line.contains("the lease is lost");
    zombie.wait_for_line("that it leads no more", WITHIN, learned).await.expect("a line");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// Stages of jobs at which more than one attempt left something, a marker included.
async fn repeated(cluster: &Cluster) -> Result<Vec<String>> {
    let mut attempts: BTreeMap<(JobId, Stage), BTreeSet<domain::AttemptId>> = BTreeMap::new();
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
    let jobs: Vec<JobId> = wanted.keys().copied().step_by(3).collect();
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
async fn check_published(cluster: &Cluster, job: JobId, key: &str) -> Result<()> {
    let manifest = cluster.ledger.manifest(job, Stage::Export).await?.context("a manifest")?;
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
