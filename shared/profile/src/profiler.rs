//! The profiler of code that runs here and now: pipelines and scopes, timed by a clock that the caller gives.
//! What it measures are [`PipelineProfile`]s. Jobs that ran elsewhere are rebuilt from their objects instead.
//!
//! One profiler follows one line of work: scopes close in the reverse order of their opening.

use crate::advice::{Measured, Recommendation, recommend};
use crate::pipeline::{Part, PerformanceSummary, PipelineProfile, StageProfile, spent};
use crate::severity::{Bottleneck, bottlenecks};
use crate::sketch::us;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Finished pipelines that are kept; the oldest drop out.
const DONE_MAX: usize = 1_024;
/// Stages of one pipeline; more of the same name are added to the last, others are left out.
const STAGES_MAX: usize = 1_024;
/// Parts of one stage that are told apart; more are left out and show as unaccounted.
const PARTS_MAX: usize = 256;

/// Tells the time.
pub trait Clock {
    /// Since an origin that does not move. Never goes back.
    fn now(&self) -> Duration;
}

impl<F: Fn() -> Duration> Clock for F {
    fn now(&self) -> Duration {
        self()
    }
}

/// Times pipelines and their stages.
#[derive(Debug)]
pub struct Profiler<C> {
    clock: C,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The innermost last.
    open: Vec<Open>,
    done: VecDeque<PipelineProfile>,
    scopes: u64,
}

/// A pipeline that runs.
#[derive(Debug)]
struct Open {
    profile: PipelineProfile,
    /// The innermost last; the first is the stage.
    scopes: Vec<Scope>,
    /// Time in nested pipelines outside all stages.
    nested_us: u64,
}

#[derive(Debug)]
struct Scope {
    id: u64,
    /// From the stage on.
    path: String,
    since_us: u64,
}

/// Closes a stage, or a part of one, when it is dropped.
#[must_use = "a scope lasts as long as its guard"]
pub struct StageGuard<'a, C: Clock> {
    profiler: &'a Profiler<C>,
    id: u64,
}

impl<C: Clock> Drop for StageGuard<'_, C> {
    fn drop(&mut self) {
        let now_us = us(self.profiler.clock.now());
        let mut state = self.profiler.state();
        for open in &mut state.open {
            if let Some(at) = open.scopes.iter().position(|scope| scope.id == self.id) {
                // What was opened inside ends with it.
                open.close_scopes(at, now_us);
            }
        }
    }
}

/// Everything that a profiler knows.
#[derive(Serialize)]
struct ProfilerReport {
    summary: PerformanceSummary,
    bottlenecks: Vec<Bottleneck>,
    recommendations: Vec<Recommendation>,
    pipelines: Vec<PipelineProfile>,
}

impl<C: Clock> Profiler<C> {
    /// With a clock and nothing measured.
    pub fn new(clock: C) -> Profiler<C> {
        Profiler { clock, state: Mutex::default() }
    }

    /// Begins a pipeline; inside another one if that is open.
    pub fn start_pipeline(&self, name: &str, metadata: BTreeMap<String, String>) {
        let begins_us = us(self.clock.now());
        let profile = PipelineProfile {
            name: name.to_owned(),
            metadata,
            begins_us,
            wall_us: 0,
            stages: Vec::new(),
            unaccounted_us: 0,
            nested: Vec::new(),
            complete: true,
        };
        self.state().open.push(Open { profile, scopes: Vec::new(), nested_us: 0 });
    }

