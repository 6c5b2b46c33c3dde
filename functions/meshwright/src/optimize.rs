//! `optimize`: profiles the whole pipeline on calibration pictures, tries what could make it faster, one
//! lever after the other, keeps what leaves the models as good as they were, and writes the setting and a
//! report.

use crate::calibrate::{Measured, Setting, measure};
use crate::cli::OptimizeArgs;
use crate::client::{print_answer, recipe_query};
use crate::demo::SAMPLES;
use crate::folder;
use crate::gate::Gate;
use crate::optimize_page;
use crate::performance::table;
use crate::refusal::{Outcome, Refusal};
use domain::{Bytes, Engine, Quality, Recipe, TEXTURE_PX};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// A lever must gain so much, or it is noise.
const GAIN_MIN: f64 = 1.03;
/// Pictures to calibrate with.
const PICTURES_MAX: usize = 16;
/// Largest picture.
const PICTURE_MAX: Bytes = Bytes::mib(64);
/// What is not tried, and why: said in the report, so that nobody looks for it.
pub(crate) const NOT_THERE: [&str; 3] = [
    "precision: all engines compute in f32",
    "steps: no engine makes steps",
    "batch size: the planner cuts batches by what it measures; the means are in the table",
];

/// A setting that was tried.
pub(crate) struct Tried {
    /// What differs from what was best by then.
    pub(crate) lever: String,
    pub(crate) setting: Setting,
    pub(crate) measured: Measured,
    /// Against the models at the beginning.
    pub(crate) gate: Gate,
    pub(crate) kept: bool,
}

/// All of it.
pub(crate) struct Found {
    pub(crate) pictures: usize,
    pub(crate) before: (Setting, Measured),
    pub(crate) tried: Vec<Tried>,
}

