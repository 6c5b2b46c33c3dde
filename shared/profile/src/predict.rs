//! What would change the throughput, and by how much: the limit of `capacity` with one thing changed. Offered
//! only where measurements or declared factors support it; otherwise it says what is missing.
//!
//! | change | what is put in |
//! |---|---|
//! | another lane | one more lane for that stage alone |
//! | batch size | t(b) where it was measured, or between two measured sizes |
//! | half precision | compute x the measured ratio at the same sizes, or the declared one |
//! | fewer steps | compute x (1 - share of the span in compute x (1 - fewer / now)) |
//! | warm model | no load |

use crate::Capacity;
use crate::capacity::{HOUR, Seconds, Unit, rounded};
use crate::sketch::percent;
use crate::speed::{BATCHES_MIN, Speed};
use domain::{DeviceClass, Stage};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names of half precisions in timings.
const HALF: [&str; 3] = ["f16", "fp16", "bf16"];
/// Names of the precision that they are half of.
const FULL: [&str; 2] = ["f32", "fp32"];
/// A change is not worth a line below this gain, in percent.
const GAIN_MIN_PERCENT: f64 = 0.5;

/// Something that could be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// One more lane (on a GPU: one more worker) for this stage alone.
    AddLane {
        /// The stage.
        stage: Stage,
    },
    /// Batches of another size.
    BatchSize {
        /// The stage.
        stage: Stage,
        /// Items per batch.
        items: u32,
    },
    /// 16 bits instead of 32.
    HalfPrecision {
        /// The stage.
        stage: Stage,
    },
    /// Fewer steps of an iterative engine.
    FewerSteps {
        /// The stage.
        stage: Stage,
        /// How many.
        steps: u32,
    },
    /// Runners that stay loaded.
    WarmModel {
        /// The stage.
        stage: Stage,
    },
}

/// What engines declare, where timings alone cannot tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// Compute time in half precision as a share of that in full precision, 0 to 1, where an engine has both.
    pub half_precision: BTreeMap<Stage, f64>,
    /// Iterative engines.
    pub steps: BTreeMap<Stage, Steps>,
}

/// The steps of an iterative engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// How many it makes now.
    pub now: u32,
    /// Smaller numbers worth a thought.
    pub fewer: Vec<u32>,
    /// The span in which it makes them, as in timings: its share of compute says how much they matter.
    pub span: String,
}

/// What a change would bring.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Prediction {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The limit afterwards.
    pub jobs_per_hour: f64,
    /// More than now, in percent.
    pub gain_percent: f64,
    /// The stage that bounds afterwards.
    pub limits_then: Stage,
    /// That stage was never seen with enough to do: it may be more.
    pub at_least: bool,
    /// All this and what it rests on.
    pub text: String,
}

/// Why a change cannot be predicted: what is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

impl Change {
    /// Where.
    pub const fn stage(&self) -> Stage {
        match self {
            Change::AddLane { stage }
            | Change::BatchSize { stage, .. }
            | Change::HalfPrecision { stage }
            | Change::FewerSteps { stage, .. }
            | Change::WarmModel { stage } => *stage,
        }
    }
}

impl Prediction {
    pub(crate) fn is_lane_for(&self, of: Stage) -> bool {
        matches!(self.change, Change::AddLane { stage } if stage == of)
    }
}

