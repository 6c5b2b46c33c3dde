//! Whether a replay predicts a real rerun: jobs with a synthetic load on the stage shape go through one
//! worker with one lane; their timings, replayed with two workers, against jobs through two real workers.

use crate::rerun::{ALL, Line};
use anyhow::{Context, Result};
use domain::Stage;
use figures::{Bar, Report};
use replay::{Outcome, Recording, SetUp, StageOutcome, WorkerKind};

const LOAD: &str = "stage=shape,start-ms=150,item-ms=250,fixed=64MiB,per-item=32MiB";
/// Jobs before the measured ones.
const WARM_UP: usize = 24;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let jobs = if quick { 40 } else { 120 };
    let one = recording(jobs, &[ALL]).await?;
    let two = recording(jobs, &[ALL, ALL]).await?;
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
    for (name, of) in [("replayed", told), ("real", real)] {
        let stage = |stage: &StageOutcome| {
            let held_s = stage.lanes_busy * of.span_s;
            format!("{} {} of {:.1} in {held_s:.1} s", stage.stage, stage.batches, stage.items_mean)
        };
        let stages: Vec<String> = of.stages.iter().map(stage).collect();
        eprintln!("  {name}, {:.1} s, batches: {}", of.span_s, stages.join(", "));
    }
    let off = |told: f64, real: f64| (told / real.max(1e-9) - 1.0).abs();
    report.add(format!("{what}: real"), real.jobs_per_hour, "jobs/h", Bar::None);
    report.add(format!("{what}: replayed"), told.jobs_per_hour, "jobs/h", Bar::None);
    report.add(format!("{what}: throughput off by"), off(told.jobs_per_hour, real.jobs_per_hour), "", bar());
    report.add(
        format!("{what}: latency p50 off by"),
        off(told.latency_p50_s, real.latency_p50_s),
        "",
        Bar::None,
    );
}

/// Jobs through these workers.
async fn recording(jobs: usize, workers: &[&[&str]]) -> Result<Recording> {
    let line = Line { workers, load: LOAD, memory_max: None };
    let [_, timings] = line.run([WARM_UP, jobs]).await?;
    Recording::of(&timings).context("read the recording")
}
