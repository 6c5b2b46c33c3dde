//! Whether the stage that is named as the limit is the one whose next lane gains most, and whether the gain
//! is as predicted.

use crate::line::{Line, Run, StageFacts, balanced, poisson, random, run};
use domain::{DeviceClass, Stage, Timing};
use profile::{Capacity, Change, Declared, Limit, Pool, Setup, Window};
use std::collections::BTreeSet;

/// Lines of each kind.
const LINES: u64 = 100;
/// Jobs of a line.
pub const JOBS: usize = 600;
/// Gains that differ by less than this share of the throughput are a tie.
const TIE: f64 = 0.03;

/// How often the right stage was named.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Lines where no stage gains clearly more than another; they are not judged.
    pub ties: usize,
    /// Lines that were judged.
    pub judged: usize,
    /// Of them, those whose limit was named.
    pub named: usize,
    /// The others, each in a sentence.
    pub misses: Vec<String>,
    /// Predicted / true throughput with another lane, where a number is told.
    pub gains: Vec<f64>,
    /// The same where "at least" is told.
    pub at_least: Vec<f64>,
}

/// A hundred lines of any kind.
pub fn any_lines() -> Verdict {
    judge((170_000..170_000 + LINES).map(|seed| busy(random(seed, JOBS), seed % 2 == 0)))
}

/// A hundred lines whose stages are all about as fast.
pub fn balanced_lines() -> Verdict {
    judge((180_000..180_000 + LINES).map(|seed| busy(balanced(seed, JOBS), seed % 2 == 0)))
}

/// The lanes of a line, as `profile` is told of them.
pub fn setup(line: &Line) -> Setup {
    let pool = |(stage, facts): (Stage, &StageFacts)| Pool {
        device_class: DeviceClass("gpu-sim".to_owned()),
        stages: BTreeSet::from([stage]),
        workers: facts.lanes as u32,
        lanes: facts.lanes as u32,
    };
    Setup { pools: Stage::ALL.into_iter().zip(&line.stages).map(pool).collect() }
}

/// Timings as `profile` takes them in.
pub fn window<'a>(timings: impl IntoIterator<Item = &'a Timing>) -> Window {
    let mut window = Window::new();
    timings.into_iter().for_each(|timing| window.add(timing));
    window
}

/// What `profile` says of a run.
pub fn limit(line: &Line, run: &Run) -> (Capacity, Limit) {
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

/// Half of the lines get all jobs at once, half get them a little faster than they can.
fn busy(line: Line, rushed: bool) -> Line {
    if rushed {
        return line;
    }
    let rate = 1.4 * run(&line).throughput();
    Line { arrivals: poisson(line.seed, JOBS, rate), ..line }
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
            let miss = format!("line {}: {}; {best} gains most: {truth:?}", line.seed, limit.text);
            verdict.misses.push(miss);
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
