//! Which stage bounds the throughput, and at how many jobs per hour. From a window of timings and a setup of
//! lanes; `predict` asks it "what if". A stage that takes the most time of one job need not be the one.
//!
//! ```text
//! item seconds(s) = (fetch + load + t(b)) / (b x share committed)      per kind of device, see `speed`
//! capacity(s)     = lanes(s) / item seconds(s)                         if its lanes did nothing else
//! limit           = the most that all lanes let through, see `flow`    = min over s of capacity(s), unshared
//! bounding stage  = the one whose next lane raises the limit most
//! ```
//! At which b? Where tasks waited for longer than two batches take, the sizes seen are those under load, and
//! their mixture counts. Elsewhere a stage that waits for work runs small batches and says little about what
//! it could do: the best size counts that was measured often enough. Otherwise a stage that only just keeps
//! up with small batches would be taken for the one that bounds. If that is the largest size seen, the
//! capacity is a lower bound and told as one.

use crate::flow::{Supply, throughput};
use crate::predict::{Declared, Prediction};
use crate::speed::{ItemSeconds, Speed};
use crate::window::Window;
use crate::{Pool, Setup};
use domain::{DeviceClass, Phase, Stage, TaskEnd};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Waiting for this many batches says that there was always more to do.
const WAITED_BATCHES: f64 = 2.0;
/// Lanes that are busier than this have no more to give.
const SATURATED_PERCENT: f64 = 80.0;
/// A stage binds if one percent less time at it raises the limit by at least this share.
const BINDS: f64 = 5e-4;
pub(crate) const HOUR: f64 = 3_600.0;

/// What one stage could do on its lanes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageCapacity {
    /// The stage.
    pub stage: Stage,
    /// Lanes that serve it, alone or among other stages.
    pub lanes: u32,
    /// Items per batch that the capacity is told for; the mean over kinds of devices.
    pub batch_items: f64,
    /// Lane-time of one finished item: fetch, load and compute.
    pub item_ms: f64,
    /// Of that, until the runner was ready.
    pub load_ms: f64,
    /// If its lanes did nothing else.
    pub items_per_hour: f64,
    /// It never had enough to do to show what larger batches bring: it can do this, or more.
    pub at_least: bool,
    /// Share of its lanes' time that its own batches held, in the window.
    pub busy_percent: f64,
    /// Mean time from publication to acceptance.
    pub waited_ms: f64,
}

/// What bounds the throughput, and what would change it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Limit {
    /// The stage that bounds.
    pub stage: Stage,
    /// Stages that bound together with it, since they share its lanes.
    pub together_with: Vec<Stage>,
    /// The most that goes through.
    pub jobs_per_hour: f64,
    /// What went through in the window: commits of the last stage.
    pub observed_per_hour: f64,
    /// Whether the bounding lanes were busy; if not, the work that comes is the limit.
    pub saturated: bool,
    /// Each stage that was measured.
    pub stages: Vec<StageCapacity>,
    /// Stages of which nothing was measured: they are not reckoned with.
    pub unknown: Vec<Stage>,
    /// What would change it, the largest gain first.
    pub predictions: Vec<Prediction>,
    /// All this in a sentence.
    pub text: String,
}

/// Tasks ahead of one, at a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// In the queue before it.
    pub waiting: u64,
    /// Being worked on now.
    pub running: u64,
    /// The batches, hence lanes, in which they are.
    pub batches: u64,
}

/// A stage on a kind of device.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) now: ItemSeconds,
    pub(crate) speed: Speed,
    /// The one that most batches ran with.
    pub(crate) precision: String,
    /// It never had enough to do to show what larger batches bring: it can do this, or more.
    pub(crate) at_least: bool,
    /// Batches in other precisions.
    pub(crate) others: Vec<(String, Speed)>,
}

/// Lane-seconds of one item, per stage and kind of device.
pub(crate) type Seconds = BTreeMap<(Stage, DeviceClass), f64>;

/// What a stage did in the window, all kinds of devices together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Did {
    hold_seconds: f64,
    waited_ms: f64,
    committed: u64,
    pub(crate) compute_us: u64,
    pub(crate) spans: BTreeMap<String, u64>,
}

