//! A synthetic load on one stage: it takes memory and time as a large model would, before the real engine
//! runs, or ends its runner. It stands in for large models in tests of load and faults; a site permits it or
//! not.

use crate::{BadRecipe, Bytes, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an item under synthetic load ends.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SyntheticEnd {
    /// As the real engine ends.
    #[default]
    Real,
    /// The runner aborts, as after a failed allocation.
    Abort,
    /// The computation never ends.
    Hang,
    /// The device is reported broken.
    Broken,
}

/// Memory = `fixed` once per batch + `per_item` for each, plus or minus noise; time = `start_ms` + `steps` x
/// `item_ms` for each, or that of `batch_ms`, and `load_ms` before the first of a runner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Synthetic {
    /// The stage that carries it.
    pub stage: Stage,
    /// Held while the batch runs.
    pub fixed: Bytes,
    /// Held per item, until the batch ends.
    pub per_item: Bytes,
    /// Most that `per_item` varies from item to item, in percent, 0 to 100.
    pub noise_percent: u32,
    /// Time once per batch, in milliseconds.
    pub start_ms: u32,
    /// Time of each step of an item, in milliseconds.
    pub item_ms: u32,
    /// Steps that an item goes through, one after the other; each is told.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub steps: u32,
    /// Time before the first item of a runner, in milliseconds: a model that is slow to load.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub load_ms: u32,
    /// Sizes of batches, ascending, each with its time in milliseconds besides what the others say: a curve
    /// that was measured. Between two sizes and beyond the largest on the line through the two nearest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batch_ms: Vec<(u32, u32)>,
    /// A batch of so many items, or of more, runs out of memory when its first item begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_at: Option<u32>,
    /// How each item ends.
    pub end: SyntheticEnd,
}

// What is left out is as it was before there were such fields: ids of jobs are made of all that is written.
const fn one() -> u32 {
    1
}

const fn is_one(number: &u32) -> bool {
    *number == 1
}

const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Longest time of one step.
const STEP_MS_MAX: u32 = 600_000;
/// Most steps of an item.
const STEPS_MAX: u32 = 1_000;
/// Most sizes of a curve.
const CURVE_MAX: usize = 16;
const KNOWN: &str =
    "stage, fixed, per-item, noise-percent, start-ms, item-ms, steps, load-ms, batch-ms, oom-at, end";

impl Synthetic {
    /// Reads `stage=shape,fixed=300MiB,per-item=64MiB,start-ms=100,item-ms=20,end=abort`; what is not named
    /// is zero, the stage is needed. A curve is `batch-ms=1:167/2:184/8:426`.
    ///
    /// # Errors
    /// An unknown name, a value out of range, or no stage.
    pub fn parse(text: &str) -> Result<Synthetic, BadRecipe> {
        let bad = |what: String| BadRecipe(format!("synthetic: {what}"));
        let mut load = Synthetic {
            stage: Stage::Shape,
            fixed: Bytes::ZERO,
            per_item: Bytes::ZERO,
            noise_percent: 0,
            start_ms: 0,
            item_ms: 0,
            steps: 1,
            load_ms: 0,
            batch_ms: Vec::new(),
            oom_at: None,
            end: SyntheticEnd::Real,
        };
        let mut has_stage = false;
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(|| bad(format!("{pair:?} has no =")))?;
            let refused = || bad(format!("{name} cannot be {value:?}"));
            let number = |max: u32| value.parse().ok().filter(|n| *n <= max).ok_or_else(refused);
            let bytes = || Bytes::parse(value).filter(|n| *n <= Bytes::gib(1024)).ok_or_else(refused);
            match name.trim() {
                "stage" => (load.stage, has_stage) = (value.parse().map_err(|_| refused())?, true),
                "fixed" => load.fixed = bytes()?,
                "per-item" => load.per_item = bytes()?,
                "noise-percent" => load.noise_percent = number(100)?,
                "start-ms" => load.start_ms = number(STEP_MS_MAX)?,
                "item-ms" => load.item_ms = number(STEP_MS_MAX)?,
                "load-ms" => load.load_ms = number(STEP_MS_MAX)?,
                "steps" => load.steps = Some(number(STEPS_MAX)?).filter(|n| *n > 0).ok_or_else(refused)?,
                "batch-ms" => load.batch_ms = curve(value).ok_or_else(refused)?,
                "oom-at" => {
                    load.oom_at = Some(number(u32::MAX)?).filter(|n| *n > 0).ok_or_else(refused).map(Some)?;
                }
                "end" => {
                    let word = serde_json::Value::String(value.to_owned());
                    load.end = serde_json::from_value(word).map_err(|_| refused())?;
                }
                other => return Err(bad(format!("{other:?} is not one of {KNOWN}"))),
            }
        }
        if has_stage { Ok(load) } else { Err(bad("name a stage, as stage=shape".to_owned())) }
    }

    /// What the curve says of a batch of so many items, in milliseconds; zero without one.
    pub fn curve_ms(&self, items: u32) -> u32 {
        let at = |size: u32, ms: u32| (f64::from(size), f64::from(ms));
        let ((a, from), (b, to)) = match self.batch_ms.as_slice() {
            [] => return 0,
            [(size, ms)] => (at(0, 0), at(*size, *ms)),
            sizes => {
                let above = sizes.partition_point(|(size, _)| *size < items).clamp(1, sizes.len() - 1);
                let [(a, from), (b, to)] = [sizes[above - 1], sizes[above]];
                (at(a, from), at(b, to))
            }
        };
        (from + (to - from) * (f64::from(items) - a) / (b - a)).max(0.0) as u32
    }
}