    /// Begins a stage of the innermost pipeline, or inside an open stage a part of it; it lasts until the
    /// guard is dropped. Without an open pipeline nothing is measured.
    pub fn profile_stage(&self, name: &str) -> StageGuard<'_, C> {
        let now_us = us(self.clock.now());
        let mut state = self.state();
        state.scopes += 1;
        let id = state.scopes;
        if let Some(open) = state.open.last_mut() {
            open.begin_scope(id, name, now_us);
        }
        drop(state);
        StageGuard { profiler: self, id }
    }

    /// Ends the innermost pipeline. Stages that are still open end with it, and it is not complete. With none
    /// open, an empty profile that is not complete.
    pub fn end_pipeline(&self) -> PipelineProfile {
        let now_us = us(self.clock.now());
        let mut state = self.state();
        let Some(open) = state.open.pop() else { return nothing() };
        let profile = open.end(now_us);
        match state.open.last_mut() {
            Some(outer) => {
                outer.nested_us += if outer.scopes.is_empty() { profile.wall_us } else { 0 };
                outer.profile.nested.push(profile.clone());
            }
            None => {
                state.done.push_back(profile.clone());
                while state.done.len() > DONE_MAX {
                    state.done.pop_front();
                }
            }
        }
        profile
    }

    /// Finished pipelines, the oldest first.
    pub fn pipelines(&self) -> Vec<PipelineProfile> {
        self.state().done.iter().cloned().collect()
    }

    /// Stages with at least `threshold_percent` of the time of all finished pipelines, the largest first.
    pub fn identify_bottlenecks(&self, threshold_percent: f64) -> Vec<Bottleneck> {
        let state = self.state();
        let (whole_us, stages) = spent(&state.done);
        bottlenecks(whole_us, &stages.into_values().collect::<Vec<_>>(), threshold_percent)
    }

    /// All finished pipelines together.
    pub fn get_performance_summary(&self) -> PerformanceSummary {
        PerformanceSummary::of(&self.state().done)
    }

    /// What could be done, where the measurements support it.
    pub fn get_optimization_recommendations(&self) -> Vec<Recommendation> {
        recommend(&Measured::of_profiles(&self.state().done))
    }

    /// Summary, bottlenecks from 20 % on, recommendations and all pipelines, as JSON.
    pub fn json_report(&self) -> String {
        let report = ProfilerReport {
            summary: self.get_performance_summary(),
            bottlenecks: self.identify_bottlenecks(crate::THRESHOLD_PERCENT),
            recommendations: self.get_optimization_recommendations(),
            pipelines: self.pipelines(),
        };
        serde_json::to_string_pretty(&report).expect("plain data with text keys is JSON")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves numbers that are still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn begin_scope(&mut self, id: u64, name: &str, now_us: u64) {
        // A slash would be read as a path.
        let name = name.replace('/', "_");
        let (path, since_us) = match self.scopes.last() {
            None => {
                self.begin_stage(&name, now_us);
                (String::new(), now_us)
            }
            Some(outer) if outer.path.is_empty() => (name, now_us),
            Some(outer) => (format!("{}/{name}", outer.path), now_us),
        };
        if let Some(stage) = self.profile.stages.last_mut().filter(|_| !path.is_empty()) {
            let known = stage.parts.iter().any(|part| part.name == path);
            if !known && stage.parts.len() < PARTS_MAX {
                stage.parts.push(Part { name: path.clone(), us: 0 });
            }
        }
        self.scopes.push(Scope { id, path, since_us });
    }

    fn begin_stage(&mut self, name: &str, now_us: u64) {
        let stages = &mut self.profile.stages;
        if stages.len() < STAGES_MAX {
            let begins_us = now_us - self.profile.begins_us.min(now_us);
            let (parts, name) = (Vec::new(), name.to_owned());
            stages.push(StageProfile { name, begins_us, wall_us: 0, parts, unaccounted_us: 0 });
            return;
        }
        match stages.iter().rposition(|stage| stage.name == name) {
            // The open stage is always the last one.
            Some(at) => {
                let again = stages.remove(at);
                stages.push(again);
            }
            None => self.profile.complete = false,
        }
    }

    /// Ends all scopes from this one on, the innermost first.
    fn close_scopes(&mut self, from: usize, now_us: u64) {
        for scope in self.scopes.drain(from..).rev() {
            let Some(stage) = self.profile.stages.last_mut() else { continue };
            let us = now_us.saturating_sub(scope.since_us);
            if scope.path.is_empty() {
                stage.wall_us += us;
                let inside: u64 = stage.outer().map(|part| part.us).sum();
                let parted = !stage.parts.is_empty();
                stage.unaccounted_us = if parted { stage.wall_us.saturating_sub(inside) } else { 0 };
            } else if let Some(part) = stage.parts.iter_mut().find(|part| part.name == scope.path) {
                part.us += us;
            }
        }
    }

    fn end(mut self, now_us: u64) -> PipelineProfile {
        self.profile.complete &= self.scopes.is_empty();
        self.close_scopes(0, now_us);
        let wall_us = now_us.saturating_sub(self.profile.begins_us);
        let inside: u64 = self.profile.stages.iter().map(|stage| stage.wall_us).sum();
        let unaccounted_us = wall_us.saturating_sub(inside + self.nested_us);
        PipelineProfile { wall_us, unaccounted_us, ..self.profile }
    }
}

