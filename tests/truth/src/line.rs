//! A line of four stages, simulated event by event: queues, lanes, batches, cold runners, noise. It uses
//! nothing of `profile`, so that it can say what is true. Out come the timings that workers would publish.

use crate::chance::{between, normal, share};
use domain::{
    BatchId, Bytes, DeviceClass, EngineVersion, JobId, Life, PhaseTimes, Stage, TaskEnd, Timestamp, Timing,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// What a stage is like. Times in seconds.
#[derive(Clone, Debug)]
pub struct StageFacts {
    /// Batches at once.
    pub lanes: usize,
    /// Items of the largest batch.
    pub batch_max: usize,
    /// A batch computes for `start` once and for `item` with each of its items.
    pub start: f64,
    /// See `start`.
    pub item: f64,
    /// Items one after the other, or all together.
    pub one_by_one: bool,
    /// A runner that was idle for this long is gone, and a new one takes so long to start.
    pub idle: f64,
    /// See `idle`.
    pub load: f64,
    /// Before computing.
    pub fetch: f64,
    /// After it.
    pub store: f64,
}

/// Four stages, and jobs for them.
#[derive(Clone, Debug)]
pub struct Line {
    /// Of its noise.
    pub seed: u64,
    /// In their order.
    pub stages: [StageFacts; 4],
    /// When each job comes, ascending.
    pub arrivals: Vec<f64>,
    /// Standard deviation of an item's time, as a share.
    pub noise: f64,
}

/// What became of a job at a stage, and when. Seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passage {
    /// It came.
    pub queued: f64,
    /// A lane took it.
    pub accepted: f64,
    /// Its computation began.
    pub began: f64,
    /// Its computation ended.
    pub computed: f64,
    /// It went on to the next stage.
    pub committed: f64,
}

/// What became of a line.
#[derive(Clone, Debug)]
pub struct Run {
    /// In the order of their acknowledgement.
    pub timings: Vec<Timing>,
    /// Of each job at each stage.
    pub passages: Vec<[Passage; 4]>,
}

impl Run {
    /// Jobs per second, from the first arrival to the last commit.
    pub fn throughput(&self) -> f64 {
        let ends = self.passages.iter().map(|of| of[3].committed);
        let begin = self.passages.iter().map(|of| of[0].queued).fold(f64::INFINITY, f64::min);
        self.passages.len() as f64 / (ends.fold(0.0, f64::max) - begin)
    }

    /// The same without filling and draining: between the first and the last tenth of the commits.
    pub fn steady(&self) -> f64 {
        let mut ends: Vec<f64> = self.passages.iter().map(|of| of[3].committed).collect();
        ends.sort_by(f64::total_cmp);
        let (from, to) = (ends.len() / 10, ends.len() - ends.len() / 10 - 1);
        (to - from) as f64 / (ends[to] - ends[from])
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// A lane is free again.
    Free(usize, usize),
    /// A job comes to a stage.
    Comes(usize, usize),
}

/// Nanoseconds, so that events have an order.
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

struct World<'a> {
    line: &'a Line,
    events: BinaryHeap<Reverse<(u64, Next)>>,
    queues: [VecDeque<usize>; 4],
    /// Free lanes of each stage and when they became free; never yet: none.
    free: [Vec<(usize, Option<f64>)>; 4],
    run: Run,
    batches: u64,
}

/// Runs it to the end.
pub fn run(line: &Line) -> Run {
    let lanes = |stage: &StageFacts| (0..stage.lanes).map(|lane| (lane, None)).collect();
    let passages = vec![[Passage::default(); 4]; line.arrivals.len()];
    let mut world = World {
        line,
        events: BinaryHeap::new(),
        queues: Default::default(),
        free: std::array::from_fn(|s| lanes(&line.stages[s])),
        run: Run { timings: Vec::new(), passages },
        batches: 0,
    };
    for (job, at) in line.arrivals.iter().enumerate() {
        world.events.push(Reverse((nanos(*at), Next::Comes(job, 0))));
    }
    while let Some(Reverse((at, next))) = world.events.pop() {
        let now = at as f64 / 1e9;
        let stage = match next {
            Next::Free(stage, lane) => {
                world.free[stage].push((lane, Some(now)));
                stage
            }
            Next::Comes(job, stage) => {
                world.run.passages[job][stage].queued = now;
                world.queues[stage].push_back(job);
                stage
            }
        };
        // All that happens at this moment comes first.
        if world.events.peek().is_none_or(|Reverse((then, _))| *then > at) {
            (0..4).for_each(|stage| world.cut(stage, now));
        } else {
            debug_assert!(stage < 4);
        }
    }
    world.run.timings.sort_by_key(|timing| timing.at);
    world.run
}