impl Capacity {
    /// What a change would bring.
    ///
    /// # Errors
    /// [`Unsupported`]: neither measurements nor declared factors say it.
    pub fn predict(&self, change: &Change, declared: &Declared) -> Result<Prediction, Unsupported> {
        let stage = change.stage();
        let unknown = || Unsupported(format!("no timing of {stage} was seen"));
        let (mut setup, mut seconds) = (self.setup.clone(), self.seconds());
        let now = self.bound(&setup, &seconds).ok_or_else(unknown)?.0;
        let (what, why) = match change {
            Change::AddLane { .. } => {
                setup = setup.with(stage, self.class_of(stage).ok_or_else(unknown)?, 1);
                (format!("one more {stage} worker"), None)
            }
            Change::BatchSize { items, .. } => {
                let why = self.with_size(&mut seconds, stage, *items)?;
                (format!("batches of {items} at {stage}"), Some(why))
            }
            Change::HalfPrecision { .. } => {
                let why = self.with_half_precision(&mut seconds, stage, declared)?;
                (format!("half precision at {stage}"), Some(why))
            }
            Change::FewerSteps { steps, .. } => {
                let why = self.with_steps(&mut seconds, (stage, *steps), declared)?;
                (format!("{steps} steps at {stage}"), Some(why))
            }
            Change::WarmModel { .. } => {
                let why = self.with_warm_model(&mut seconds, stage)?;
                (format!("a model kept warm at {stage}"), Some(why))
            }
        };
        let (rate, limits_then) = self.bound(&setup, &seconds).ok_or_else(unknown)?;
        let gain_percent = if now > 0.0 { 100.0 * (rate / now - 1.0) } else { 0.0 };
        let then = if limits_then == stage { "still limits" } else { "then limits" };
        let at_least = self.of_stage(limits_then).any(|(_, unit)| unit.at_least);
        let least = if at_least { "at least " } else { "" };
        let mut text = format!("{what} gives {least}{} ({limits_then} {then}", rounded(HOUR * rate));
        text += &why.map_or_else(|| ")".to_owned(), |why| format!("; {why})"));
        let (change, jobs_per_hour) = (change.clone(), HOUR * rate);
        Ok(Prediction { change, jobs_per_hour, gain_percent, limits_then, at_least, text })
    }

    /// All that can be predicted and brings something, and one more lane for each stage anyway; the largest
    /// gain first.
    pub fn predictions(&self, declared: &Declared) -> Vec<Prediction> {
        let mut changes = Vec::new();
        for stage in self.known() {
            changes.extend([Change::AddLane { stage }, Change::HalfPrecision { stage }]);
            changes.push(Change::WarmModel { stage });
            let fewer = declared.steps.get(&stage).map_or(&[][..], |of| &of.fewer);
            changes.extend(fewer.iter().map(|steps| Change::FewerSteps { stage, steps: *steps }));
            changes
                .extend(self.sizes_to_try(stage).into_iter().map(|items| Change::BatchSize { stage, items }));
        }
        let predict = |change: &Change| self.predict(change, declared).ok();
        let mut found: Vec<Prediction> = changes.iter().filter_map(predict).collect();
        found.retain(|of| matches!(of.change, Change::AddLane { .. }) || of.gain_percent >= GAIN_MIN_PERCENT);
        found.sort_by(|a, b| b.gain_percent.total_cmp(&a.gain_percent));
        found
    }

    fn of_stage(&self, stage: Stage) -> impl Iterator<Item = (&(Stage, DeviceClass), &Unit)> {
        self.units.iter().filter(move |((of, _), _)| *of == stage)
    }

