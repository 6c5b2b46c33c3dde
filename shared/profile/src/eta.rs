//! What is left of one job, with p50 and p90: learned from timings, corrected as the job goes. `capacity`
//! says how long the line before it takes; this says how long its own work takes.
//!
//! ```text
//! left      = wait + what is left of the current stage + each stage still to come
//! stage     = fetch + load + compute + store + commit of tasks of the same kind, recent ones; of the
//!             current stage those in batches about as large
//! current   = its time, given that it has lasted so long: quantile(F + (1 - F) q) - elapsed, F = share that
//!             is over by then; or elapsed x (1 - f) / f where fraction f is told: that counts the more the
//!             further it is
//! own speed = exp(w x mean ln(actual / typical)) of the stages it has behind it, applied to those to come;
//!             w is learned: how far past jobs that were slow at one stage were slow at the next
//! sum       = log-normal with the sum of means and of variances (Fenton 1960)
//! ```

use crate::sketch::{Sketch, us};
use domain::{JobId, Phase, Stage, TaskEnd, Timing};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Tasks of one kind after which what was learned is the older half, and what was the older half forgotten.
const GENERATION: u64 = 512;
/// Tasks that a kind needs before it counts by itself; below, its stage as a whole does.
const KIND_MIN: u64 = 5;
/// Kinds of work that are told apart per stage: a few kilobytes each.
const KINDS_MAX: usize = 64;
/// Jobs on their way whose speed is remembered.
const JOBS_MAX: usize = 4_096;
/// Own speed is not believed beyond this, either way.
const OWN_SPEED_MAX: f64 = 8.0;
/// Weight of the assumption that own speed does not carry over: squares of logarithms, as of 50 jobs that
/// were off by 10 %.
const CARRY_PRIOR: f64 = 0.5;
/// A told fraction below this says nothing.
const FRACTION_MIN: f32 = 0.02;
/// Standard deviation of the logarithm of a time guessed from a fraction near 0; it falls to none at 1.
const FRACTION_SCATTER: f64 = 0.5;
/// A stage that has lasted longer than any seen goes on for this share of that, as far as anybody knows.
const BEYOND: f64 = 0.25;
/// What a wait is off by, as a share: the bar of predicted throughput.
const WAIT_SCATTER: f64 = 0.1;
/// The 90 % quantile of the normal distribution.
const Z90: f64 = 1.281_551_6;

/// Where a job is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobNow {
    /// What makes times alike, as quality and texture size; empty if nothing is known.
    pub kind: String,
    /// Its stage; none before the first task.
    pub stage: Option<Stage>,
    /// Since its batch was accepted; none while it waits.
    pub working: Option<Duration>,
    /// Items of that batch; none while it waits or if nobody knows.
    pub batch_items: Option<u32>,
    /// Since its computation began and how far it says it is, 0 to 1.
    pub computing: Option<(Duration, f32)>,
    /// Stages behind it, and how long each worked, from acceptance to commit.
    pub behind: Vec<(Stage, Duration)>,
}

/// What is left of a job.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Eta {
    /// As likely earlier as later, in milliseconds.
    pub p50_ms: u64,
    /// Nine times of ten earlier, in milliseconds.
    pub p90_ms: u64,
    /// Of the former, waiting for a place.
    pub wait_ms: u64,
    /// How many tasks it rests on, at the stage with the fewest.
    pub learned_from: u64,
}

/// Times of one kind of work at one stage.
#[derive(Clone, Debug, Default)]
struct Learned {
    now: Times,
    before: Times,
}

#[derive(Clone, Debug, Default)]
struct Times {
    work: Sketch,
    /// Until the computation began.
    lead_us: f64,
    wait: Sketch,
    log: f64,
    log_sq: f64,
}

impl Learned {
    fn add(&mut self, wait_us: Option<u64>, lead_us: u64, work_us: u64) {
        if self.now.work.count() >= GENERATION {
            self.before = std::mem::take(&mut self.now);
        }
        let log = (work_us.max(1) as f64).ln();
        self.now.work.add_us(work_us);
        wait_us.into_iter().for_each(|us| self.now.wait.add_us(us));
        self.now.lead_us += lead_us as f64;
        self.now.log += log;
        self.now.log_sq += log * log;
    }

    fn count(&self) -> u64 {
        self.now.work.count() + self.before.work.count()
    }

    /// Mean and standard deviation of the logarithm of microseconds.
    fn log(&self) -> (f64, f64) {
        let n = self.count().max(1) as f64;
        let mean = (self.now.log + self.before.log) / n;
        let variance = (self.now.log_sq + self.before.log_sq) / n - mean * mean;
        (mean, variance.max(0.0).sqrt())
    }

    fn work(&self) -> Sketch {
        let mut both = self.now.work.clone();
        both.merge(&self.before.work);
        both
    }

    fn wait(&self) -> Sketch {
        let mut both = self.now.wait.clone();
        both.merge(&self.before.wait);
        both
    }

