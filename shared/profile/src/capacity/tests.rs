//! Tests of limits and predictions: what is named, in which words, and what is not offered.

use super::*;
use crate::predict::{Change, Steps};
use crate::samples::{batch, config, timing, window};
use domain::{SpanTime, Timing};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn gpu() -> DeviceClass {
    DeviceClass("gpu-a".to_owned())
}

/// Lanes of each stage, on devices of their own.
fn own(lanes: [u32; 4]) -> Setup {
    let pool = |(stage, lanes): (Stage, u32)| Pool {
        device_class: gpu(),
        stages: BTreeSet::from([stage]),
        workers: lanes,
        lanes,
    };
    Setup { pools: Stage::ALL.into_iter().zip(lanes).map(pool).collect() }
}

fn shared(lanes: u32) -> Setup {
    let stages = BTreeSet::from(Stage::ALL);
    Setup { pools: vec![Pool { device_class: gpu(), stages, workers: 1, lanes }] }
}

/// Ten jobs whose tasks run alone, with compute times per stage.
fn jobs(ms: [u64; 4]) -> Vec<Timing> {
    let job = |n: u64| Stage::ALL.into_iter().zip(ms).map(move |(stage, ms)| timing(n, stage, ms));
    (0..10).flat_map(job).collect()
}

fn limit(timings: &[Timing], setup: &Setup) -> Limit {
    Capacity::new(&window(timings), setup).limit(&Declared::default()).expect("something was measured")
}

#[test]
fn the_stage_with_the_least_capacity_bounds_whatever_takes_the_most_time() {
    let check = |ms: [u64; 4], lanes: [u32; 4], expect: (Stage, f64)| {
        let found = limit(&jobs(ms), &own(lanes));
        assert_eq!(found.stage, expect.0, "{}", found.text);
        assert!((found.jobs_per_hour - expect.1).abs() < 0.01 * expect.1, "{}", found.text);
    };
    check([100, 900, 400, 200], [1, 1, 1, 1], (Stage::Shape, 4_000.0));
    check([100, 900, 400, 200], [1, 4, 1, 1], (Stage::Texture, 9_000.0));
    check([900, 900, 900, 900], [2, 2, 2, 1], (Stage::Export, 4_000.0));
}

#[test]
fn the_sentence_names_stage_limit_gain_and_who_limits_then() {
    let waiting = |mut task: Timing| {
        task.phases.queued_us = 3 * task.phases.compute_us;
        task
    };
    let long: Vec<Timing> = jobs([1_000, 90_000, 53_000, 5_000]).into_iter().map(waiting).collect();
    let found = limit(&long, &own([1, 1, 1, 1]));
    let start = "shape limits you at 40.0 jobs/h; one more shape worker gives 67.9 (texture then limits)";
    assert!(found.text.starts_with(start), "{}", found.text);
    assert!(found.saturated);
    let text = limit(&jobs([1_000, 90_000, 53_000, 5_000]), &own([1, 1, 1, 1])).text;
    assert!(text.contains("gives at least 67.9"), "{text}");
    let idle: Vec<Timing> =
        jobs([10, 20, 10, 10]).into_iter().map(|t| Timing { wall_us: 60_000, ..t }).collect();
    let text = limit(&idle, &own([1, 1, 1, 1])).text;
    assert!(text.contains("not busy yet: what comes is the limit now"), "{text}");
    let text = limit(&idle, &own([1, 1, 0, 1])).text;
    assert_eq!(text, "no worker serves texture: nothing goes through");
}

#[test]
fn stages_that_share_lanes_bound_together() {
    let found = limit(&jobs([100, 500, 300, 100]), &shared(2));
    assert_eq!((found.stage, found.jobs_per_hour.round()), (Stage::Shape, 7_200.0));
    assert_eq!(found.together_with, [Stage::Preprocess, Stage::Texture, Stage::Export]);
    assert!(found.text.contains("its lanes also do preprocess, texture, export"), "{}", found.text);
}

#[test]
fn stages_that_were_not_measured_are_named_and_not_reckoned_with() {
    let found = limit(&[timing(0, Stage::Shape, 100)], &own([0, 1, 1, 1]));
    assert_eq!(found.unknown, [Stage::Preprocess, Stage::Texture, Stage::Export]);
    assert_eq!((found.stage, found.stages.len()), (Stage::Shape, 1));
    let nothing = Capacity::new(&Window::new(), &own([1, 1, 1, 1]));
    assert_eq!(nothing.limit(&Declared::default()), None);
}

