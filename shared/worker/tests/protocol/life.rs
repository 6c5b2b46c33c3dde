//! The life of a task, step by step: S2 to S7.

use crate::trials;
use crate::world::World;
use domain::{AttemptId, Ending, Life, Outcome, Stage, TaskEnd};
use libtest_mimic::Trial;
use ports::{Backlog, Decided};
use std::slice::from_ref;

pub fn tests() -> Vec<Trial> {
    trials![
        a_task_is_computed_stored_committed_gone_on_from_and_acknowledged,
        a_stage_that_is_committed_is_not_computed_again_and_its_job_goes_on,
        a_task_of_a_life_that_has_ended_is_acknowledged,
        an_upload_that_was_replaced_ends_its_job_as_superseded,
        a_rejected_item_ends_its_job_and_not_its_neighbours,
        of_two_attempts_the_first_manifest_wins_and_the_loser_cleans_up,
        a_commit_whose_answer_was_lost_is_our_own,
        a_job_becomes_a_model_under_its_friendly_key,
    ]
}

const GONE: Backlog = Backlog { waiting: 0, in_flight: 0 };

async fn a_task_is_computed_stored_committed_gone_on_from_and_acknowledged() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    world.run(world.draw(from_ref(&task)).await).await;
    let timing = world.timing(task.job).await;
    assert_eq!((timing.end, timing.delivery), (TaskEnd::Committed, 1));
    let manifest = world.manifest(&task).await.expect("a manifest");
    let artifact = manifest.artifact("cutout.png").expect("an artifact");
    assert_eq!(world.artifacts(&task).await, from_ref(&artifact.key), "no marker on a first delivery");
    let marks = &manifest.marks;
    let order = [
        marks.published_at,
        marks.drawn_at,
        marks.accepted_at,
        marks.fetched_at,
        marks.started_at,
        marks.computed_at,
        marks.stored_at,
    ];
    assert!(order[0].0 > 0 && order.is_sorted(), "{marks:?}");
    assert_eq!((marks.clock.as_str(), world.backlog(&task).await), ("worker", GONE));
    let next = world.draw(&[task.at_stage(Stage::Shape)]).await;
    assert!(next[0].published_at >= marks.stored_at, "what is published closes its predecessor");
}

async fn a_stage_that_is_committed_is_not_computed_again_and_its_job_goes_on() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    world.run(world.draw(from_ref(&task)).await).await;
    world.timing(task.job).await;
    let manifest = world.manifest(&task).await;
    // As if the acknowledgement and the next task had been lost.
    let next = world.draw(&[task.at_stage(Stage::Shape)]).await;
    world.ports.queue.done(&next[0].ack_token).await.expect("a queue");
    world.queue(&task).await;
    world.run(world.draw(from_ref(&task)).await).await;
    let timing = world.timing(task.job).await;
    assert_eq!((timing.end, timing.phases.compute_us), (TaskEnd::Redelivered, 0));
    assert_eq!((world.manifest(&task).await, world.backlog(&task).await), (manifest, GONE));
    world.draw(&[task.at_stage(Stage::Shape)]).await;
}

async fn a_task_of_a_life_that_has_ended_is_acknowledged() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    let now = world.ports.clock.now();
    let ending = Ending::Cancelled { reason: "requested".to_owned() };
    let outcome =
        Outcome { job: task.job, life: Life(0), ending, decided_at: now, intermediates_expire_at: now };
    assert_eq!(world.ledger.decide(&outcome).await.expect("a store"), Decided::Mine);
    world.run(world.draw(from_ref(&task)).await).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Cancelled);
    assert_eq!((world.manifest(&task).await, world.backlog(&task).await), (None, GONE));
}

async fn an_upload_that_was_replaced_ends_its_job_as_superseded() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    world.put("uploads", "0.png", "another picture").await;
    world.run(world.draw(from_ref(&task)).await).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Superseded);
    let outcome = world.outcome(&task).await.expect("an outcome");
    assert_eq!(outcome.ending, Ending::Cancelled { reason: "superseded".to_owned() });
    assert_eq!(world.backlog(&task).await, GONE);
}

async fn a_rejected_item_ends_its_job_and_not_its_neighbours() {
    let world = World::new().await;
    let bad = world.upload("reject there is nothing on it").await;
    let good = world.upload("ok").await;
    world.run(world.draw(&[bad.clone(), good.clone()]).await).await;
    assert_eq!(world.timing(bad.job).await.end, TaskEnd::Rejected);
    let outcome = world.outcome(&bad).await.expect("an outcome");
    assert_eq!(outcome.ending, Ending::Rejected { reason: "there is nothing on it".to_owned() });
    assert_eq!(world.timing(good.job).await.end, TaskEnd::Committed);
    assert_eq!(world.backlog(&bad).await, GONE);
}

async fn of_two_attempts_the_first_manifest_wins_and_the_loser_cleans_up() {
    let world = World::new().await;
    let (first, second) = (world.upload("ok").await, world.pipe());
    world.run(world.draw(from_ref(&first)).await).await;
    world.timing(first.job).await;
    let slow = world.upload(&format!("until {}", second.display())).await;
    world.run(world.draw(from_ref(&slow)).await).await;
    world.started(slow.job).await;
    // Another worker was faster.
    let manifest = world.manifest(&first).await.expect("a manifest");
    let winner = domain::Manifest { job: slow.job, attempt: AttemptId([7; 16]), ..manifest };
    assert_eq!(world.ledger.commit(&winner).await.expect("a store"), Decided::Mine);
    world.write(second).await;
    assert_eq!(world.timing(slow.job).await.end, TaskEnd::Committed);
    assert_eq!(world.manifest(&slow).await, Some(winner));
    assert_eq!((world.artifacts(&slow).await, world.backlog(&slow).await), (vec![], GONE));
    world.draw(&[first.at_stage(Stage::Shape), slow.at_stage(Stage::Shape)]).await;
}

async fn a_commit_whose_answer_was_lost_is_our_own() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    world.store.lie_about("preprocess.json");
    world.run(world.draw(from_ref(&task)).await).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
    let manifest = world.manifest(&task).await.expect("a manifest");
    assert_eq!(world.artifacts(&task).await, from_ref(&manifest.artifacts[0].key), "nothing was deleted");
}

async fn a_job_becomes_a_model_under_its_friendly_key() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    for stage in Stage::ALL {
        let task = task.at_stage(stage);
        world.run(world.draw(from_ref(&task)).await).await;
        let timing = world.timing(task.job).await;
        assert_eq!((timing.end, timing.stage, world.backlog(&task).await), (TaskEnd::Committed, stage, GONE));
    }
    let outcome = world.outcome(&task).await.expect("an outcome");
    let files = vec!["0.png/0.glb".to_owned()];
    assert_eq!(outcome.ending, Ending::Done { files, unpublished: None });
    assert!(world.ports.store.head("models", "0.png/0.glb").await.expect("an answer").is_some());
}
