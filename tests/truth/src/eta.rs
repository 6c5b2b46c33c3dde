//! How long a job still takes, asked while it goes its way, against how long it then took.

use crate::bottleneck::setup;
use crate::line::{Run, poisson, random, run, standing};
use domain::Stage;
use profile::{Ahead, Capacity, EtaModel, JobNow, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far estimates were off.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// Of p50, each as a share of the job's whole time.
    pub off: Vec<f64>,
    /// Whether the job took no longer than p90.
    pub kept: Vec<bool>,
}

/// Twenty lines at 60, 90 and 130 % load, with 10 % noise; each job is asked for at 0, 25, 50 and 75 % of its
/// time.
pub fn errors() -> Errors {
    let mut all = Errors::default();
    for seed in 193_000..193_020 {
        for load in [0.6, 0.9, 1.3] {
            let Errors { off, kept } = of_line(seed, load);
            all.off.extend(off);
            all.kept.extend(kept);
        }
    }
    all
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

fn of_line(seed: u64, load: f64) -> Errors {
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
    let mut errors = Errors::default();
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
        errors.off.push((eta.p50_ms as f64 / 1e3 - left).abs() / (to - from));
        errors.kept.push(left <= eta.p90_ms as f64 / 1e3);
    }
    errors
}