/// `optimize`
pub(crate) async fn optimize(args: OptimizeArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    let pictures = pictures(args.images.as_deref()).await?;
    let options = recipe_query(&args.options)?;
    let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let recipe = Recipe::default().with_options(options).map_err(|bad| Refusal::Input(bad.to_string()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let out = args.out.as_path();
    std::fs::create_dir_all(out).map_err(|e| Refusal::Io(format!("make {}: {e}", out.display())))?;
    let search = Search { pictures, json, shutdown, lanes_max: 2 * cores };
    let found = search.run(Setting { recipe, lanes: cores }).await?;
    found.write(out)?;
    print_answer(&found.json(), json, || found.text(out));
    Ok(())
}

async fn pictures(images: Option<&Path>) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let Some(images) = images else {
        // The last one is no picture.
        let samples = SAMPLES.iter().take(SAMPLES.len() - 1);
        return Ok(samples.map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect());
    };
    let mut pictures = BTreeMap::new();
    for path in folder::files_below(images)?.into_iter().take(PICTURES_MAX) {
        let bytes = folder::read(&images.join(&path), PICTURE_MAX).await?;
        pictures.insert(path.to_string_lossy().into_owned(), bytes);
    }
    match pictures.is_empty() {
        true => Err(Refusal::Input(format!("there is no file in {}", images.display()))),
        false => Ok(pictures),
    }
}

/// The levers that there are from a setting: what each is called, and the setting with it.
fn levers(from: &Setting, lanes_max: usize) -> Vec<(String, Setting)> {
    let mut levers = Vec::new();
    let recipe = |change: &dyn Fn(&mut Recipe)| {
        let mut setting = from.clone();
        change(&mut setting.recipe);
        setting
    };
    if let Some(px) = TEXTURE_PX.into_iter().rev().find(|px| *px < from.recipe.texture_px) {
        levers.push((format!("texture-px={px}"), recipe(&|recipe| recipe.texture_px = px)));
    }
    let lower = Quality::ALL.into_iter().rev().find(|quality| *quality < from.recipe.quality);
    if let Some(quality) = lower {
        levers.push((format!("quality={}", quality.as_str()), recipe(&|recipe| recipe.quality = quality)));
    }
    if from.recipe.engine == Engine::Layered {
        levers.push(("engine=inflate".to_owned(), recipe(&|recipe| recipe.engine = Engine::Inflate)));
    }
    for lanes in [from.lanes / 2, from.lanes * 2] {
        if (1..=lanes_max).contains(&lanes) {
            levers.push((format!("{lanes} lanes"), Setting { lanes, ..from.clone() }));
        }
    }
    levers
}

struct Search {
    pictures: BTreeMap<String, Vec<u8>>,
    json: bool,
    shutdown: CancellationToken,
    lanes_max: usize,
}

impl Search {
    /// From each setting all levers are tried, and the best of those that pass is gone on from, until none
    /// gains. Models are always compared with those at the beginning, so that small losses do not add up.
    async fn run(&self, begin: Setting) -> Outcome<Found> {
        let first = self.measure("as it is", &begin).await?;
        let mut tried: Vec<Tried> = Vec::new();
        let (mut best, mut rate) = (begin.clone(), first.jobs_per_hour);
        loop {
            let begun = tried.len();
            for (lever, setting) in levers(&best, self.lanes_max) {
                if setting == begin || tried.iter().any(|of| of.setting == setting) {
                    continue;
                }
                let measured = self.measure(&lever, &setting).await?;
                let gate = Gate::of(&first.models, &measured.models);
                tried.push(Tried { lever, setting, measured, gate, kept: false });
            }
            let passing = tried[begun..].iter_mut().filter(|of| of.gate.passes());
            let fastest =
                passing.max_by(|a, b| a.measured.jobs_per_hour.total_cmp(&b.measured.jobs_per_hour));
            match fastest.filter(|of| of.measured.jobs_per_hour >= GAIN_MIN * rate) {
                Some(of) => {
                    of.kept = true;
                    (best, rate) = (of.setting.clone(), of.measured.jobs_per_hour);
                }
                None => return Ok(Found { pictures: self.pictures.len(), before: (begin, first), tried }),
            }
        }
    }

    async fn measure(&self, lever: &str, setting: &Setting) -> Outcome<Measured> {
        let measured = measure(setting, &self.pictures, &self.shutdown).await?;
        if !self.json {
            note!("{lever}: {:.0} models an hour", measured.jobs_per_hour);
        }
        Ok(measured)
    }
}

impl Found {
    /// The setting that is best, and what it brought.
    pub(crate) fn after(&self) -> (&Setting, &Measured) {
        let kept = self.tried.iter().rev().find(|of| of.kept);
        kept.map_or((&self.before.0, &self.before.1), |of| (&of.setting, &of.measured))
    }

    /// As a part of `meshwright.toml`, and as options of an upload.
    fn preset(&self) -> String {
        let (setting, measured) = self.after();
        let (recipe, first) = (&setting.recipe, &self.before.1);
        format!(
            "# Measured by `meshwright optimize` on {} pictures: {:.0} models an hour instead of {:.0}.\n\
             [worker]\nlanes = {}\n\n\
             # Each input bucket takes its part of the recipe:\n# [site.inputs.recipe]\n\
             # engine = \"{}\"\n# quality = \"{}\"\n# texture_px = {}\n",
            self.pictures,
            measured.jobs_per_hour,
            first.jobs_per_hour,
            setting.lanes,
            recipe.engine.as_str(),
            recipe.quality.as_str(),
            recipe.texture_px,
        )
    }

    pub(crate) fn json(&self) -> Value {
        let side = |setting: &Setting, measured: &Measured| {
            json!({"recipe": setting.recipe, "lanes": setting.lanes, "rounds": measured.rounds,
                   "models_per_hour": measured.jobs_per_hour, "largest": measured.largest,
                   "batches": measured.batches, "report": measured.report})
        };
        let tried = |of: &Tried| {
            json!({"lever": of.lever, "lanes": of.setting.lanes, "recipe": of.setting.recipe,
                   "models_per_hour": of.measured.jobs_per_hour, "gate": of.gate.json(), "kept": of.kept})
        };
        let (setting, measured) = self.after();
        json!({
            "pictures": self.pictures,
            "before": side(&self.before.0, &self.before.1),
            "tried": self.tried.iter().map(tried).collect::<Vec<_>>(),
            "after": side(setting, measured),
            "not_tried": NOT_THERE,
        })
    }

    fn text(&self, out: &Path) -> String {
        let mut tried = table(&["", "models/hour", "gain", "models as good", ""]);
        let first = self.before.1.jobs_per_hour;
        for of in &self.tried {
            let rate = of.measured.jobs_per_hour;
            let kept = if of.kept { "kept" } else { "" };
            let gain = format!("{:+.0} %", 100.0 * (rate / first - 1.0));
            tried.add_row([&of.lever, &format!("{rate:.0}"), &gain, &of.gate.to_string(), kept]);
        }
        let largest = self.before.1.largest.iter();
        let largest: Vec<String> = largest.map(|of| format!("  {}", of.evidence)).collect();
        format!(
            "The largest bottlenecks:\n{}\n{tried}\n{:.0} models an hour before, {:.0} after; preset.toml, \
             report.html and report.json are in {}",
            largest.join("\n"),
            first,
            self.after().1.jobs_per_hour,
            out.display()
        )
    }

    fn write(&self, out: &Path) -> Outcome<()> {
        let write = |name: &str, content: &[u8]| {
            let file = out.join(name);
            let failed = |e: std::io::Error| Refusal::Io(format!("write {}: {e}", file.display()));
            std::fs::write(&file, content).map_err(failed)
        };
        write("preset.toml", self.preset().as_bytes())?;
        write("report.json", format!("{:#}\n", self.json()).as_bytes())?;
        let page = optimize_page::page(self);
        for (name, picture) in &page.pictures {
            write(name, picture)?;
        }
        write("report.html", page.html.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levers_go_one_step_and_stay_in_what_there_is() {
        let names =
            |setting: &Setting| levers(setting, 4).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let recipe = Recipe { engine: Engine::Layered, quality: Quality::Fine, ..Recipe::default() };
        let all = ["texture-px=512", "quality=standard", "engine=inflate", "1 lanes", "4 lanes"];
        assert_eq!(names(&Setting { recipe, lanes: 2 }), all);
        let least = Recipe { quality: Quality::Draft, texture_px: 256, ..Recipe::default() };
        assert_eq!(names(&Setting { recipe: least, lanes: 4 }), ["2 lanes"]);
    }
}
