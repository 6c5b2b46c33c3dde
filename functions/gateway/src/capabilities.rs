//! What this installation can do: engines, networks, limits, and the options of a recipe, from which a form
//! can be made.

use crate::Gateway;
use axum::Json;
use axum::extract::State;
use domain::{
    Bytes, Curve, Engine, Format, PICTURE_PIXELS_MAX, PICTURE_SIDE_PX_MAX, Quality, Recipe, RecipeOption,
    SIZE_MM, TEXTURE_PX, Takes,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A way to make a shape.
#[derive(Serialize, JsonSchema)]
struct EngineInfo {
    name: &'static str,
    what: &'static str,
    licence: &'static str,
    /// What it needs besides this program.
    needs: Vec<&'static str>,
}

fn engine(engine: Engine) -> EngineInfo {
    let (what, licence, needs) = match engine {
        Engine::Inflate => ("silhouette inflation", "Apache-2.0", Vec::new()),
        Engine::Layered => ("depth by a small network of our own", "Apache-2.0", Vec::new()),
        Engine::Relief => ("a plate for printing, also as lithophane", "Apache-2.0", Vec::new()),
    };
    EngineInfo { name: engine.as_str(), what, licence, needs }
}

/// A network that stages compute with, as far as this process is told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Network {
    /// As people call it.
    pub name: String,
    /// What it is for, in a few words.
    pub what: String,
    /// Its weights' licence.
    pub licence: String,
    /// Whether it is in this program or was put beside it.
    pub installed: bool,
}

/// What is taken from a caller, at most.
#[derive(Serialize, JsonSchema)]
struct CallerLimits {
    upload_bytes_max: Bytes,
    /// Longest side of a picture.
    picture_side_px_max: u32,
    picture_pixels_max: u64,
    /// Jobs that a tenant may make in a minute; none: as many as it likes.
    jobs_per_minute_max: Option<u32>,
}

/// A range of whole numbers.
#[derive(Serialize, JsonSchema)]
struct Range {
    minimum: u32,
    maximum: u32,
}

/// The usual options of a recipe, and what they take; `recipe` tells more.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Options {
    engine: Vec<&'static str>,
    quality: Vec<&'static str>,
    formats: Vec<&'static str>,
    /// Only together with a printable format.
    size_mm: Range,
    texture_px: Vec<u32>,
}

/// What kind of value an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RecipeOptionKind")]
enum Kind {
    /// One of `words`.
    Word,
    /// Some of `words`, with commas between them.
    Words,
    /// A number from `minimum` to `maximum`, in steps of `step`.
    Number,
}

/// An option of a recipe.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RecipeOption")]
struct OptionInfo {
    name: &'static str,
    what: &'static str,
    takes: Kind,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    words: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    /// What is done in the first input bucket where nothing is said; none where that depends on the picture.
    default: Option<String>,
    /// The same where `curve` is said.
    default_with_curve: BTreeMap<String, Option<String>>,
    /// With other engines it is refused.
    engines: Vec<&'static str>,
    /// Without one of these formats it is refused; none: it has a meaning with all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    formats: Vec<&'static str>,
    /// Few ask for it.
    rare: bool,
}

impl OptionInfo {
    fn of(option: RecipeOption, usual: &Recipe) -> OptionInfo {
        // Least, most and step in thousandths, and the unit.
        let (takes, words, number) = match option.takes {
            Takes::Word(words) => (Kind::Word, words, None),
            Takes::Words(words) => (Kind::Words, words, None),
            Takes::Whole { range, unit } => {
                let [minimum, maximum] = [range.start(), range.end()].map(|value| 1000 * u64::from(*value));
                (Kind::Number, Vec::new(), Some(([minimum, maximum, 1000], unit)))
            }
            Takes::Length(um) => {
                let [minimum, maximum] = [um.start(), um.end()].map(|value| u64::from(*value));
                (Kind::Number, Vec::new(), Some(([minimum, maximum, 1], "mm")))
            }
        };
        let number_at = |k: usize| number.map(|(numbers, _)| numbers[k] as f64 / 1000.0);
        OptionInfo {
            name: option.name,
            what: option.what,
            takes,
            words,
            minimum: number_at(0),
            maximum: number_at(1),
            step: number_at(2),
            unit: number.map(|(_, unit)| unit),
            default: usual.in_effect(option.name),
            default_with_curve: with_curve(option.name, usual),
            engines: option.engines.iter().map(|engine| engine.as_str()).collect(),
            formats: option.formats.iter().map(|format| format.as_str()).collect(),
            rare: option.is_rare,
        }
    }
}

/// What an option is with each curve, if the curve matters to it.
fn with_curve(name: &str, usual: &Recipe) -> BTreeMap<String, Option<String>> {
    if name == "curve" {
        return BTreeMap::new();
    }
    let with = |curve: Curve| {
        let mut recipe = usual.clone();
        recipe.details.curve = Some(curve);
        (recipe.in_effect("curve").unwrap_or_default(), recipe.in_effect(name))
    };
    let [raised, lithophane] = [Curve::Raised, Curve::Lithophane].map(with);
    if raised.1 == lithophane.1 { BTreeMap::new() } else { BTreeMap::from([raised, lithophane]) }
}

/// What this server can do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Capabilities {
    engines: Vec<EngineInfo>,
    networks: Vec<Network>,
    /// Formats of files.
    formats: Vec<&'static str>,
    /// The picture of the model that every finished job has.
    preview: &'static str,
    input_types: Vec<&'static str>,
    upload_bytes_max: Bytes,
    limits: CallerLimits,
    /// Whether a picture may have any background; without, it needs transparency or a plain one.
    matting: bool,
    /// Whether recipes may ask for synthetic loads.
    synthetic: bool,
    options: Options,
    /// All options of a recipe, in the order of a form.
    recipe: Vec<OptionInfo>,
}

pub(crate) async fn capabilities(State(gateway): State<Arc<Gateway>>) -> Json<Capabilities> {
    let (settings, formats) = (&gateway.settings, Format::ALL.map(Format::as_str));
    let site = &settings.site;
    let usual = site.inputs.first().map(|input| input.recipe.clone()).unwrap_or_default();
    Json(Capabilities {
        engines: Engine::ALL.map(engine).into(),
        networks: settings.networks.clone(),
        formats: formats.into(),
        preview: "preview.png",
        input_types: vec!["image/png", "image/jpeg", "image/webp", "image/tiff"],
        upload_bytes_max: site.upload_bytes_max,
        limits: CallerLimits {
            upload_bytes_max: site.upload_bytes_max,
            picture_side_px_max: PICTURE_SIDE_PX_MAX,
            picture_pixels_max: PICTURE_PIXELS_MAX,
            jobs_per_minute_max: settings.limits.jobs_per_minute.map(u32::from),
        },
        matting: settings.has_matting,
        synthetic: site.synthetic,
        options: Options {
            engine: Engine::ALL.map(Engine::as_str).into(),
            quality: Quality::ALL.map(Quality::as_str).into(),
            formats: formats.into(),
            size_mm: Range { minimum: *SIZE_MM.start(), maximum: *SIZE_MM.end() },
            texture_px: TEXTURE_PX.into(),
        },
        recipe: Recipe::options().into_iter().map(|option| OptionInfo::of(option, &usual)).collect(),
    })
}
