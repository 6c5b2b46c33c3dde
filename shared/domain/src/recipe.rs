//! What is wanted for an upload: engine, quality, formats, size. Options, metadata and configuration are
//! parsed strictly: a senseless option is refused, never ignored. Records and messages are not: what a newer
//! version put into them is carried along.

use crate::{Details, Synthetic, Unknown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The prefix of object metadata (without `x-amz-meta-`) and of HTTP headers that carry a recipe.
pub const RECIPE_METADATA_PREFIX: &str = "meshwright-";

/// How a shape is made from a cut-out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Poisson inflation of the silhouette, symmetric back.
    #[default]
    Inflate,
    /// Front and back depth by a small network of our own, trained on procedural scenes.
    Layered,
    /// A plate whose height follows the picture, for printing; also as lithophane.
    Relief,
}

impl Engine {
    /// All there are.
    pub const ALL: [Engine; 3] = [Engine::Inflate, Engine::Layered, Engine::Relief];

    /// As in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Engine::Inflate => "inflate",
            Engine::Layered => "layered",
            Engine::Relief => "relief",
        }
    }
}

/// How many triangles and how much detail.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// 10,000 triangles.
    Draft,
    /// 25,000 triangles.
    #[default]
    Standard,
    /// 50,000 triangles.
    Fine,
}

impl Quality {
    /// From coarse to fine.
    pub const ALL: [Quality; 3] = [Quality::Draft, Quality::Standard, Quality::Fine];

    /// As in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Quality::Draft => "draft",
            Quality::Standard => "standard",
            Quality::Fine => "fine",
        }
    }

    /// Upper bound of the triangles of the finished mesh.
    pub const fn triangles_max(self) -> usize {
        match self {
            Quality::Draft => 10_000,
            Quality::Standard => 25_000,
            Quality::Fine => 50_000,
        }
    }
}

/// A deliverable file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Binary glTF 2.0, texture embedded.
    Glb,
    /// Binary STL, millimetres, Z up.
    Stl,
    /// Binary PLY with vertex colours, millimetres, Z up.
    Ply,
    /// OBJ, MTL and PNG in a zip, metres, Y up, standing on the floor.
    Obj,
    /// 3MF with colours, millimetres, Z up.
    #[serde(rename = "3mf")]
    ThreeMf,
    /// USDZ, metres, Y up.
    Usdz,
    /// `turntable.webp`: a turn of the model in 36 frames.
    Turntable,
    /// `turntable.gif`: the same turn, for where WebP is not taken.
    Gif,
    /// `model.packed.glb`: quantised, the texture as WebP.
    Packed,
    /// `model.lod50.glb`, `model.lod25.glb`, `model.lod10.glb`: half, a quarter, a tenth of the triangles.
    Lod,
}

impl Format {
    /// All there are.
    pub const ALL: [Format; 10] = [
        Format::Glb,
        Format::Stl,
        Format::Ply,
        Format::Obj,
        Format::ThreeMf,
        Format::Usdz,
        Format::Turntable,
        Format::Gif,
        Format::Packed,
        Format::Lod,
    ];

    /// As in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Glb => "glb",
            Format::Stl => "stl",
            Format::Ply => "ply",
            Format::Obj => "obj",
            Format::ThreeMf => "3mf",
            Format::Usdz => "usdz",
            Format::Turntable => "turntable",
            Format::Gif => "gif",
            Format::Packed => "packed",
            Format::Lod => "lod",
        }
    }

    /// Whether its file is in millimetres, of the size that is asked for.
    pub const fn has_size(self) -> bool {
        matches!(self, Format::Stl | Format::Ply | Format::ThreeMf)
    }

    /// Whether its file can carry a normal map. Levels of detail cannot: their vertices are others than those
    /// for which it is made.
    pub const fn has_normals(self) -> bool {
        matches!(self, Format::Glb | Format::Obj | Format::Usdz | Format::Packed)
    }
}