#[test]
fn a_stage_that_waits_for_work_is_judged_by_its_best_size_and_one_under_load_by_what_it_runs() {
    let sizes = |waited_ms: u64| -> Vec<Timing> {
        let ran = (0..20).map(|n| if n % 2 == 0 { (n, 1, 100) } else { (n, 4, 160) });
        let tasks = ran.flat_map(|(n, items, ms)| batch(n, Stage::Shape, items, ms));
        tasks
            .map(|mut task| {
                task.phases.queued_us = waited_ms * 1_000;
                task
            })
            .collect()
    };
    let check = |waited_ms: u64, expect_ms: f64| {
        let found = limit(&sizes(waited_ms), &own([1, 1, 1, 1])).stages[0].item_ms;
        assert!((found - expect_ms).abs() < 1.0, "{waited_ms}: {found}");
    };
    check(0, 40.0);
    check(1_000, 52.0);
}

/// Batches of shape under load: of one item 100 ms, of four 160 ms; 50 ms of load each, of which spans.
fn shape(precision: &str, factor: f64) -> Vec<Timing> {
    let ran = (0..20).flat_map(|n| batch(n, Stage::Shape, if n % 2 == 0 { 1 } else { 4 }, 0));
    let edit = |mut task: Timing| {
        let us = if task.batch_items == 1 { 100_000.0 } else { 160_000.0 } * factor;
        task.phases.compute_us = us as u64;
        task.phases.load_us = 50_000;
        task.phases.queued_us = 9_000_000;
        task.spans = vec![SpanTime { name: "denoise".to_owned(), us: (0.8 * us) as u64 }];
        task.precision = precision.to_owned();
        task
    };
    ran.map(edit).collect()
}

#[test]
fn changes_are_predicted_where_something_supports_them_and_refused_elsewhere() {
    let stage = Stage::Shape;
    let steps = Steps { now: 50, fewer: vec![25], span: "denoise".to_owned() };
    let declared = Declared {
        half_precision: BTreeMap::from([(stage, 0.5)]),
        steps: BTreeMap::from([(stage, steps.clone())]),
    };
    let capacity = Capacity::new(&window(&shape("f32", 1.0)), &own([1, 1, 1, 1]));
    let check = |change: Change, declared: &Declared, expect: Result<f64, &str>| match (
        capacity.predict(&change, declared),
        expect,
    ) {
        (Ok(found), Ok(percent)) => {
            assert!((found.gain_percent - percent).abs() < 0.5, "{change:?}: {found:?}");
        }
        (Err(found), Err(part)) => assert!(found.0.contains(part), "{found}"),
        (found, _) => panic!("{change:?} gave {found:?}"),
    };
    let nothing = Declared::default();
    // Now an item takes (100 + 50 + 160 + 50) / 5 = 72 ms.
    check(Change::AddLane { stage }, &nothing, Ok(100.0));
    check(Change::BatchSize { stage, items: 4 }, &nothing, Ok(100.0 * (72.0 / 52.5 - 1.0)));
    check(Change::BatchSize { stage, items: 2 }, &nothing, Ok(100.0 * (72.0 / 85.0 - 1.0)));
    check(Change::BatchSize { stage, items: 8 }, &nothing, Err("no batch of 8 at shape was measured"));
    check(Change::WarmModel { stage }, &nothing, Ok(100.0 * (72.0 / 52.0 - 1.0)));
    check(Change::HalfPrecision { stage }, &nothing, Err("not measured in half precision"));
    check(Change::HalfPrecision { stage }, &declared, Ok(100.0 * (72.0 / 46.0 - 1.0)));
    check(Change::FewerSteps { stage, steps: 25 }, &nothing, Err("no engine declares steps"));
    check(Change::FewerSteps { stage, steps: 25 }, &declared, Ok(100.0 * (72.0 / 51.2 - 1.0)));
    check(Change::FewerSteps { stage, steps: 50 }, &declared, Err("not fewer than 50"));
    let other = Steps { span: "sampling".to_owned(), ..steps };
    let other = Declared { steps: BTreeMap::from([(stage, other)]), ..nothing.clone() };
    check(Change::FewerSteps { stage, steps: 25 }, &other, Err("span sampling was not measured"));
    check(Change::AddLane { stage: Stage::Export }, &nothing, Err("no timing of export"));
}

#[test]
fn half_precision_that_was_measured_counts_more_than_what_is_declared() {
    let mut window = window(&shape("f32", 1.0));
    window.merge(&self::window(&shape("f16", 0.7)[..40]));
    let capacity = Capacity::new(&window, &own([1, 1, 1, 1]));
    let declared = Declared { half_precision: BTreeMap::from([(Stage::Shape, 0.5)]), ..Declared::default() };
    let found = capacity.predict(&Change::HalfPrecision { stage: Stage::Shape }, &declared);
    let text = found.expect("it was measured").text;
    assert!(text.contains("70 % of the compute time, measured in"), "{text}");
}

