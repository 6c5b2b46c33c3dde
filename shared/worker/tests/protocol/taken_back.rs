//! What is taken from the worker: batches by the planner, items by people, the worker itself by its drain.

use crate::trials;
use crate::world::World;
use domain::{BatchEnd, BatchReply, Ending, Life, Outcome, RefusedReason, TaskEnd};
use libtest_mimic::Trial;
use ports::Backlog;
use std::slice::from_ref;

pub fn tests() -> Vec<Trial> {
    trials![
        a_batch_that_was_stopped_before_it_came_is_refused,
        a_batch_that_is_stopped_while_it_is_fetched_computes_nothing_and_leaves_no_marker,
        a_batch_that_is_stopped_while_it_computes_leaves_its_tokens_and_no_marker,
        a_cancelled_item_is_taken_out_acknowledged_and_its_neighbours_finish,
        a_cancel_without_an_outcome_gives_the_item_back,
        a_drain_finishes_what_runs_and_keeps_its_entry_fresh_until_then,
        idle_runners_end_when_somebody_asks_for_their_memory,
        a_batch_that_cannot_be_entered_on_the_board_is_refused_and_its_lane_is_free,
        whoever_hears_of_a_batchs_end_has_its_lane,
    ]
}

const HELD: Backlog = Backlog { waiting: 0, in_flight: 1 };

async fn a_batch_that_was_stopped_before_it_came_is_refused() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    let batch = world.batch(world.draw(from_ref(&task)).await);
    world.stop(batch.id).await;
    let reply = world.propose(&batch).await;
    assert!(matches!(reply, BatchReply::Refused { reason: RefusedReason::Draining, .. }), "{reply:?}");
    assert_eq!(world.manifest(&task).await, None);
}

async fn a_batch_that_is_stopped_while_it_is_fetched_computes_nothing_and_leaves_no_marker() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    let given = world.draw_again(from_ref(&task)).await;
    world.store.lists.close();
    let batch = world.run(given).await;
    world.store.lists.somebody().await;
    world.stop(batch).await;
    assert_eq!(world.ended(batch).await.end, BatchEnd::Stopped);
    world.store.lists.open();
    assert_eq!(world.timing(task.job).await.end, TaskEnd::NotRun);
    assert_eq!((world.artifacts(&task).await, world.manifest(&task).await), (vec![], None));
    assert_eq!(world.backlog(&task).await, HELD, "the token is its giver's");
}

async fn a_batch_that_is_stopped_while_it_computes_leaves_its_tokens_and_no_marker() {
    let world = World::new().await;
    let (hangs, waits) = (world.upload("hang").await, world.upload("ok").await);
    let batch = world.run(world.draw_again(&[hangs.clone(), waits.clone()]).await).await;
    world.started(hangs.job).await;
    assert_eq!((world.markers(&hangs).await, world.markers(&waits).await), (1, 1));
    world.stop(batch).await;
    assert_eq!(world.ended(batch).await.end, BatchEnd::Stopped);
    for task in [&hangs, &waits] {
        assert_eq!(world.timing(task.job).await.end, TaskEnd::NotRun);
        assert_eq!(world.markers(task).await, 0);
    }
    assert_eq!(world.backlog(&hangs).await, Backlog { waiting: 0, in_flight: 2 });
}

async fn a_cancelled_item_is_taken_out_acknowledged_and_its_neighbours_finish() {
    let world = World::new().await;
    let (hangs, waits) = (world.upload("hang").await, world.upload("ok").await);
    world.run(world.draw(&[hangs.clone(), waits.clone()]).await).await;
    world.started(hangs.job).await;
    let now = world.ports.clock.now();
    let ending = Ending::Cancelled { reason: "requested".to_owned() };
    let outcome =
        Outcome { job: hangs.job, life: Life(0), ending, decided_at: now, intermediates_expire_at: now };
    world.ledger.decide(&outcome).await.expect("a store");
    world.cancel(hangs.job).await;
    assert_eq!(world.timing(hangs.job).await.end, TaskEnd::Cancelled);
    assert_eq!(world.timing(waits.job).await.end, TaskEnd::Committed);
    assert_eq!(world.backlog(&hangs).await, Backlog::default());
    assert_eq!(world.outcome(&hangs).await, Some(outcome));
}

async fn a_cancel_without_an_outcome_gives_the_item_back() {
    let world = World::new().await;
    let task = world.upload("hang").await;
    world.run(world.draw(from_ref(&task)).await).await;
    world.started(task.job).await;
    world.cancel(task.job).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Cancelled);
    assert_eq!(world.draw(from_ref(&task)).await[0].delivery, 2, "only an outcome permits to acknowledge");
    assert_eq!(world.outcome(&task).await, None);
}

async fn a_drain_finishes_what_runs_and_keeps_its_entry_fresh_until_then() {
    let world = World::new().await;
    let pipe = world.pipe();
    let task = world.upload(&format!("until {}", pipe.display())).await;
    world.run(world.draw(from_ref(&task)).await).await;
    world.started(task.job).await;
    world.shutdown.cancel();
    world.offer(|offer| offer.valid_for_ms == 0).await;
    let late = world.upload("ok").await;
    let reply = world.propose(&world.batch(world.draw(&[late]).await)).await;
    assert!(matches!(reply, BatchReply::Refused { reason: RefusedReason::Draining, .. }), "{reply:?}");
    let drained = world.entry_after(0).await;
    world.entry_after(drained).await;
    world.write(pipe).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
    let boards = world.ports.boards.clone();
    world.worker.await.expect("no panic").expect("no refusal");
    assert_eq!(boards.read(&domain::DEVICES, "device").await.expect("a board"), None);
}

async fn idle_runners_end_when_somebody_asks_for_their_memory() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    let batch = world.run(world.draw(from_ref(&task)).await).await;
    world.ended(batch).await;
    world.offer(|offer| !offer.warm.is_empty()).await;
    assert_eq!(world.release().await, 1);
    assert_eq!(world.release().await, 0, "none is left");
    let again = world.upload("ok").await;
    let batch = world.run(world.draw(from_ref(&again)).await).await;
    assert_eq!(world.ended(batch).await.end, BatchEnd::Done);
}

async fn a_batch_that_cannot_be_entered_on_the_board_is_refused_and_its_lane_is_free() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    let given = world.draw(from_ref(&task)).await;
    world.boards.set_down(true);
    let reply = world.propose(&world.batch(given.clone())).await;
    assert!(matches!(reply, BatchReply::Refused { reason: RefusedReason::NoLane, .. }), "{reply:?}");
    world.boards.set_down(false);
    world.run(given).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
}

/// Else the planner's next batch is refused, and the lane idles until the next offer.
async fn whoever_hears_of_a_batchs_end_has_its_lane() {
    let world = World::new().await;
    let mut last = world.run(world.draw(&[world.upload("ok").await]).await).await;
    for _ in 0..20 {
        let next = world.batch(world.draw(&[world.upload("ok").await]).await);
        world.ended(last).await;
        assert_eq!(world.propose(&next).await, BatchReply::Accepted);
        last = next.id;
    }
    world.ended(last).await;
}