/// Speeds and lanes, ready for questions.
#[derive(Clone, Debug)]
pub struct Capacity {
    pub(crate) setup: Setup,
    pub(crate) units: BTreeMap<(Stage, DeviceClass), Unit>,
    pub(crate) did: BTreeMap<Stage, Did>,
    span_seconds: f64,
}

impl Capacity {
    /// What these timings say about these lanes.
    pub fn new(window: &Window, setup: &Setup) -> Capacity {
        let window = window.closed();
        let mut all: BTreeMap<(Stage, DeviceClass), Vec<(String, Speed)>> = BTreeMap::new();
        for (stage, class, precision, speed) in window.speeds() {
            all.entry((stage, class.clone())).or_default().push((precision.to_owned(), speed.clone()));
        }
        let mut units = BTreeMap::new();
        let mut did: BTreeMap<Stage, Did> = BTreeMap::new();
        for (key, list) in all {
            let total = |of: &Speed| of.total();
            let of_stage = did.entry(key.0).or_default();
            of_stage.hold_seconds += list.iter().map(|(_, speed)| hold_seconds(speed)).sum::<f64>();
            let mut list = list;
            list.sort_by_key(|(_, speed)| std::cmp::Reverse(total(speed).batches));
            let mut list = list.into_iter();
            let Some((precision, speed)) = list.next() else { continue };
            let busy = waited(&window, &key) > WAITED_BATCHES * batch_seconds(&speed);
            let Some(now) = (if busy { speed.seen() } else { speed.under_load() }) else { continue };
            let at_least = !busy && speed.is_largest(now.batch);
            units.insert(key, Unit { now, speed, precision, at_least, others: list.collect() });
        }
        for (stage, row) in window.by_stage() {
            let of_stage = did.entry(stage).or_default();
            let waited_us = row.phase_us(Phase::Queued).saturating_add(row.phase_us(Phase::Planned));
            of_stage.waited_ms = waited_us as f64 / 1e3 / row.tasks.max(1) as f64;
            of_stage.committed = window.count(stage, TaskEnd::Committed);
            of_stage.compute_us = row.phase_us(Phase::Compute);
            of_stage.spans = row.spans;
        }
        Capacity { setup: setup.clone(), units, did, span_seconds: window.span().as_secs_f64() }
    }

    /// What bounds, and what would change it; none when nothing was measured.
    pub fn limit(&self, declared: &Declared) -> Option<Limit> {
        let seconds = self.seconds();
        let (rate, stage) = self.bound(&self.setup, &seconds)?;
        let together_with: Vec<Stage> =
            self.known().filter(|of| *of != stage && self.binds(*of, rate)).collect();
        let group: Vec<Stage> = together_with.iter().copied().chain([stage]).collect();
        let lanes = self.setup.pools.iter().filter(|pool| group.iter().any(|of| pool.stages.contains(of)));
        let lanes: f64 = lanes.map(|pool| f64::from(pool.lanes)).sum();
        let held: f64 = group.iter().filter_map(|of| self.did.get(of)).map(|did| did.hold_seconds).sum();
        let saturated = 100.0 * held >= SATURATED_PERCENT * lanes * self.span_seconds;
        let last = self.known().last().and_then(|of| self.did.get(&of));
        let observed_per_hour = match last {
            Some(did) if self.span_seconds > 0.0 => HOUR * did.committed as f64 / self.span_seconds,
            _ => 0.0,
        };
        let unknown = Stage::ALL.into_iter().filter(|of| !self.known().any(|known| known == *of)).collect();
        let mut limit = Limit {
            stage,
            together_with,
            jobs_per_hour: HOUR * rate,
            observed_per_hour,
            saturated,
            stages: self.known().map(|of| self.stage(of)).collect(),
            unknown,
            predictions: self.predictions(declared),
            text: String::new(),
        };
        limit.text = limit.sentence();
        Some(limit)
    }

