//! What this crate says, held against what is true in a simulation that uses none of it: the bottleneck, what
//! another lane brings, how long a job still takes. The same lines each time; none of them was looked at
//! while the rules were made.

mod chance;
mod line;

use domain::{DeviceClass, Stage, Timing};
use line::{Line, Run, balanced, poisson, random, run, standing};
use profile::{Ahead, Capacity, Change, Declared, EtaModel, JobNow, Limit, Pool, Setup, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const LINES: u64 = 100;
const JOBS: usize = 600;
/// Gains that differ by less than this share of the throughput are a tie.
const TIE: f64 = 0.03;

fn setup(line: &Line) -> Setup {
    let pool = |(stage, facts): (Stage, &line::StageFacts)| Pool {
        device_class: DeviceClass("gpu-sim".to_owned()),
        stages: BTreeSet::from([stage]),
        workers: facts.lanes as u32,
        lanes: facts.lanes as u32,
    };
    Setup { pools: Stage::ALL.into_iter().zip(&line.stages).map(pool).collect() }
}

fn window<'a>(timings: impl IntoIterator<Item = &'a Timing>) -> Window {
    let mut window = Window::new();
    timings.into_iter().for_each(|timing| window.add(timing));
    window
}

fn limit(line: &Line, run: &Run) -> (Capacity, Limit) {
    let capacity = Capacity::new(&window(&run.timings), &setup(line));
    let limit = capacity.limit(&Declared::default()).expect("all stages ran");
    (capacity, limit)
}

