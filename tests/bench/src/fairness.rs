//! A tenant with many jobs beside one with ten, on a real nats-server, with real runners under a synthetic
//! load on one device with one lane. The one with ten brings them all at once, again and again: alone, and
//! then while the other's jobs wait.
//!
//! Two loads: one where batches save nothing, so that turns are as short as a task; and one where they pay,
//! so that a task waits at least for a batch of the other.
//!
//! The wait is that for the model. Half of one lane makes the last of ten models twice as late; counted
//! without its own computing that is more than twice, whoever divides the lane.

use crate::memory_store::MemoryStore;
use crate::pipeline::make_jobs;
use crate::rig::{Broker, Part, Rig, RigSettings, Run, all_done, loaded_runner};
use crate::servers;
use anyhow::{Result, ensure};
use domain::{JobId, Site, Stage, Synthetic, Task};
use figures::{Bar, Report, percentile};
use harness::{NatsConfig, NatsServer};
use planning::BatchRule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Jobs of the light tenant, each time.
const LIGHT: usize = 10;
/// The stage that carries the load.
const STAGE: Stage = Stage::Shape;
const LOADS: [(&str, &str); 2] = [
    ("batches save nothing", "stage=shape,item-ms=40,per-item=8MiB"),
    ("batches pay", "stage=shape,start-ms=100,item-ms=30,per-item=8MiB"),
];

/// What the light tenant saw.
#[derive(Default)]
struct Seen {
    waits: Vec<Duration>,
    latencies: Vec<Duration>,
    /// Device-seconds of both, light first, while light had something to do.
    served_s: [f64; 2],
}

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let (heavy, rounds) = if quick { (300, 2) } else { (1_000, 5) };
    for (what, load) in LOADS {
        let server = NatsServer::start(NatsConfig::durable()).await?;
        servers::broker(server.url(), "bench").await?.ensure().await?;
        let settings = RigSettings { site: site(load)?, rule: BatchRule::Learned, parts: parts()? };
        let broker = Broker::Nats(server.url());
        let rig = Rig::start(&broker, Arc::new(MemoryStore::default()), settings).await?;
        // Runners are started, and the planner knows what batches need.
        all_done(&rig.burst(jobs(&rig, 0, ("warm", 60)).await?).await?)?;
        let mut alone = Seen::default();
        for round in 0..rounds {
            light(&rig, &format!("alone-{round}"), &mut alone).await?;
        }
        let beside = contended(&rig, (heavy, rounds)).await?;
        rig.stop().await?;
        add(report, what, heavy, alone, beside);
    }
    Ok(())
}

fn site(load: &str) -> Result<Site> {
    let mut site = servers::site();
    site.synthetic = true;
    let input = site.inputs.remove(0);
    for name in ["light", "heavy"] {
        let mut of = domain::InputBucket { bucket: name.to_owned(), tenant: name.parse()?, ..input.clone() };
        of.recipe.synthetic = Some(Synthetic::parse(load)?);
        site.inputs.push(of);
    }
    Ok(site)
}

fn parts() -> Result<Vec<Part>> {
    let runner = loaded_runner()?;
    let rest = vec![Stage::Preprocess, Stage::Texture, Stage::Export];
    Ok(vec![
        Part { name: "gpu", stages: vec![STAGE], lanes: 1, memory_max: None, runner: runner.clone() },
        Part { name: "rest", stages: rest, lanes: 2, memory_max: None, runner },
    ])
}

async fn jobs(rig: &Rig, input: usize, of: (&str, usize)) -> Result<Vec<Task>> {
    let picture = |n: usize| bytes::Bytes::from(format!("picture {n}"));
    make_jobs((&rig.ports, &rig.site, &rig.site.inputs[input]), of, picture).await
}

