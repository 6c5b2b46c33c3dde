//! Tests of trends: steps, slopes, steady noise, and what they are put down to.

use super::*;
use crate::samples::{timing, window};
use domain::Timing;

/// A number that looks random, about -1 to 1 with variance 1/6.
fn noise(n: u64) -> f64 {
    let mix = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n ^ (n >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    mix(n.wrapping_mul(2).wrapping_add(1)) - mix(n.wrapping_mul(3).wrapping_add(77) << 20)
}

/// One task per second with these times.
fn trend(count: u64, ms: impl Fn(u64) -> f64, edit: impl Fn(u64, &mut Timing)) -> Trend {
    let timings: Vec<Timing> = (0..count)
        .map(|n| {
            let mut timing = timing(n, Stage::Texture, 0);
            timing.phases.compute_us = (ms(n) * 1e3) as u64;
            edit(n, &mut timing);
            timing
        })
        .collect();
    window(&timings).trends().remove(0)
}

#[test]
fn a_step_is_found_where_it_is_and_put_down_to_the_engine_version() {
    let step = |n: u64| if n < 400 { 100.0 } else { 131.0 };
    let found = trend(
        900,
        |n| step(n) * (1.0 + 0.1 * noise(n)),
        |n, timing| {
            timing.at = Timestamp((14 * 3_600 + 2 * 60 - 400) * 1_000 + n * 1_000);
            timing.engine.version = if n < 400 { "1" } else { "2" }.to_owned();
        },
    );
    assert_eq!(found.changes.len(), 1, "{found:?}");
    let change = &found.changes[0];
    assert!((change.slower_percent - 31.0).abs() < 3.0);
    assert_eq!(change.engine.as_ref().map(|of| of.version.as_str()), Some("2"));
    let start = "texture became 31 % slower at 14:02 UTC, with engine version plain 2 (";
    assert!(change.text.starts_with(start), "{}", change.text);
    assert_eq!(found.direction, Direction::Stable);
}

#[test]
fn steps_up_and_down_are_both_found_and_what_did_not_change_is_not_named() {
    let found = trend(
        900,
        |n| if (300..600).contains(&n) { 150.0 } else { 100.0 } * (1.0 + 0.1 * noise(n)),
        |n, timing| timing.batch_items = if n < 300 { 1 } else { timing.batch_items },
    );
    let brief: Vec<_> =
        found.changes.iter().map(|of| (of.slower_percent.round(), of.engine.is_some())).collect();
    assert_eq!(brief.len(), 2, "{found:?}");
    assert!((brief[0].0 - 50.0).abs() < 5.0 && (brief[1].0 + 33.0).abs() < 4.0, "{brief:?}");
    assert!(brief.iter().all(|(_, engine)| !engine));
}

#[test]
fn another_precision_is_named() {
    let half = |n: u64| n >= 300;
    let found = trend(
        600,
        |n| if half(n) { 55.0 } else { 100.0 } * (1.0 + 0.1 * noise(n)),
        |n, timing| timing.precision = if half(n) { "f16" } else { "f32" }.to_owned(),
    );
    assert_eq!(found.changes[0].precision.as_deref(), Some("f16"));
    assert!(found.changes[0].text.contains("45 % faster"), "{}", found.changes[0].text);
}

#[test]
fn steady_noise_has_no_change_points_and_no_slope() {
    let (mut changes, mut slopes) = (0, 0);
    for seed in 0..200u64 {
        let found = trend(
            600,
            |n| {
                let burst = 0.3 * noise(seed * 7_919 + n / 20);
                100.0 * (1.0 + burst + 0.2 * noise(seed * 104_729 + n))
            },
            |_, _| (),
        );
        changes += found.changes.len();
        slopes += usize::from(found.direction != Direction::Stable);
    }
    assert!(changes <= 2, "{changes} change points in 200 steady hours");
    assert!(slopes <= 6, "{slopes} slopes in 200 steady hours");
}

#[test]
fn a_slow_drift_is_a_slope() {
    let check = |per_hour: f64, expect: Direction| {
        let found = trend(
            3_600,
            |n| 100.0 * (1.0 + per_hour).powf(n as f64 / 3_600.0) * (1.0 + 0.1 * noise(n)),
            |_, _| (),
        );
        assert_eq!(found.direction, expect, "{per_hour}: {found:?}");
        assert!((found.percent_per_hour - 100.0 * per_hour).abs() < 2.0, "{}", found.percent_per_hour);
    };
    check(0.09, Direction::Increasing);
    check(-0.08, Direction::Decreasing);
    check(0.0, Direction::Stable);
}

#[test]
fn a_long_series_becomes_coarser_and_merges_with_a_fine_one() {
    let all: Vec<Timing> = (0..40_000u64)
        .map(|n| Timing { at: Timestamp(n * 2_000), ..timing(n, Stage::Texture, 100) })
        .collect();
    let (long, short) = all.split_at(39_000);
    let mut merged = window(long);
    merged.merge(&window(short));
    let of = |window: &Window| {
        let (_, _, series) = window.series().next().expect("one series");
        let brief = |(at, of): (&u64, &Bucket)| (*at, of.n, of.items, of.sum.round(), of.variants.clone());
        (series.width_ms, series.buckets.iter().map(brief).collect::<Vec<_>>())
    };
    let (found, expect) = (of(&merged), of(&window(&all)));
    assert_eq!(found.0, WIDTH_MS * 8);
    assert!(found == expect);
    assert!(merged.trends()[0].changes.is_empty());
}