/// Sizes that `size-mm` takes, in millimetres.
pub const SIZE_MM: RangeInclusive<u32> = 1..=10_000;
/// The size of a printable file when nothing is said, in millimetres.
const SIZE_MM_DEFAULT: u32 = 100;
/// Sides that `texture-px` takes, in texels.
pub const TEXTURE_PX: [u32; 5] = [256, 512, 1024, 2048, 4096];

/// What is wanted for an upload; frozen in its job record.
///
/// A job's id is made of all fields, written out, so that another default changes no id of a stored record.
/// Hence a field that is added later is an `Option` and left out of the JSON when it is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Recipe {
    /// How the shape is made.
    pub engine: Engine,
    /// How many triangles.
    pub quality: Quality,
    /// The files to deliver, besides `preview.png`.
    pub formats: BTreeSet<Format>,
    /// Longest axis of printable formats, in millimetres: one of [`SIZE_MM`]. Without such a format it stays
    /// at its default.
    pub size_mm: u32,
    /// Side of the square texture in texels: one of [`TEXTURE_PX`].
    pub texture_px: u32,
    /// A load for tests, on sites that permit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// What few ask for.
    #[serde(flatten)]
    pub details: Details,
    /// Fields of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            engine: Engine::default(),
            quality: Quality::default(),
            formats: BTreeSet::from([Format::Glb, Format::Stl]),
            size_mm: SIZE_MM_DEFAULT,
            texture_px: 1024,
            synthetic: None,
            details: Details::default(),
            unknown: Unknown::default(),
        }
    }
}

/// Why a recipe is refused: one clear sentence with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRecipe(pub String);

impl Recipe {
    /// What of it makes the times of a stage alike: engine, quality, texture, as `inflate standard 1024`.
    pub fn kind(&self) -> String {
        let normals = if self.details.normal_map == Some(true) { " normals" } else { "" };
        format!("{} {} {}{normals}", self.engine.as_str(), self.quality.as_str(), self.texture_px)
    }

    /// This recipe with `options` (names without prefix, as `quality` = `fine`) applied over it.
    ///
    /// # Errors
    /// An unknown name, a value that is not one of the allowed ones, a number out of range, or a size where
    /// no format has one.
    pub fn with_options<'a>(
        &self,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Recipe, BadRecipe> {
        let mut recipe = self.clone();
        let (mut asks_size, mut asks_normals) = (false, false);
        for (name, value) in options {
            let name = name.to_ascii_lowercase().replace('_', "-");
            asks_size |= name == "size-mm";
            asks_normals |= name == "normal-map";
            recipe.set(&name, value.trim())?;
        }
        if !recipe.has_size() {
            if asks_size && !recipe.formats.is_empty() {
                return Err(senseless_size());
            }
            // Formats without a size leave a default's size without meaning.
            recipe.size_mm = SIZE_MM_DEFAULT;
        }
        if !recipe.has_normals() && !asks_normals {
            recipe.details.normal_map = None;
        }
        recipe.validated()
    }

    /// Whether a wanted format has a size in millimetres.
    fn has_size(&self) -> bool {
        self.formats.iter().any(|format| format.has_size())
    }

    /// Whether a wanted format can carry a normal map.
    fn has_normals(&self) -> bool {
        self.formats.iter().any(|format| format.has_normals())
    }

    /// The options in S3 object metadata (`x-amz-meta-meshwright-…`, prefix `x-amz-meta-` already cut) over
    /// this one.
    ///
    /// # Errors
    /// As [`Recipe::with_options`]; metadata without the prefix is not ours and is left alone.
    pub fn with_metadata<'a>(
        &self,
        metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Recipe, BadRecipe> {
        let ours = metadata.into_iter().filter_map(|(name, value)| {
            let start = name.get(..RECIPE_METADATA_PREFIX.len())?;
            let rest = name.get(RECIPE_METADATA_PREFIX.len()..)?;
            start.eq_ignore_ascii_case(RECIPE_METADATA_PREFIX).then_some((rest, value))
        });
        self.with_options(ours)
    }

