//! Items that end their runner, or never end: their neighbours finish, a person is told, and a redrive or a
//! cancel does what it says.

use anyhow::{Context, Result, ensure};
use domain::{
    BatchEnd, BatchEnded, Class, Consumer, DEAD, DEVICES, DeviceEntry, ENDED_SUBJECT, JobId, Stage, StateKey,
    parse_state_key,
};
use e2e::{Cluster, Expect, Said, Setup, Wanted, check, computing, outcomes, picture, say};
use futures::StreamExt;
use harness::{Signal, until};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);
/// Longer than any test waits.
const ENDLESS: &str = "item-ms=600000";

async fn cluster() -> Cluster {
    Cluster::start(Setup { synthetic: true, ..Setup::default() }).await.expect("a cluster")
}

/// One worker with one lane: whatever is computed is computed there.
async fn one_lane() -> Cluster {
    let setup = Setup { synthetic: true, lanes: 1, ..Setup::default() };
    let mut cluster = Cluster::start(setup).await.expect("a cluster");
    cluster.kill("worker-b").expect("a process");
    cluster
}

async fn neighbours(cluster: &Cluster, count: u32) -> Result<Wanted> {
    let mut wanted = Wanted::new();
    for n in 0..count {
        let key = format!("good/{n}.png");
        cluster.put(picture(n), &key).await?;
        wanted.insert(cluster.job(&key).await?, Expect::Done);
    }
    Ok(wanted)
}

/// Uploads that carry this load at this stage, and their jobs.
async fn loaded(cluster: &Cluster, pictures: &[u32], stage: Stage, load: &str) -> Result<Vec<JobId>> {
    let load = format!("stage={stage},{load}");
    let mut jobs = Vec::new();
    for n in pictures {
        let key = format!("{stage}/{n}.png");
        jobs.push(cluster.put_with(picture(*n), &key, ("synthetic", &load)).await?);
    }
    Ok(jobs)
}

/// What the gateway answers to a POST, once it knows the job.
async fn post(cluster: &Cluster, job: JobId, what: &str) -> Result<u16> {
    let url = format!("{}/api/jobs/{job}/{what}", cluster.gateway_url()?);
    let http = cluster.http();
    until("the gateway's answer", WITHIN, async || {
        let status = http.post(&url).send().await?.status().as_u16();
        Ok((status != 404).then_some(status))
    })
    .await
}

/// What the program says to these words, once the gateway knows the job that is among them.
async fn command(cluster: &Cluster, job: JobId, words: &[&str]) -> Result<Said> {
    let url = cluster.gateway_url()?;
    let http = cluster.http();
    until("the gateway to know the job", WITHIN, async || {
        let answer = http.get(format!("{url}/api/jobs/{job}")).send().await?;
        Ok(answer.status().is_success().then_some(()))
    })
    .await?;
    let said = say(&url, words).await?;
    ensure!(said.code == Some(0), "{words:?}: {said:?}");
    Ok(said)
}

/// Waits until so many tasks of a stage wait or are in flight.
async fn queued(cluster: &Cluster, stage: Stage, count: u64) -> Result<()> {
    let consumer = Consumer::Tasks(stage, Class::Normal, "default".parse()?);
    until("tasks in the queue", WITHIN, async || {
        let backlog = cluster.ports.queue.backlog(&consumer).await?;
        Ok((backlog.waiting + backlog.in_flight >= count).then_some(()))
    })
    .await
}

/// Occupies the only lane until it is cancelled.
async fn occupy(cluster: &Cluster, wanted: &mut Wanted) -> Result<JobId> {
    let blocker = loaded(cluster, &[77], Stage::Export, ENDLESS).await?[0];
    wanted.insert(blocker, Expect::Cancelled);
    computing(cluster, &[blocker], Stage::Export).await
}

/// Waits for the end of a batch for which `wanted` holds.
async fn batch_ended(
    ends: &mut (impl futures::Stream<Item = ports::Message> + Unpin),
    wanted: impl Fn(&BatchEnded) -> bool,
) -> Result<BatchEnded> {
    let mut heard = Vec::new();
    let waited = tokio::time::timeout(WITHIN, async {
        while let Some(message) = ends.next().await {
            let ended: BatchEnded = serde_json::from_slice(&message.payload)?;
            if wanted(&ended) {
                return Ok(ended);
            }
            heard.push((ended.stage, ended.items, ended.end));
        }
        anyhow::bail!("the subscription ended")
    });
    let ended = waited.await;
    ended.with_context(|| format!("no such batch ended, but {heard:?}"))?
}

async fn restart_workers(cluster: &mut Cluster) -> Result<()> {
    for name in ["worker-a", "worker-b"] {
        cluster.kill(name)?;
        cluster.restart(name)?;
    }
    Ok(())
}

