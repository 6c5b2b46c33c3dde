//! Measures the figures of Meshwright, prints them as a table and writes them to `figures/<suite>.json` in
//! the target folder. Nothing here is a test: a bar that does not hold is shown as such.
//!
//! Each suite is one module: it starts what it needs (real nats-server, real MinIO, the `meshwright` binary
//! of this build, or the crates themselves in this process), measures, and gives its figures back.
#![forbid(unsafe_code)]

mod cancel;
mod claim;
mod dashboard;
mod demo;
mod fairness;
mod followers;
mod hop;
mod intake;
mod jobs;
mod lines;
mod memory;
mod memory_store;
mod mixed;
mod null_stage;
mod overhead;
mod pipeline;
mod predict;
mod progress;
mod real;
mod reality;
mod recovery;
mod replay;
mod rerun;
mod rig;
mod runner;
mod servers;
mod span;
mod start;
mod timings;
mod tune;
mod upload;
mod watched;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use figures::Report;
use std::time::Instant;

/// The argument that makes this binary a runner with null stages; its own workers start it so.
const SERVE_RUNNER: &str = "serve-runner";
/// After it: they carry the synthetic loads that recipes ask for.
const LOADED_RUNNER: &str = "loaded";

/// Measures figures and writes them to figures/*.json in the target folder.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    /// Which suites; all when none is named.
    suites: Vec<Suite>,
    /// Fewer rounds: rougher figures, in about a quarter of the time.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Built binary to first model.
    Demo,
    /// Upload event to GLB.
    Upload,
    /// Task published to accepted, at both sync settings.
    Hop,
    /// Four null stages, jobs per second.
    Jobs,
    /// Events to queued jobs, beside what MinIO alone answers.
    Intake,
    /// Start to ready of each process.
    Start,
    /// Resident memory with many tasks queued.
    Memory,
    /// What the pipe to a runner and a runner's restart cost.
    Runner,
    /// A replay against a real rerun.
    Replay,
    /// A quarter of the measurements against all of them.
    Tune,
    /// What one span of a stage function costs.
    Span,
    /// 1,000,000 timings analysed.
    Timings,
    /// The bottleneck that is named against the true one, on simulated lines.
    Named,
    /// Estimates of what is left of a job, on simulated lines.
    Eta,
    /// 5,000 clients on the stream of events of one gateway.
    Followers,
    /// The store's event to the first event of its job.
    Progress,
    /// The call that cancels a job to its outcome, and to its runner's end.
    Cancel,
    /// Predictions of the analysis against real reruns.
    Predict,
    /// What metrics and timings cost.
    Overhead,
    /// First paint of the dashboard, and what is loaded until then.
    Dashboard,
    /// The planner against other rules, on real stages and mixed pictures.
    Mixed,
    /// What batches are worth against one task at a time.
    Claim,
    /// Out of memory at batches of each size.
    Recovery,
    /// A tenant with many jobs beside one with ten.
    Fairness,
    /// A small set-up simulated, and run for real.
    Reality,
}

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some(SERVE_RUNNER) {
        let loaded = std::env::args().nth(2).as_deref() == Some(LOADED_RUNNER);
        let make = |stage| -> Box<dyn stage::StageFunction> {
            let null = null_stage::make(stage);
            if loaded { Box::new(worker::Loaded::around(stage, null)) } else { null }
        };
        return worker::runner::serve(make).context("serve as a runner");
    }
    let cli = Cli::parse();
    let all = Suite::value_variants();
    let suites = if cli.suites.is_empty() { all } else { &cli.suites };
    tokio::runtime::Runtime::new().context("start a scheduler")?.block_on(measure(suites, cli.quick))
}

async fn measure(suites: &[Suite], quick: bool) -> Result<()> {
    let folder = figures::folder()?;
    let (mut tables, mut failed) = (Vec::new(), Vec::new());
    for suite in suites {
        let name = suite.to_possible_value().expect("no suite is hidden");
        let (name, began) = (name.get_name(), Instant::now());
        eprintln!("{name} …");
        let mut report = Report::new(name);
        let measured = match suite {
            Suite::Demo => demo::measure(&mut report).await,
            Suite::Upload => upload::measure(&mut report, quick).await,
            Suite::Hop => hop::measure(&mut report, quick).await,
            Suite::Jobs => jobs::measure(&mut report, quick).await,
            Suite::Intake => intake::measure(&mut report, quick).await,
            Suite::Start => start::measure(&mut report, quick).await,
            Suite::Memory => memory::measure(&mut report, quick).await,
            Suite::Runner => runner::measure(&mut report, quick).await,
            Suite::Replay => replay::measure(&mut report, quick).await,
            Suite::Tune => tune::measure(&mut report, quick).await,
            Suite::Span => span::measure(&mut report, quick).await,
            Suite::Timings => timings::measure(&mut report, quick),
            Suite::Named => lines::named(&mut report),
            Suite::Eta => lines::eta(&mut report),
            Suite::Followers => followers::measure(&mut report, quick).await,
            Suite::Progress => progress::measure(&mut report, quick).await,
            Suite::Cancel => cancel::measure(&mut report, quick).await,
            Suite::Predict => predict::measure(&mut report, quick).await,
            Suite::Overhead => overhead::measure(&mut report, quick).await,
            Suite::Dashboard => dashboard::measure(&mut report).await,
            Suite::Mixed => mixed::measure(&mut report, quick).await,
            Suite::Claim => claim::measure(&mut report, quick).await,
            Suite::Recovery => recovery::measure(&mut report, quick).await,
            Suite::Fairness => fairness::measure(&mut report, quick).await,
            Suite::Reality => reality::measure(&mut report, quick).await,
        };
        // One suite that cannot be measured says nothing about the others.
        match measured.and_then(|()| report.write(&folder)) {
            Ok(()) => tables.push(report),
            Err(error) => {
                eprintln!("{name} failed: {error:#}");
                failed.push(name.to_owned());
            }
        }
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
    }
    println!("{}", figures::table(&tables));
    println!("written to {}", folder.display());
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