    /// The recipe itself if it makes sense.
    ///
    /// # Errors
    /// An unknown field, a number out of range, no format at all, or a size where no format has one.
    pub fn validated(self) -> Result<Recipe, BadRecipe> {
        if let Some(name) = self.unknown.first() {
            return Err(unknown_option(name));
        }
        if !SIZE_MM.contains(&self.size_mm) {
            let (min, max) = (SIZE_MM.start(), SIZE_MM.end());
            return Err(BadRecipe(format!("size-mm is {}; use {min} to {max}", self.size_mm)));
        }
        if !TEXTURE_PX.contains(&self.texture_px) {
            let (px, known) = (self.texture_px, TEXTURE_PX.map(|px| px.to_string()).join(", "));
            return Err(BadRecipe(format!("texture-px is {px}; use one of {known}")));
        }
        if self.formats.is_empty() {
            let known = Format::ALL.map(Format::as_str).join(", ");
            return Err(BadRecipe(format!("formats is empty; name at least one of {known}")));
        }
        if !self.has_size() && self.size_mm != SIZE_MM_DEFAULT {
            return Err(senseless_size());
        }
        self.details.check(self.engine)?;
        if self.details.normal_map == Some(true) && !self.has_normals() {
            return Err(BadRecipe(
                "normal-map has no meaning without glb, obj, usdz or packed; leave it out, or add one of \
                 them to formats"
                    .to_owned(),
            ));
        }
        if self.details.width_um.is_some() && self.size_mm != SIZE_MM_DEFAULT {
            return Err(BadRecipe("width-mm and size-mm say the same; use one of them".to_owned()));
        }
        Ok(self)
    }

    /// The same bytes for the same recipe, whatever version of the program wrote or reads it and whatever
    /// its defaults are: the JSON of all fields, sorted by name at every depth.
    pub fn canonical(&self) -> Vec<u8> {
        let fields = serde_json::to_value(self).expect("a recipe is a plain struct of words and numbers");
        serde_json::to_vec(&sorted(fields)).unwrap_or_default()
    }

    /// `name` in lower case, with dashes.
    fn set(&mut self, name: &str, value: &str) -> Result<(), BadRecipe> {
        match name {
            "engine" => self.engine = word(name, value, &Engine::ALL.map(|one| (one, one.as_str())))?,
            "quality" => self.quality = word(name, value, &Quality::ALL.map(|one| (one, one.as_str())))?,
            "formats" => {
                let known = Format::ALL.map(|one| (one, one.as_str()));
                let words = value.split([',', ' ']).filter(|word| !word.is_empty());
                self.formats = words.map(|w| word(name, w, &known)).collect::<Result<_, _>>()?;
            }
            "size-mm" => self.size_mm = number(name, value)?,
            "texture-px" => self.texture_px = number(name, value)?,
            "synthetic" => self.synthetic = Some(Synthetic::parse(value)?),
            other => {
                if !self.details.set(other, value)? {
                    return Err(unknown_option(other));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn word<T: Copy>(name: &str, value: &str, known: &[(T, &str)]) -> Result<T, BadRecipe> {
    let found = known.iter().find(|(_, word)| value.eq_ignore_ascii_case(word));
    found.map(|(one, _)| *one).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|(_, word)| *word).collect();
        BadRecipe(format!("{name} is {value:?}; use one of {}", known.join(", ")))
    })
}

fn senseless_size() -> BadRecipe {
    BadRecipe(
        "size-mm has no meaning without stl, ply or 3mf; leave it out, or add one of them to formats"
            .to_owned(),
    )
}

/// The same value with all objects' fields in the order of their names.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            Value::Object(fields.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        plain => plain,
    }
}

fn unknown_option(name: &str) -> BadRecipe {
    let details = Details::NAMES.join(", ");
    BadRecipe(format!(
        "unknown option {name:?}; known are engine, quality, formats, size-mm, texture-px, {details}"
    ))
}

