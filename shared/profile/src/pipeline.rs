//! One run of a pipeline, stage by stage: what `profiler` measures by scopes and `rebuilt` reads from
//! objects. Several make a summary. Here nothing is measured.

use crate::severity::{Bottleneck, Spent, bottlenecks};
use crate::sketch::{Percentiles, Sketch, percent};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A part of a stage: a phase, or a scope within it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Part {
    /// As `compute`, or a path as `compute/bake`.
    pub name: String,
    /// Its time, in microseconds.
    pub us: u64,
}

/// One stage of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StageProfile {
    /// As `shape`.
    pub name: String,
    /// When it began, in microseconds after the pipeline.
    pub begins_us: u64,
    /// How long it took, in microseconds.
    pub wall_us: u64,
    /// What it is made of, in the order of their beginnings. A path lies within its parent.
    pub parts: Vec<Part>,
    /// Time that no part accounts for; 0 where there are no parts.
    pub unaccounted_us: u64,
}

impl StageProfile {
    /// Time in a part; zero if it has none of that name.
    pub fn part(&self, name: &str) -> Duration {
        let found = self.parts.iter().filter(|part| part.name == name);
        Duration::from_micros(found.fold(0, |sum, part| sum + part.us))
    }

    /// Parts that lie in no other part.
    pub(crate) fn outer(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !part.name.contains('/'))
    }
}

/// One run of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PipelineProfile {
    /// Its name; of a job, its id.
    pub name: String,
    /// What the caller wants to find again.
    pub metadata: BTreeMap<String, String>,
    /// When it began, in microseconds: after the origin of the profiler's clock or since 1970.
    pub begins_us: u64,
    /// How long it took, in microseconds.
    pub wall_us: u64,
    /// Its stages, in the order of their beginnings.
    pub stages: Vec<StageProfile>,
    /// Time in no stage and in no nested pipeline.
    pub unaccounted_us: u64,
    /// Pipelines that ran inside it.
    pub nested: Vec<PipelineProfile>,
    /// Whether all of it is there: no scope was left open, no object is missing.
    pub complete: bool,
}

impl PipelineProfile {
    /// Stages with at least `threshold_percent` of the run's time, the largest first.
    pub fn identify_bottlenecks(&self, threshold_percent: f64) -> Vec<Bottleneck> {
        let mut stages: BTreeMap<&str, Spent<'_>> = BTreeMap::new();
        self.stages.iter().for_each(|stage| collect(&mut stages, stage));
        bottlenecks(self.wall_us, &stages.into_values().collect::<Vec<_>>(), threshold_percent)
    }
}

/// One stage in many runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// Share of the time of all runs, in percent.
    pub share_percent: f64,
    /// How often it ran and how long it took.
    pub times: Percentiles,
    /// What it is made of, all runs together, the longest first.
    pub parts: Vec<Part>,
}

/// Many runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PerformanceSummary {
    /// How many runs, and how long they took; none of none.
    pub pipelines: Option<Percentiles>,
    /// By their share, the largest first.
    pub stages: Vec<StageSummary>,
    /// Time in no stage, in percent of all.
    pub unaccounted_percent: f64,
}

