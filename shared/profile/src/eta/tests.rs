//! Tests of what is left of a job: at every point of its way, for kinds of work, and as it goes.

use super::*;
use crate::samples::{id, timing};

/// Twenty jobs whose stages took 100, 900, 400 and 200 ms, plus or minus 10 %.
fn learned() -> EtaModel {
    let mut model = EtaModel::new();
    for n in 0..20u64 {
        for (stage, ms) in Stage::ALL.into_iter().zip([100, 900, 400, 200]) {
            let us = ms * (900 + 10 * ((n * 7 + stage as u64 * 3) % 21));
            let mut timing = timing(n, stage, 0);
            timing.phases.compute_us = us;
            timing.phases.queued_us = 50_000;
            model.learn(&timing, "standard");
        }
    }
    model
}

fn check(job: &JobNow, wait_ms: Option<u64>, expect_ms: u64) {
    let eta = learned().estimate(job, wait_ms.map(Duration::from_millis)).expect("all stages were seen");
    let off = eta.p50_ms.abs_diff(expect_ms) as f64;
    assert!(off <= 5.0 + 0.03 * expect_ms as f64, "{job:?}: {eta:?}, not {expect_ms}");
    assert!(eta.p90_ms >= eta.p50_ms && eta.wait_ms <= eta.p50_ms, "{eta:?}");
}

fn at(stage: Stage, worked_ms: Option<u64>) -> JobNow {
    JobNow {
        kind: "standard".to_owned(),
        stage: Some(stage),
        working: worked_ms.map(Duration::from_millis),
        ..JobNow::default()
    }
}

#[test]
fn what_is_left_is_the_line_before_it_and_its_own_stages() {
    check(&JobNow::default(), Some(0), 1_600);
    check(&JobNow::default(), Some(10_000), 11_600);
    check(&JobNow::default(), None, 1_800);
    check(&at(Stage::Texture, None), Some(500), 1_100);
    check(&at(Stage::Shape, Some(0)), Some(0), 1_500);
    check(&at(Stage::Shape, Some(600)), Some(0), 900);
    check(&at(Stage::Export, Some(150)), Some(0), 50);
}

#[test]
fn a_stage_that_lasts_longer_than_any_seen_goes_on_for_a_while() {
    let eta = learned().estimate(&at(Stage::Export, Some(4_000)), None).expect("it was seen");
    assert!((900..1_200).contains(&eta.p50_ms) && eta.p90_ms > 3_000, "{eta:?}");
}

#[test]
fn a_told_fraction_corrects_what_was_learned() {
    let mut slow = at(Stage::Shape, Some(1_000));
    slow.computing = Some((Duration::from_millis(1_000), 0.5));
    let eta = learned().estimate(&slow, Some(Duration::ZERO)).expect("all were seen");
    // 1,000 ms more at shape, then 600.
    assert!((1_200..1_700).contains(&eta.p50_ms), "{eta:?}");
}

#[test]
fn kinds_of_work_are_told_apart_once_they_were_seen_often_enough() {
    let mut model = learned();
    let fine = JobNow { kind: "fine".to_owned(), ..JobNow::default() };
    let typical = model.estimate(&fine, Some(Duration::ZERO)).expect("stages are known").p50_ms;
    assert!(typical.abs_diff(1_600) < 50);
    for n in 100..100 + KIND_MIN {
        Stage::ALL.into_iter().for_each(|stage| model.learn(&timing(n, stage, 2_000), "fine"));
    }
    let eta = model.estimate(&fine, Some(Duration::ZERO)).expect("stages are known");
    assert!(eta.p50_ms.abs_diff(8_000) < 80, "{eta:?}");
    assert_eq!(eta.learned_from, KIND_MIN);
}

#[test]
fn own_speed_counts_as_far_as_it_carried_over_in_the_past() {
    let model = |together: bool| {
        let mut model = EtaModel::new();
        for n in 0..200u64 {
            let slow = |n: u64| if (n * 7_919) % 10 < 5 { 1 } else { 3 };
            for stage in Stage::ALL {
                let factor = if together { slow(n) } else { slow(n * 31 + 17 * stage as u64 * (n / 3)) };
                model.learn(&timing(n, stage, 100 * factor), "");
            }
        }
        model
    };
    let mut job = at(Stage::Texture, None);
    job.kind = String::new();
    job.behind =
        vec![(Stage::Preprocess, Duration::from_millis(300)), (Stage::Shape, Duration::from_millis(300))];
    let left = |model: &EtaModel| model.estimate(&job, Some(Duration::ZERO)).expect("all were seen").p50_ms;
    assert!(model(true).carries_over() > 0.9, "{}", model(true).carries_over());
    assert!(left(&model(true)) > 500, "{}", left(&model(true)));
    assert!(model(false).carries_over() < 0.2, "{}", model(false).carries_over());
}

#[test]
fn a_running_stage_is_judged_by_batches_about_as_large_as_its_own() {
    let mut model = EtaModel::new();
    for n in 0..40 {
        let (items, ms) = if n % 2 == 0 { (1, 100) } else { (6, 500) };
        model.learn(&Timing { batch_items: items, ..timing(n, Stage::Export, ms) }, "standard");
    }
    let check = |items: Option<u32>, least_ms: u64, most_ms: u64| {
        let job = JobNow { batch_items: items, ..at(Stage::Export, Some(0)) };
        let found = model.estimate(&job, Some(Duration::ZERO)).expect("it was seen").p50_ms;
        assert!((least_ms..=most_ms).contains(&found), "{items:?}: {found}");
    };
    check(Some(1), 98, 102);
    check(Some(4), 490, 510);
    check(Some(64), 100, 500);
    check(None, 100, 500);
}

#[test]
fn old_times_are_forgotten_and_nothing_grows_without_limit() {
    let mut model = EtaModel::new();
    let mut job = |ms: u64, count: u64, kind: &dyn Fn(u64) -> String| {
        for n in 0..count {
            let mut timing = timing(0, Stage::Export, ms);
            timing.job = JobId(id(n));
            timing.stage = if n % 2 == 0 { Stage::Export } else { Stage::Texture };
            model.learn(&timing, &kind(n));
        }
    };
    job(100, 10_000, &|n| format!("k{n}"));
    job(700, 4 * GENERATION, &|_| "k0".to_owned());
    let eta =
        model.estimate(&JobNow { kind: "k0".to_owned(), ..at(Stage::Export, None) }, Some(Duration::ZERO));
    assert!(eta.expect("it was seen").p50_ms.abs_diff(700) <= 10);
    assert!(model.kinds[&Stage::Texture].len() <= KINDS_MAX && model.order.len() <= JOBS_MAX);
    assert!(model.jobs.len() <= JOBS_MAX);
    assert_eq!(EtaModel::new().estimate(&JobNow::default(), None), None);
}
