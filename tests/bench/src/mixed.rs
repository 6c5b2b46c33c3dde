//! The planner against what people set without it, on a real mixed trace: pictures of three sizes through
//! the four real stages on this machine, in one, two and four GiB. Against it: one task at a time; fixed
//! sizes, the same for all stages and the best of each stage as it was measured right before; and as many
//! as fit the memory.
//!
//! All of a budget's rules are there at the same time, each with a planner, a worker, runners and a store
//! of its own, and take turns: what the machine does meanwhile falls on all of them. First all pictures
//! come at once, for the throughput; then evenly, at a pace that leaves some of the machine idle, for the
//! latency.

use crate::pipeline::make_jobs;
use crate::real::{Store, picture, real_parts};
use crate::rig::{Broker, Rig, RigSettings, Run};
use crate::servers;
use anyhow::{Context, Result};
use bytes::Bytes as Payload;
use domain::{BatchEnd, Bytes, InputBucket, Quality, Site, Stage, Task};
use figures::{Bar, Report, percentile};
use planning::BatchRule;
use std::num::NonZeroU32;
use std::time::Duration;

/// A kind of picture: its bucket, side in pixels, what is made of it.
const KINDS: [(&str, u32, Quality, u32); 3] = [
    ("small", 256, Quality::Draft, 256),
    ("middle", 768, Quality::Standard, 512),
    ("large", 1536, Quality::Fine, 1024),
];
/// The kinds in the order in which they come: half are small, three in ten middle.
const TRACE: [usize; 10] = [0, 1, 0, 2, 0, 1, 0, 1, 0, 2];
/// Sizes that somebody may set for all stages.
const FIXED: [u32; 3] = [2, 4, 8];
/// Share of what one at a time manages at which pictures come evenly.
const PACE: f64 = 0.6;
/// Rounds from which a rule that measures learns; the others only start their runners in one.
const WARM_UP: usize = 2;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    jobs: usize,
    rounds: usize,
}

/// A rule at work, and what it brought.
struct Contender {
    name: String,
    rig: Rig,
    /// The upload of round after round has a folder of its own.
    rounds: usize,
    warm_up: Vec<Run>,
    bursts: Vec<Run>,
    paced: Option<Run>,
    // Behind the rig, which uses it.
    _store: Store,
}

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let budgets: &[u64] = if quick { &[1, 4] } else { &[1, 2, 4] };
    let effort = if quick { Effort { jobs: 10, rounds: 1 } } else { Effort { jobs: 20, rounds: 2 } };
    let pictures = pictures(effort.jobs)?;
    for gib in budgets {
        let all = budget(*gib, &pictures, effort).await?;
        add(report, *gib, &all);
        for contender in all {
            contender.rig.stop().await?;
        }
    }
    Ok(())
}

fn site() -> Site {
    let mut site = servers::site();
    let input = site.inputs.remove(0);
    site.inputs.extend(KINDS.map(|(bucket, _, quality, texture_px)| {
        let mut of = InputBucket { bucket: bucket.to_owned(), ..input.clone() };
        (of.recipe.quality, of.recipe.texture_px) = (quality, texture_px);
        of
    }));
    site
}

/// The pictures of a round by kind.
fn pictures(jobs: usize) -> Result<Vec<Vec<Payload>>> {
    let of_kind = |kind: usize| {
        let places = (0..jobs).filter(|n| TRACE[n % TRACE.len()] == kind);
        places.map(|n| picture(n, KINDS[kind].1)).collect::<Result<Vec<_>>>()
    };
    (0..KINDS.len()).map(of_kind).collect()
}