impl PerformanceSummary {
    /// Of these runs. Runs nested in them are part of them, and not told apart.
    pub fn of<'a>(profiles: impl IntoIterator<Item = &'a PipelineProfile>) -> PerformanceSummary {
        let (mut runs, mut unaccounted_us) = (Sketch::default(), 0u64);
        let mut whole_us = 0u64;
        let mut stages: BTreeMap<&str, (Sketch, Spent<'_>)> = BTreeMap::new();
        for profile in profiles {
            runs.add_us(profile.wall_us);
            whole_us = whole_us.saturating_add(profile.wall_us);
            unaccounted_us = unaccounted_us.saturating_add(profile.unaccounted_us);
            for stage in &profile.stages {
                let nothing = || (Sketch::default(), Spent { stage: &stage.name, us: 0, parts: vec![] });
                let (times, spent) = stages.entry(&stage.name).or_insert_with(nothing);
                times.add_us(stage.wall_us);
                add(spent, stage);
            }
        }
        let told = |(name, (times, spent)): (&str, (Sketch, Spent<'_>))| {
            let mut parts: Vec<Part> =
                spent.parts.iter().map(|(name, us)| Part { name: (*name).to_owned(), us: *us }).collect();
            parts.sort_by(|a, b| b.us.cmp(&a.us).then_with(|| a.name.cmp(&b.name)));
            let share_percent = percent(spent.us, whole_us);
            Some(StageSummary { name: name.to_owned(), share_percent, times: times.percentiles()?, parts })
        };
        let mut stages: Vec<StageSummary> = stages.into_iter().filter_map(told).collect();
        stages.sort_by(|a, b| b.share_percent.total_cmp(&a.share_percent));
        let unaccounted_percent = percent(unaccounted_us, whole_us);
        PerformanceSummary { pipelines: runs.percentiles(), stages, unaccounted_percent }
    }
}

/// Stages with their outer parts, of all these runs, and the time of all.
pub(crate) fn spent<'a>(
    profiles: impl IntoIterator<Item = &'a PipelineProfile>,
) -> (u64, BTreeMap<&'a str, Spent<'a>>) {
    let (mut whole_us, mut stages) = (0u64, BTreeMap::new());
    for profile in profiles {
        whole_us = whole_us.saturating_add(profile.wall_us);
        profile.stages.iter().for_each(|stage| collect(&mut stages, stage));
    }
    (whole_us, stages)
}

fn collect<'a>(stages: &mut BTreeMap<&'a str, Spent<'a>>, stage: &'a StageProfile) {
    let nothing = || Spent { stage: &stage.name, us: 0, parts: Vec::new() };
    add(stages.entry(&stage.name).or_insert_with(nothing), stage);
}

fn add<'a>(spent: &mut Spent<'a>, stage: &'a StageProfile) {
    spent.us = spent.us.saturating_add(stage.wall_us);
    for part in stage.outer() {
        match spent.parts.iter_mut().find(|(name, _)| *name == part.name) {
            Some((_, us)) => *us = us.saturating_add(part.us),
            None => spent.parts.push((&part.name, part.us)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;

    /// Name, microseconds, parts.
    type Told<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    fn run(stages: &[Told<'_>]) -> PipelineProfile {
        let part = |(name, us): &(&str, u64)| Part { name: (*name).to_owned(), us: *us };
        let stage = |(name, us, parts): &Told<'_>| StageProfile {
            name: (*name).to_owned(),
            begins_us: 0,
            wall_us: *us,
            parts: parts.iter().map(part).collect(),
            unaccounted_us: 0,
        };
        PipelineProfile {
            name: "run".to_owned(),
            metadata: BTreeMap::new(),
            begins_us: 0,
            wall_us: 1_000,
            stages: stages.iter().map(stage).collect(),
            unaccounted_us: 1_000 - stages.iter().map(|(_, us, _)| us).sum::<u64>(),
            nested: Vec::new(),
            complete: true,
        }
    }

    #[test]
    fn a_stage_that_ran_twice_is_judged_by_all_of_its_time() {
        let found = run(&[("a", 250, &[("x", 200)]), ("b", 150, &[]), ("a", 200, &[("y", 150)])]);
        let found = found.identify_bottlenecks(20.0);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Critical));
        assert!(found[0].evidence.contains("45.0 %") && found[0].evidence.contains("in x"));
    }

    #[test]
    fn a_summary_tells_shares_percentiles_and_parts_of_all_runs() {
        let runs =
            [run(&[("a", 600, &[("x", 300), ("x/y", 100)]), ("b", 300, &[])]), run(&[("a", 400, &[])])];
        let summary = PerformanceSummary::of(&runs);
        let brief: Vec<_> = summary.stages.iter().map(|of| (of.name.as_str(), of.share_percent)).collect();
        assert_eq!(brief, [("a", 50.0), ("b", 15.0)]);
        assert_eq!(summary.stages[0].parts, [Part { name: "x".to_owned(), us: 300 }]);
        assert_eq!((summary.stages[0].times.count, summary.unaccounted_percent), (2, 35.0));
        assert_eq!(summary.pipelines.map(|of| of.mean_ms), Some(1.0));
        assert_eq!(PerformanceSummary::of([]).pipelines, None);
    }
}
