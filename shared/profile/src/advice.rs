//! Recommendations: which lever to try at which stage, each only where a measurement supports it, with the
//! numbers in the text. From a window or from a profiler's pipelines. They say what a lever can save at most,
//! since what it really saves is found by trying; gains that can be predicted are in `predict`.

use crate::Window;
use crate::pipeline::{PipelineProfile, spent};
use crate::severity::{Severity, THRESHOLD_PERCENT};
use crate::sketch::percent;
use domain::Phase;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Waiting above this share of all time is told: it is longer than the work.
const WAITING_PERCENT: f64 = 50.0;
/// Starting runners above this share of a stage's work is told.
const LOAD_PERCENT: f64 = 20.0;
/// Time that no phase explains, above the bar of the timings themselves.
const UNACCOUNTED_PERCENT: f64 = 1.0;

/// Time of one stage, as far as advice needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Its name, as `shape`.
    pub stage: String,
    /// How many runs.
    pub runs: u64,
    /// Work, in microseconds: without waiting for a place.
    pub work_us: u64,
    /// Waiting for a place, in microseconds.
    pub waited_us: u64,
    /// Time that nothing accounts for, in microseconds.
    pub unaccounted_us: u64,
    /// Phases and spans by their last name, in microseconds.
    pub parts: BTreeMap<String, u64>,
    /// Most ran in full precision, on a GPU: half precision is a lever.
    pub full_precision_gpu: bool,
}

/// Something to try.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Recommendation {
    /// Where.
    pub stage: String,
    /// What, as `fewer steps`.
    pub lever: String,
    /// What it rests on, with numbers, and what it can bring.
    pub text: String,
    /// The setting or command that does it.
    pub setting: String,
    /// Of all stages' work, in percent: what it saves if that part vanished.
    pub saves_at_most_percent: f64,
    /// Of the stage's share of all work.
    pub severity: Severity,
}

/// A lever of a stage, and the parts that it shortens.
struct Rule {
    stage: &'static str,
    lever: &'static str,
    parts: &'static [&'static str],
    /// Least share of the stage's work that these parts take, in percent.
    share_min: f64,
    setting: &'static str,
    full_precision_gpu: bool,
}

const fn rule(
    stage: &'static str,
    lever: &'static str,
    parts: &'static [&'static str],
    setting: &'static str,
) -> Rule {
    Rule { stage, lever, parts, share_min: 30.0, setting, full_precision_gpu: false }
}

/// Spans of an engine that makes steps.
const STEPS: &[&str] = &["denoise", "diffusion", "sampling"];

/// The levers of each stage. A lever whose parts were not measured is never recommended.
const RULES: &[Rule] = &[
    rule(
        "preprocess",
        "image cache",
        &["fetch", "decode"],
        "upload smaller pictures, or keep decoded ones near the worker",
    ),
    rule(
        "preprocess",
        "SIMD",
        &["cut_out", "frame", "resize", "encode"],
        "build with target-cpu=native, or give the stage more lanes",
    ),
    rule(
        "preprocess",
        "a picture that needs no network",
        &["matting"],
        "pictures with transparency or a plain background: they are cut out without it",
    ),
    Rule {
        full_precision_gpu: true,
        ..rule("shape", "FP16", &["denoise", "diffusion", "sampling", "infer", "network"], "precision f16")
    },
    rule("shape", "fewer steps", STEPS, "fewer steps in the recipe's engine"),
    rule("shape", "an engine without a network", &["network"], "engine=inflate: rounder shapes in less time"),
    rule(
        "shape",
        "lower triangle budget",
        &["surface", "decimate", "smooth", "check"],
        "quality draft instead of standard",
    ),
    rule("texture", "lower resolution", &["bake", "unwrap", "dilate"], "texture-px one step lower"),
    rule(
        "texture",
        "compression",
        &["compress", "encode", "store"],
        "a faster texture compression: larger files, less time",
    ),
    rule("export", "binary STL", &["stl_ascii"], "binary instead of text STL"),
    rule("export", "fewer pictures", &["turntable", "gif"], "formats without turntable and gif"),
    rule(
        "export",
        "decimation",
        &["glb", "packed", "lod", "stl", "ply", "obj", "3mf", "usdz", "check", "store"],
        "quality draft: fewer triangles to write",
    ),
];

