//! Faults in numbers: processes killed at random, events told five times and out of order, links that are
//! slow, sliced or cut. `MESHWRIGHT_KILLS` and `MESHWRIGHT_UPLOADS` make the storm larger, `MESHWRIGHT_SEED`
//! makes it another one.

use anyhow::{Context, Result};
use domain::{Ending, Life};
use e2e::{Cluster, Expect, Setup, Wanted, check, picture, records};
use harness::{Proxy, Signal, Weather, until, until_every};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(120);

/// A number from the environment.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Waits until something more is decided than was; nothing may be left to decide.
async fn progress(cluster: &Cluster, before: usize, all: usize) -> Result<()> {
    let every = Duration::from_millis(50);
    until_every(every, "progress", WITHIN, async || {
        // The store may be on its way back.
        let now = cluster.decisions().await.unwrap_or(0);
        Ok((now > before || now >= all).then_some(()))
    })
    .await
}

/// Kills one process of any kind, and starts it again. Which, and whether there was work for it: of ingest
/// it is told by the uploads that have no record while it is dead.
async fn kill_one(
    cluster: &mut Cluster,
    random: &mut StdRng,
    uploads: usize,
) -> Result<(&'static str, bool)> {
    let kinds =
        ["ingest", "planner", "gateway", "worker-a", "worker-b", "runner", "runner", "nats-server", "minio"];
    let kind = *kinds.choose(random).context("some kinds")?;
    match kind {
        "nats-server" => {
            cluster.stack.nats.kill()?;
            cluster.stack.nats.restart().await?;
        }
        "minio" => {
            cluster.stack.minio.kill()?;
            cluster.stack.minio.restart().await?;
        }
        "runner" => {
            let worker = if random.random_bool(0.5) { "worker-a" } else { "worker-b" };
            let worker = cluster.processes.get(worker).context("a worker")?.pid();
            for runner in harness::children(worker)? {
                let _ended_meanwhile = harness::kill(runner, Signal::KILL);
            }
        }
        process => {
            cluster.kill(process)?;
            let found_work = process != "ingest" || records(cluster).await? < uploads;
            cluster.restart(process)?;
            return Ok((process, found_work));
        }
    }
    Ok((kind, true))
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_processes_killed_over_two_hundred_uploads_lose_and_double_nothing() {
    let (kills, uploads) = (number("MESHWRIGHT_KILLS", 50), number("MESHWRIGHT_UPLOADS", 200));
    let seed = number("MESHWRIGHT_SEED", 1);
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    // Half of them come in the middle of the storm, so that ingest has work when it is killed.
    let each = (uploads / kills.max(1) / 2).max(1);
    let first = uploads.saturating_sub(each * kills);
    cluster.put_pictures("storm", first as u32, &mut wanted).await.expect("uploads");
    let all = |wanted: &Wanted| wanted.len() * (domain::Stage::ALL.len() + 1);
    let (mut killed, began) = (Vec::new(), Instant::now());
    for round in 0..kills {
        cluster.put_pictures(&format!("{round}"), each as u32, &mut wanted).await.expect("uploads");
        let before = cluster.decisions().await.unwrap_or(0);
        killed.push(kill_one(&mut cluster, &mut random, wanted.len()).await.expect("a kill"));
        progress(&cluster, before, all(&wanted)).await.unwrap_or_else(|error| {
            panic!("seed {seed}: nothing goes on after {killed:?}: {error:#}");
        });
    }
    let all = all(&wanted);
    let left = all - cluster.decisions().await.expect("a LIST").min(all);
    println!("seed {seed}: {kills} kills in {:.0?}, {left} of {all} decisions were left", began.elapsed());
    assert!(left > 0, "seed {seed}: the last kills found nothing to do; more uploads are needed");
    let intakes = killed.iter().filter(|(kind, _)| *kind == "ingest").collect::<Vec<_>>();
    let busy = intakes.iter().filter(|(_, found_work)| *found_work).count();
    println!("seed {seed}: {busy} of {} kills of ingest left uploads without a record", intakes.len());
    assert!(busy > 0 || intakes.is_empty(), "seed {seed}: ingest was always idle when it was killed");
    cluster.ready("gateway").await.expect("a gateway");
    let within = WITHIN + Duration::from_secs(uploads);
    check(&cluster, &wanted, within).await.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

/// What a store says of an upload, as MinIO does.
async fn event(cluster: &Cluster, key: &str) -> Result<bytes::Bytes> {
    let upload = cluster.upload(key).await?;
    let object = serde_json::json!({
        "key": key, "size": upload.size_bytes, "eTag": upload.etag, "sequencer": "18EAFDD563888E74",
    });
    let s3 = serde_json::json!({"bucket": {"name": upload.bucket}, "object": object});
    let record = serde_json::json!({
        "eventVersion": "2.0", "eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "s3": s3,
    });
    let key = format!("{}/{key}", upload.bucket);
    let event = serde_json::json!({"EventName": "s3:ObjectCreated:Put", "Key": key, "Records": [record]});
    Ok(serde_json::to_vec(&event)?.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_told_five_times_and_out_of_order_make_one_model_each() {
    // Long times: no sweep comes before the events have done it all.
    let setup = Setup { events: false, times_divided_by: 1, ..Setup::default() };
    let cluster = Cluster::start(setup).await.expect("a cluster");
    let mut wanted = Wanted::new();
    cluster.put_pictures("told", 20, &mut wanted).await.expect("uploads");
    let mut events = Vec::new();
    for n in 0..20 {
        let event = event(&cluster, &format!("told/{n}.png")).await.expect("an upload");
        events.extend(std::iter::repeat_n(event, 5));
    }
    events.shuffle(&mut StdRng::seed_from_u64(number("MESHWRIGHT_SEED", 1)));
    let subject = domain::uploads_subject(&cluster.site.store);
    for event in events {
        cluster.ports.queue.put_if_absent(&subject, event).await.expect("a place in the queue");
    }
    e2e::outcomes(&cluster, &wanted, WITHIN).await.expect("outcomes");
    let swept = cluster.processes["ingest"].said_since_start()[1].contains("a sweep found work");
    assert!(!swept, "it was a sweep that brought them");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cancelled_while_its_files_are_published_leaves_none_of_them() {
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    cluster.kill("worker-b").expect("a process");
    cluster.link.hold("PUT /models/");
    cluster.put(picture(1), "late.png").await.expect("an upload");
    let job = cluster.job("late.png").await.expect("an upload");
    cluster.link.held(WITHIN).await.expect("a request");
    let url = format!("{}/api/jobs/{job}/cancel", cluster.gateway_url().expect("an address"));
    let answer = cluster.http().post(url).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 202);
    let outcome = cluster.ledger.outcome(job, Life(0)).await.expect("an answer").expect("an outcome");
    assert!(matches!(outcome.ending, Ending::Cancelled { .. }), "{outcome:?}");
    cluster.link.release();
    cluster.restart("worker-b").expect("a process");
    check(&cluster, &Wanted::from([(job, Expect::Cancelled)]), WITHIN).await.expect("the oracle");
    let left = ports::list_all(&*cluster.ports.store, &cluster.site.models, "late.png/").await;
    assert_eq!(left.expect("a LIST"), []);
}

/// What a link does for a while.
enum Trouble {
    Weather(Weather),
    /// Every connection is cut, this often.
    Cuts(Duration),
}

/// How long each trouble lasts, unless everything is done before.
const TROUBLED: Duration = Duration::from_secs(6);
/// How long after its end everything must be done.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);

fn troubles() -> [(&'static str, Trouble); 5] {
    let fine = Weather::default();
    let late = |ms| Trouble::Weather(Weather { latency: Duration::from_millis(ms), ..fine });
    [
        ("50 ms late", late(50)),
        ("500 ms late", late(500)),
        ("64 kB/s", Trouble::Weather(Weather { rate: Some(64_000), slice: 1_000, ..fine })),
        ("in slices of 7 bytes", Trouble::Weather(Weather { slice: 7, ..fine })),
        ("cut every second", Trouble::Cuts(Duration::from_secs(1))),
    ]
}

/// Puts a link in trouble until the uploads are done, for so long at most.
async fn suffer(link: &Proxy, trouble: &Trouble, done: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let every = match trouble {
        Trouble::Weather(weather) => {
            link.set_weather(*weather);
            TROUBLED / 20
        }
        Trouble::Cuts(every) => *every,
    };
    let end = Instant::now() + TROUBLED;
    until_every(every, "the end of a trouble", TROUBLED * 2, async || {
        if matches!(trouble, Trouble::Cuts(_)) {
            link.cut();
        }
        Ok((Instant::now() >= end || done().await?).then_some(()))
    })
    .await?;
    link.set_weather(Weather::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_sliced_and_cut_links_to_broker_and_store_cost_time_and_no_results() {
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    // All work goes over the links.
    cluster.kill("worker-b").expect("a process");
    let mut wanted = Wanted::new();
    for (n, (what, trouble)) in troubles().iter().enumerate() {
        for (to, link) in [("broker", &cluster.broker_link), ("store", &cluster.link)] {
            let mut cell = Wanted::new();
            cluster.put_pictures(&format!("{to}/{n}"), 2, &mut cell).await.expect("uploads");
            let all_done = async || {
                for job in cell.keys() {
                    if cluster.ledger.outcome(*job, Life(0)).await?.is_none() {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            suffer(link, trouble, all_done).await.expect("a trouble");
            let healed = Instant::now();
            until("all to be done after a trouble", RECOVERED_WITHIN, async || {
                Ok(all_done().await?.then_some(()))
            })
            .await
            .unwrap_or_else(|error| panic!("{to} {what}: {error:#}"));
            println!("{to} {what}: done {:.1?} after it", healed.elapsed());
            wanted.append(&mut cell);
        }
    }
    cluster.restart("worker-b").expect("a process");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}