    fn lead_seconds(&self) -> f64 {
        (self.now.lead_us + self.before.lead_us) / 1e6 / self.count().max(1) as f64
    }
}

/// Times of one kind of work at one stage, in batches of any size and by powers of two.
#[derive(Clone, Debug, Default)]
struct BySize {
    all: Learned,
    sizes: BTreeMap<u32, Learned>,
}

impl BySize {
    fn add(&mut self, items: u32, wait_us: u64, [lead_us, work_us]: [u64; 2]) {
        self.all.add(Some(wait_us), lead_us, work_us);
        self.sizes.entry(items.max(1).ilog2()).or_default().add(None, lead_us, work_us);
    }

    /// Those in batches about as large, or else all; none if those are too few to count.
    fn of(&self, items: Option<u32>) -> Option<&Learned> {
        let alike = items.and_then(|items| self.sizes.get(&items.max(1).ilog2()));
        alike.into_iter().chain([&self.all]).find(|of| of.count() >= KIND_MIN)
    }
}

/// A time that is not certain, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Guess {
    mean: f64,
    variance: f64,
}

impl Guess {
    /// Log-normal with this median and standard deviation of the logarithm.
    fn log_normal(median: f64, scatter: f64) -> Guess {
        let mean = median * (0.5 * scatter * scatter).exp();
        Guess { mean, variance: mean * mean * (scatter * scatter).exp_m1() }
    }

    /// From its median and 90 % quantile.
    fn between(p50: f64, p90: f64) -> Guess {
        let p50 = p50.max(1e-6);
        Guess::log_normal(p50, (p90.max(p50) / p50).ln() / Z90)
    }

    fn and(self, other: Guess) -> Guess {
        Guess { mean: self.mean + other.mean, variance: self.variance + other.variance }
    }

    /// p50 and p90 of the log-normal with this mean and variance.
    fn quantiles(self) -> (f64, f64) {
        if self.mean <= 0.0 {
            return (0.0, 0.0);
        }
        let scatter = (self.variance / (self.mean * self.mean)).ln_1p().sqrt();
        let p50 = self.mean * (-0.5 * scatter * scatter).exp();
        (p50, p50 * (Z90 * scatter).exp())
    }
}

/// What was learned of all stages.
#[derive(Clone, Debug, Default)]
pub struct EtaModel {
    kinds: BTreeMap<Stage, BTreeMap<String, BySize>>,
    stages: BTreeMap<Stage, BySize>,
    /// Sum and number of logarithms of actual / typical, of jobs on their way.
    jobs: BTreeMap<JobId, (f64, u32)>,
    order: VecDeque<JobId>,
    /// Sums of squares and products: how far own speed carries over.
    carry: (f64, f64),
}

impl EtaModel {
    /// Nothing learned.
    pub fn new() -> EtaModel {
        EtaModel::default()
    }

    /// Learns from a committed task. `kind` is what makes times alike, as in [`JobNow::kind`].
    pub fn learn(&mut self, timing: &Timing, kind: &str) {
        if timing.end != TaskEnd::Committed {
            return;
        }
        let of = |phase: Phase| us(timing.phases.of(phase));
        let wait_us = of(Phase::Queued).saturating_add(of(Phase::Planned));
        let lead_us = of(Phase::Fetch).saturating_add(of(Phase::Load)).saturating_add(of(Phase::Wait));
        let rest = [Phase::Compute, Phase::Store, Phase::Commit].map(of);
        let work_us = rest.into_iter().fold(lead_us, u64::saturating_add);
        self.learn_own_speed(timing, kind, work_us);
        let (items, times) = (timing.batch_items, [lead_us, work_us]);
        self.stages.entry(timing.stage).or_default().add(items, wait_us, times);
        let kinds = self.kinds.entry(timing.stage).or_default();
        if let Some(of_kind) = kinds.get_mut(kind) {
            of_kind.add(items, wait_us, times);
        } else if kinds.len() < KINDS_MAX {
            kinds.entry(kind.to_owned()).or_default().add(items, wait_us, times);
        }
    }

    fn learn_own_speed(&mut self, timing: &Timing, kind: &str, work_us: u64) {
        let Some(typical) = self.learned(timing.stage, kind, None).filter(|of| of.count() >= KIND_MIN) else {
            return;
        };
        let off = (work_us.max(1) as f64).ln() - typical.log().0;
        if let Some((sum, count)) = self.jobs.get(&timing.job) {
            let before = sum / f64::from(*count);
            self.carry.0 += before * before;
            self.carry.1 += before * off;
        } else {
            self.order.push_back(timing.job);
        }
        let own = self.jobs.entry(timing.job).or_default();
        *own = (own.0 + off, own.1 + 1);
        if timing.stage == Stage::Export {
            self.jobs.remove(&timing.job);
        }
        while self.order.len() > JOBS_MAX {
            self.order.pop_front().map(|oldest| self.jobs.remove(&oldest));
        }
    }