impl Measured {
    /// Of a profiler's pipelines or of rebuilt jobs.
    pub fn of_profiles<'a>(profiles: impl IntoIterator<Item = &'a PipelineProfile> + Clone) -> Vec<Measured> {
        let (_, stages) = spent(profiles.clone());
        let mut found: BTreeMap<String, Measured> = BTreeMap::new();
        for name in stages.keys() {
            found.insert((*name).to_owned(), Measured { stage: (*name).to_owned(), ..Measured::default() });
        }
        for stage in profiles.into_iter().flat_map(|profile| &profile.stages) {
            let Some(of) = found.get_mut(&stage.name) else { continue };
            of.runs += 1;
            of.unaccounted_us = of.unaccounted_us.saturating_add(stage.unaccounted_us);
            let mut waited = 0u64;
            for part in &stage.parts {
                let name = part.name.rsplit('/').next().unwrap_or_default();
                let total = of.parts.entry(name.to_owned()).or_default();
                *total = total.saturating_add(part.us);
                waited += if is_wait(&part.name) { part.us } else { 0 };
            }
            of.waited_us = of.waited_us.saturating_add(waited);
            of.work_us = of.work_us.saturating_add(stage.wall_us.saturating_sub(waited));
        }
        found.into_values().collect()
    }

    /// Of the tasks of a window.
    pub fn of_window(window: &Window) -> Vec<Measured> {
        let stage = |(stage, row): (&domain::Stage, &crate::breakdown::Row)| {
            let waits = row.phase_us(Phase::Queued).saturating_add(row.phase_us(Phase::Planned));
            let phases = Phase::ALL.into_iter().map(|phase| (phase.as_str().to_owned(), row.phase_us(phase)));
            let spans = row
                .spans
                .iter()
                .map(|(name, us)| (name.rsplit('/').next().unwrap_or_default().to_owned(), *us));
            let mut parts = BTreeMap::new();
            for (name, us) in phases.chain(spans) {
                let total: &mut u64 = parts.entry(name).or_default();
                *total = total.saturating_add(us);
            }
            let mut gpu = (0u64, 0u64);
            for (_, class, precision, speed) in window.speeds().filter(|(of, ..)| of == stage) {
                let batches = speed.total().batches;
                let full = class.is_gpu() && matches!(precision, "f32" | "fp32");
                gpu = (gpu.0 + if full { batches } else { 0 }, gpu.1 + batches);
            }
            Measured {
                stage: stage.as_str().to_owned(),
                runs: row.tasks,
                work_us: row.wall_us.saturating_sub(waits),
                waited_us: waits,
                unaccounted_us: row.unaccounted_us,
                parts,
                full_precision_gpu: 2 * gpu.0 > gpu.1,
            }
        };
        window.by_stage().iter().map(stage).collect()
    }
}

fn is_wait(part: &str) -> bool {
    part == Phase::Queued.as_str() || part == Phase::Planned.as_str()
}

/// What to try, the largest possible saving first.
pub fn recommend(measured: &[Measured]) -> Vec<Recommendation> {
    let work = measured.iter().fold(0u64, |sum, of| sum.saturating_add(of.work_us));
    let mut found = Vec::new();
    for of in measured.iter().filter(|of| of.runs > 0) {
        let stage_share = percent(of.work_us, work);
        if stage_share >= THRESHOLD_PERCENT {
            let fits =
                |rule: &&Rule| rule.stage == of.stage && (!rule.full_precision_gpu || of.full_precision_gpu);
            found.extend(RULES.iter().filter(fits).filter_map(|rule| by_rule(rule, of, work)));
        }
        found.extend(general(of, work));
    }
    found.sort_by(|a, b| b.saves_at_most_percent.total_cmp(&a.saves_at_most_percent));
    found
}

fn by_rule(rule: &Rule, of: &Measured, work: u64) -> Option<Recommendation> {
    let parts = rule.parts.iter().filter_map(|name| Some((*name, *of.parts.get(*name)?)));
    let parts: Vec<(&str, u64)> = parts.filter(|(_, us)| *us > 0).collect();
    let us = parts.iter().fold(0u64, |sum, (_, us)| sum.saturating_add(*us));
    let share = percent(us, of.work_us);
    if us == 0 || share < rule.share_min {
        return None;
    }
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    Some(told(of, work, us, (rule.lever, rule.setting, &names.join(" + "))))
}

fn told(of: &Measured, work: u64, us: u64, (lever, setting, part): (&str, &str, &str)) -> Recommendation {
    let each = |us: u64| us as f64 / 1e3 / of.runs as f64;
    let (share, saves) = (percent(us, of.work_us), percent(us, work));
    let stage_share = percent(of.work_us, work);
    let text = format!(
        "{part} takes {:.1} of {:.1} ms per run at {} ({share:.0} %), in {} runs; {} is {stage_share:.0} % \
         of all work, so {lever} saves at most {saves:.0} %",
        each(us),
        each(of.work_us),
        of.stage,
        of.runs,
        of.stage,
    );
    Recommendation {
        stage: of.stage.clone(),
        lever: lever.to_owned(),
        text,
        setting: setting.to_owned(),
        saves_at_most_percent: saves,
        severity: Severity::of(stage_share),
    }
}

