//! What few ask for, part of the recipe: each field is left out of the JSON where nobody asked, so that it
//! changes no id of a stored record.

use crate::{BadRecipe, Engine};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What counts as subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// The picture's own alpha channel; a picture without one is refused.
    Alpha,
    /// A plain background is taken away, and no network is asked.
    Plain,
    /// The whole picture.
    Whole,
}

/// How a relief's height follows from the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// The subject stands out of its plate, and what is light stands out further.
    Raised,
    /// Thick where the picture is dark, so that it shows before a lamp. Of the whole picture unless `mask`
    /// says otherwise.
    Lithophane,
}

const MASKS: [(Mask, &str); 3] = [(Mask::Alpha, "alpha"), (Mask::Plain, "plain"), (Mask::Whole, "whole")];
const CURVES: [(Curve, &str); 2] = [(Curve::Raised, "raised"), (Curve::Lithophane, "lithophane")];
/// What `thickness-percent` takes.
pub const THICKNESS_PERCENT: RangeInclusive<u32> = 10..=300;
/// What `width-mm` takes, in micrometres.
const WIDTH_UM: RangeInclusive<u32> = 5_000..=2_000_000;
/// What `depth-mm` and `base-mm` take, in micrometres: a printer's thinnest layers and up.
const LAYER_UM: RangeInclusive<u32> = 100..=100_000;
/// What `frame-mm` takes, in micrometres.
const FRAME_UM: RangeInclusive<u32> = 0..=100_000;

/// Wishes that few uploads have.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Details {
    /// What counts as subject; found in the picture if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// Inflation: whether the back mirrors the front (as if none), else it is flat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symmetric: Option<bool>,
    /// Inflation: thickness in percent of what the silhouette suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thickness_percent: Option<u32>,
    /// Relief: width of the plate with its frame, micrometres; if none, its longer side is `size_mm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width_um: Option<u32>,
    /// Relief: how far the highest place stands out of the plate, micrometres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_um: Option<u32>,
    /// Relief: thickness of the plate, micrometres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_um: Option<u32>,
    /// Relief: width of the frame around the picture, micrometres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_um: Option<u32>,
    /// Relief: how height follows from the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<Curve>,
}

