//! Out of memory at a batch of each size: real runners, whose allocation fails as soon as a batch has two
//! items, so that the batch is halved down to single ones. How often a task is begun until it is done, what
//! that takes besides computing, and how long a runner takes to be there again.
//!
//! Beside it the planner's own rule on an engine that bears twelve items: how often it runs into that.

use crate::memory_store::MemoryStore;
use crate::pipeline::make_jobs;
use crate::rig::{Broker, Part, Rig, RigSettings, Run, all_done, loaded_runner};
use crate::servers;
use anyhow::{Context, Result, ensure};
use domain::{BatchEnd, BatchEnded, Site, Stage, Synthetic};
use figures::{Bar, Report};
use planning::BatchRule;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The stage that runs out: the first, so that all its tasks wait before anything begins.
const STAGE: Stage = Stage::Preprocess;
/// What an item computes.
const LOAD: &str = "stage=preprocess,item-ms=20";
/// Batches that pay, and end at twelve items.
const LEARNED: &str = "stage=preprocess,start-ms=40,item-ms=10,oom-at=12";
/// Batches of a key after which the planner is to know it.
const WARM_UP: usize = 20;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let sizes: &[u32] = if quick { &[4, 16] } else { &[2, 4, 8, 16, 32, 64] };
    for size in sizes {
        let (usual, _) = one_batch(*size, LOAD).await?;
        ensure!(usual.end == BatchEnd::Done, "a batch of {size} ended as {:?}", usual.end);
        let (halved, begun) = one_batch(*size, &format!("{LOAD},oom-at=2")).await?;
        let at_items = *size;
        ensure!(halved.end == BatchEnd::OutOfMemory { at_items }, "{size} ended as {:?}", halved.end);
        let halvings = size.next_power_of_two().ilog2();
        let what = format!("out of memory at {size}");
        let most = Bar::AtMost(f64::from(halvings + 1));
        report.add(format!("{what}: attempts of a task, at most"), f64::from(begun), "attempts", most);
        let longer = halved.lane_us.saturating_sub(usual.lane_us) as f64 / 1000.0;
        let each = longer / f64::from(halvings);
        report.add(format!("{what}: own overhead of each halving"), each, "ms", Bar::None);
        // Each halving starts one, and so did the beginning.
        let start = halved.load_ms as f64 / f64::from(halvings + 1);
        report.add(format!("{what}: start of a runner, mean"), start, "ms", Bar::None);
    }
    learned(report, if quick { 200 } else { 1_000 }).await
}

fn site(load: &str) -> Result<Site> {
    let mut site = servers::site();
    site.synthetic = true;
    site.inputs[0].recipe.synthetic = Some(Synthetic::parse(load)?);
    Ok(site)
}

fn part(name: &'static str, stages: &[Stage]) -> Result<Part> {
    Ok(Part { name, stages: stages.to_vec(), lanes: 1, memory_max: None, runner: loaded_runner()? })
}

/// As many jobs as the batch is to have, all of them waiting before anything begins: how the batch ended, and
/// how often the task that was begun most often was begun.
async fn one_batch(size: u32, load: &str) -> Result<(BatchEnded, u32)> {
    let broker = Broker::embedded();
    let mut rig = Rig::connect(&broker, Arc::new(MemoryStore::default()), site(load)?).await?;
    let tasks = jobs(&rig, ("one", size as usize)).await?;
    let (began, ids) = (Instant::now(), tasks.iter().map(|task| task.job).collect());
    let published = rig.publish(tasks.into_iter().map(|task| (Duration::ZERO, task)).collect()).await?;
    let sizes = NonZeroU32::new(size).map(|size| (STAGE, size)).into_iter().collect::<BTreeMap<_, _>>();
    rig.begin(&broker, BatchRule::Fixed(sizes), &[part("gpu", &Stage::ALL)?]).await?;
    let run = rig.over(began, &ids, published).await?;
    all_done(&run)?;
    let begun = run.starts.iter().filter(|((_, stage), _)| *stage == STAGE).map(|(_, count)| *count).max();
    let ended = run.batches.iter().map(|(_, ended)| ended).find(|ended| ended.stage == STAGE);
    let ended = ended.context("no batch was told of")?.clone();
    rig.stop().await?;
    Ok((ended, begun.unwrap_or_default()))
}

async fn jobs(rig: &Rig, of: (&str, usize)) -> Result<Vec<domain::Task>> {
    let picture = |n: usize| bytes::Bytes::from(format!("picture {n}"));
    make_jobs((&rig.ports, &rig.site, &rig.site.inputs[0]), of, picture).await
}

async fn learned(report: &mut Report, count: usize) -> Result<()> {
    let rest = [Stage::Shape, Stage::Texture, Stage::Export];
    let parts = vec![part("gpu", &[STAGE])?, part("rest", &rest)?];
    let settings = RigSettings { site: site(LEARNED)?, rule: BatchRule::Learned, parts };
    let rig = Rig::start(&Broker::embedded(), Arc::new(MemoryStore::default()), settings).await?;
    let run = rig.burst(jobs(&rig, ("learned", count)).await?).await?;
    all_done(&run)?;
    rig.stop().await?;
    let ends: Vec<BatchEnd> = of_stage(&run).map(|ended| ended.end).collect();
    let ran_out = |ends: &[BatchEnd]| {
        ends.iter().filter(|end| matches!(end, BatchEnd::OutOfMemory { .. })).count() as f64
    };
    let what = "the planner's rule where 12 items run out";
    report.add(format!("{what}: batches"), ends.len() as f64, "batches", Bar::None);
    report.add(format!("{what}: out of memory"), ran_out(&ends), "batches", Bar::None);
    let later = ends.get(WARM_UP..).unwrap_or_default();
    let share = 100.0 * ran_out(later) / later.len().max(1) as f64;
    report.add(format!("{what}: out of memory after {WARM_UP} batches"), share, "%", Bar::AtMost(0.1));
    Ok(())
}

fn of_stage(run: &Run) -> impl Iterator<Item = &BatchEnded> {
    run.batches.iter().map(|(_, ended)| ended).filter(|ended| ended.stage == STAGE)
}