/// Beside it stand a rejected and a cancelled job: the oracle's sweeps must leave all three alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_that_always_kills_its_runner_becomes_a_dead_letter_and_lives_again_once_it_is_cured() {
    let mut cluster = cluster().await;
    let mut wanted = neighbours(&cluster, 8).await.expect("uploads");
    let job = loaded(&cluster, &[99], Stage::Shape, "end=abort").await.expect("an upload")[0];
    let cancelled = loaded(&cluster, &[98], Stage::Texture, ENDLESS).await.expect("an upload")[0];
    cluster.put(b"no picture".to_vec(), "bad.png").await.expect("an upload");
    let rejected = cluster.job("bad.png").await.expect("an upload");
    let ends = [(job, Expect::Dead), (cancelled, Expect::Cancelled), (rejected, Expect::Rejected)];
    wanted.extend(ends);
    computing(&cluster, &[cancelled], Stage::Texture).await.expect("a start");
    let said = command(&cluster, cancelled, &["cancel", &cancelled.to_string()]).await.expect("an end");
    assert_eq!(said.out, format!("{cancelled}  cancelled\n"));
    // Among other things: the dead letters are those of the dead jobs.
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    assert!(cluster.ports.wire.range(&DEAD).await.expect("an answer").last > 0, "a dead letter");
    shows_dead_letters(&cluster, job).await.expect("one dead letter");
    // The cure: the engine no longer ends its runner. The redriven life has five attempts of its own.
    cluster.permit_synthetic(false).expect("a configuration");
    restart_workers(&mut cluster).await.expect("workers");
    let words = ["dead-letter", "redrive", &job.to_string()];
    let said = command(&cluster, job, &words).await.expect("an end");
    assert_eq!(said.out, format!("{job}  begins life 1\n"));
    // So does one that a person ended.
    let words = ["dead-letter", "redrive", &cancelled.to_string(), "--json"];
    let said = command(&cluster, cancelled, &words).await.expect("an end");
    assert_eq!(said.objects().expect("JSON")[0]["life"], 1, "{said:?}");
    wanted.extend([(job, Expect::Done), (cancelled, Expect::Done)]);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// The only dead letter, listed and whole, for a person and for a script.