impl Details {
    /// The options' names.
    pub const NAMES: [&'static str; 8] =
        ["mask", "symmetric", "thickness-percent", "width-mm", "depth-mm", "base-mm", "frame-mm", "curve"];

    /// Sets the option of a name in lower case with dashes; false if there is none.
    ///
    /// # Errors
    /// A value that the option does not take.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<bool, BadRecipe> {
        match name {
            "mask" => self.mask = Some(crate::recipe::word(name, value, &MASKS)?),
            "symmetric" => {
                let known = [(true, "yes"), (true, "true"), (false, "no"), (false, "false")];
                self.symmetric = Some(crate::recipe::word(name, value, &known)?);
            }
            "thickness-percent" => self.thickness_percent = Some(crate::recipe::number(name, value)?),
            "width-mm" => self.width_um = Some(micrometres(name, value)?),
            "depth-mm" => self.depth_um = Some(micrometres(name, value)?),
            "base-mm" => self.base_um = Some(micrometres(name, value)?),
            "frame-mm" => self.frame_um = Some(micrometres(name, value)?),
            "curve" => self.curve = Some(crate::recipe::word(name, value, &CURVES)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether each wish makes sense with an engine.
    ///
    /// # Errors
    /// A number out of range, or a wish that the engine does not know.
    pub(crate) fn check(&self, engine: Engine) -> Result<(), BadRecipe> {
        let lengths = [
            ("width-mm", self.width_um, WIDTH_UM),
            ("depth-mm", self.depth_um, LAYER_UM),
            ("base-mm", self.base_um, LAYER_UM),
            ("frame-mm", self.frame_um, FRAME_UM),
        ];
        for (name, value, range) in &lengths {
            if value.is_some_and(|value| !range.contains(&value)) {
                let [min, max] = [range.start(), range.end()].map(|um| f64::from(*um) / 1000.0);
                return Err(BadRecipe(format!("{name} is out of range; use {min} to {max}")));
            }
        }
        if self.thickness_percent.is_some_and(|percent| !THICKNESS_PERCENT.contains(&percent)) {
            let (min, max) = (THICKNESS_PERCENT.start(), THICKNESS_PERCENT.end());
            return Err(BadRecipe(format!("thickness-percent is out of range; use {min} to {max}")));
        }
        let of_relief = lengths.iter().find(|(_, value, _)| value.is_some()).map(|(name, ..)| *name);
        let of_relief = of_relief.or(self.curve.map(|_| "curve"));
        let of_inflation =
            self.symmetric.map(|_| "symmetric").or(self.thickness_percent.map(|_| "thickness-percent"));
        let (foreign, other) = match engine {
            Engine::Inflate => (of_relief, Engine::Relief),
            // Its back is its own, never the front's mirror image.
            Engine::Layered if self.symmetric.is_some() => (Some("symmetric"), Engine::Inflate),
            Engine::Layered => (of_relief, Engine::Relief),
            Engine::Relief => (of_inflation, Engine::Inflate),
        };
        match foreign {
            Some(name) => Err(BadRecipe(format!(
                "{name} has no meaning with engine {}; leave it out, or use engine {}",
                engine.as_str(),
                other.as_str()
            ))),
            None => Ok(()),
        }
    }
}

/// A length in millimetres, with decimals, as whole micrometres.
fn micrometres(name: &str, value: &str) -> Result<u32, BadRecipe> {
    let mm: Option<f64> = value.parse().ok().filter(|mm: &f64| (0.0..=10_000.0).contains(mm));
    let bad = || BadRecipe(format!("{name} is {value:?}; use a length in millimetres, as 2.4"));
    mm.map(|mm| (mm * 1000.0).round() as u32).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use crate::Recipe;

    fn check(options: &[(&str, &str)], expect: Result<&str, &str>) {
        match (Recipe::default().with_options(options.iter().copied()), expect) {
            (Ok(found), Ok(part)) => {
                let json = String::from_utf8(found.canonical()).expect("JSON");
                assert!(json.contains(part), "{json}");
                assert_eq!(serde_json::from_str::<Recipe>(&json).expect("a recipe"), found);
            }
            (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{found}"),
            (found, _) => panic!("{options:?} gave {found:?}"),
        }
    }

    #[test]
    fn wishes_are_kept_or_refused_with_a_sentence() {
        check(&[("engine", "relief"), ("depth-mm", "2.4")], Ok(r#""depth_um":2400"#));
        check(&[("engine", "relief"), ("curve", "lithophane")], Ok(r#""curve":"lithophane""#));
        check(&[("symmetric", "no"), ("thickness-percent", "40")], Ok(r#""symmetric":false"#));
        check(&[("engine", "layered"), ("thickness-percent", "40")], Ok(r#""engine":"layered""#));
        check(&[("engine", "layered"), ("symmetric", "no")], Err("no meaning with engine layered"));
        check(&[("engine", "layered"), ("curve", "lithophane")], Err("or use engine relief"));
        check(&[("mask", "whole")], Ok(r#""mask":"whole""#));
        check(&[("depth-mm", "2.4")], Err("no meaning with engine inflate"));
        check(&[("engine", "relief"), ("symmetric", "no")], Err("no meaning with engine relief"));
        check(&[("engine", "relief"), ("depth-mm", "0")], Err("use 0.1 to 100"));
        check(&[("engine", "relief"), ("base-mm", "thick")], Err("a length in millimetres"));
        check(&[("thickness-percent", "5")], Err("use 10 to 300"));
        check(&[("mask", "mine")], Err("use one of alpha, plain, whole"));
        let both = [("engine", "relief"), ("width-mm", "80"), ("size-mm", "90")];
        check(&both, Err("width-mm and size-mm"));
    }

    #[test]
    fn nothing_wished_leaves_no_trace_in_a_record() {
        let json = serde_json::to_value(Recipe::default()).expect("JSON");
        let fields = json.as_object().expect("an object");
        let ours =
            |name: &str| ["_um", "mask", "curve", "symmetric", "thickness"].iter().any(|w| name.contains(w));
        assert!(fields.keys().all(|name| !ours(name)), "{json}");
    }
}
