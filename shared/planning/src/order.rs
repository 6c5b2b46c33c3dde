//! In which order the drawn tasks of a stage are taken: one canonical case per rule of `share`.

use crate::held::Slot;
use crate::samples::{given, tenant};
use crate::share::{AGES_AFTER, ASIDE_MAX, StageLine};
use domain::{AckToken, BatchTask, Class, Stage, Timestamp};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_000_000);

/// A line with these tasks, all drawn now: (job, tenant, class).
fn line(tasks: &[(u64, u8, Class)]) -> StageLine {
    let mut line = StageLine::new(Stage::Shape);
    for (job, of, class) in tasks {
        line.push(&given(*job, *of, *class, NOW));
    }
    line
}

/// Takes a batch of the first shape in order.
fn take(line: &mut StageLine, now: Timestamp, max: usize, seconds: f64) -> Vec<Slot> {
    let Some(next) = line.shapes(now).first().copied() else { return Vec::new() };
    let first = line.first(now, next.shape).expect("something of it waits");
    line.take(first, max, seconds, |_| true)
}

fn jobs(line: &StageLine, taken: &[Slot]) -> Vec<u64> {
    taken.iter().map(|slot| crate::samples::number(line.pool.at(*slot).job)).collect()
}

fn served(line: &mut StageLine, now: Timestamp, seconds: f64) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let taken = take(line, now, 1, seconds);
        if taken.is_empty() {
            return all;
        }
        all.extend(jobs(line, &taken));
    }
}

#[test]
fn classes_are_strict_and_a_line_is_first_come_first_served() {
    use Class::{High, Low, Normal};
    let mut line = line(&[(1, 0, Low), (2, 0, Normal), (3, 0, High), (4, 0, Normal), (5, 0, High)]);
    assert_eq!(served(&mut line, NOW, 1.0), [3, 5, 2, 4, 1]);
    assert_eq!((line.len(), line.held(), line.active()), (0, 0, 0));
}

#[test]
fn a_task_rises_one_class_per_minute_of_waiting_and_then_goes_before_those_at_home_there() {
    let mut line = line(&[(1, 0, Class::Low)]);
    line.push(&given(2, 0, Class::Normal, NOW + Duration::from_secs(1)));
    let later = NOW + AGES_AFTER * 2;
    line.push(&given(3, 0, Class::High, later));
    assert_eq!(line.best_class(NOW), Some(Class::High));
    assert_eq!(served(&mut line, later, 1.0), [1, 2, 3]);
}

#[test]
fn what_has_waited_in_the_queue_has_risen_when_it_is_drawn_at_last() {
    let mut line = line(&[(1, 0, Class::High)]);
    let old = BatchTask { published_at: NOW - AGES_AFTER * 2, ..given(2, 0, Class::Low, NOW) };
    line.push(&old);
    assert_eq!(line.take_old(NOW - AGES_AFTER).len(), 0, "it is not held here that long");
    assert_eq!(served(&mut line, NOW, 1.0), [2, 1]);
}

#[test]
fn a_batch_is_filled_from_all_tenants_and_lower_classes_with_what_fits() {
    let low = Class::Low;
    let mut line = line(&[(1, 0, Class::High), (2, 1, Class::High), (3, 2, low), (4, 2, low)]);
    let first = line.first(NOW, 0).expect("the first");
    let taken = line.take(first, 3, 0.01, |job| job != crate::samples::job(2));
    assert_eq!(jobs(&line, &taken), [1, 3, 4]);
    assert_eq!(line.len_of(Class::High, &tenant(1)), 1);
}

#[test]
fn a_task_delivered_again_keeps_its_place_and_gets_the_newer_token() {
    let mut line = line(&[(1, 0, Class::Normal), (2, 0, Class::Normal)]);
    let mut again = given(1, 0, Class::Normal, NOW);
    again.ack_token = AckToken("newer".to_owned());
    line.push(&again);
    assert!(line.remove_token(crate::samples::job(1), &AckToken("token-1".to_owned())).is_none());
    let taken = take(&mut line, NOW, 9, 0.01);
    assert_eq!(jobs(&line, &taken), [1, 2]);
    assert_eq!(line.pool.open(taken[0]).ack_token, AckToken("newer".to_owned()));
}

