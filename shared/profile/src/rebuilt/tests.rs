//! Tests of rebuilt profiles: every way that a job can end, marks that disagree, objects of other jobs.

use super::*;
use crate::samples::config;
use crate::{Severity, THRESHOLD_PERCENT};
use domain::{AttemptId, Bytes, Class, EngineVersion, Life, Marks, Recipe, Upload};
use proptest::prelude::*;

fn record() -> JobRecord {
    JobRecord {
        upload: Upload {
            store: "minio".parse().expect("a name"),
            bucket: "uploads".to_owned(),
            key: "red.png".to_owned(),
            version_id: None,
            etag: "e".to_owned(),
            size_bytes: Bytes(9),
            last_modified_s: 1,
        },
        tenant: "shop".parse().expect("a name"),
        class: Class::Normal,
        recipe: Recipe::default(),
        accepted_at: Timestamp(1_000),
        secondary: false,
        traceparent: None,
    }
}

/// Marks in milliseconds: published, accepted, fetched, started, computed, stored.
fn manifest(stage: Stage, marks: [u64; 6]) -> Manifest {
    let [published_at, accepted_at, fetched_at, started_at, computed_at, stored_at] = marks.map(Timestamp);
    Manifest {
        job: record().job_id(),
        stage,
        life: Life(0),
        attempt: AttemptId([0; 16]),
        inputs: Vec::new(),
        artifacts: Vec::new(),
        engine: EngineVersion { name: "plain".to_owned(), version: "1".to_owned() },
        marks: Marks {
            clock: "worker-a".to_owned(),
            published_at,
            drawn_at: Timestamp(accepted_at.0.saturating_sub(5).max(published_at.0)),
            accepted_at,
            fetched_at,
            started_at,
            computed_at,
            stored_at,
        },
        batch: None,
        notes: Vec::new(),
        traceparent: None,
    }
}

fn outcome(ending: Ending, decided_ms: u64) -> Outcome {
    let decided_at = Timestamp(decided_ms);
    Outcome { job: record().job_id(), life: Life(0), ending, decided_at, intermediates_expire_at: decided_at }
}

fn done(decided_ms: u64) -> Outcome {
    outcome(Ending::Done { files: Vec::new(), unpublished: None }, decided_ms)
}

fn four() -> Vec<Manifest> {
    vec![
        manifest(Stage::Preprocess, [1_010, 1_020, 1_030, 1_040, 1_140, 1_150]),
        manifest(Stage::Shape, [1_160, 1_160, 1_170, 1_170, 1_770, 1_780]),
        manifest(Stage::Texture, [1_790, 1_990, 2_000, 2_000, 2_300, 2_310]),
        manifest(Stage::Export, [2_320, 2_330, 2_340, 2_340, 2_440, 2_450]),
    ]
}

#[test]
fn a_finished_job_is_told_from_its_record_manifests_and_outcome_alone() {
    let profile = rebuild(&record(), &four(), Some(&done(2_500))).expect("one job");
    let brief: Vec<_> =
        profile.stages.iter().map(|of| (of.name.as_str(), of.begins_us, of.wall_us)).collect();
    let expect = [
        ("preprocess", 10_000, 150_000),
        ("shape", 160_000, 630_000),
        ("texture", 790_000, 530_000),
        ("export", 1_320_000, 180_000),
    ];
    assert_eq!(brief, expect);
    assert_eq!((profile.wall_us, profile.unaccounted_us, profile.complete), (1_500_000, 10_000, true));
    let parts: Vec<_> = profile.stages[2].parts.iter().map(|of| (of.name.as_str(), of.us / 1_000)).collect();
    let expect = [
        ("queued", 195),
        ("planned", 5),
        ("fetch", 10),
        ("load", 0),
        ("compute", 300),
        ("store", 10),
        ("commit", 10),
    ];
    assert_eq!(parts, expect);
    assert_eq!(profile.metadata["engine.shape"], "plain 1");
    assert_eq!(
        (profile.metadata["outcome"].as_str(), profile.metadata["clock_skew_ms"].as_str()),
        ("done", "0")
    );
    let worst = &profile.identify_bottlenecks(THRESHOLD_PERCENT)[0];
    assert_eq!((worst.stage.as_str(), worst.severity), ("shape", Severity::Critical));
}

#[test]
fn a_job_on_its_way_is_told_up_to_its_last_mark() {
    let check = |stages: usize, expect_ms: u64| {
        let profile = rebuild(&record(), &four()[..stages], None).expect("one job");
        assert_eq!((profile.stages.len(), profile.wall_us / 1_000), (stages, expect_ms));
        assert!(!profile.complete);
    };
    check(0, 0);
    check(1, 150);
    check(4, 1_450);
}

#[test]
fn a_stage_that_ended_its_job_without_a_manifest_is_told_as_attempts() {
    let dead = outcome(Ending::Dead { stage: Stage::Texture, error: "x".to_owned() }, 9_000);
    let rejected = outcome(Ending::Rejected { reason: "x".to_owned() }, 9_000);
    let check = |stages: usize, outcome: &Outcome, expect: (&str, u64)| {
        let profile = rebuild(&record(), &four()[..stages], Some(outcome)).expect("one job");
        let last = profile.stages.last().expect("the stage that ended it");
        assert_eq!((last.name.as_str(), last.wall_us / 1_000), expect);
        assert_eq!(last.parts[0].name, "attempts");
        assert_eq!((profile.wall_us / 1_000, profile.complete), (8_000, true));
    };
    check(2, &dead, ("texture", 7_220));
    check(0, &rejected, ("preprocess", 8_000));
    check(3, &rejected, ("export", 6_690));
}

#[test]
fn objects_of_other_jobs_are_refused_and_a_missing_manifest_is_seen() {
    let mut foreign = four();
    foreign[1].job = JobId([7; 16]);
    assert!(matches!(rebuild(&record(), &foreign, None), Err(Mismatch::Job { .. })));
    let mut other = done(9_000);
    other.job = JobId([7; 16]);
    assert!(matches!(rebuild(&record(), &four(), Some(&other)), Err(Mismatch::Job { .. })));
    let twice = [four(), four()].concat();
    assert_eq!(rebuild(&record(), &twice, None), Err(Mismatch::Twice(Stage::Preprocess)));
    let mut gap = four();
    gap.remove(1);
    let profile = rebuild(&record(), &gap, Some(&done(2_500))).expect("one job");
    assert_eq!((profile.complete, profile.wall_us), (false, 1_500_000));
}

proptest! {
    #![proptest_config(config())]

    /// Whatever the clocks say.
    #[test]
    fn phases_sum_to_stages_and_stages_to_the_job(
        marks in prop::array::uniform4(prop::array::uniform6(0u64..5_000)),
        end in 0u64..6_000,
    ) {
        let manifests: Vec<Manifest> =
            Stage::ALL.into_iter().zip(marks).map(|(stage, marks)| manifest(stage, marks)).collect();
        let profile = rebuild(&record(), &manifests, Some(&done(end))).expect("one job");
        let stages: u64 = profile.stages.iter().map(|of| of.wall_us).sum();
        prop_assert_eq!(stages + profile.unaccounted_us, profile.wall_us);
        for stage in &profile.stages {
            prop_assert_eq!(stage.parts.iter().map(|of| of.us).sum::<u64>(), stage.wall_us);
        }
    }
}
