//! Whether a quarter of the measurements finds what all of them would: a real stage of this machine is
//! measured everywhere once, and the search is told from that.

use crate::servers;
use anyhow::{Context, Result, ensure};
use figures::{Bar, Report};
use planning::{Grid, Point, Search};
use serde::Deserialize;
use std::process::Stdio;
use tokio::process::Command;

/// A line of what `meshwright tune --all --json` measured.
#[derive(Deserialize)]
struct Line {
    kind: String,
    items: u32,
    lanes: u32,
    items_per_s: f64,
}

#[derive(Deserialize)]
struct Found {
    measured: Vec<Line>,
}

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let stages = if quick { &["shape"][..] } else { &["shape", "texture"] };
    for stage in stages {
        let output = Command::new(servers::meshwright()?)
            .args(["--json", "tune", stage, "--all"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .context("measure a stage")?;
        ensure!(output.status.success(), "`tune {stage}` ended with {}", output.status);
        let found: Found = serde_json::from_slice(&output.stdout).context("read what was measured")?;
        search(report, stage, &found.measured);
    }
    Ok(())
}

fn search(report: &mut Report, stage: &str, all: &[Line]) {
    let mut kinds: Vec<&str> = Vec::new();
    for line in all.iter().filter(|line| line.items == all[0].items && line.lanes == all[0].lanes) {
        kinds.push(&line.kind);
    }
    let listed = |of: fn(&Line) -> u32| {
        let mut numbers: Vec<u32> = all.iter().map(of).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let (sizes, lanes) = (listed(|line| line.items), listed(|line| line.lanes));
    let grid = Grid { sizes, lanes, kinds: kinds.len() };
    let rate = |kind: &str, items: u32, lanes: u32| {
        let found = all.iter().find(|of| of.kind == kind && of.items == items && of.lanes == lanes);
        found.map_or(0.0, |of| of.items_per_s)
    };
    let at = |point: Point| rate(kinds[point.kind], grid.sizes[point.size], grid.lanes[point.lanes]);
    let mut search = Search::new(grid.clone());
    while let Some(point) = search.next() {
        search.tell(point, at(point));
    }
    let share = search.measured().count() as f64 / grid.points() as f64;
    report.add(format!("tune {stage}: measured share of all points"), share, "", Bar::AtMost(0.25));
    let of_best = kinds.iter().enumerate().map(|(n, kind)| {
        let best = all.iter().filter(|of| of.kind == *kind).map(|of| of.items_per_s).fold(0.0, f64::max);
        search.best(n).map_or(0.0, |(_, found)| found / best.max(1e-9))
    });
    let worst = of_best.fold(1.0, f64::min);
    report.add(
        format!("tune {stage}: found, of the best there is, worst kind"),
        worst,
        "",
        Bar::AtLeast(0.95),
    );
}
