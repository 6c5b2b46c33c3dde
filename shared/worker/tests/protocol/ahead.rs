//! The next batch: fetched while one runs, computed on its lane without a further word.

use crate::trials;
use crate::world::World;
use domain::{Batch, BatchEnd, BatchReply, DeviceEntry, RefusedReason, Task, TaskEnd};
use libtest_mimic::Trial;
use ports::Backlog;
use std::path::PathBuf;
use std::slice::from_ref;

pub fn tests() -> Vec<Trial> {
    trials![
        the_next_batch_is_fetched_while_one_runs_and_then_has_its_lane,
        a_batch_that_waits_for_a_lane_is_stopped_alone,
        a_drain_gives_back_what_waits_for_a_lane,
    ]
}

/// A batch that runs until somebody writes into the pipe, and one that waits for its lane.
async fn two(world: &World) -> ((Batch, Task, PathBuf), (Batch, Task)) {
    let pipe = world.pipe();
    let runs = world.upload(&format!("until {}", pipe.display())).await;
    let batch = world.batch(world.draw(from_ref(&runs)).await);
    let first = Batch { expected_ms: Some(0), ..batch };
    assert_eq!(world.propose(&first).await, BatchReply::Accepted);
    world.started(runs.job).await;
    world.offer(|offer| offer.next_bytes == Some(first.bytes) && offer.lanes_free == 0).await;
    let waits = world.upload("ok").await;
    let second = world.batch(world.draw(from_ref(&waits)).await);
    assert_eq!(world.propose(&second).await, BatchReply::Accepted);
    ((first, runs, pipe), (second, waits))
}

async fn the_next_batch_is_fetched_while_one_runs_and_then_has_its_lane() {
    let world = World::new().await;
    let ((first, runs, pipe), (second, waits)) = two(&world).await;
    let entry =
        world.ports.boards.read(&domain::DEVICES, "device").await.expect("a board").expect("an entry");
    let entry: DeviceEntry = serde_json::from_slice(&entry.value).expect("an entry");
    let on_lane = |batch: &Batch| entry.running.iter().find(|of| of.id == batch.id).map(|of| !of.waits);
    assert_eq!((on_lane(&first), on_lane(&second)), (Some(true), Some(false)));
    let third = world.batch(world.draw(&[world.upload("ok").await]).await);
    let reply = world.propose(&third).await;
    assert!(matches!(reply, BatchReply::Refused { reason: RefusedReason::NoLane, .. }), "{reply:?}");
    world.write(pipe).await;
    let (before, after) = (world.ended(first.id).await, world.ended(second.id).await);
    assert_eq!((before.end, after.end, after.items), (BatchEnd::Done, BatchEnd::Done, 1));
    assert_eq!(world.timing(runs.job).await.end, TaskEnd::Committed);
    let timing = world.timing(waits.job).await;
    assert_eq!(timing.end, TaskEnd::Committed);
    assert!(timing.unaccounted_us <= timing.wall_us / 100, "{timing:?}");
    assert!(
        timing.phases.wait_us > 0 && after.lane_us < timing.wall_us - timing.phases.wait_us,
        "{timing:?}"
    );
    world.offer(|offer| offer.lanes_free == 1 && offer.next_bytes.is_none()).await;
}

async fn a_batch_that_waits_for_a_lane_is_stopped_alone() {
    let world = World::new().await;
    let ((first, runs, pipe), (second, waits)) = two(&world).await;
    world.stop(second.id).await;
    assert_eq!(world.ended(second.id).await.end, BatchEnd::Stopped);
    assert_eq!(world.timing(waits.job).await.end, TaskEnd::NotRun);
    // Another may come in its place.
    world.offer(|offer| offer.next_bytes.is_some()).await;
    world.write(pipe).await;
    assert_eq!(world.ended(first.id).await.end, BatchEnd::Done);
    assert_eq!(world.timing(runs.job).await.end, TaskEnd::Committed);
    world.offer(|offer| offer.lanes_free == 1).await;
}

async fn a_drain_gives_back_what_waits_for_a_lane() {
    let world = World::new().await;
    let ((_, runs, pipe), (second, waits)) = two(&world).await;
    world.shutdown.cancel();
    assert_eq!(world.ended(second.id).await.end, BatchEnd::Stopped);
    assert_eq!(world.timing(waits.job).await.end, TaskEnd::NotRun);
    let (waiting, in_flight) = (1, 1);
    assert_eq!(world.backlog(&waits).await, Backlog { waiting, in_flight }, "the one that runs is in flight");
    world.write(pipe).await;
    assert_eq!(world.timing(runs.job).await.end, TaskEnd::Committed);
}