/// With one more lane at each stage.
fn interventions(line: &Line) -> [Run; 4] {
    std::array::from_fn(|stage| {
        let mut more = line.clone();
        more.stages[stage].lanes += 1;
        run(&more)
    })
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// Half of the lines get all jobs at once, half get them a little faster than they can.
fn busy(line: Line, rushed: bool) -> Line {
    if rushed {
        return line;
    }
    let rate = 1.4 * run(&line).throughput();
    Line { arrivals: poisson(line.seed, JOBS, rate), ..line }
}

#[derive(Default)]
struct Verdict {
    ties: usize,
    judged: usize,
    named: usize,
    /// Predicted / true throughput with another lane: as told, and where "at least" is told.
    gains: Vec<f64>,
    at_least: Vec<f64>,
}

fn judge(lines: impl Iterator<Item = Line>) -> Verdict {
    let mut verdict = Verdict::default();
    for line in lines {
        let base = run(&line);
        let (capacity, limit) = limit(&line, &base);
        let runs = interventions(&line);
        let truth = runs.each_ref().map(Run::throughput);
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by(|a, b| truth[*b].total_cmp(&truth[*a]));
        if truth[order[0]] - truth[order[1]] < TIE * base.throughput() {
            verdict.ties += 1;
            continue;
        }
        verdict.judged += 1;
        let best = Stage::ALL[order[0]];
        if limit.stage == best {
            verdict.named += 1;
        } else {
            println!("line {}: {}; {best} gains most: {truth:?}", line.seed, limit.text);
        }
        // Jobs that come slowly would hide the gain.
        if line.arrivals.last() == Some(&0.0) {
            let change = Change::AddLane { stage: best };
            let predicted = capacity.predict(&change, &Declared::default()).expect("it was measured");
            let list = if predicted.at_least { &mut verdict.at_least } else { &mut verdict.gains };
            list.push(predicted.jobs_per_hour / 3_600.0 / runs[order[0]].steady());
        }
    }
    verdict
}

#[test]
fn the_named_stage_is_the_one_whose_next_lane_gains_most_and_the_gain_is_as_predicted() {
    let wide = judge((170_000..170_000 + LINES).map(|seed| busy(random(seed, JOBS), seed % 2 == 0)));
    let narrow = judge((180_000..180_000 + LINES).map(|seed| busy(balanced(seed, JOBS), seed % 2 == 0)));
    let mut off = Vec::new();
    for (name, of) in [("any lines", &wide), ("balanced lines", &narrow)] {
        let Verdict { ties, judged, named, gains, at_least } = of;
        println!("{name}: named {named} of {judged}, {ties} ties");
        assert!(*named as f64 >= 0.95 * *judged as f64 && *judged >= 30, "{name}: {named} of {judged}");
        off.extend(gains.iter().map(|ratio| (ratio - 1.0).abs()));
        let kept = at_least.iter().filter(|ratio| **ratio <= 1.1).count();
        println!("{name}: \"at least\" kept in {kept} of {}", at_least.len());
        assert!(kept as f64 >= 0.9 * at_least.len() as f64, "{at_least:?}");
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

/// Where a job is at a moment, as a gateway would know it.
fn job_now(run: &Run, job: usize, at: f64) -> (JobNow, BTreeMap<Stage, Ahead>) {
    let of = &run.passages[job];
    let stage = (0..4).rfind(|s| of[*s].queued <= at).expect("it has come");
    let here = of[stage];
    let span = |from: f64, to: f64| Duration::from_secs_f64((to - from).max(0.0));
    let behind = (0..stage).map(|s| (Stage::ALL[s], span(of[s].accepted, of[s].committed)));
    let works = (here.began..here.computed).contains(&at);
    // A stage tells how far it is in tenths.
    let fraction = ((at - here.began) / (here.computed - here.began) * 10.0).floor() / 10.0;
    let now = JobNow {
        kind: String::new(),
        stage: Some(Stage::ALL[stage]),
        batch_items: (here.accepted <= at).then(|| {
            let mates = run.passages.iter().filter(|of| of[stage].accepted == here.accepted);
            mates.count() as u32
        }),
        working: (here.accepted <= at).then(|| span(here.accepted, at)),
        computing: works.then(|| (span(here.began, at), fraction as f32)),
        behind: behind.collect(),
    };
    let mut ahead = BTreeMap::new();
    for (at_stage, (waiting, running)) in standing(&run.passages, at).range(stage..) {
        let before = waiting.iter().take_while(|other| **other != job).count() as u64;
        let began = |other: &usize| run.passages[*other][*at_stage].accepted.to_bits();
        let batches = running.iter().map(began).collect::<BTreeSet<u64>>().len() as u64;
        let running = running.iter().filter(|other| **other != job).count() as u64;
        let accepted = *at_stage == stage && here.accepted <= at;
        let ahead_here =
            if accepted { Ahead::default() } else { Ahead { waiting: before, running, batches } };
        ahead.insert(Stage::ALL[*at_stage], ahead_here);
    }
    (now, ahead)
}

/// Errors of p50 as a share of the job's whole time, and how often p90 was kept.
fn eta_errors(seed: u64, load: f64) -> (Vec<f64>, Vec<bool>) {
    let mut line = random(seed, 400);
    let rate = load * run(&line).throughput();
    line.arrivals = poisson(seed, 400, rate);
    let run = run(&line);
    let mut asks: Vec<(f64, usize)> = Vec::new();
    for job in 100..run.passages.len() {
        let (from, to) = (run.passages[job][0].queued, run.passages[job][3].committed);
        asks.extend([0.0, 0.25, 0.5, 0.75].map(|share| (from + share * (to - from), job)));
    }
    asks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut model, mut seen, mut window) = (EtaModel::new(), 0, Window::new());
    let mut capacity: Option<(usize, Capacity)> = None;
    let (mut errors, mut kept) = (Vec::new(), Vec::new());
    for (at, job) in asks {
        while run.timings.get(seen).is_some_and(|of| (of.at.0 - 1_000_000) as f64 <= at * 1e3) {
            model.learn(&run.timings[seen], "");
            window.add(&run.timings[seen]);
            seen += 1;
        }
        if capacity.as_ref().is_none_or(|(when, _)| seen > when + 50) {
            capacity = Some((seen, Capacity::new(&window, &setup(&line))));
        }
        let (now, ahead) = job_now(&run, job, at);
        let wait = capacity.as_ref().and_then(|(_, of)| of.wait(now.stage?, &ahead));
        let eta = model.estimate(&now, wait).expect("all stages were seen");
        let (from, to) = (run.passages[job][0].queued, run.passages[job][3].committed);
        let left = to - at;
        errors.push((eta.p50_ms as f64 / 1e3 - left).abs() / (to - from));
        kept.push(left <= eta.p90_ms as f64 / 1e3);
    }
    (errors, kept)
}

#[test]
fn an_eta_is_off_by_little_from_the_first_moment_on() {
    let (mut all, mut kept) = (Vec::new(), Vec::new());
    for seed in 193_000..193_020 {
        for load in [0.6, 0.9, 1.3] {
            let (errors, of_p90) = eta_errors(seed, load);
            all.extend(errors);
            kept.extend(of_p90);
        }
    }
    let (p50, p90) = (quantile(&mut all, 0.5), quantile(&mut all, 0.9));
    let kept = kept.iter().filter(|of| **of).count() as f64 / kept.len() as f64;
    println!("{} asks: p50 off by {p50:.3}, {p90:.3}; p90 kept by {kept:.3}", all.len());
    assert!(p50 <= 0.15 && p90 <= 0.30, "off by {p50} and {p90}");
    assert!(kept >= 0.80, "p90 was kept by {kept}");
}
