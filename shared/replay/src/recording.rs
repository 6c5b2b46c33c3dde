//! What a recording says: when jobs came, what each task took beside its batch, and how long batches of each
//! size hold a lane. Tasks that were not committed are left out: a replay has no failures.

use crate::outcome::{Outcome, Sum};
use crate::turn::turn;
use domain::{BatchId, Bytes, JobId, Stage, TaskEnd, Timing};
use planning::Footprint;
use profile::{BatchSeen, Batches, Setup, Window};
use std::collections::BTreeMap;
use std::time::Duration;

/// Jobs of one recording.
const JOBS_MAX: usize = 1_000_000;
/// A runner whose start took less than this was loaded.
const LOADED: Duration = Duration::from_millis(20);
/// Between a task's publication and its acceptance lies at least the way there: that of the quickest tenth,
/// at the stage where it is shortest, since at others tasks wait for lanes as well.
const QUICK: f64 = 0.1;

/// Why a recording cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecording {
    /// A line that is no timing.
    #[error("line {0} is no timing ({1}); record with `meshwright profile --timings`")]
    Line(usize, String),
    /// Nothing to replay.
    #[error("no job in it went through all its stages; record a window in which jobs were done")]
    Empty,
    /// Too much.
    #[error("it has more than {JOBS_MAX} jobs; record a shorter window")]
    TooLong,
}

/// What one task took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// Its batch held its lane so many times as long as batches of that size usually do.
    pub(crate) factor: f64,
    /// From the end of computing to the next task, or to the end of the job.
    pub(crate) after: Duration,
}

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    /// Since the first one.
    pub(crate) arrives: Duration,
    /// By stage.
    pub(crate) own: BTreeMap<Stage, Own>,
}

/// What is known of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageFacts {
    /// Memory and time of batches of each size.
    pub(crate) footprint: Footprint,
    /// Peaks of batches of each size: their sum, and how many.
    peaks: BTreeMap<u32, (u64, u64)>,
}

impl StageFacts {
    /// What a batch of this size is taken to need: the mean of those of the nearest size that was seen, in
    /// proportion where that is smaller.
    pub(crate) fn peak(&self, items: u32) -> Bytes {
        let below = self.peaks.range(..=items).next_back();
        let nearest = below.or_else(|| self.peaks.first_key_value());
        let Some((size, (sum, count))) = nearest else { return Bytes::ZERO };
        let mean = Bytes(sum / count);
        if *size < items { mean.scale(f64::from(items) / f64::from(*size)) } else { mean }
    }
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(crate) jobs: Vec<Job>,
    pub(crate) facts: BTreeMap<Stage, StageFacts>,
    /// From a task's publication to its acceptance, when nothing is in its way.
    pub(crate) way: Duration,
    /// How long a lane stands still between two batches although tasks wait.
    pub(crate) turn: Duration,
    /// The lanes that were seen busy.
    pub(crate) lanes: Setup,
    /// How it went.
    pub(crate) outcome: Outcome,
}

impl Recording {
    /// Reads timings, one as JSON a line, in any order.
    ///
    /// # Errors
    /// See [`BadRecording`].
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Recording, BadRecording> {
        let mut timings = Vec::new();
        for (n, line) in lines.into_iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let read = serde_json::from_str::<Timing>(line);
            timings.push(read.map_err(|error| BadRecording::Line(n + 1, error.to_string()))?);
        }
        Recording::of(&timings)
    }

    /// Of these timings.
    ///
    /// # Errors
    /// See [`BadRecording`].
    pub fn of(timings: &[Timing]) -> Result<Recording, BadRecording> {
        let committed = timings.iter().filter(|timing| timing.end == TaskEnd::Committed);
        let (mut by_batch, mut by_job) = (BTreeMap::new(), BTreeMap::new());
        let mut window = Window::new();
        for timing in committed {
            window.add(timing);
            by_batch.entry(timing.batch).or_insert_with(Vec::new).push(timing);
            by_job.entry(timing.job).or_insert_with(Vec::new).push(timing);
        }
        by_job.retain(|_, tasks: &mut Vec<&Timing>| tasks.iter().any(|task| task.stage == Stage::Export));
        if by_job.len() > JOBS_MAX {
            return Err(BadRecording::TooLong);
        }
        let batches: BTreeMap<BatchId, BatchSeen> =
            by_batch.iter().filter_map(|(id, tasks)| Some((*id, seen(tasks)?))).collect();
        let (facts, way) = facts(&batches, &by_batch);
        let turn = turn(&batches, &by_batch, way);
        let first = by_job.values().map(|tasks| arrived_us(tasks)).min().ok_or(BadRecording::Empty)?;
        let jobs = by_job.iter().map(|(id, tasks)| job(*id, tasks, first, (&batches, &facts)));
        let mut jobs: Vec<Job> = jobs.collect();
        jobs.sort_by_key(|job| (job.arrives, job.id));
        let mut sum = Sum::default();
        for tasks in by_job.values() {
            let ended = tasks.iter().map(|task| task.at.0 * 1000).max().unwrap_or_default();
            let since_first = |us: u64| Duration::from_micros(us.saturating_sub(first));
            sum.done(since_first(arrived_us(tasks)), since_first(ended));
        }
        batches.values().for_each(|batch| sum.batch(batch.stage, batch.items as usize, held(batch)));
        let (lanes, outcome) = (Setup::seen(&window), sum.outcome());
        Ok(Recording { jobs, facts, way, turn, lanes, outcome })
    }

    /// How it went.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The lanes that were seen busy, by workers: a guess from below.
    pub fn lanes(&self) -> &Setup {
        &self.lanes
    }

    /// The stages that its jobs went through.
    pub fn stages(&self) -> impl Iterator<Item = Stage> {
        self.facts.keys().copied()
    }
}