/// All rules with so much memory.
async fn budget(gib: u64, pictures: &[Vec<Payload>], effort: Effort) -> Result<Vec<Contender>> {
    let (mut all, memory_max) = (Vec::new(), Bytes::gib(gib));
    let same = |size: u32| Stage::ALL.map(|stage| (stage, size));
    let mut rules = vec![("one".to_owned(), BatchRule::One)];
    rules.extend(FIXED.map(|size| (format!("fixed {size}"), fixed(same(size)))));
    for (name, rule) in rules {
        all.push(Contender::start((name, rule), memory_max, pictures).await?);
    }
    let best = best_sizes(&all);
    let name = format!("fixed {}", best.map(|(_, size)| size.to_string()).join(" "));
    let rules = [(name, fixed(best)), ("fill".to_owned(), BatchRule::Fill)];
    for rule in rules.into_iter().chain([("planner".to_owned(), BatchRule::Learned)]) {
        all.push(Contender::start(rule, memory_max, pictures).await?);
    }
    for round in 0..effort.rounds {
        let turn = |n: usize| if round % 2 == 0 { n } else { all.len() - 1 - n };
        for n in (0..all.len()).map(turn).collect::<Vec<_>>() {
            let run = all[n].burst(pictures).await?;
            all[n].bursts.push(run);
        }
    }
    let pace = Duration::from_secs_f64(1.0 / (PACE * all[0].jobs_per_s()).max(0.01));
    // Of the fixed sizes the best at this budget, and all rules besides.
    let (first, fixed, others) = (0..1, 1..all.len() - 2, all.len() - 2..all.len());
    let best = fixed.max_by(|a, b| all[*a].jobs_per_s().total_cmp(&all[*b].jobs_per_s()));
    for n in first.chain(best).chain(others) {
        let run = all[n].run(pictures, pace).await?;
        all[n].paced = Some(run);
    }
    Ok(all)
}

fn fixed(sizes: [(Stage, u32); 4]) -> BatchRule {
    let sizes = sizes.into_iter().filter_map(|(stage, size)| Some((stage, NonZeroU32::new(size)?)));
    BatchRule::Fixed(sizes.collect())
}

/// Of each stage the size with which an item held its lane for the shortest time.
fn best_sizes(all: &[Contender]) -> [(Stage, u32); 4] {
    let sizes: Vec<u32> = [1].into_iter().chain(FIXED).collect();
    let per_item = |contender: &Contender, stage: Stage| {
        let mut sum = (0u64, 0u64);
        for (_, ended) in contender.warm_up.iter().flat_map(|run| &run.batches) {
            if ended.stage == stage && ended.end == BatchEnd::Done {
                sum = (sum.0 + ended.lane_us, sum.1 + u64::from(ended.items));
            }
        }
        sum.0 as f64 / sum.1.max(1) as f64
    };
    Stage::ALL.map(|stage| {
        let rated = sizes.iter().zip(all).map(|(size, contender)| (per_item(contender, stage), *size));
        let best = rated.filter(|(us, _)| *us > 0.0).min_by(|(a, _), (b, _)| a.total_cmp(b));
        (stage, best.map_or(1, |(_, size)| size))
    })
}

impl Contender {
    async fn start(
        (name, rule): (String, BatchRule),
        memory_max: Bytes,
        pictures: &[Vec<Payload>],
    ) -> Result<Contender> {
        let (store, parts) = (Store::start(&site()).await?, real_parts(Some(memory_max))?);
        let measures = matches!(rule, BatchRule::Learned | BatchRule::Fill);
        let settings = RigSettings { site: site(), rule, parts };
        let rig = Rig::start(&Broker::embedded(), store.client.clone(), settings).await?;
        let (warm_up, bursts) = (Vec::new(), Vec::new());
        let mut contender = Contender { name, rig, rounds: 0, warm_up, bursts, paced: None, _store: store };
        for _ in 0..if measures { WARM_UP } else { 1 } {
            let run = contender.burst(pictures).await?;
            contender.warm_up.push(run);
        }
        Ok(contender)
    }

    async fn burst(&mut self, pictures: &[Vec<Payload>]) -> Result<Run> {
        self.run(pictures, Duration::ZERO).await
    }