async fn shows_dead_letters(cluster: &Cluster, job: JobId) -> Result<()> {
    let id = job.to_string();
    let of = async |words: &[&str]| command(cluster, job, words).await;
    let listed = of(&["dead-letter", "list"]).await?.out;
    let line = format!("{job}  shape  5 attempts  ");
    ensure!(listed.starts_with(&line) && listed.lines().count() == 1, "{listed}");
    let shown = of(&["dead-letter", "show", &id]).await?.out;
    let whole: serde_json::Value = serde_json::from_str(&shown)?;
    ensure!(shown.lines().count() > 1 && whole["task"]["job"] == id.as_str(), "{shown}");
    for words in [&["dead-letter", "list", "--json"][..], &["dead-letter", "show", &id, "--json"]] {
        let objects = of(words).await?.objects()?;
        ensure!(objects == [whole.clone()], "{words:?}: {objects:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_dies_in_a_batch_costs_one_item_an_attempt_and_its_neighbours_nothing() {
    let cluster = one_lane().await;
    let mut ends = cluster.ports.wire.subscribe(ENDED_SUBJECT).await.expect("a subscription");
    let mut wanted = Wanted::new();
    // A start that costs much makes large batches worth it; they grow from one on, which is what the first
    // few are for.
    let load = "start-ms=1500,item-ms=200";
    let pictures: Vec<u32> = (0..24).collect();
    let blocker = occupy(&cluster, &mut wanted).await.expect("a full lane");
    let jobs = loaded(&cluster, &pictures, Stage::Preprocess, load).await.expect("uploads");
    wanted.extend(jobs.iter().map(|job| (*job, Expect::Done)));
    queued(&cluster, Stage::Preprocess, 24).await.expect("a full queue");
    assert_eq!(post(&cluster, blocker, "cancel").await.expect("an answer"), 202);
    let (size, runner) = in_a_batch_of(&cluster, 4).await.expect("a large batch");
    harness::kill(runner, Signal::KILL).expect("a runner");
    let ended = batch_ended(&mut ends, |ended| ended.end == BatchEnd::RunnerLost).await.expect("an end");
    // All but the one that it died in; all if it died between two items.
    assert!(size >= 4 && (size - 1..=size).contains(&(ended.items as usize)), "{ended:?} of {size}");
    outcomes(&cluster, &wanted, WITHIN).await.expect("outcomes");
    let listed = ports::list_all(&*cluster.ports.store, &cluster.site.state, "a/").await.expect("a LIST");
    let marked = listed.iter().filter_map(|object| match parse_state_key(&object.key) {
        Some(StateKey::AttemptMarker(job, Stage::Preprocess, _)) => Some(job),
        _ => None,
    });
    let marked: BTreeSet<JobId> = marked.collect();
    assert!(marked.len() <= 1, "more than the item that was computed ran again: {marked:?}");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// Waits until the only worker's runner is at an item of a batch of at least this size; its size, and the
/// runner.
async fn in_a_batch_of(cluster: &Cluster, size_min: usize) -> Result<(usize, harness::Pid)> {
    let worker = cluster.processes["worker-a"].pid();
    let mut size = 0;
    let running = until("a large batch", WITHIN, async || {
        let entries = cluster.ports.boards.list(&DEVICES).await?;
        let read = entries.iter().map(|entry| serde_json::from_slice::<DeviceEntry>(&entry.value));
        let entries: Vec<DeviceEntry> = read.collect::<Result<_, _>>()?;
        let running = entries.into_iter().flat_map(|entry| entry.running);
        let large = running.into_iter().find(|batch| batch.jobs.len() >= size_min);
        size = large.as_ref().map_or(0, |batch| batch.jobs.len());
        Ok(large)
    });
    let running = running.await?;
    // Its first item has begun: the load's start is over.
    computing(cluster, &running.jobs, running.stage).await?;
    let runners = harness::children(worker)?;
    ensure!(runners.len() == 1, "one lane has {} runners", runners.len());
    Ok((size, runners[0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_computations_that_would_never_end_at_each_stage_and_their_lanes_go_on() {
    let cluster = cluster().await;
    let mut wanted = Wanted::new();
    let mut endless = Vec::new();
    // One for each of the four lanes of two workers.
    for (n, stage) in (0..).zip(Stage::ALL) {
        endless.push((stage, loaded(&cluster, &[n], stage, ENDLESS).await.expect("an upload")[0]));
    }
    for (stage, job) in endless {
        computing(&cluster, &[job], stage).await.expect("a start");
        let words = ["cancel", &job.to_string(), "--json"];
        let said = command(&cluster, job, &words).await.expect("an end");
        assert_eq!(said.objects().expect("JSON").len(), 1, "{said:?}");
        wanted.insert(job, Expect::Cancelled);
    }
    wanted.extend(neighbours(&cluster, 8).await.expect("uploads"));
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// The share of its load's `per-item` that a picture holds more or less, -1 to 1, when the noise is 100 %: as
/// the synthetic load has it.
fn noise(picture: &[u8]) -> f64 {
    let mut hasher = DefaultHasher::new();
    picture.hash(&mut hasher);
    (hasher.finish() % 2001) as f64 / 1000.0 - 1.0
}

/// Uploads whose preprocessing holds 96 MiB (the least reservation fits one but not two), and by this share
/// of it more or less. They are of one size class, so that they share a footprint.
async fn weighing(cluster: &Cluster, share: (f64, f64), count: usize) -> Result<Wanted> {
    let size = picture(0).len().ilog2();
    let fits = |picture: &[u8]| (share.0..share.1).contains(&noise(picture)) && picture.len().ilog2() == size;
    let pictures: Vec<u32> = (1000..).filter(|n| fits(&picture(*n))).take(count).collect();
    let load = "per-item=96MiB,noise-percent=100,start-ms=300";
    let jobs = loaded(cluster, &pictures, Stage::Preprocess, load).await?;
    Ok(jobs.into_iter().map(|job| (job, Expect::Done)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_fit_is_halved_and_its_items_are_all_finished() {
    let cluster = one_lane().await;
    let mut ends = cluster.ports.wire.subscribe(ENDED_SUBJECT).await.expect("a subscription");
    let mut wanted = Wanted::new();
    // What was measured of light pictures is far too little for two heavy ones, and enough for one.
    wanted.extend(weighing(&cluster, (-1.0, -0.97), 1).await.expect("an upload"));
    outcomes(&cluster, &wanted, WITHIN).await.expect("a light one's outcome");
    let blocker = occupy(&cluster, &mut wanted).await.expect("a full lane");
    // The first of a queue may be cut alone: it is no heavy one yet.
    wanted.extend(weighing(&cluster, (-0.63, -0.57), 1).await.expect("an upload"));
    queued(&cluster, Stage::Preprocess, 1).await.expect("one in the queue");
    wanted.extend(weighing(&cluster, (-0.05, 0.05), 8).await.expect("uploads"));
    queued(&cluster, Stage::Preprocess, 9).await.expect("a full queue");
    assert_eq!(post(&cluster, blocker, "cancel").await.expect("an answer"), 202);
    let ran_out =
        |ended: &BatchEnded| ended.items > 1 && matches!(ended.end, BatchEnd::OutOfMemory { at_items: 2.. });
    let ended = batch_ended(&mut ends, ran_out).await.expect("a batch that ran out of memory");
    assert_eq!(ended.stage, Stage::Preprocess);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}