#[test]
fn what_is_put_back_stands_where_it_stood() {
    let mut line = line(&[(1, 0, Class::Normal), (2, 0, Class::Normal), (3, 0, Class::Normal)]);
    for slot in take(&mut line, NOW, 2, 0.01) {
        line.put_back(slot);
    }
    assert_eq!(served(&mut line, NOW, 0.01), [1, 2, 3]);
}

#[test]
fn what_is_set_aside_does_not_block_and_comes_back_to_its_place_up_to_a_limit() {
    let tasks: Vec<_> = (0..40).map(|job| (job, 0, Class::Normal)).collect();
    let mut line = line(&tasks);
    line.push(&given(99, 1, Class::Low, NOW));
    for _ in 0..=ASIDE_MAX {
        let slot = line.first(NOW, 0).expect("one that stands in line");
        line.set_aside(slot, NOW);
    }
    assert_eq!((line.held() - line.len(), line.len(), line.held()), (ASIDE_MAX, 41 - ASIDE_MAX, 41));
    let taken = take(&mut line, NOW, 9, 0.0);
    assert_eq!(jobs(&line, &taken), [99], "another's line goes on");
    assert!(line.first(NOW, 0).is_none(), "its own waits");
    line.try_aside_again();
    assert_eq!(line.passed().count(), ASIDE_MAX);
    let taken = take(&mut line, NOW, 1, 0.0);
    assert_eq!(jobs(&line, &taken), [0]);
    assert_eq!(line.passed_since(crate::samples::job(0)), None);
    assert_eq!(line.take_old(NOW).len(), 39);
}

#[test]
fn a_batch_takes_all_tasks_of_its_shape_however_others_stand_between_them() {
    let mut line = StageLine::new(Stage::Shape);
    for n in 0..40 {
        let mut given = given(n, (n % 2) as u8, Class::Normal, NOW);
        given.task.recipe.quality = domain::Quality::ALL[n as usize % 3];
        line.push(&given);
    }
    let taken = take(&mut line, NOW, 10, 0.01);
    assert_eq!(jobs(&line, &taken).len(), 10, "13 of the shape wait, never two in a row");
    assert!(jobs(&line, &taken).iter().all(|n| n % 3 == 0));
}

#[test]
fn a_light_tenants_only_shape_comes_before_more_of_a_heavy_ones() {
    let mut line = StageLine::new(Stage::Shape);
    for n in 0..200 {
        line.push(&given(n, 0, Class::Normal, NOW));
    }
    let mut other = given(500, 1, Class::Normal, NOW + Duration::from_secs(5));
    other.task.recipe.quality = domain::Quality::Fine;
    line.push(&other);
    let served = served(&mut line, NOW, 0.05);
    let place = served.iter().position(|n| *n == 500).expect("it is served");
    assert!(place <= 12, "{place}: two quanta of 0.25 s are ten tasks of 0.05 s");
}

/// Property J: a decision looks at the heads of lines and at what it moves, however much waits.
#[test]
fn a_decision_looks_at_no_more_tasks_when_a_thousand_times_as_many_wait() {
    let looked_at = |waiting: u64| {
        let tasks: Vec<_> = (0..waiting).map(|job| (job, (job % 4) as u8, Class::Normal)).collect();
        let mut line = line(&tasks);
        let before = line.pool.looks();
        for _ in 0..10 {
            assert_eq!(take(&mut line, NOW, 5, 0.1).len(), 5);
        }
        line.pool.looks() - before
    };
    let few = looked_at(100);
    let many = looked_at(100_000);
    // Taking a task out of its line finds it there by halving.
    assert!(many <= few + 10 * 5 * 17 && few <= 10 * 5 * 24, "{few}, then {many}");
}
