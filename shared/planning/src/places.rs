//! Where batches go and when, beyond memory: what was measured elsewhere, what ran out, what a start costs.

use crate::samples::{given, limits, offer, tell};
use crate::{Decision, Event, Footprint, FootprintKey, Planner};
use domain::{
    Batch, BatchTask, Bytes, Class, Consumer, DeviceClass, Epoch, Offer, Quality, Stage, Timestamp, WorkerId,
};
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_000_000);

fn task(n: u64, stage: Stage) -> BatchTask {
    let mut given = given(n, 0, Class::Normal, NOW);
    given.task.stage = stage;
    given
}

fn class(name: &str) -> DeviceClass {
    DeviceClass(name.to_owned())
}

/// A worker of a class of device with one lane.
fn worker(name: &str, gib: u64) -> Offer {
    Offer { device_class: class(name), ..offer(name, gib, 1) }
}

fn busy(offer: Offer) -> Offer {
    Offer { lanes_free: 0, ..offer }
}

fn known(stage: Stage, name: &str, list: &[(u32, u64, u64)]) -> (FootprintKey, Footprint) {
    let mut footprint = Footprint::default();
    for (items, gib, ms) in list.iter().cycle().take(list.len() * 8) {
        footprint.observe(*items, Bytes::gib(*gib), Duration::from_millis(*ms));
    }
    (FootprintKey::of(&task(0, stage).task, "", &class(name)), footprint)
}

fn planner(known: impl IntoIterator<Item = (FootprintKey, Footprint)>) -> Planner {
    Planner::new(limits(1), Epoch(3), known.into_iter().collect::<BTreeMap<_, _>>())
}

fn see(planner: &mut Planner, now: Timestamp, given: BatchTask) -> Vec<(WorkerId, Batch)> {
    let consumer = Consumer::of_task(&given.task);
    let mut decisions = tell(planner, now, Event::TaskSeen(given));
    decisions.extend(tell(planner, now, Event::DrawEnded(consumer)));
    proposals(decisions)
}

fn hear(planner: &mut Planner, now: Timestamp, offer: Offer) -> Vec<(WorkerId, Batch)> {
    proposals(tell(planner, now, Event::OfferMade(offer)))
}

fn proposals(decisions: Vec<Decision>) -> Vec<(WorkerId, Batch)> {
    let proposed = decisions.into_iter().filter_map(|decision| match decision {
        Decision::Propose(worker, batch) => Some((worker, batch)),
        _ => None,
    });
    proposed.collect()
}

#[test]
fn what_was_measured_on_another_kind_of_device_is_the_prior_of_this_one() {
    let mut planner = planner([known(Stage::Shape, "large", &[(1, 20, 1_000)])]);
    hear(&mut planner, NOW, busy(worker("large", 80)));
    hear(&mut planner, NOW, worker("small", 8));
    assert!(see(&mut planner, NOW, task(1, Stage::Shape)).is_empty(), "20 GiB do not fit into 8");
    let (worker, batch) = hear(&mut planner, NOW, worker("large", 80)).remove(0);
    assert_eq!((worker.as_str(), batch.tasks.len()), ("large", 1));
}

#[test]
fn a_shape_that_ran_out_alone_is_not_tried_with_each_of_its_tasks_while_a_larger_device_may_take_it() {
    let (key, mut ran_out) = known(Stage::Shape, "small", &[]);
    ran_out.ran_out(1, Bytes::gib(5), NOW);
    let mut planner = planner([(key, ran_out)]);
    hear(&mut planner, NOW, busy(worker("large", 80)));
    hear(&mut planner, NOW, worker("small", 8));
    assert!(see(&mut planner, NOW, task(1, Stage::Shape)).is_empty());
    // Nobody else is left: then only its own measured failure speaks against a task.
    let gone = Event::OfferWithdrawn("large".parse().expect("a name"));
    let (worker, batch) = proposals(tell(&mut planner, NOW, gone)).remove(0);
    assert!(worker.as_str() == "small" && batch.why.starts_with("1 alone with all"), "{}", batch.why);
}

#[test]
fn a_batch_grows_where_one_item_was_measured_as_it_grows_where_more_were() {
    let small = || known(Stage::Shape, "small", &[(1, 3, 1_000)]);
    let large = known(Stage::Shape, "large", &[(1, 3, 1_000), (2, 4, 1_200), (4, 6, 1_600)]);
    let items = |known: Vec<(FootprintKey, Footprint)>| {
        let mut planner = planner(known);
        for n in 1..5 {
            see(&mut planner, NOW, task(n, Stage::Shape));
        }
        hear(&mut planner, NOW, worker("small", 8))[0].1.tasks.len()
    };
    assert_eq!(items(vec![small()]), 1, "3 GiB each, as far as is known");
    assert_eq!(items(vec![small(), large]), 2);
}