/// What holds at every stage: waiting, starting, and what nobody explains.
fn general(of: &Measured, work: u64) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let wall = of.work_us.saturating_add(of.waited_us);
    let waiting = percent(of.waited_us, wall);
    let note = |lever: &str, setting: &str, text: String| Recommendation {
        stage: of.stage.clone(),
        lever: lever.to_owned(),
        text,
        setting: setting.to_owned(),
        saves_at_most_percent: 0.0,
        severity: Severity::of(percent(of.work_us, work)),
    };
    let each = |us: u64| us as f64 / 1e3 / of.runs as f64;
    if waiting >= WAITING_PERCENT {
        let text = format!(
            "tasks wait {:.1} ms for a place at {} and work {:.1} ms ({waiting:.0} % of the time, {} runs): \
             ask which stage bounds before adding a worker",
            each(of.waited_us),
            of.stage,
            each(of.work_us),
            of.runs
        );
        found.push(note("more lanes where it bounds", "meshwright bottleneck", text));
    }
    let load = of.parts.get(Phase::Load.as_str()).copied().unwrap_or(0);
    if percent(load, of.work_us) >= LOAD_PERCENT {
        let setting = "a longer idle time of runners";
        found.push(told(of, work, load, ("a warm model", setting, Phase::Load.as_str())));
    }
    let dark = percent(of.unaccounted_us, wall);
    if dark > UNACCOUNTED_PERCENT {
        let text = format!(
            "no phase accounts for {:.1} of {:.1} ms per run at {} ({dark:.1} %): measure it first",
            each(of.unaccounted_us),
            each(wall),
            of.stage
        );
        found.push(note("a span around it", "cx.span(\"...\") in the stage function", text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{timing, window};
    use domain::{DeviceClass, SpanTime, Stage, Timing};

    /// Stage, milliseconds of work, parts in milliseconds.
    type Told<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    /// -> stage and lever of each.
    fn check(stages: &[Told<'_>], expect: &[(&str, &str)]) {
        let measured = stages.iter().map(|(stage, ms, parts)| Measured {
            stage: (*stage).to_owned(),
            runs: 2,
            work_us: ms * 1_000,
            parts: parts.iter().map(|(name, ms)| ((*name).to_owned(), ms * 1_000)).collect(),
            ..Measured::default()
        });
        let found = recommend(&measured.collect::<Vec<_>>());
        let brief: Vec<_> = found.iter().map(|of| (of.stage.as_str(), of.lever.as_str())).collect();
        assert_eq!(brief, expect, "{found:?}");
    }

    #[test]
    fn a_lever_is_named_only_where_its_parts_were_measured_and_matter() {
        check(&[("texture", 100, &[])], &[]);
        check(&[("texture", 100, &[("bake", 20)])], &[]);
        check(&[("texture", 100, &[("bake", 60)])], &[("texture", "lower resolution")]);
        check(&[("texture", 10, &[("bake", 6)]), ("shape", 90, &[])], &[]);
        check(&[("shape", 100, &[("denoise", 90)])], &[("shape", "fewer steps")]);
        check(&[("shape", 100, &[("decimate", 40)])], &[("shape", "lower triangle budget")]);
        check(&[("preprocess", 100, &[("fetch", 20), ("decode", 20)])], &[("preprocess", "image cache")]);
        check(&[("preprocess", 100, &[("cut_out", 50)])], &[("preprocess", "SIMD")]);
        check(&[("texture", 100, &[("store", 45)])], &[("texture", "compression")]);
        check(&[("export", 100, &[("stl_ascii", 45)])], &[("export", "binary STL")]);
        check(&[("export", 100, &[("stl", 25), ("glb", 25)])], &[("export", "decimation")]);
        check(&[("export", 100, &[("turntable", 60)])], &[("export", "fewer pictures")]);
        check(
            &[("preprocess", 100, &[("matting", 90)])],
            &[("preprocess", "a picture that needs no network")],
        );
        check(&[("shape", 100, &[("network", 60)])], &[("shape", "an engine without a network")]);
        check(&[("shape", 100, &[("load", 25)])], &[("shape", "a warm model")]);
        check(&[], &[]);
    }

    #[test]
    fn the_evidence_is_in_the_text() {
        let task = |n: u64| Timing {
            device_class: DeviceClass("gpu-x".to_owned()),
            spans: vec![SpanTime { name: "net/denoise".to_owned(), us: 80_000 }],
            ..timing(n, Stage::Shape, 100)
        };
        let window = window(&[task(0), task(1)]);
        let found = recommend(&Measured::of_window(&window));
        let brief: Vec<_> = found.iter().map(|of| of.lever.as_str()).collect();
        assert_eq!(brief, ["FP16", "fewer steps"]);
        let expect = "denoise takes 80.0 of 100.0 ms per run at shape (80 %), in 2 runs; shape is 100 % of \
                      all work, so FP16 saves at most 80 %";
        assert_eq!(found[0].text, expect);
    }

    #[test]
    fn waiting_and_dark_time_are_told_apart_from_work() {
        let mut late = timing(0, Stage::Export, 10);
        late.phases.queued_us = 90_000;
        late.wall_us = 110_000;
        let found = recommend(&Measured::of_window(&window(&[late])));
        let brief: Vec<_> = found.iter().map(|of| of.lever.as_str()).collect();
        assert_eq!(brief, ["more lanes where it bounds", "a span around it"]);
        assert!(found[0].text.starts_with("tasks wait 90.0 ms"), "{}", found[0].text);
    }
}