/// When a job came: when its first task was published, in microseconds.
fn arrived_us(tasks: &[&Timing]) -> u64 {
    let published = tasks.iter().map(|task| (task.at.0 * 1000).saturating_sub(task.wall_us));
    published.min().unwrap_or_default()
}

fn seen(tasks: &[&Timing]) -> Option<BatchSeen> {
    let mut open = Batches::default();
    let over = tasks.iter().filter_map(|task| open.add(task)).last();
    over.or_else(|| open.unfinished().next())
}

/// How long a batch held its lane, without the start of its runner.
fn held(batch: &BatchSeen) -> Duration {
    let load = Duration::from_micros(batch.load_us());
    let whole = Duration::from_micros(batch.hold_us());
    if load > LOADED { whole.saturating_sub(load) } else { whole }
}

fn facts(
    batches: &BTreeMap<BatchId, BatchSeen>,
    by_batch: &BTreeMap<BatchId, Vec<&Timing>>,
) -> (BTreeMap<Stage, StageFacts>, Duration) {
    let (mut all, mut ways) = (BTreeMap::<Stage, StageFacts>::new(), BTreeMap::<Stage, Vec<Duration>>::new());
    for (id, batch) in batches {
        let facts = all.entry(batch.stage).or_default();
        let tasks = by_batch.get(id).map(Vec::as_slice).unwrap_or_default();
        let peak = tasks.iter().map(|task| task.peak_bytes).max().unwrap_or_default();
        facts.footprint.observe(batch.items, peak, held(batch));
        let (sum, count) = facts.peaks.entry(batch.items.max(1)).or_default();
        (*sum, *count) = (sum.saturating_add(peak.0), *count + 1);
        let load = Duration::from_micros(batch.load_us());
        if load > LOADED {
            facts.footprint.loaded(load);
        }
        let way = |task: &&Timing| Duration::from_micros(task.phases.queued_us + task.phases.planned_us);
        ways.entry(batch.stage).or_default().extend(tasks.iter().map(way));
    }
    let quick = ways.into_values().filter_map(|mut ways| {
        ways.sort_unstable();
        ways.get((ways.len() as f64 * QUICK) as usize).copied()
    });
    let way = quick.min().unwrap_or_default();
    (all, way)
}

fn job(
    id: JobId,
    tasks: &[&Timing],
    first_us: u64,
    (batches, facts): (&BTreeMap<BatchId, BatchSeen>, &BTreeMap<Stage, StageFacts>),
) -> Job {
    let own = |task: &&Timing| {
        let after = Duration::from_micros(task.phases.store_us + task.phases.commit_us);
        let usual = facts.get(&task.stage).map(|facts| facts.footprint.time(task.batch_items.max(1)));
        let held = batches.get(&task.batch).map(held);
        let factor = match (held, usual) {
            (Some(held), Some(usual)) if !usual.is_zero() => held.as_secs_f64() / usual.as_secs_f64(),
            _ => 1.0,
        };
        (task.stage, Own { factor, after })
    };
    let arrives = Duration::from_micros(arrived_us(tasks) - first_us);
    Job { id, arrives, own: tasks.iter().map(own).collect() }
}