/// `1:167/2:184`, with sizes that ascend.
fn curve(text: &str) -> Option<Vec<(u32, u32)>> {
    let pair = |pair: &str| {
        let (size, ms) = pair.split_once(':')?;
        Some((size.parse().ok()?, ms.parse().ok().filter(|ms| *ms <= STEP_MS_MAX)?))
    };
    let sizes: Vec<(u32, u32)> = text.split('/').map(pair).collect::<Option<_>>()?;
    let ascends = sizes.first()?.0 > 0 && sizes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    (ascends && sizes.len() <= CURVE_MAX).then_some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(Bytes, SyntheticEnd), &str>) {
        match (Synthetic::parse(text), expect) {
            (Ok(found), Ok(expect)) => assert_eq!((found.per_item, found.end), expect),
            (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{found}"),
            (found, _) => panic!("{text:?} gave {found:?}"),
        }
    }

    #[test]
    fn a_load_is_read_or_refused_with_a_sentence() {
        check("stage=shape,per-item=64MiB,end=abort", Ok((Bytes::mib(64), SyntheticEnd::Abort)));
        check("stage=export", Ok((Bytes::ZERO, SyntheticEnd::Real)));
        check("per-item=1", Err("name a stage"));
        check("stage=nowhere", Err("stage cannot be \"nowhere\""));
        check("stage=shape,item-ms=700000", Err("item-ms cannot be"));
        check("stage=shape,steps=25,load-ms=2000", Ok((Bytes::ZERO, SyntheticEnd::Real)));
        check("stage=shape,steps=0", Err("steps cannot be \"0\""));
        check("stage=shape,steps=1001", Err("steps cannot be"));
        check("stage=shape,colour=red", Err("is not one of"));
        check("stage=shape,batch-ms=1:167/2:184,oom-at=8", Ok((Bytes::ZERO, SyntheticEnd::Real)));
        for bad in ["", "1", "1:2/1:3", "0:5", "1:600001"] {
            check(&format!("stage=shape,batch-ms={bad}"), Err("batch-ms cannot be"));
        }
        check("stage=shape,oom-at=0", Err("oom-at cannot be"));
        check("", Err("has no ="));
    }

    #[test]
    fn a_curve_goes_through_its_sizes_and_on_along_its_last_piece() {
        let load = |text: &str| Synthetic::parse(&format!("stage=shape{text}")).expect("a good load");
        let curve = load(",batch-ms=1:167/2:184/4:240");
        assert_eq!([1, 2, 3, 4, 6].map(|items| curve.curve_ms(items)), [167, 184, 212, 240, 296]);
        let one = load(",batch-ms=2:100");
        assert_eq!([1, 2, 4].map(|items| one.curve_ms(items)), [50, 100, 200]);
        assert_eq!(load("").curve_ms(4), 0);
    }

    #[test]
    fn what_is_not_asked_for_is_not_written() {
        let load = Synthetic::parse("stage=shape,item-ms=5").expect("a good load");
        let written = serde_json::to_string(&load).expect("JSON");
        assert!(!["steps", "load_ms", "batch_ms", "oom_at"].iter().any(|name| written.contains(name)));
        let all = Synthetic::parse("stage=shape,batch-ms=1:10/8:20,oom-at=9").expect("a good load");
        let written = serde_json::to_string(&all).expect("JSON");
        assert_eq!(serde_json::from_str::<Synthetic>(&written).expect("a load"), all);
    }
}