/// The light tenant while the heavy one has work for longer than that takes.
async fn contended(rig: &Rig, (heavy, rounds): (usize, usize)) -> Result<Seen> {
    let tasks = jobs(rig, 1, ("heavy", heavy)).await?;
    let ids: BTreeSet<JobId> = tasks.iter().map(|task| task.job).collect();
    let began = Instant::now();
    let published = rig.publish(tasks.into_iter().map(|task| (Duration::ZERO, task)).collect()).await?;
    rig.until_over(&ids, heavy / 20).await?;
    let mut seen = Seen::default();
    for round in 0..rounds {
        light(rig, &format!("beside-{round}"), &mut seen).await?;
    }
    let last = Instant::now();
    let run = rig.over(began, &ids, published).await?;
    all_done(&run)?;
    let over_at = run.batches.iter().map(|(at, _)| *at).max().unwrap_or(last);
    ensure!(over_at > last, "the heavy tenant was done before the light one: nothing was measured");
    Ok(seen)
}

/// The light tenant's jobs, all at once.
async fn light(rig: &Rig, folder: &str, seen: &mut Seen) -> Result<()> {
    let tasks = jobs(rig, 0, (folder, LIGHT)).await?;
    let began = Instant::now();
    let run = rig.burst(tasks).await?;
    all_done(&run)?;
    let mut waits: BTreeMap<JobId, u64> = BTreeMap::new();
    for timing in &run.timings {
        // Until a worker takes it, and until its turn in its batch.
        let phases = &timing.phases;
        *waits.entry(timing.job).or_default() += phases.queued_us + phases.planned_us + phases.wait_us;
    }
    seen.waits.extend(waits.into_values().map(Duration::from_micros));
    seen.latencies.extend(run.latencies.values());
    for (n, seconds) in served(&run, began).into_iter().enumerate() {
        seen.served_s[n] += seconds;
    }
    Ok(())
}

/// Device-seconds of both while the light one had something to do: of batches that began after it came and
/// ended with its last one or before.
fn served(run: &Run, began: Instant) -> [f64; 2] {
    let mut light: BTreeMap<domain::BatchId, u32> = BTreeMap::new();
    for timing in run.timings.iter().filter(|timing| timing.stage == STAGE) {
        *light.entry(timing.batch).or_default() += 1;
    }
    let of_stage = || run.batches.iter().filter(|(_, ended)| ended.stage == STAGE);
    let last = of_stage().filter(|(_, ended)| light.contains_key(&ended.batch)).map(|(at, _)| *at).max();
    let mut served = [0.0; 2];
    for (at, ended) in of_stage().filter(|(at, _)| last.is_some_and(|last| *at <= last)) {
        let seconds = Duration::from_micros(ended.lane_us);
        if at.checked_sub(seconds).is_none_or(|begun| begun < began) || ended.items == 0 {
            continue;
        }
        let mine = f64::from(light.get(&ended.batch).copied().unwrap_or(0)) / f64::from(ended.items);
        served[0] += mine * seconds.as_secs_f64();
        served[1] += (1.0 - mine) * seconds.as_secs_f64();
    }
    served
}

fn add(report: &mut Report, what: &str, heavy: usize, mut alone: Seen, mut beside: Seen) {
    let what = format!("{LIGHT} jobs beside {heavy}, {what}");
    let p95 = |spans: &mut Vec<Duration>| percentile(spans, 0.95).as_secs_f64() * 1000.0;
    let waits = [p95(&mut alone.waits), p95(&mut beside.waits)];
    let latencies = [p95(&mut alone.latencies), p95(&mut beside.latencies)];
    report.add(format!("{what}: wait for the model, alone, p95"), latencies[0], "ms", Bar::None);
    report.add(format!("{what}: wait for the model, p95"), latencies[1], "ms", Bar::None);
    let times = |[alone, beside]: [f64; 2]| beside / alone.max(1e-9);
    let bar = Bar::AtMost(2.0);
    report.add(format!("{what}: wait for the model against alone"), times(latencies), "x", bar);
    report.add(format!("{what}: of it not computed, against alone"), times(waits), "x", Bar::None);
    let [a, b] = beside.served_s;
    let jain = (a + b).powi(2) / (2.0 * (a * a + b * b)).max(1e-9);
    report.add(format!("{what}: light's share of device-seconds"), 100.0 * a / (a + b), "%", Bar::None);
    report.add(format!("{what}: Jain index in device-seconds"), jain, "", Bar::AtLeast(0.95));
}
