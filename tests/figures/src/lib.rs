//! A figure: a value with its bar, the machine and the commit; tables and files of them.
//! Used by whatever measures; nothing here is a test.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Only printed.
    None,
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Bar {
    fn holds(self, value: f64) -> Option<bool> {
        match self {
            Bar::None => None,
            Bar::AtMost(most) => Some(value <= most),
            Bar::AtLeast(least) => Some(value >= least),
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Bar::None => None,
            Bar::AtMost(most) => Some(format!("<= {most}")),
            Bar::AtLeast(least) => Some(format!(">= {least}")),
        }
    }
}

/// One measured value.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    figure: String,
    value: f64,
    unit: &'static str,
    bar: Option<String>,
    holds: Option<bool>,
    machine: String,
    commit: String,
}

/// The figures of a suite.
#[derive(Debug)]
pub struct Report {
    suite: String,
    figures: Vec<Figure>,
    machine: String,
    commit: String,
}

impl Report {
    /// An empty one.
    pub fn new(suite: &str) -> Report {
        Report { suite: suite.to_owned(), figures: Vec::new(), machine: machine(), commit: commit() }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: impl Into<String>, value: f64, unit: &'static str, bar: Bar) {
        let figure = figure.into();
        let value = (value * 1000.0).round() / 1000.0;
        eprintln!("  {figure}: {value} {unit}");
        let (machine, commit) = (self.machine.clone(), self.commit.clone());
        let (holds, bar) = (bar.holds(value), bar.text());
        self.figures.push(Figure { figure, value, unit, bar, holds, machine, commit });
    }

    /// Adds the median and the 99th percentile of some spans, each against its bar, in milliseconds.
    pub fn add_spans(&mut self, figure: &str, spans: &mut [Duration], bars: (Bar, Bar)) {
        self.add(format!("{figure}, p50"), ms(percentile(spans, 0.50)), "ms", bars.0);
        self.add(format!("{figure}, p99"), ms(percentile(spans, 0.99)), "ms", bars.1);
    }

    /// Writes `<suite>.json` into the folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join(format!("{}.json", self.suite));
        let text = serde_json::to_string_pretty(&self.figures)?;
        std::fs::write(&file, text + "\n").with_context(|| format!("write {}", file.display()))
    }
}

/// `figures` in the target folder of this program; made if it is missing.
///
/// # Errors
/// The program lies in no target folder, or the folder cannot be made.
pub fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    let target = program.ancestors().nth(2).context("this program lies in no target folder")?;
    let folder = target.join("figures");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// All reports as one table, as `infra/just figures` prints them.
pub fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(["suite", "figure", "value", "unit", "bar", "holds"]);
    for report in reports {
        for figure in &report.figures {
            let holds = match figure.holds {
                None => "",
                Some(true) => "yes",
                Some(false) => "NO",
            };
            table.add_row([
                report.suite.clone(),
                figure.figure.clone(),
                figure.value.to_string(),
                figure.unit.to_owned(),
                figure.bar.clone().unwrap_or_default(),
                holds.to_owned(),
            ]);
        }
    }
    table
}

/// The span below which this share of the spans lies. They are sorted by it; zero if there are none.
pub fn percentile(spans: &mut [Duration], share: f64) -> Duration {
    spans.sort_unstable();
    let place = ((spans.len() as f64 * share).ceil() as usize).clamp(1, spans.len().max(1)) - 1;
    spans.get(place).copied().unwrap_or_default()
}

/// Milliseconds.
pub fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Cores, processor, memory: what a figure depends on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib = after(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or_default();
    format!("{cores} cores {model}, {:.0} GiB", kib / f64::from(1 << 20))
}

/// The commit that was measured, with a plus if the working tree differs from it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let done = Command::new("git").args(args).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_some_and(|changed| !changed.is_empty()) { commit + "+" } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let check = |count: u64, share: f64, expect: u64| {
            let mut spans: Vec<Duration> = (1..=count).rev().map(Duration::from_millis).collect();
            assert_eq!(percentile(&mut spans, share), Duration::from_millis(expect));
        };
        check(100, 0.50, 50);
        check(100, 0.99, 99);
        check(1, 0.99, 1);
        check(0, 0.50, 0);
    }

    #[test]
    fn a_bar_is_held_at_its_very_value() {
        assert_eq!(Bar::AtMost(2.0).holds(2.0), Some(true));
        assert_eq!(Bar::AtLeast(2.0).holds(1.9), Some(false));
        assert_eq!(Bar::None.holds(1.0), None);
    }
}
