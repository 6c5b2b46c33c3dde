//! What few ask for, part of the recipe: each field is left out of the JSON where nobody asked, so that it
//! changes no id of a stored record.

use crate::options::words;
use crate::{BadRecipe, Engine, Format, RecipeOption, Takes};
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

impl Curve {
    /// Depth, base and frame where nothing is said, in micrometres. Before a lamp 0.8 mm lets most light
    /// through, and 3 mm next to none.
    pub const fn plate_um(self) -> [u32; 3] {
        match self {
            Curve::Raised => [3_000, 2_000, 2_000],
            Curve::Lithophane => [2_200, 800, 3_000],
        }
    }
}

const MASKS: [(Mask, &str); 3] = [(Mask::Alpha, "alpha"), (Mask::Plain, "plain"), (Mask::Whole, "whole")];
const CURVES: [(Curve, &str); 2] = [(Curve::Raised, "raised"), (Curve::Lithophane, "lithophane")];
const YES_NO: [(bool, &str); 2] = [(true, "yes"), (false, "no")];
const ON_OFF: [(bool, &str); 2] = [(true, "on"), (false, "off")];
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
    /// Whether a normal map gives back what decimation takes off; none unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal_map: Option<bool>,
}

impl Details {
    /// The options' names.
    pub const NAMES: [&'static str; 9] = [
        "mask",
        "symmetric",
        "thickness-percent",
        "width-mm",
        "depth-mm",
        "base-mm",
        "frame-mm",
        "curve",
        "normal-map",
    ];

    /// The options as data.
    pub(crate) fn options() -> [RecipeOption; 9] {
        let of = |name, what, takes, engines: &'static [Engine]| {
            let (formats, is_rare) = (Vec::new(), true);
            RecipeOption { name, what, takes, engines, formats, is_rare }
        };
        let percent = Takes::Whole { range: THICKNESS_PERCENT, unit: "%" };
        let (inflate, relief) = (&[Engine::Inflate], &[Engine::Relief]);
        // The back of a layered shape is its own, never the front's mirror image.
        let thick = &[Engine::Inflate, Engine::Layered];
        let [mask, symmetric, thickness, width, depth, base, frame, curve, normals] = Details::NAMES;
        let shown = Format::ALL.into_iter().filter(|format| format.has_normals()).collect();
        let normals = of(normals, "normal map for what decimation takes off", words(&ON_OFF), &Engine::ALL);
        [
            of(mask, "what counts as subject", words(&MASKS), &Engine::ALL),
            of(symmetric, "whether the back mirrors the front", words(&YES_NO), inflate),
            of(thickness, "thickness, of what the outline suggests", percent, thick),
            of(curve, "how height follows from the picture", words(&CURVES), relief),
            of(width, "width of the plate with its frame", Takes::Length(WIDTH_UM), relief),
            of(depth, "how far the highest place stands out", Takes::Length(LAYER_UM), relief),
            of(base, "thickness of the plate", Takes::Length(LAYER_UM), relief),
            of(frame, "width of the frame around the picture", Takes::Length(FRAME_UM), relief),
            RecipeOption { formats: shown, ..normals },
        ]
    }

    /// What was said of an option, as options say it.
    fn said(&self, name: &str) -> Option<String> {
        fn word_of<T: PartialEq>(of: Option<T>, known: &[(T, &str)]) -> Option<String> {
            let of = of?;
            known.iter().find(|(one, _)| *one == of).map(|(_, word)| (*word).to_owned())
        }
        match name {
            "mask" => word_of(self.mask, &MASKS),
            "symmetric" => word_of(self.symmetric, &YES_NO),
            "curve" => word_of(self.curve, &CURVES),
            "normal-map" => word_of(self.normal_map, &ON_OFF),
            "thickness-percent" => self.thickness_percent.map(|percent| percent.to_string()),
            "width-mm" => self.width_um.map(millimetres),
            "depth-mm" => self.depth_um.map(millimetres),
            "base-mm" => self.base_um.map(millimetres),
            "frame-mm" => self.frame_um.map(millimetres),
            _ => None,
        }
    }

    /// What was said of an option, or is done where nothing was; none where that depends on the picture.
    pub(crate) fn in_effect(&self, name: &str) -> Option<String> {
        let curve = self.curve.unwrap_or(Curve::Raised);
        let [depth_um, base_um, frame_um] = curve.plate_um();
        let usual = || match name {
            "mask" => (curve == Curve::Lithophane).then(|| "whole".to_owned()),
            "symmetric" => Some("yes".to_owned()),
            "curve" => Some("raised".to_owned()),
            "normal-map" => Some("off".to_owned()),
            "thickness-percent" => Some("100".to_owned()),
            "depth-mm" => Some(millimetres(depth_um)),
            "base-mm" => Some(millimetres(base_um)),
            "frame-mm" => Some(millimetres(frame_um)),
            _ => None,
        };
        self.said(name).or_else(usual)
    }

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
            "normal-map" => {
                let known = [(true, "on"), (true, "yes"), (true, "true")];
                let known = known.into_iter().chain([(false, "off"), (false, "no"), (false, "false")]);
                self.normal_map = Some(crate::recipe::word(name, value, &known.collect::<Vec<_>>())?);
            }
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
        let is_foreign =
            |option: &RecipeOption| !option.engines.contains(&engine) && self.said(option.name).is_some();
        match Details::options().into_iter().find(is_foreign) {
            Some(RecipeOption { name, engines, .. }) => Err(BadRecipe(format!(
                "{name} has no meaning with engine {}; leave it out, or use engine {}",
                engine.as_str(),
                engines[0].as_str()
            ))),
            None => Ok(()),
        }
    }
}

/// As an option says it.
fn millimetres(um: u32) -> String {
    (f64::from(um) / 1000.0).to_string()
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
        check(&[("normal-map", "on")], Ok(r#""normal_map":true"#));
        check(&[("formats", "usdz"), ("normal-map", "yes")], Ok(r#""normal_map":true"#));
        check(&[("formats", "stl"), ("normal-map", "off")], Ok(r#""normal_map":false"#));
        check(&[("normal-map", "bumpy")], Err("use one of on, yes, true, off, no, false"));
        let flat = [("normal-map", "on"), ("formats", "stl ply 3mf lod turntable gif")];
        check(&flat, Err("normal-map has no meaning without glb, obj, usdz or packed"));
        let both = [("engine", "relief"), ("width-mm", "80"), ("size-mm", "90")];
        check(&both, Err("width-mm and size-mm"));
    }

    #[test]
    fn nothing_wished_leaves_no_trace_in_a_record() {
        let json = serde_json::to_value(Recipe::default()).expect("JSON");
        let fields = json.as_object().expect("an object");
        let ours = |name: &str| {
            ["_um", "mask", "curve", "symmetric", "thickness", "normal"].iter().any(|w| name.contains(w))
        };
        assert!(fields.keys().all(|name| !ours(name)), "{json}");
    }
}
