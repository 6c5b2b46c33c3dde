//! The bars of `profile`, on lines that were simulated without it.

use domain::Timing;
use profile::{Capacity, Change, Declared};
use truth::bottleneck::{JOBS, any_lines, balanced_lines, limit, setup, window};
use truth::line::{random, run};
use truth::{eta, quantile};

#[test]
fn the_named_stage_is_the_one_whose_next_lane_gains_most_and_the_gain_is_as_predicted() {
    let mut off = Vec::new();
    for (name, of) in [("any lines", any_lines()), ("balanced lines", balanced_lines())] {
        of.misses.iter().for_each(|miss| println!("{miss}"));
        println!("{name}: named {} of {}, {} ties", of.named, of.judged, of.ties);
        assert!(of.named as f64 >= 0.95 * of.judged as f64 && of.judged >= 30, "{name}: {} named", of.named);
        off.extend(of.gains.iter().map(|ratio| (ratio - 1.0).abs()));
        let kept = of.at_least.iter().filter(|ratio| **ratio <= 1.1).count();
        println!("{name}: \"at least\" kept in {kept} of {}", of.at_least.len());
        assert!(kept as f64 >= 0.9 * of.at_least.len() as f64, "{:?}", of.at_least);
    }
    let (p50, p90) = (quantile(&mut off, 0.5), quantile(&mut off, 0.9));
    println!("throughput with another lane: {} lines, off by p50 {p50:.3}, p90 {p90:.3}", off.len());
    assert!(p50 <= 0.05 && p90 <= 0.10, "off by {p50} and {p90}");
}

#[test]
fn the_limit_is_the_throughput_of_a_line_that_always_has_work() {
    let mut off = Vec::new();
    for seed in 191_000..191_040 {
        let mut line = random(seed, 3 * JOBS);
        line.stages.iter_mut().for_each(|stage| stage.idle = f64::INFINITY);
        let base = run(&line);
        let (_, limit) = limit(&line, &base);
        off.push((limit.jobs_per_hour / 3_600.0 / base.throughput() - 1.0).abs());
    }
    let (p50, p90) = (quantile(&mut off, 0.5), quantile(&mut off, 0.9));
    println!("limit off by p50 {p50:.3}, p90 {p90:.3}");
    assert!(p50 <= 0.05 && p90 <= 0.10, "off by {p50} and {p90}");
}

/// A batch size that was measured while another was in use: what a real rerun with that size gives.
#[test]
fn another_batch_size_gives_what_a_rerun_with_it_gives() {
    let mut off = Vec::new();
    for seed in 192_000..192_040 {
        let mut line = random(seed, JOBS);
        let (_, found) = limit(&line, &run(&line));
        let stage = found.stage;
        let size = line.stages[stage as usize].batch_max;
        if size == 1 {
            continue;
        }
        let mut small = line.clone();
        small.stages[stage as usize].batch_max = 1;
        let few = run(&small);
        // A trial: a quarter as many batches as there are alone.
        line.arrivals.truncate(JOBS / 4 * size.min(4));
        let mut trial = run(&line).timings;
        for timing in &mut trial {
            timing.batch.0[0] = 1;
        }
        let of_stage = |timing: &&Timing| timing.stage == stage;
        let both = window(few.timings.iter().chain(trial.iter().filter(of_stage)));
        let capacity = Capacity::new(&both, &setup(&small));
        let change = Change::BatchSize { stage, items: size as u32 };
        let predicted = capacity.predict(&change, &Declared::default()).ok();
        // Where another stage bounds that was never busy, no more than "at least" is told.
        let Some(full) = predicted.filter(|of| !of.at_least) else { continue };
        line.arrivals = vec![0.0; JOBS];
        off.push((full.jobs_per_hour / 3_600.0 / run(&line).steady() - 1.0).abs());
    }
    let (p50, p90) = (quantile(&mut off, 0.5), quantile(&mut off, 0.9));
    println!("batch size: {} lines, off by p50 {p50:.3}, p90 {p90:.3}", off.len());
    assert!(off.len() >= 15 && p50 <= 0.05 && p90 <= 0.12, "{} lines, off by {p50} and {p90}", off.len());
}

#[test]
fn an_eta_is_off_by_little_from_the_first_moment_on() {
    let eta::Errors { mut off, kept } = eta::errors();
    let (p50, p90) = (quantile(&mut off, 0.5), quantile(&mut off, 0.9));
    let kept = kept.iter().filter(|of| **of).count() as f64 / kept.len() as f64;
    println!("{} asks: p50 off by {p50:.3}, {p90:.3}; p90 kept by {kept:.3}", off.len());
    assert!(p50 <= 0.15 && p90 <= 0.30, "off by {p50} and {p90}");
    assert!(kept >= 0.80, "p90 was kept by {kept}");
}
