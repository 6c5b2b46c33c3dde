//! What the analysis of timings says of simulated lines of four stages, against what is true of them: the
//! stage whose next lane gains most, and how long each job still takes.

use anyhow::{Result, ensure};
use figures::{Bar, Report};
use truth::bottleneck::{any_lines, balanced_lines};
use truth::{eta, quantile};

pub(crate) fn named(report: &mut Report) -> Result<()> {
    let mut off = Vec::new();
    for (name, of) in [("any lines", any_lines()), ("lines whose stages are about as fast", balanced_lines())]
    {
        of.misses.iter().for_each(|miss| eprintln!("  {miss}"));
        ensure!(of.judged > 0, "all {} are ties", of.ties);
        let share = 100.0 * of.named as f64 / of.judged as f64;
        let what = format!("bottleneck named, {name}, {} of {} judged", of.judged, of.judged + of.ties);
        report.add(what, share, "%", Bar::AtLeast(95.0));
        report.add(format!("ties left out, {name}"), of.ties as f64, "lines", Bar::None);
        off.extend(of.gains.iter().map(|ratio| (ratio - 1.0).abs()));
    }
    ensure!(!off.is_empty(), "no gain was told as a number");
    let what = format!("throughput with another lane, {} lines, off by", off.len());
    report.add(format!("{what}, p50"), quantile(&mut off, 0.5), "", Bar::AtMost(0.1));
    report.add(format!("{what}, p90"), quantile(&mut off, 0.9), "", Bar::AtMost(0.1));
    Ok(())
}

pub(crate) fn eta(report: &mut Report) -> Result<()> {
    let eta::Errors { mut off, kept } = eta::errors();
    ensure!(!off.is_empty(), "nothing was asked");
    let asks = off.len();
    for (share, bar) in [(0.5, 15.0), (0.9, 30.0)] {
        let what = format!("ETA off by this share of the job's time, {asks} asks, p{:.0}", 100.0 * share);
        report.add(what, 100.0 * quantile(&mut off, share), "%", Bar::AtMost(bar));
    }
    let held = kept.iter().filter(|of| **of).count() as f64 / kept.len() as f64;
    report.add("ETA: jobs that took no longer than its p90", 100.0 * held, "%", Bar::None);
    Ok(())
}