#[test]
fn a_runner_is_started_when_that_pays_and_not_while_its_device_has_other_work() {
    let (shape, mut slow_start) = known(Stage::Shape, "large", &[(1, 1, 1_000)]);
    slow_start.loaded(Duration::from_secs(2));
    let texture = known(Stage::Texture, "large", &[(1, 1, 3_000), (2, 1, 3_100), (4, 1, 3_300)]);
    let first_of = |shapes: u64, textures: u64| {
        let mut planner = planner([(shape.clone(), slow_start.clone()), texture.clone()]);
        let elsewhere = Offer { warm: vec![Stage::Shape], ..offer("b", 80, 1) };
        hear(&mut planner, NOW, busy(Offer { device_class: class("large"), ..elsewhere }));
        (0..shapes).for_each(|n| drop(see(&mut planner, NOW, task(n, Stage::Shape))));
        (0..textures).for_each(|n| drop(see(&mut planner, NOW, task(n, Stage::Texture))));
        let warm = Offer { warm: vec![Stage::Texture], ..worker("large", 80) };
        hear(&mut planner, NOW + Duration::from_secs(2), warm)[0].1.stage
    };
    assert_eq!(first_of(3, 0), Stage::Shape, "it would idle");
    assert_eq!(first_of(39, 1), Stage::Texture, "its runner is loaded, though the batch is not full");
    assert_eq!(first_of(41, 1), Stage::Shape, "more than twenty starts wait for the one loaded runner");
}

#[test]
fn a_full_batch_of_another_shape_goes_before_one_that_may_still_fill() {
    let mut all = Vec::new();
    for quality in [Quality::Standard, Quality::Fine] {
        let (_, footprint) = known(Stage::Shape, "large", &[(1, 1, 3_000), (2, 1, 3_100), (4, 1, 3_300)]);
        let mut given = task(0, Stage::Shape);
        given.task.recipe.quality = quality;
        all.push((FootprintKey::of(&given.task, "", &class("large")), footprint));
    }
    let mut planner = planner(all);
    see(&mut planner, NOW, task(0, Stage::Shape));
    for n in 1..9 {
        let mut given = task(n, Stage::Shape);
        given.task.recipe.quality = Quality::Fine;
        see(&mut planner, NOW, given);
    }
    let warm = || Offer { warm: vec![Stage::Shape], ..worker("large", 80) };
    let (_, full) = hear(&mut planner, NOW, warm()).remove(0);
    assert_eq!(full.tasks.len(), 8, "{}", full.why);
    tell(&mut planner, NOW, Event::BatchAccepted(full.id));
    tell(&mut planner, NOW, Event::BatchRefused(full.id, None));
    let later = NOW + Duration::from_secs(10);
    let (_, old) = hear(&mut planner, later, warm()).remove(0);
    assert_eq!(old.tasks.len(), 1, "it has waited for long enough: {}", old.why);
}

#[test]
fn a_full_batch_comes_for_the_lane_that_is_free_next_if_that_has_its_runner() {
    let footprint = || known(Stage::Shape, "large", &[(1, 1, 3_000), (2, 1, 3_100), (4, 1, 3_300)]);
    let cut_with = |warm: Stage| {
        let mut planner = planner([footprint()]);
        let next_bytes = Some(Bytes::gib(60));
        let soon = Offer { next_bytes, reserved_bytes: Bytes::gib(60), ..busy(worker("large", 80)) };
        hear(&mut planner, NOW, Offer { warm: vec![warm], ..soon });
        let cut: Vec<_> = (0..8).flat_map(|n| see(&mut planner, NOW, task(n, Stage::Shape))).collect();
        cut
    };
    let (_, batch) = cut_with(Stage::Shape).remove(0);
    assert_eq!(batch.tasks.len(), 8, "fewer may still grow: {}", batch.why);
    assert!(batch.why.ends_with("for the lane that is free next"), "{}", batch.why);
    assert!(batch.expected_ms.is_some_and(|ms| ms > 3_000), "{:?}", batch.expected_ms);
    assert!(cut_with(Stage::Texture).is_empty(), "its runner would have to be started first");
}