    /// How long one waits behind these tasks before its own work, through all stages from `stage` on: its own
    /// way is free when all ahead of it have been served everywhere. Running tasks are half done; waiting
    /// ones go in full batches, the last of which takes it along. None if a stage with something ahead was
    /// not measured or nobody serves it.
    ///
    /// With D(t) = what is ahead up to stage t, it is the least time in which the lanes serve D(t) at every
    /// stage t: `max over t of D(t) / capacity(t)` where lanes are not shared.
    pub fn wait(&self, stage: Stage, ahead: &BTreeMap<Stage, Ahead>) -> Option<Duration> {
        let mut demand = [0.0; Stage::ALL.len()];
        let mut before = 0.0;
        for of in Stage::ALL.into_iter().filter(|of| *of >= stage) {
            let here = ahead.get(&of).copied().unwrap_or_default();
            let free = here.waiting == 0 && here.batches < u64::from(self.setup.lanes(of));
            // Those that go with it in one batch are not ahead of it.
            let batch = u64::from(self.batch(of));
            let waiting = here.waiting - here.waiting % batch;
            before += if free { 0.0 } else { waiting as f64 + 0.5 * here.running as f64 };
            demand[of as usize] = before;
        }
        if before == 0.0 {
            return Some(Duration::ZERO);
        }
        let rate = throughput(&demand, &supplies(&self.setup, &self.seconds()));
        (rate > 0.0).then(|| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX))
    }

    /// How long a batch of so many items holds its lane, its inputs and its runner included. None where no
    /// batch of that size, nor a smaller and a larger one, was measured.
    pub fn batch_time(&self, stage: Stage, class: &DeviceClass, items: u32) -> Option<Duration> {
        let unit = self.units.get(&(stage, class.clone()))?;
        let (total, compute) = (unit.speed.total(), unit.speed.batch_seconds(items)?);
        let lead = (total.fetch_us.saturating_add(total.load_us)) as f64 / 1e6 / total.batches.max(1) as f64;
        Duration::try_from_secs_f64(lead + compute).ok()
    }

    /// Items per batch under load, the most of any kind of device; one if nothing is known.
    fn batch(&self, stage: Stage) -> u32 {
        let of_stage = self.units.iter().filter(|((of, _), _)| *of == stage);
        of_stage.map(|(_, unit)| unit.now.batch).max().unwrap_or(1).max(1)
    }

    /// Stages that were measured.
    pub(crate) fn known(&self) -> impl Iterator<Item = Stage> {
        let has = |of: &Stage| self.units.keys().any(|(stage, _)| stage == of);
        Stage::ALL.into_iter().filter(has)
    }

    pub(crate) fn seconds(&self) -> Seconds {
        self.units.iter().map(|(key, unit)| (key.clone(), unit.now.all())).collect()
    }

    /// The most that goes through, in items per second.
    pub(crate) fn rate(&self, setup: &Setup, seconds: &Seconds) -> f64 {
        let mut demand = [0.0; Stage::ALL.len()];
        self.known().for_each(|stage| demand[stage as usize] = 1.0);
        throughput(&demand, &supplies(setup, seconds))
    }

    /// The limit in items per second and the stage that bounds it; none when nothing was measured.
    pub(crate) fn bound(&self, setup: &Setup, seconds: &Seconds) -> Option<(f64, Stage)> {
        let rate = self.rate(setup, seconds);
        let judged = self.known().filter_map(|stage| {
            let own = self.alone(setup, seconds, stage);
            let more = self.rate(&setup.with(stage, self.class_of(stage)?, 1), seconds);
            // A gain below a billionth is none: then the lower capacity of its own decides.
            Some((stage, ((more / rate.max(1e-12) - 1.0) * 1e9).round(), own))
        });
        let most = judged.reduce(|a, b| {
            let order = b.1.total_cmp(&a.1).then(a.2.total_cmp(&b.2));
            if order == std::cmp::Ordering::Greater { b } else { a }
        });
        most.map(|(stage, ..)| (rate, stage))
    }

    /// Items per second of a stage if its lanes did nothing else.
    fn alone(&self, setup: &Setup, seconds: &Seconds, stage: Stage) -> f64 {
        let mut demand = [0.0; Stage::ALL.len()];
        demand[stage as usize] = 1.0;
        throughput(&demand, &supplies(setup, seconds))
    }

    /// The kind of device on which another lane for a stage would be: where it has most lanes and was
    /// measured, or else where it was measured.
    pub(crate) fn class_of(&self, stage: Stage) -> Option<DeviceClass> {
        let lanes = |class: &DeviceClass| -> u32 {
            let serving = |pool: &&Pool| pool.device_class == *class && pool.stages.contains(&stage);
            self.setup.pools.iter().filter(serving).map(|pool| pool.lanes).sum()
        };
        let classes = self.units.keys().filter(|(of, _)| *of == stage).map(|(_, class)| class);
        classes.max_by_key(|class| lanes(class)).cloned()
    }

    /// Whether less time at a stage raises the limit.
    fn binds(&self, stage: Stage, rate: f64) -> bool {
        let mut seconds = self.seconds();
        let of_stage = seconds.iter_mut().filter(|((of, _), _)| *of == stage);
        of_stage.for_each(|(_, value)| *value *= 0.99);
        self.rate(&self.setup, &seconds) >= rate * (1.0 + BINDS)
    }

    fn stage(&self, stage: Stage) -> StageCapacity {
        let units: Vec<&Unit> =
            self.units.iter().filter(|((of, _), _)| *of == stage).map(|(_, u)| u).collect();
        let mean = |of: fn(&Unit) -> f64| units.iter().map(|unit| of(unit)).sum::<f64>() / units.len() as f64;
        let lanes = self.setup.lanes(stage);
        let did = self.did.get(&stage).cloned().unwrap_or_default();
        let available = f64::from(lanes) * self.span_seconds;
        StageCapacity {
            stage,
            lanes,
            batch_items: mean(|unit| f64::from(unit.now.batch)),
            item_ms: 1e3 * mean(|unit| unit.now.all()),
            load_ms: 1e3 * mean(|unit| unit.now.load),
            items_per_hour: HOUR * self.alone(&self.setup, &self.seconds(), stage),
            at_least: units.iter().any(|unit| unit.at_least),
            busy_percent: if available > 0.0 { 100.0 * did.hold_seconds / available } else { 0.0 },
            waited_ms: did.waited_ms,
        }
    }
}