#[test]
fn one_waits_for_all_ahead_at_every_stage_still_to_come() {
    let capacity = Capacity::new(&window(&jobs([100, 900, 400, 200])), &own([1, 1, 1, 1]));
    let check = |stage: Stage, ahead: &[(Stage, u64, u64)], expect_ms: u64| {
        let of = |(stage, waiting, running): &(Stage, u64, u64)| {
            (*stage, Ahead { waiting: *waiting, running: *running, batches: *running })
        };
        let found = capacity.wait(stage, &ahead.iter().map(of).collect()).expect("all were measured");
        assert!(found.abs_diff(Duration::from_millis(expect_ms)).as_millis() <= 1, "{ahead:?}: {found:?}");
    };
    check(Stage::Preprocess, &[], 0);
    check(Stage::Preprocess, &[(Stage::Preprocess, 10, 0)], 9_000);
    check(Stage::Preprocess, &[(Stage::Preprocess, 10, 0), (Stage::Shape, 10, 0)], 18_000);
    check(Stage::Texture, &[(Stage::Preprocess, 10, 0), (Stage::Texture, 2, 1)], 1_000);
    check(Stage::Shape, &[(Stage::Export, 10, 0)], 2_000);
    check(Stage::Shape, &[(Stage::Shape, 0, 1)], 450);
    let two = Capacity::new(&window(&jobs([100, 900, 400, 200])), &own([2, 2, 2, 2]));
    let one_runs = BTreeMap::from([(Stage::Shape, Ahead { waiting: 0, running: 8, batches: 1 })]);
    assert_eq!(two.wait(Stage::Shape, &one_runs), Some(Duration::ZERO));
    let shared = Capacity::new(&window(&jobs([100, 900, 400, 200])), &shared(2));
    let found = shared
        .wait(Stage::Texture, &BTreeMap::from([(Stage::Texture, Ahead { waiting: 10, ..Ahead::default() })]));
    assert_eq!(found.map(|of| of.as_millis()), Some(3_000));
}

#[test]
fn those_who_go_along_in_the_same_batch_are_not_waited_for() {
    let fours = (0..10).flat_map(|n| batch(n, Stage::Shape, 4, 400));
    let after = [Stage::Texture, Stage::Export].map(|stage| timing(99, stage, 1));
    let all: Vec<Timing> = fours.chain(after).collect();
    let capacity = Capacity::new(&window(&all), &own([1, 1, 1, 1]));
    let check = |waiting: u64, running: u64, expect_ms: u128| {
        let ahead = BTreeMap::from([(Stage::Shape, Ahead { waiting, running, batches: 1 })]);
        assert_eq!(capacity.wait(Stage::Shape, &ahead).map(|of| of.as_millis()), Some(expect_ms));
    };
    check(0, 4, 200);
    check(3, 4, 200);
    check(4, 4, 600);
    check(9, 0, 800);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn another_worker_never_lowers_the_predicted_throughput(
        ms in prop::array::uniform4(1u64..5_000),
        lanes in prop::array::uniform4(1u32..5),
        together in 0u32..4,
    ) {
        let mut setup = own(lanes);
        if together > 0 {
            setup.pools.extend(shared(together).pools);
        }
        let capacity = Capacity::new(&window(&jobs(ms)), &setup);
        let nothing = Declared::default();
        let limit = capacity.limit(&nothing).expect("all were measured");
        let best = limit.predictions[0].gain_percent;
        for stage in Stage::ALL {
            let more = capacity.predict(&Change::AddLane { stage }, &nothing).expect("it was measured");
            prop_assert!(more.jobs_per_hour >= limit.jobs_per_hour * (1.0 - 1e-9));
            prop_assert!(best + 1e-6 >= more.gain_percent);
            prop_assert!(stage != limit.stage || more.gain_percent + 1e-6 >= best);
        }
    }
}

#[test]
fn a_batch_holds_its_lane_as_long_as_measured_ones_did_and_nothing_is_said_outside_them() {
    let sizes = [(2u32, 400u64), (4, 600)];
    let tasks = sizes.iter().flat_map(|(items, ms)| {
        (0..5).flat_map(move |n| batch(u64::from(*items) << 20 | n, Stage::Shape, *items, *ms))
    });
    let tasks: Vec<Timing> = tasks.collect();
    let capacity = Capacity::new(&window(&tasks), &own([1; 4]));
    let ms = |stage, class: &DeviceClass, items| {
        capacity.batch_time(stage, class, items).map(|time| time.as_millis())
    };
    assert_eq!([2, 3, 4].map(|items| ms(Stage::Shape, &gpu(), items)), [Some(400), Some(500), Some(600)]);
    assert_eq!((ms(Stage::Shape, &gpu(), 1), ms(Stage::Shape, &gpu(), 5)), (None, None));
    assert_eq!(ms(Stage::Texture, &gpu(), 2), None);
    assert_eq!(ms(Stage::Shape, &DeviceClass("host".to_owned()), 2), None);
}
