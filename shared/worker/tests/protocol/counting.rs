//! What counts as an attempt, who is charged, and what a dead letter says.

use crate::trials;
use crate::world::World;
use domain::{BatchEnd, DEAD, DeadLetter, Ending, TaskEnd};
use futures::StreamExt;
use libtest_mimic::Trial;
use ports::Backlog;
use std::slice::from_ref;

pub fn tests() -> Vec<Trial> {
    trials![
        five_counted_attempts_end_a_task_and_its_letter_says_how_the_last_one_failed,
        a_broken_device_charges_the_item_that_was_computed_and_offers_nothing_until_a_runner_starts,
        what_ends_its_runner_is_charged_and_its_neighbours_are_computed,
        what_lacks_memory_alone_says_so_in_its_marker_and_goes_back,
        an_input_that_is_missing_counts_and_its_marker_says_so,
    ]
}

async fn five_counted_attempts_end_a_task_and_its_letter_says_how_the_last_one_failed() {
    let world = World::new().await;
    let task = world.upload("fail the disk is on fire").await;
    // The first delivery leaves no marker: six failures are five that count.
    for delivery in 1..=6 {
        world.run(world.draw(from_ref(&task)).await).await;
        let timing = world.timing(task.job).await;
        assert_eq!((timing.end, timing.delivery), (TaskEnd::Failed, delivery));
        assert_eq!(timing.engine.name, "scripted");
        assert_eq!(world.markers(&task).await as u64, delivery - 1);
    }
    world.run(world.draw(from_ref(&task)).await).await;
    let timing = world.timing(task.job).await;
    assert_eq!((timing.end, timing.phases.compute_us), (TaskEnd::Dead, 0));
    let expect = "5 attempts at preprocess failed; the last: the disk is on fire";
    let outcome = world.outcome(&task).await.expect("an outcome");
    assert_eq!(outcome.ending, Ending::Dead { stage: task.stage, error: expect.to_owned() });
    let mut letters = world.ports.wire.follow(&DEAD, "dead.*.*", 1).await.expect("a log");
    let letter = letters.next().await.expect("a letter").expect("a log");
    let letter: DeadLetter = serde_json::from_slice(&letter.payload).expect("a letter");
    assert_eq!((letter.attempts, letter.error.as_str()), (5, expect));
    assert_eq!(world.backlog(&task).await, Backlog::default());
}

async fn a_broken_device_charges_the_item_that_was_computed_and_offers_nothing_until_a_runner_starts() {
    let world = World::new().await;
    let (good, bad) = (world.upload("ok").await, world.upload("exit 70").await);
    let behind = world.upload("ok").await;
    let tasks = [good.clone(), bad.clone(), behind.clone()];
    let batch = world.run(world.draw_again(&tasks).await).await;
    assert_eq!(world.ended(batch).await.end, BatchEnd::DeviceLost);
    world.offer(|offer| offer.valid_for_ms == 0).await;
    world.offer(|offer| offer.lanes_free == 1).await;
    for (task, end, markers) in
        [(&good, TaskEnd::Committed, 1), (&bad, TaskEnd::Failed, 1), (&behind, TaskEnd::NotRun, 0)]
    {
        assert_eq!(world.timing(task.job).await.end, end);
        assert_eq!(world.markers(task).await, markers, "{end:?}");
    }
    // What was not computed waits already, and runs on the device that has proved itself.
    world.run(world.draw(&[bad, behind.clone()]).await.split_off(1)).await;
    assert_eq!(world.timing(behind.job).await.end, TaskEnd::Committed);
}

async fn what_ends_its_runner_is_charged_and_its_neighbours_are_computed() {
    let world = World::new().await;
    let (bad, good) = (world.upload("exit 3").await, world.upload("ok").await);
    let batch = world.run(world.draw_again(&[bad.clone(), good.clone()]).await).await;
    assert_eq!(world.ended(batch).await.end, BatchEnd::RunnerLost);
    assert_eq!(world.timing(bad.job).await.end, TaskEnd::Failed);
    assert_eq!(world.timing(good.job).await.end, TaskEnd::Committed);
    assert_eq!(world.markers(&bad).await, 1);
}

async fn what_lacks_memory_alone_says_so_in_its_marker_and_goes_back() {
    let world = World::new().await;
    let task = world.upload("lack").await;
    let batch = world.run(world.draw_again(from_ref(&task)).await).await;
    let ended = world.ended(batch).await;
    assert_eq!(ended.end, BatchEnd::OutOfMemory { at_items: 1 });
    assert_eq!((ended.ran_out.len(), ended.items), (1, 0), "the planner learns whose item it was");
    assert_eq!(world.timing(task.job).await.end, TaskEnd::OutOfMemory);
    let marker = world.text(&world.artifacts(&task).await[0]).await;
    assert!(marker.contains("with 256.0 MiB reserved"), "{marker}");
    assert_eq!(world.draw(&[task]).await[0].delivery, 3);
}

async fn an_input_that_is_missing_counts_and_its_marker_says_so() {
    let world = World::new().await;
    let first = world.upload("ok").await;
    world.run(world.draw(from_ref(&first)).await).await;
    world.timing(first.job).await;
    let lost = world.artifacts(&first).await;
    world.ports.store.delete(world.ledger.bucket(), &lost).await.expect("a store");
    let task = first.at_stage(domain::Stage::Shape);
    world.run(world.draw_again(from_ref(&task)).await).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Failed);
    assert_eq!(world.markers(&task).await, 1);
    let marker = world.text(&world.artifacts(&task).await[0]).await;
    assert!(marker.contains("missing cutout.png of preprocess"), "{marker}");
}
