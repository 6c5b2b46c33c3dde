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
/// `item_ms` for each, and `load_ms` before the first of a runner.
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
const KNOWN: &str = "stage, fixed, per-item, noise-percent, start-ms, item-ms, steps, load-ms, end";

impl Synthetic {
    /// Reads `stage=shape,fixed=300MiB,per-item=64MiB,start-ms=100,item-ms=20,end=abort`; what is not named
    /// is zero, the stage is needed.
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
                "end" => {
                    let word = serde_json::Value::String(value.to_owned());
                    load.end = serde_json::from_value(word).map_err(|_| refused())?;
                }
                other => return Err(bad(format!("{other:?} is not one of {KNOWN}"))),
            }
        }
        if has_stage { Ok(load) } else { Err(bad("name a stage, as stage=shape".to_owned())) }
    }
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
        check("", Err("has no ="));
    }
}