    /// All pictures as new uploads, one each so long after the one before.
    async fn run(&mut self, pictures: &[Vec<Payload>], every: Duration) -> Result<Run> {
        self.rounds += 1;
        let folder = format!("round-{}", self.rounds);
        let (mut by_kind, mut jobs) = (Vec::new(), 0);
        for (input, of_kind) in self.rig.site.inputs.iter().zip(pictures) {
            let to = (&self.rig.ports, &self.rig.site, input);
            let tasks = make_jobs(to, (folder.as_str(), of_kind.len()), |n| of_kind[n].clone()).await?;
            jobs += tasks.len();
            by_kind.push(tasks.into_iter());
        }
        let kinds = (0..jobs).map(|n| TRACE[n % TRACE.len()]);
        let tasks: Vec<Task> = kinds.filter_map(|kind| by_kind[kind].next()).collect();
        let after = |(n, task): (usize, Task)| (every * n as u32, task);
        let run = self.rig.run(tasks.into_iter().enumerate().map(after).collect()).await;
        let run = run.with_context(|| format!("{folder} under rule {}", self.name))?;
        eprintln!("  {}: {} jobs in {:.1} s", self.name, run.latencies.len(), run.span.as_secs_f64());
        Ok(run)
    }

    fn jobs_per_s(&self) -> f64 {
        let done: usize = self.bursts.iter().map(|run| run.latencies.len()).sum();
        let span: Duration = self.bursts.iter().map(|run| run.span).sum();
        done as f64 / span.as_secs_f64().max(1e-9)
    }

    /// What was measured; not what it learned from.
    fn measured(&self) -> impl Iterator<Item = &Run> {
        self.bursts.iter().chain(&self.paced)
    }

    fn batches(&self) -> usize {
        self.measured().map(|run| run.batches.len()).sum()
    }

    fn out_of_memory(&self) -> usize {
        self.measured().map(Run::out_of_memory).sum()
    }

    fn failed(&self) -> usize {
        self.measured().chain(&self.warm_up).map(|run| run.failed).sum()
    }
}

fn add(report: &mut Report, gib: u64, all: &[Contender]) {
    for contender in all {
        let what = format!("{gib} GiB, {}", contender.name);
        report.add(format!("{what}: throughput"), 60.0 * contender.jobs_per_s(), "jobs/min", Bar::None);
        if let Some(paced) = &contender.paced {
            let mut latencies: Vec<Duration> = paced.latencies.values().copied().collect();
            let p95 = percentile(&mut latencies, 0.95).as_secs_f64();
            report.add(format!("{what}: latency p95, paced"), p95, "s", Bar::None);
        }
        let ran_out = contender.out_of_memory() as f64;
        report.add(format!("{what}: batches out of memory"), ran_out, "batches", Bar::None);
    }
    let Some((planner, others)) = all.split_last() else { return };
    let best = others.iter().max_by(|a, b| a.jobs_per_s().total_cmp(&b.jobs_per_s()));
    if let Some(best) = best {
        let share = 100.0 * planner.jobs_per_s() / best.jobs_per_s().max(1e-9);
        let what = format!("{gib} GiB, planner: throughput against the best rule");
        eprintln!("  the best at {gib} GiB: {}", best.name);
        report.add(what, share, "%", Bar::AtLeast(97.0));
    }
    let share = 100.0 * planner.out_of_memory() as f64 / planner.batches().max(1) as f64;
    report.add(format!("{gib} GiB, planner: batches out of memory"), share, "%", Bar::AtMost(0.1));
    let failed = planner.failed() as f64;
    report.add(format!("{gib} GiB, planner: jobs that failed"), failed, "jobs", Bar::AtMost(0.0));
    let failed: usize = others.iter().map(Contender::failed).sum();
    report.add(format!("{gib} GiB, other rules: jobs that failed"), failed as f64, "jobs", Bar::None);
    let sizes = Stage::ALL.map(|stage| {
        let means = planner.bursts.iter().map(|run| run.items_mean(stage));
        format!("{stage} {:.1}", means.sum::<f64>() / planner.bursts.len().max(1) as f64)
    });
    eprintln!("  items of the planner's batches at {gib} GiB: {}", sizes.join(", "));
}