pub(crate) fn number(name: &str, value: &str) -> Result<u32, BadRecipe> {
    value.parse().map_err(|_| BadRecipe(format!("{name} is {value:?}; use a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)], expect: Result<Recipe, &str>) {
        let found = Recipe::default().with_options(options.iter().copied());
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect),
            (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{found}"),
            (found, _) => panic!("{options:?} gave {found:?}"),
        }
    }

    #[test]
    fn options_are_applied_or_refused_with_a_sentence() {
        check(&[], Ok(Recipe::default()));
        check(&[("quality", "Fine")], Ok(Recipe { quality: Quality::Fine, ..Recipe::default() }));
        check(
            &[("formats", "stl"), ("size_mm", "20")],
            Ok(Recipe { formats: BTreeSet::from([Format::Stl]), size_mm: 20, ..Recipe::default() }),
        );
        check(
            &[("formats", "3MF, usdz")],
            Ok(Recipe { formats: BTreeSet::from([Format::ThreeMf, Format::Usdz]), ..Recipe::default() }),
        );
        check(&[("quality", "best")], Err("use one of draft, standard, fine"));
        check(&[("size-mm", "0")], Err("use 1 to 10000"));
        check(&[("texture-px", "1000")], Err("use one of 256, 512"));
        check(&[("formats", " ")], Err("at least one"));
        check(&[("colour", "red")], Err("unknown option \"colour\""));
    }

    #[test]
    fn a_size_is_refused_where_no_format_has_one_in_whatever_order_it_is_said() {
        let senseless = Err("size-mm has no meaning without stl");
        check(&[("formats", "glb"), ("size-mm", "20")], senseless.clone());
        check(&[("SIZE_MM", "100"), ("formats", "glb")], senseless);
        // A size that nobody asked for in this call goes with the format that had it.
        let sized = Recipe { size_mm: 20, ..Recipe::default() };
        let glb = sized.with_options([("formats", "glb")]).expect("a good option");
        assert_eq!(glb.size_mm, Recipe::default().size_mm);
        // As a normal map does.
        let mapped = Recipe::default().with_options([("normal-map", "on")]).expect("a good option");
        let printed = mapped.with_options([("formats", "stl")]).expect("a good option");
        assert_eq!(printed.details.normal_map, None);
        assert!(Recipe { size_mm: 20, ..glb }.validated().is_err());
    }

    #[test]
    fn the_words_of_options_are_those_of_the_records() {
        let check = |found: serde_json::Value, word: &str| assert_eq!(found, word);
        Engine::ALL.iter().for_each(|one| check(serde_json::json!(one), one.as_str()));
        Quality::ALL.iter().for_each(|one| check(serde_json::json!(one), one.as_str()));
        Format::ALL.iter().for_each(|one| check(serde_json::json!(one), one.as_str()));
    }

    #[test]
    fn metadata_of_others_is_left_alone() {
        let metadata = [("camera", "x100"), ("Meshwright-Quality", "draft"), ("ü", "x")];
        let recipe = Recipe::default().with_metadata(metadata).expect("one good option");
        assert_eq!(recipe.quality, Quality::Draft);
    }

    #[test]
    fn canonical_bytes_do_not_depend_on_defaults() {
        let all = r#"{"engine":"inflate","formats":["glb","stl"],"quality":"standard","size_mm":100,"#
            .to_owned()
            + r#""texture_px":1024}"#;
        assert_eq!(Recipe::default().canonical(), all.as_bytes());
        let fine = Recipe { quality: Quality::Fine, ..Recipe::default() };
        assert_eq!(fine.canonical(), all.replace("standard", "fine").as_bytes());
    }

    #[test]
    fn fields_of_a_newer_version_survive_the_wire_and_are_refused_in_a_configuration() {
        let newer = r#"{"engine":"inflate","quality":"fine","colour":{"red":[1,0.5]},"size_mm":7}"#;
        let recipe: Recipe = serde_json::from_str(newer).expect("a recipe of a newer version");
        assert_eq!((recipe.quality, recipe.size_mm), (Quality::Fine, 7));
        let written = serde_json::to_value(&recipe).expect("JSON");
        assert_eq!(written["colour"], serde_json::json!({"red": [1, 0.5]}));
        assert_ne!(recipe.canonical(), Recipe { unknown: Unknown::default(), ..recipe.clone() }.canonical());
        let refused = recipe.validated().expect_err("a configuration with an unknown option");
        assert!(refused.to_string().contains("unknown option \"colour\""), "{refused}");
    }
}