impl Limit {
    fn sentence(&self) -> String {
        let Limit { stage, jobs_per_hour, observed_per_hour, .. } = self;
        if *jobs_per_hour == 0.0 {
            return format!("no worker serves {stage}: nothing goes through");
        }
        let mut text = format!("{stage} limits you at {} jobs/h", rounded(*jobs_per_hour));
        if !self.together_with.is_empty() {
            let others: Vec<&str> = self.together_with.iter().map(|of| of.as_str()).collect();
            text += &format!(" (its lanes also do {})", others.join(", "));
        }
        let more = self.predictions.iter().find(|of| of.is_lane_for(*stage));
        if let Some(more) = more {
            text += &format!("; {}", more.text);
        }
        if !self.saturated {
            text += &format!(
                ". At {} jobs/h its lanes are not busy yet: what comes is the limit now",
                rounded(*observed_per_hour)
            );
        }
        text
    }
}

/// For people: two digits after the point below ten, whole numbers from a hundred on.
pub(crate) fn rounded(value: f64) -> String {
    let digits = match value.abs() {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

fn supplies(setup: &Setup, seconds: &Seconds) -> Vec<Supply> {
    let supply = |pool: &Pool| {
        let serves = pool.stages.iter().filter_map(|stage| {
            let each = seconds.get(&(*stage, pool.device_class.clone()))?;
            Some((*stage as usize, *each))
        });
        Supply { lanes: f64::from(pool.lanes), serves: serves.collect() }
    };
    setup.pools.iter().map(supply).collect()
}

fn hold_seconds(speed: &Speed) -> f64 {
    let total = speed.total();
    (total.fetch_us as f64 + total.load_us as f64 + total.compute_us as f64) / 1e6
}

fn batch_seconds(speed: &Speed) -> f64 {
    hold_seconds(speed) / speed.total().batches.max(1) as f64
}

/// Mean seconds from publication to acceptance.
fn waited(window: &Window, (stage, class): &(Stage, DeviceClass)) -> f64 {
    let rows = window.rows().filter(|(of, on, ..)| of == stage && *on == class);
    let (us, tasks) = rows.fold((0.0, 0u64), |(us, tasks), (.., row)| {
        let waited = row.phase_us(Phase::Queued) as f64 + row.phase_us(Phase::Planned) as f64;
        (us + waited, tasks + row.tasks)
    });
    us / 1e6 / tasks.max(1) as f64
}

#[cfg(test)]
mod tests;