fn nothing() -> PipelineProfile {
    PipelineProfile {
        name: String::new(),
        metadata: BTreeMap::new(),
        begins_us: 0,
        wall_us: 0,
        stages: Vec::new(),
        unaccounted_us: 0,
        nested: Vec::new(),
        complete: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;
    use std::cell::Cell;

    /// A clock that stands until it is told to go on.
    struct Hand(Cell<u64>);

    impl Hand {
        fn go(&self, ms: u64) {
            self.0.set(self.0.get() + ms);
        }
    }

    impl Clock for &Hand {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.get())
        }
    }

    fn metadata() -> BTreeMap<String, String> {
        BTreeMap::from([("image".to_owned(), "red.png".to_owned())])
    }

    fn stages(profile: &PipelineProfile) -> Vec<(&str, u64)> {
        profile.stages.iter().map(|stage| (stage.name.as_str(), stage.wall_us / 1_000)).collect()
    }

    #[test]
    fn stages_and_their_parts_last_as_long_as_their_guards() {
        let hand = Hand(Cell::new(7));
        let profiler = Profiler::new(&hand);
        profiler.start_pipeline("job", metadata());
        hand.go(1);
        {
            let _stage = profiler.profile_stage("texture");
            hand.go(5);
            for _ in 0..2 {
                let _part = profiler.profile_stage("bake");
                hand.go(10);
                let _inner = profiler.profile_stage("dilate");
                hand.go(3);
            }
            hand.go(2);
        }
        {
            let _stage = profiler.profile_stage("export");
            hand.go(4);
        }
        let profile = profiler.end_pipeline();
        assert_eq!(stages(&profile), [("texture", 33), ("export", 4)]);
        assert_eq!((profile.wall_us, profile.unaccounted_us, profile.begins_us), (38_000, 1_000, 7_000));
        assert_eq!((profile.metadata.clone(), profile.complete), (metadata(), true));
        let texture = &profile.stages[0];
        let part = |name: &str, us| Part { name: name.to_owned(), us };
        assert_eq!(texture.parts, [part("bake", 26_000), part("bake/dilate", 6_000)]);
        assert_eq!((texture.unaccounted_us, texture.begins_us), (7_000, 1_000));
        assert_eq!(texture.part("bake/dilate"), Duration::from_millis(6));
    }

    #[test]
    fn a_nested_pipeline_is_part_of_the_outer_one_and_of_no_summary() {
        let hand = Hand(Cell::new(0));
        let profiler = Profiler::new(&hand);
        profiler.start_pipeline("outer", metadata());
        profiler.start_pipeline("inner", BTreeMap::new());
        let stage = profiler.profile_stage("shape");
        hand.go(6);
        drop(stage);
        let inner = profiler.end_pipeline();
        let stage = profiler.profile_stage("texture");
        profiler.start_pipeline("within a stage", BTreeMap::new());
        hand.go(4);
        profiler.end_pipeline();
        drop(stage);
        let outer = profiler.end_pipeline();
        assert_eq!(stages(&inner), [("shape", 6)]);
        assert_eq!((stages(&outer), outer.unaccounted_us, outer.nested.len()), (vec![("texture", 4)], 0, 2));
        assert_eq!(outer.nested[0], inner);
        assert_eq!(profiler.pipelines(), [outer]);
    }

    #[test]
    fn what_is_left_open_ends_with_its_pipeline_which_is_not_complete() {
        let hand = Hand(Cell::new(0));
        let profiler = Profiler::new(&hand);
        drop(profiler.profile_stage("of no pipeline"));
        profiler.start_pipeline("job", BTreeMap::new());
        let late = profiler.profile_stage("shape");
        hand.go(3);
        let profile = profiler.end_pipeline();
        hand.go(9);
        drop(late);
        assert_eq!((stages(&profile), profile.complete), (vec![("shape", 3)], false));
        let nothing = profiler.end_pipeline();
        assert_eq!((nothing.wall_us, nothing.complete), (0, false));
        assert_eq!(profiler.pipelines().len(), 1);
    }

    #[test]
    fn bottlenecks_summary_and_report_are_those_of_all_pipelines() {
        let hand = Hand(Cell::new(0));
        let profiler = Profiler::new(|| Clock::now(&&hand));
        for _ in 0..3 {
            profiler.start_pipeline("job", metadata());
            for (name, ms) in [("preprocess", 10), ("shape", 25), ("texture", 45), ("export", 20)] {
                let _stage = profiler.profile_stage(name);
                hand.go(ms);
            }
            profiler.end_pipeline();
        }
        let found = profiler.identify_bottlenecks(20.0);
        let brief: Vec<_> = found.iter().map(|of| (of.stage.as_str(), of.severity)).collect();
        let expect =
            [("texture", Severity::Critical), ("shape", Severity::Medium), ("export", Severity::Medium)];
        assert_eq!(brief, expect);
        assert_eq!(profiler.get_performance_summary().stages[0].times.count, 3);
        let json: serde_json::Value = serde_json::from_str(&profiler.json_report()).expect("JSON");
        assert_eq!(json["bottlenecks"][0]["severity"], "critical");
        assert_eq!(json["pipelines"][2]["metadata"]["image"], "red.png");
        assert_eq!(json["summary"]["pipelines"]["count"], 3);
    }

    #[test]
    fn stages_without_end_stay_within_the_limit() {
        let hand = Hand(Cell::new(0));
        let profiler = Profiler::new(&hand);
        profiler.start_pipeline("loop", BTreeMap::new());
        for n in 0..3_000u64 {
            let _stage = profiler.profile_stage("again");
            let _part = profiler.profile_stage(&format!("part-{n}"));
            hand.go(1);
        }
        let profile = profiler.end_pipeline();
        assert_eq!(
            (profile.stages.len(), profile.wall_us, profile.unaccounted_us),
            (STAGES_MAX, 3_000_000, 0)
        );
        for _ in 0..2 * DONE_MAX {
            profiler.start_pipeline("short", BTreeMap::new());
            profiler.end_pipeline();
        }
        assert_eq!(profiler.pipelines().len(), DONE_MAX);
    }
}
