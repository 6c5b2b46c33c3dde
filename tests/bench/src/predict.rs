//! Whether the analysis of timings predicts a real rerun: one more worker for the stage that limits, and
//! batches of another size there. Jobs carry a synthetic load on the stage shape, where batches pay.
//!
//! Another size is predicted from what a few batches of it took while a smaller one was in use; how large
//! batches are is bounded by the memory that the worker may use.

use crate::rerun::{ALL, Line};
use anyhow::{Context, Result, ensure};
use domain::{BatchId, Stage, Timing};
use figures::{Bar, Report};
use profile::{Capacity, Change, Declared, Pool, Setup, Window};
use replay::Recording;
use std::collections::BTreeMap;

const LOAD: &str = "stage=shape,start-ms=400,item-ms=100,fixed=64MiB,per-item=96MiB";
/// Room for batches of about two items, and of about twelve.
const LITTLE: &str = "768MiB";
const MUCH: &str = "2GiB";
/// Jobs from which the planner learns how large batches may be.
const WARM_UP: usize = 40;
/// Jobs that show what a batch of the larger size takes.
const TRIAL: usize = 120;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let jobs = if quick { 60 } else { 240 };
    let [_, trial, large] = line(&[ALL], MUCH).run([WARM_UP, TRIAL, jobs]).await?;
    let [_, more] = line(&[ALL, &["shape"]], MUCH).run([WARM_UP, jobs]).await?;
    let [_, small] = line(&[ALL], LITTLE).run([WARM_UP, jobs]).await?;
    let change = Change::AddLane { stage: Stage::Shape };
    compare(report, "one more worker for shape", (&large, &[]), (&change, &more))?;
    let (from, to) = (usual_size(&small)?, usual_size(&trial)?);
    ensure!(from < to, "batches of {from} with little memory, of {to} with much: nothing to compare");
    let change = Change::BatchSize { stage: Stage::Shape, items: to };
    let what = format!("batches of {to} at shape instead of {from}");
    let trial: Vec<Timing> = trial.into_iter().filter(|timing| timing.stage == Stage::Shape).collect();
    compare(report, &what, (&small, &trial), (&change, &large))
}

fn line<'a>(workers: &'a [&'a [&'a str]], memory_max: &'a str) -> Line<'a> {
    Line { workers, load: LOAD, memory_max: Some(memory_max) }
}

/// What is predicted from a run (and a trial of something else), against the run after the change.
fn compare(
    report: &mut Report,
    what: &str,
    (before, trial): (&[Timing], &[Timing]),
    (change, after): (&Change, &[Timing]),
) -> Result<()> {
    let mut window = Window::new();
    before.iter().chain(trial).for_each(|timing| window.add(timing));
    let class = before.first().context("a run has no timings")?.device_class.clone();
    let pool = Pool { device_class: class, stages: Stage::ALL.into(), workers: 1, lanes: 1 };
    let capacity = Capacity::new(&window, &Setup { pools: vec![pool] });
    let told = capacity.predict(change, &Declared::default()).context("predict a change")?;
    eprintln!("  {}", told.text);
    let real = throughput(after)?;
    let least = if told.at_least { "at least " } else { "" };
    report.add(format!("{what}: before, real"), throughput(before)?, "jobs/h", Bar::None);
    report.add(format!("{what}: predicted {least}"), told.jobs_per_hour, "jobs/h", Bar::None);
    report.add(format!("{what}: real"), real, "jobs/h", Bar::None);
    let off = (told.jobs_per_hour / real.max(1e-9) - 1.0).abs();
    report.add(format!("{what}: prediction off by"), off, "", Bar::AtMost(0.1));
    Ok(())
}

/// Jobs per hour from the first arrival to the last end.
fn throughput(timings: &[Timing]) -> Result<f64> {
    Ok(Recording::of(timings).context("read a run")?.outcome().jobs_per_hour)
}

/// The size of batches in which most items of the stage shape ran.
fn usual_size(timings: &[Timing]) -> Result<u32> {
    let batches: BTreeMap<BatchId, u32> = timings
        .iter()
        .filter(|timing| timing.stage == Stage::Shape)
        .map(|timing| (timing.batch, timing.batch_items))
        .collect();
    let mut items: BTreeMap<u32, u32> = BTreeMap::new();
    batches.into_values().for_each(|size| *items.entry(size).or_default() += size);
    eprintln!("  items of shape by size of their batch: {items:?}");
    items.into_iter().max_by_key(|(_, items)| *items).map(|(size, _)| size).context("nothing ran at shape")
}
