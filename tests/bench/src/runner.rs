//! What lies between a worker and its runner: the copy of a batch over the pipe and back, and a restart.

use crate::null_stage::ECHO;
use crate::{SERVE_RUNNER, servers};
use anyhow::{Context, Result, ensure};
use domain::{Bytes, Recipe, Stage};
use figures::{Bar, Report, ms, percentile};
use stage::{File, Input};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use worker::{ItemEnd, ItemSay, Lane, RunnerCommand, Work};

/// What a batch may take: far more than its files.
const RESERVATION: Bytes = Bytes::gib(1);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 20 } else { 100 };
    let mut lane = null_lane().await?;
    // A cut-out and a textured model of the standard recipe have about these sizes.
    let cases = [
        ("1 item of 0 bytes", 1, 0),
        ("1 item of 2 MiB in, 2 MiB out", 1, 2 << 20),
        ("16 items of 2 MiB in, 2 MiB out", 16, 2 << 20),
    ];
    for (what, items, bytes) in cases {
        let mut spans = Vec::new();
        for round in 0..rounds + 3 {
            let span = echo(&mut lane, items, bytes).await?;
            if round >= 3 {
                spans.push(span);
            }
        }
        let p50 = percentile(&mut spans, 0.5);
        report.add(format!("runner: a batch of {what}, p50"), ms(p50), "ms", Bar::None);
        if bytes > 0 {
            let rate = (2 * items * bytes) as f64 / 1e6 / p50.as_secs_f64();
            report.add(format!("runner: a batch of {what}, both ways"), rate, "MB/s", Bar::None);
        }
    }
    lane.rest().await;
    let mut lane = Lane::new(command(servers::meshwright()?, "runner"));
    let mut spans = Vec::new();
    for _ in 0..rounds / 4 {
        lane.warm_up().await.context("start a runner")?;
        let began = Instant::now();
        lane.rest().await;
        lane.warm_up().await.context("start a runner again")?;
        spans.push(began.elapsed());
    }
    lane.rest().await;
    report.add("runner: killed to ready again, p50", ms(percentile(&mut spans, 0.5)), "ms", Bar::None);
    Ok(())
}

fn command(program: PathBuf, word: &str) -> RunnerCommand {
    RunnerCommand { program, args: vec![word.into()] }
}

/// A lane whose runner is this binary with null stages, started.
///
/// # Errors
/// It does not start.
pub(crate) async fn null_lane() -> Result<Lane> {
    let itself = std::env::current_exe().context("find this binary")?;
    let mut lane = Lane::new(command(itself, SERVE_RUNNER));
    lane.warm_up().await.context("start a runner")?;
    Ok(lane)
}

/// A batch whose items come back as they went.
async fn echo(lane: &mut Lane, items: usize, bytes: usize) -> Result<Duration> {
    let file = || File { name: ECHO.to_owned(), content_type: "image/png".to_owned(), bytes: vec![7; bytes] };
    let (span, files) = batch(lane, std::iter::repeat_with(file).take(items)).await?;
    let back: usize = files.iter().map(|file| file.bytes.len()).sum();
    ensure!(back == items * bytes, "a batch came back as {back} bytes");
    Ok(span)
}

/// A batch with one file for each item: how long it took, and all files that came back.
///
/// # Errors
/// The runner died.
pub(crate) async fn batch(
    lane: &mut Lane,
    files: impl IntoIterator<Item = File>,
) -> Result<(Duration, Vec<File>)> {
    let input = |file| Input { recipe: Recipe::default(), files: vec![file] };
    let work = Work {
        stage: Stage::Texture,
        reservation: RESERVATION,
        inputs: files.into_iter().map(input).collect(),
        stall: Duration::from_secs(30),
        cancelled: watch::channel(BTreeSet::new()).1,
        broken: watch::channel(None).1,
    };
    let (heard, mut hear) = mpsc::channel(64);
    let collecting = tokio::spawn(async move {
        let mut back = Vec::new();
        while let Some((_, say)) = hear.recv().await {
            if let ItemSay::Ended(ItemEnd::Files { files, .. }) = say {
                back.extend(files);
            }
        }
        back
    });
    let began = Instant::now();
    let run = lane.run(work, &heard).await;
    let span = began.elapsed();
    drop(heard);
    let back = collecting.await.context("collect the files")?;
    ensure!(run.deaths == 0, "a runner died: {run:?}");
    Ok((span, back))
}