    /// Tasks most like this one that are enough to count; or else whatever the stage did.
    fn learned(&self, stage: Stage, kind: &str, items: Option<u32>) -> Option<&Learned> {
        let of_kind = self.kinds.get(&stage).and_then(|kinds| kinds.get(kind));
        let of_stage = self.stages.get(&stage)?;
        of_kind.and_then(|of| of.of(items)).or_else(|| of_stage.of(items)).or(Some(&of_stage.all))
    }

    /// How far past jobs that were slow at one stage were slow at the next, 0 to 1.
    fn carries_over(&self) -> f64 {
        (self.carry.1 / (self.carry.0 + CARRY_PRIOR)).clamp(0.0, 1.0)
    }

    /// What is left of a job. `wait` is how long the line before it takes, through all stages to come
    /// ([`crate::Capacity::wait`]); without it the waits that other tasks had are counted.
    ///
    /// None while one of its stages was never seen.
    pub fn estimate(&self, job: &JobNow, wait: Option<Duration>) -> Option<Eta> {
        let speed = self.own_speed(job);
        let current = job.stage.unwrap_or(Stage::Preprocess);
        let mut waits = Guess::default();
        let mut work = Guess::default();
        let mut learned_from = u64::MAX;
        for stage in Stage::ALL.into_iter().filter(|stage| *stage >= current) {
            let here = job.working.filter(|_| stage == current && job.stage.is_some());
            let learned = self.learned(stage, &job.kind, job.batch_items.filter(|_| here.is_some()))?;
            learned_from = learned_from.min(learned.count());
            work = work.and(match here {
                Some(elapsed) => left(learned, speed, elapsed, job.computing),
                None => {
                    let (mean, scatter) = learned.log();
                    Guess::log_normal(speed * mean.exp() / 1e6, scatter)
                }
            });
            if wait.is_none() && here.is_none() {
                let all = learned.wait();
                let at = |q: f64| all.quantile(q).unwrap_or_default().as_secs_f64();
                waits = waits.and(Guess::between(at(0.5), at(0.9)));
            }
        }
        if let Some(wait) = wait.map(|wait| wait.as_secs_f64()) {
            waits = Guess { mean: wait, variance: (WAIT_SCATTER * wait).powi(2) };
        }
        let (p50, p90) = work.and(waits).quantiles();
        let ms = |seconds: f64| (seconds * 1e3).round() as u64;
        Some(Eta {
            p50_ms: ms(p50),
            p90_ms: ms(p90),
            wait_ms: ms(waits.quantiles().0.min(p50)),
            learned_from,
        })
    }

    /// Times to come as a share of typical ones, by those behind.
    fn own_speed(&self, job: &JobNow) -> f64 {
        let off = job.behind.iter().filter_map(|(stage, took)| {
            let learned = self.learned(*stage, &job.kind, None).filter(|of| of.count() >= KIND_MIN)?;
            Some((us(*took).max(1) as f64).ln() - learned.log().0)
        });
        let off: Vec<f64> = off.collect();
        let mean = off.iter().sum::<f64>() / off.len().max(1) as f64;
        (self.carries_over() * mean).exp().clamp(1.0 / OWN_SPEED_MAX, OWN_SPEED_MAX)
    }
}

/// What is left of a stage that has worked for so long.
fn left(learned: &Learned, speed: f64, elapsed: Duration, computing: Option<(Duration, f32)>) -> Guess {
    let work = learned.work();
    let gone = elapsed.as_secs_f64();
    let typical = Duration::try_from_secs_f64(gone / speed).unwrap_or(Duration::MAX);
    let over = work.share_up_to(typical);
    let by_time = if over >= 1.0 {
        Guess::between(BEYOND * gone, 4.0 * BEYOND * gone)
    } else {
        let at = |q: f64| {
            let whole = work.quantile(over + (1.0 - over) * q).unwrap_or_default().as_secs_f64();
            (speed * whole - gone).max(0.0)
        };
        Guess::between(at(0.5), at(0.9))
    };
    let Some((spent, fraction)) = computing.filter(|(_, of)| (FRACTION_MIN..=1.0).contains(of)) else {
        return by_time;
    };
    // What comes after computing is in the learned time and in no fraction.
    let (log_mean, scatter) = learned.log();
    let compute = (speed * log_mean.exp() / 1e6 - learned.lead_seconds()).max(1e-6);
    let f = f64::from(fraction);
    let told = Guess::log_normal(spent.as_secs_f64() * (1.0 - f) / f, FRACTION_SCATTER * (1.0 - f));
    // Weights as inverse squares of what each is off by.
    let by_time_off = by_time.variance.max((scatter * compute).powi(2) * 1e-4).max(1e-12);
    let told_off = told.variance.max((0.02 * compute).powi(2)).max(1e-12);
    let share = told_off.recip() / (told_off.recip() + by_time_off.recip());
    Guess {
        mean: share * told.mean + (1.0 - share) * by_time.mean,
        variance: (told_off.recip() + by_time_off.recip()).recip(),
    }
}

#[cfg(test)]
mod tests;
