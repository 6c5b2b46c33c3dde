//! What batches are worth: throughput against one task at a time. On one GPU as far as its published curve
//! goes, which a synthetic engine follows in real time on a real broker; and on the real stages of this
//! machine, where a batch saves next to nothing.

use crate::memory_store::MemoryStore;
use crate::pipeline::make_jobs;
use crate::real::{Store, picture, real_parts};
use crate::rig::{Broker, Part, Rig, RigSettings, Run, all_done, loaded_runner};
use crate::servers;
use anyhow::{Context, Result};
use domain::{Site, Stage, Synthetic, Task};
use figures::{Bar, Report};
use harness::{NatsConfig, NatsServer};
use planning::BatchRule;
use std::sync::Arc;
use std::time::Duration;

/// Pictures of 512² in a second, in batches of so many: the published curve of one GPU.
const CURVE: [(u32, f64); 6] = [(1, 6.0), (2, 10.9), (3, 16.1), (4, 16.6), (8, 18.8), (16, 19.2)];
/// What is claimed of batches.
const CLAIM: f64 = 2.0;
/// Jobs from which the planner learns.
const WARM_UP: usize = 80;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    curve(report, if quick { 60 } else { 240 }).await?;
    stages(report, if quick { 12 } else { 32 }, if quick { 1 } else { 3 }).await
}

/// A stage on that GPU; the other stages compute nothing.
async fn curve(report: &mut Report, count: usize) -> Result<()> {
    let ms = CURVE.map(|(size, rate)| format!("{size}:{:.0}", 1000.0 * f64::from(size) / rate));
    let load = format!("stage=shape,fixed=64MiB,per-item=8MiB,batch-ms={}", ms.join("/"));
    let mut site = servers::site();
    site.synthetic = true;
    site.inputs[0].recipe.synthetic = Some(Synthetic::parse(&load)?);
    let mut rates = Vec::new();
    for (name, rule) in [("one at a time", BatchRule::One), ("the planner", BatchRule::Learned)] {
        let server = NatsServer::start(NatsConfig::durable()).await?;
        servers::broker(server.url(), "bench").await?.ensure().await?;
        let settings = RigSettings { site: site.clone(), rule, parts: parts()? };
        let broker = Broker::Nats(server.url());
        let rig = Rig::start(&broker, Arc::new(MemoryStore::default()), settings).await?;
        let warm_up = rig.burst(jobs(&rig, ("warm", WARM_UP)).await?).await?;
        all_done(&warm_up)?;
        let run = rig.burst(jobs(&rig, ("measured", count)).await?).await?;
        all_done(&run)?;
        rig.stop().await?;
        let what = format!("published curve, {name}");
        report.add(format!("{what}: throughput"), run.jobs_per_s(), "jobs/s", Bar::None);
        report.add(format!("{what}: items of a batch, mean"), run.items_mean(Stage::Shape), "", Bar::None);
        rates.push(run.jobs_per_s());
    }
    let times = rates[1] / rates[0].max(1e-9);
    report.add("published curve: the planner against one at a time", times, "x", Bar::AtLeast(CLAIM));
    let (one, best) = (CURVE[0].1, CURVE.iter().map(|(_, rate)| *rate).fold(0.0, f64::max));
    let share = 100.0 * rates[1] / best;
    report.add("published curve: of the best point of the curve itself", share, "%", Bar::None);
    report.add("published curve: the most that it allows", best / one, "x", Bar::None);
    Ok(())
}

fn parts() -> Result<Vec<Part>> {
    let runner = loaded_runner()?;
    let rest = vec![Stage::Preprocess, Stage::Texture, Stage::Export];
    let gpu = vec![Stage::Shape];
    Ok(vec![
        Part { name: "gpu", stages: gpu, lanes: 1, memory_max: None, runner: runner.clone() },
        Part { name: "rest", stages: rest, lanes: 2, memory_max: None, runner },
    ])
}

async fn jobs(rig: &Rig, of: (&str, usize)) -> Result<Vec<Task>> {
    let picture = |n: usize| bytes::Bytes::from(format!("picture {n}"));
    make_jobs((&rig.ports, &rig.site, &rig.site.inputs[0]), of, picture).await
}

/// The real stages: one picture after another, one task in a batch on every lane, and the planner.
async fn stages(report: &mut Report, count: usize, rounds: usize) -> Result<()> {
    let names = ["one picture after another", "one in a batch", "the planner"];
    let mut rigs = Vec::new();
    for rule in [BatchRule::One, BatchRule::One, BatchRule::Learned] {
        let store = Store::start(&site()).await?;
        let settings = RigSettings { site: site(), rule, parts: real_parts(None)? };
        let rig = Rig::start(&Broker::embedded(), store.client.clone(), settings).await?;
        for round in 0..2 {
            all_done(&rig.burst(real_jobs(&rig, &format!("warm-{round}"), count / 2).await?).await?)?;
        }
        rigs.push((rig, store));
    }
    let (mut spans, mut items) = ([Duration::ZERO; 3], [0.0; 3]);
    for round in 0..rounds {
        for (n, (rig, _)) in rigs.iter().enumerate() {
            let tasks = real_jobs(rig, &format!("round-{round}"), count).await?;
            let run = if n == 0 { one_after_another(rig, tasks).await? } else { rig.burst(tasks).await? };
            all_done(&run)?;
            spans[n] += run.span;
            items[n] += run.items_mean(Stage::Shape) / rounds as f64;
        }
    }
    let rate = |n: usize| (count * rounds) as f64 / spans[n].as_secs_f64().max(1e-9);
    for (n, name) in names.iter().enumerate() {
        report.add(format!("real stages, {name}: throughput"), rate(n), "jobs/s", Bar::None);
    }
    report.add("real stages, the planner: items of a batch of shape, mean", items[2], "", Bar::None);
    report.add("real stages: the planner against one in a batch", rate(2) / rate(1), "x", Bar::None);
    let what = "real stages: the planner against one picture after another";
    report.add(what, rate(2) / rate(0), "x", Bar::None);
    for (rig, _) in rigs {
        rig.stop().await?;
    }
    Ok(())
}

fn site() -> Site {
    servers::site()
}

async fn real_jobs(rig: &Rig, folder: &str, count: usize) -> Result<Vec<Task>> {
    let pictures = (0..count).map(|n| picture(n, 512)).collect::<Result<Vec<_>>>()?;
    let of = (&rig.ports, &rig.site, &rig.site.inputs[0]);
    make_jobs(of, (folder, count), |n| pictures[n].clone()).await
}

/// As a script does it: the next picture comes when the one before is a model.
async fn one_after_another(rig: &Rig, tasks: Vec<Task>) -> Result<Run> {
    let mut whole: Option<Run> = None;
    for task in tasks {
        let run = rig.burst(vec![task]).await?;
        whole = Some(match whole {
            None => run,
            Some(mut before) => {
                before.span += run.span;
                before.failed += run.failed;
                before.latencies.extend(run.latencies);
                before.batches.extend(run.batches);
                before
            }
        });
    }
    whole.context("there are no pictures")
}