impl World<'_> {
    /// Batches of what waits, while lanes are free; the lane that was used last first.
    fn cut(&mut self, stage: usize, now: f64) {
        let facts = &self.line.stages[stage];
        while !self.queues[stage].is_empty() && !self.free[stage].is_empty() {
            let warmest = |a: &(usize, Option<f64>), b: &(usize, Option<f64>)| {
                a.1.unwrap_or(-1.0).total_cmp(&b.1.unwrap_or(-1.0))
            };
            let at = (0..self.free[stage].len())
                .max_by(|a, b| warmest(&self.free[stage][*a], &self.free[stage][*b]));
            let (lane, since) = self.free[stage].swap_remove(at.expect("one is free"));
            let items = facts.batch_max.min(self.queues[stage].len());
            let jobs: Vec<usize> = self.queues[stage].drain(..items).collect();
            let cold = since.is_none_or(|since| now - since > facts.idle);
            self.work(stage, lane, now, (jobs, cold));
        }
    }

    fn work(&mut self, stage: usize, lane: usize, now: f64, (jobs, cold): (Vec<usize>, bool)) {
        let facts = &self.line.stages[stage];
        self.batches += 1;
        let load = if cold { facts.load } else { 0.0 };
        let begin = now + facts.fetch + load;
        let each = |job: &usize| {
            let factor = 1.0 + self.line.noise * normal(&[self.line.seed, *job as u64, stage as u64]);
            facts.item * factor.clamp(0.3, 3.0)
        };
        let items: Vec<f64> = jobs.iter().map(each).collect();
        let end = begin + facts.start + items.iter().sum::<f64>();
        let mut at = begin;
        for (place, job) in jobs.iter().enumerate() {
            let (began, computed) = if facts.one_by_one {
                let began = at;
                at += items[place] + if place == 0 { facts.start } else { 0.0 };
                (began, at)
            } else {
                (begin, end)
            };
            let committed = computed + facts.store;
            let passage = &mut self.run.passages[*job][stage];
            *passage = Passage { accepted: now, began, computed, committed, ..*passage };
            let timing = timing((*job, stage, self.batches, jobs.len()), *passage, facts);
            self.run.timings.push(timing);
            if stage < 3 {
                self.events.push(Reverse((nanos(committed), Next::Comes(*job, stage + 1))));
            }
        }
        self.events.push(Reverse((nanos(end), Next::Free(stage, lane))));
    }
}

fn timing((job, stage, batch, items): (usize, usize, u64, usize), of: Passage, facts: &StageFacts) -> Timing {
    let micros = |seconds: f64| (seconds * 1e6).round() as u64;
    let id = |n: u64| {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        id
    };
    let phases = PhaseTimes {
        queued_us: micros(of.accepted - of.queued),
        fetch_us: micros(facts.fetch),
        load_us: micros(of.began - of.accepted - facts.fetch),
        compute_us: micros(of.computed - of.began),
        store_us: micros(facts.store),
        ..PhaseTimes::default()
    };
    Timing {
        kind: String::new(),
        job: JobId(id(job as u64)),
        life: Life(0),
        stage: Stage::ALL[stage],
        end: TaskEnd::Committed,
        batch: BatchId(id(batch)),
        batch_items: items as u32,
        delivery: 1,
        worker: format!("worker-{stage}").parse().expect("a name"),
        device_class: DeviceClass("gpu-sim".to_owned()),
        engine: EngineVersion { name: "sim".to_owned(), version: "1".to_owned() },
        precision: "f32".to_owned(),
        phases,
        wall_us: phases.sum().as_micros() as u64,
        unaccounted_us: 0,
        spans: Vec::new(),
        peak_bytes: Bytes::ZERO,
        at: Timestamp(1_000_000 + (of.committed * 1e3).round() as u64),
    }
}

/// A line like any: 1 to 4 lanes, batches of 1 to 16, times over one and a half decades, some cold runners.
pub fn random(seed: u64, jobs: usize) -> Line {
    let stage = |s: usize| {
        let s = s as u64;
        let item = between(0.1, 3.0, &[seed, s, 10]);
        StageFacts {
            lanes: 1 + (4.0 * share(&[seed, s, 11])) as usize,
            batch_max: 1 << (5.0 * share(&[seed, s, 12])) as usize,
            start: item * between(0.05, 4.0, &[seed, s, 13]),
            item,
            one_by_one: share(&[seed, s, 14]) < 0.5,
            idle: 2.0,
            load: item * between(0.1, 4.0, &[seed, s, 15]),
            fetch: item * between(0.01, 0.2, &[seed, s, 16]),
            store: item * between(0.01, 0.2, &[seed, s, 17]),
        }
    };
    Line { seed, stages: std::array::from_fn(stage), arrivals: vec![0.0; jobs], noise: 0.1 }
}

/// The same, but no stage can do more than half as much again as another.
pub fn balanced(seed: u64, jobs: usize) -> Line {
    let mut line = random(seed, jobs);
    for (s, of) in line.stages.iter_mut().enumerate() {
        let items = of.batch_max as f64;
        let rate = of.lanes as f64 * items / (of.fetch + of.start + items * of.item);
        let factor = rate / between(0.8, 1.2, &[seed, s as u64, 18]);
        for time in [&mut of.start, &mut of.item, &mut of.load, &mut of.fetch, &mut of.store] {
            *time *= factor;
        }
    }
    line
}

/// Jobs that come at this mean rate per second, as they like.
pub fn poisson(seed: u64, jobs: usize, rate: f64) -> Vec<f64> {
    let mut at = 0.0;
    let mut next = |n: usize| {
        at -= (1.0 - share(&[seed, n as u64, 20])).ln() / rate;
        at
    };
    (0..jobs).map(&mut next).collect()
}

/// Jobs at a stage at a moment: waiting, in order of coming, and running.
pub fn standing(passages: &[[Passage; 4]], at: f64) -> BTreeMap<usize, (Vec<usize>, Vec<usize>)> {
    let mut found: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (job, of) in passages.iter().enumerate() {
        for (stage, passage) in of.iter().enumerate() {
            if passage.queued <= at && at < passage.accepted {
                found.entry(stage).or_default().0.push(job);
            } else if passage.accepted <= at && at < passage.computed {
                found.entry(stage).or_default().1.push(job);
            }
        }
    }
    for (stage, (waiting, _)) in &mut found {
        waiting.sort_by(|a, b| {
            passages[*a][*stage].queued.total_cmp(&passages[*b][*stage].queued).then(a.cmp(b))
        });
    }
    found
}
