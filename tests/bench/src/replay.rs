//! Whether a replay predicts a real rerun: jobs with a synthetic load on the stage shape go through one
//! worker with one lane; their timings, replayed with two workers, against jobs through two real workers.

use crate::servers::{self, Servers};
use crate::upload::picture;
use anyhow::{Context, Result, ensure};
use domain::{Stage, TIMINGS, Timing};
use figures::{Bar, Report};
use futures::StreamExt;
use harness::NatsConfig;
use ports::{Condition, PutOptions};
use replay::{Outcome, Recording, SetUp, WorkerKind};
use std::time::Duration;
use tokio::time::timeout;

/// What an item takes at the stage shape: far more than all that is real beside it on two cores.
const LOAD: &str = "stage=shape,start-ms=150,item-ms=250,fixed=64MiB,per-item=32MiB";
/// Jobs before the measured ones.
const WARM_UP: usize = 24;
const STUCK_AFTER: Duration = Duration::from_secs(300);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let jobs = if quick { 40 } else { 120 };
    let one = run(jobs, 1).await?;
    let two = run(jobs, 2).await?;
    let set_up = |count: u32| {
        let kind = WorkerKind { count, ..WorkerKind::new(Stage::ALL, 1) };
        SetUp { workers: vec![kind], batch_max: domain::BATCH_ITEMS_MAX }
    };
    for (count, real) in [(1, one.outcome()), (2, two.outcome())] {
        let told = replay::replay(&one, &set_up(count));
        let what = format!("replay of one worker's timings with {count}, against a real run");
        add(report, &what, &told, real);
    }
    Ok(())
}

fn add(report: &mut Report, what: &str, told: &Outcome, real: &Outcome) {
    let bar = || Bar::AtMost(0.1);
    let off = |told: f64, real: f64| (told / real.max(1e-9) - 1.0).abs();
    report.add(format!("{what}: real"), real.jobs_per_hour, "jobs/h", Bar::None);
    report.add(format!("{what}: throughput off by"), off(told.jobs_per_hour, real.jobs_per_hour), "", bar());
    report.add(
        format!("{what}: latency p50 off by"),
        off(told.latency_p50_s, real.latency_p50_s),
        "",
        Bar::None,
    );
}

/// Jobs through so many workers of one lane each; their timings.
async fn run(jobs: usize, workers: usize) -> Result<Recording> {
    let mut site = servers::site();
    site.synthetic = true;
    let servers = Servers::of(site, Some(1), NatsConfig::durable(), false).await?;
    let mut processes = vec![servers.process(&["ingest", "planner"]).await?];
    let stages = Stage::ALL.map(Stage::as_str);
    for _ in 0..workers {
        processes.push(servers.process(&stages).await?);
    }
    let ports = servers.ports().await?;
    let mut options = PutOptions::of("image/png", Condition::Always);
    for (name, value) in [("synthetic", LOAD), ("quality", "draft"), ("texture-px", "256")] {
        options.metadata.insert(format!("meshwright-{name}"), value.to_owned());
    }
    let bucket = servers.site.inputs[0].bucket.clone();
    // What is measured begins with runners that are loaded and footprints that are known.
    let warm = timings(&ports, &bucket, &options, ("warm", WARM_UP), 1).await?;
    let recorded = timings(&ports, &bucket, &options, ("run", jobs), warm.len() as u64 + 1).await?;
    Recording::of(&recorded).context("read the recording")
}

/// Uploads so many pictures, and hears the timings of all their tasks.
async fn timings(
    ports: &ports::Ports,
    bucket: &str,
    options: &PutOptions,
    (name, jobs): (&str, usize),
    from: u64,
) -> Result<Vec<Timing>> {
    let mut log = ports.wire.follow(&TIMINGS, "timing.*", from).await?;
    let picture = picture(7)?;
    for n in 0..jobs {
        ports.store.put(bucket, &format!("{name}/{n}.png"), picture.clone().into(), options).await?;
    }
    let mut heard = Vec::new();
    while heard.len() < jobs * Stage::ALL.len() {
        let logged = timeout(STUCK_AFTER, log.next()).await.context("wait for a timing")?;
        let timing: Timing = serde_json::from_slice(&logged.context("the log ended")??.payload)?;
        ensure!(timing.end == domain::TaskEnd::Committed, "a task ended as {:?}", timing.end);
        heard.push(timing);
    }
    Ok(heard)
}
