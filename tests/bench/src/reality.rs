//! Simulation against reality: a small set-up with a synthetic engine, run by the real planner, real
//! workers and real runners on a real broker, and by the simulation of `replay`. The simulation is told
//! what the engine declares and how long ten jobs took that went through alone, one after another; of the
//! runs that it is compared with it knows nothing but when their jobs came.

use crate::memory_store::MemoryStore;
use crate::pipeline::make_jobs;
use crate::rig::{Broker, Part, Rig, RigSettings, Run, all_done, loaded_runner};
use crate::servers;
use anyhow::{Context, Result};
use domain::{BatchId, Bytes, JobId, Phase, PhaseTimes, Site, Stage, Synthetic, Task, Timestamp, Timing};
use figures::{Bar, Report, percentile};
use harness::{NatsConfig, NatsServer};
use planning::BatchRule;
use replay::{Outcome, Recording, SetUp, WorkerKind};
use std::sync::Arc;
use std::time::Duration;

/// The stage with the engine.
const STAGE: Stage = Stage::Shape;
const LOAD: &str = "stage=shape,start-ms=120,item-ms=60,fixed=32MiB,per-item=8MiB";
/// Jobs from which the planner learns.
const WARM_UP: usize = 80;
/// Jobs that go through alone.
const ALONE: usize = 10;
/// Sizes of batches that the simulation is told of.
const SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let count = if quick { 70 } else { 280 };
    for (name, workers) in [("one worker", &["a"][..]), ("two workers", &["a", "b"][..])] {
        let server = NatsServer::start(NatsConfig::durable()).await?;
        servers::broker(server.url(), "bench").await?.ensure().await?;
        let runner = loaded_runner()?;
        let part = |name: &&'static str| {
            let (stages, runner) = (Stage::ALL.to_vec(), runner.clone());
            Part { name, stages, lanes: 1, memory_max: None, runner }
        };
        let parts: Vec<Part> = workers.iter().map(part).collect();
        let settings = RigSettings { site: site()?, rule: BatchRule::Learned, parts };
        let broker = Broker::Nats(server.url());
        let rig = Rig::start(&broker, Arc::new(MemoryStore::default()), settings).await?;
        all_done(&rig.burst(jobs(&rig, "warm", WARM_UP).await?).await?)?;
        let mut alone = Vec::new();
        for task in jobs(&rig, "alone", ALONE).await? {
            let run = rig.burst(vec![task]).await?;
            all_done(&run)?;
            alone.extend(run.timings);
        }
        let set_up = {
            let kind = WorkerKind { count: workers.len() as u32, ..WorkerKind::new(Stage::ALL, 1) };
            SetUp { workers: vec![kind], batch_max: domain::BATCH_ITEMS_MAX }
        };
        // All at once; and one after another, in about twice the time that each of them needs alone.
        let every = Duration::from_millis(400) / workers.len() as u32;
        for (how, every, count) in [("all at once", Duration::ZERO, count), ("paced", every, count / 4)] {
            let tasks = jobs(&rig, &format!("{}-ms", every.as_millis()), count).await?;
            let arrivals: Vec<Duration> = (0..count as u32).map(|n| every * n).collect();
            let run = rig.run(arrivals.iter().copied().zip(tasks).collect()).await?;
            all_done(&run)?;
            let recording = Recording::of(&declared(&arrivals, &alone)?).context("what is declared")?;
            compare(report, &format!("{name}, {how}"), &replay::replay(&recording, &set_up), &run);
        }
        rig.stop().await?;
    }
    Ok(())
}

fn site() -> Result<Site> {
    let mut site = servers::site();
    site.synthetic = true;
    site.inputs[0].recipe.synthetic = Some(Synthetic::parse(LOAD)?);
    Ok(site)
}

async fn jobs(rig: &Rig, folder: &str, count: usize) -> Result<Vec<Task>> {
    let picture = |n: usize| bytes::Bytes::from(format!("picture {n}"));
    make_jobs((&rig.ports, &rig.site, &rig.site.inputs[0]), (folder, count), picture).await
}

/// Timings as the engine declares them, of jobs that come then. Everything but the engine takes as long as it
/// did for jobs alone.
fn declared(arrivals: &[Duration], alone: &[Timing]) -> Result<Vec<Timing>> {
    let load = Synthetic::parse(LOAD)?;
    let usual = |stage: Stage, phase: Phase| {
        let of_stage = alone.iter().filter(|timing| timing.stage == stage);
        percentile(&mut of_stage.map(|timing| timing.phases.of(phase)).collect::<Vec<_>>(), 0.5)
    };
    let mut all = Vec::new();
    for stage in Stage::ALL {
        let first = alone.iter().find(|timing| timing.stage == stage).context("no job went through alone")?;
        let (mut sizes, mut from) = (SIZES.iter().cycle(), 0);
        while from < arrivals.len() {
            let size = if stage == STAGE { *sizes.next().unwrap_or(&1) } else { 1 };
            let to = (from + size).min(arrivals.len());
            let items = (to - from) as u32;
            let mut timing = first.clone();
            timing.phases = PhaseTimes::default();
            Phase::ALL.into_iter().for_each(|phase| timing.phases.add(phase, usual(stage, phase)));
            if stage == STAGE {
                let ms = u64::from(load.start_ms) + u64::from(load.item_ms) * u64::from(items);
                timing.phases.compute_us = ms * 1000;
                timing.peak_bytes = load.fixed + Bytes(load.per_item.0 * u64::from(items));
            }
            (timing.phases.load_us, timing.phases.wait_us) = (0, 0);
            timing.wall_us = timing.phases.sum().as_micros() as u64 / 1000 * 1000;
            timing.batch_items = items;
            timing.batch = BatchId(number(stage as u64 + 1, from as u64));
            for (n, arrives) in arrivals.iter().enumerate().take(to).skip(from) {
                let job = JobId(number(0, n as u64));
                let at = Timestamp(1_000_000) + *arrives + Duration::from_micros(timing.wall_us);
                all.push(Timing { job, at, ..timing.clone() });
            }
            from = to;
        }
    }
    Ok(all)
}

fn number(high: u64, low: u64) -> [u8; 16] {
    ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
}

fn compare(report: &mut Report, what: &str, told: &Outcome, run: &Run) {
    let mut latencies: Vec<Duration> = run.latencies.values().copied().collect();
    let mut real = |share: f64| percentile(&mut latencies, share).as_secs_f64();
    let items = told.stages.iter().find(|of| of.stage == STAGE).map_or(0.0, |of| of.items_mean);
    let rows = [
        ("jobs/h", told.jobs_per_hour, run.jobs_per_s() * 3600.0),
        ("latency p50, s", told.latency_p50_s, real(0.5)),
        ("latency p95, s", told.latency_p95_s, real(0.95)),
        ("items of a batch", items, run.items_mean(STAGE)),
    ];
    for (of, told, real) in rows {
        report.add(format!("{what}: {of}, simulated"), told, "", Bar::None);
        report.add(format!("{what}: {of}, real"), real, "", Bar::None);
        let off = 100.0 * (told / real.max(1e-9) - 1.0);
        report.add(format!("{what}: {of}, simulation off by"), off, "%", Bar::None);
    }
}