    /// Measured sizes, and powers of two between them.
    fn sizes_to_try(&self, stage: Stage) -> Vec<u32> {
        let measured: Vec<u32> = self.of_stage(stage).flat_map(|(_, unit)| unit.speed.sizes()).collect();
        let (least, most) = (measured.iter().min().copied(), measured.iter().max().copied());
        let between = (0..31).map(|n| 1u32 << n).filter(|b| Some(*b) > least && most.is_some_and(|m| *b < m));
        let mut sizes: Vec<u32> = between.chain(measured.iter().copied()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn with_size(&self, seconds: &mut Seconds, stage: Stage, items: u32) -> Result<String, Unsupported> {
        let (mut batches, mut between) = (0, false);
        for (key, unit) in self.of_stage(stage) {
            let (least, most) = (unit.speed.sizes().min(), unit.speed.sizes().max());
            let inside = least.is_some_and(|least| least <= items) && most.is_some_and(|most| items <= most);
            let Some(at) = unit.speed.at_size(items).filter(|_| inside) else { continue };
            let here = unit.speed.batches_at(items);
            (batches, between) = (batches + here, between || here < BATCHES_MIN);
            seconds.insert(key.clone(), at.all());
        }
        match (batches, between) {
            (_, true) => Ok("t(b) between measured sizes".to_owned()),
            (0, false) => Err(Unsupported(format!(
                "no batch of {items} at {stage} was measured, nor a smaller and a larger one"
            ))),
            (batches, false) => Ok(format!("t({items}) of {batches} batches")),
        }
    }

    fn with_half_precision(
        &self,
        seconds: &mut Seconds,
        stage: Stage,
        declared: &Declared,
    ) -> Result<String, Unsupported> {
        let mut why =
            Err(Unsupported(format!("{stage} was not measured in half precision, nor is a factor declared")));
        for (key, unit) in self.of_stage(stage) {
            if !FULL.contains(&unit.precision.as_str()) {
                why = Err(Unsupported(format!("{stage} runs in {}, not in full precision", unit.precision)));
                continue;
            }
            let measured = unit.others.iter().filter(|(name, _)| HALF.contains(&name.as_str()));
            let measured = measured.filter_map(|(_, half)| ratio(&unit.speed, half)).next();
            let declared = declared.half_precision.get(&stage).copied().filter(|of| (0.0..=1.0).contains(of));
            let (factor, how) = match (measured, declared) {
                (Some((ratio, batches)), _) => (ratio, format!("measured in {batches} batches")),
                (None, Some(factor)) => (factor, "as the engine declares".to_owned()),
                (None, None) => continue,
            };
            seconds.insert(key.clone(), unit.now.fetch + unit.now.load + factor * unit.now.compute);
            why = Ok(format!("{:.0} % of the compute time, {how}", 100.0 * factor));
        }
        why
    }

    fn with_steps(
        &self,
        seconds: &mut Seconds,
        (stage, steps): (Stage, u32),
        declared: &Declared,
    ) -> Result<String, Unsupported> {
        let missing = |what: &str| Unsupported(format!("{what} at {stage}"));
        let of = declared.steps.get(&stage).ok_or_else(|| missing("no engine declares steps"))?;
        if steps == 0 || steps >= of.now {
            return Err(Unsupported(format!("{steps} steps are not fewer than {} at {stage}", of.now)));
        }
        let did = self.did.get(&stage).ok_or_else(|| missing("no timing was seen"))?;
        let span = did.spans.get(&of.span).copied().filter(|us| *us > 0);
        let span = span.ok_or_else(|| missing(&format!("span {} was not measured", of.span)))?;
        let share = percent(span, did.compute_us).min(100.0) / 100.0;
        let factor = 1.0 - share * (1.0 - f64::from(steps) / f64::from(of.now));
        for (key, unit) in self.of_stage(stage) {
            seconds.insert(key.clone(), unit.now.fetch + unit.now.load + factor * unit.now.compute);
        }
        Ok(format!("{} is {:.0} % of compute, {} steps now", of.span, 100.0 * share, of.now))
    }

    fn with_warm_model(&self, seconds: &mut Seconds, stage: Stage) -> Result<String, Unsupported> {
        let (mut load, mut all) = (0.0, 0.0);
        for (key, unit) in self.of_stage(stage) {
            (load, all) = (load + unit.now.load, all + unit.now.all());
            seconds.insert(key.clone(), unit.now.all() - unit.now.load);
        }
        if load > 0.0 {
            Ok(format!("load is {:.0} % of its lane time", 100.0 * load / all))
        } else {
            Err(Unsupported(format!("{stage} never waited for a runner")))
        }
    }
}

/// Time in half precision as a share of that in full, at the sizes measured in both, and in how many batches.
fn ratio(full: &Speed, half: &Speed) -> Option<(f64, u64)> {
    let (mut ours, mut theirs, mut batches) = (0.0, 0.0, 0);
    for size in half.sizes().filter(|size| full.sizes().any(|of| of == *size)) {
        let n = half.batches_at(size);
        ours += n as f64 * full.batch_seconds(size)?;
        theirs += n as f64 * half.batch_seconds(size)?;
        batches += n;
    }
    (ours > 0.0).then(|| (theirs / ours, batches))
}
