//! The sweep over a real bucket.

use crate::world::World;
use domain::{Ending, Life, LifeStart, SWEEP_SUBJECT, Stage, Times, Timestamp};
use ingest::{Acceptor, Settings, SweepReport};
use ports::Answer;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn did(accepted: usize, queued: usize) -> SweepReport {
    SweepReport { accepted, queued, ..SweepReport::default() }
}

#[tokio::test]
async fn lost_events_and_a_lost_queue_are_made_good_and_then_nothing_is_left_to_do() {
    let world = World::new().await;
    let sweeper = world.sweeper();
    for key in ["a.png", "b/c ü+%.png", "folder/d.png"] {
        world.upload(key, b"picture", &[]).await;
    }
    world.upload("empty.png", b"", &[]).await;
    world.upload("b/", b"", &[]).await;

    // No event came.
    assert_eq!(sweeper.sweep(HOUR).await, Ok(did(4, 0)));
    assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 0)));
    // The queue is lost.
    let tasks = world.tasks(Stage::Preprocess).await;
    assert_eq!(tasks.len(), 3);
    assert_eq!(world.lose_tasks(Stage::Preprocess).await, 3);
    assert_eq!(sweeper.sweep(HOUR).await, Ok(did(0, 0)));
    assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 3)));
    world.lose_tasks(Stage::Preprocess).await;

    // Each ends in its own way.
    let ends = [
        Ending::Done { files: vec![], unpublished: None },
        Ending::Cancelled { reason: "requested".to_owned() },
        Ending::Dead { stage: Stage::Shape, error: "it broke".to_owned() },
    ];
    for (task, ending) in tasks.iter().zip(ends) {
        let record = world.ledger().record(task.upload, task.job).await.expect("read").expect("a record");
        world.end(&record, ending).await;
    }
    for _ in 0..2 {
        assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 0)));
    }
    assert_eq!(world.lose_tasks(Stage::Preprocess).await, 0);
}

#[tokio::test]
async fn a_job_is_queued_at_its_first_uncommitted_stage_and_again_in_its_next_life() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    let record = world.accept(&acceptor, &upload).await;
    world.lose_tasks(Stage::Preprocess).await;
    let sweeper = world.sweeper();
    for stage in Stage::ALL {
        assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 1)));
        assert_eq!(world.lose_tasks(stage).await, 1);
        world.commit(&record, stage).await;
    }
    // All is committed and there is no outcome: the copies are missing.
    assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 1)));
    assert_eq!(world.lose_tasks(Stage::Export).await, 1);
    world.end(&record, Ending::Dead { stage: Stage::Export, error: "it broke".to_owned() }).await;
    assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 0)));
    let start = LifeStart { job: record.job_id(), life: Life(1), started_at: Timestamp(1) };
    world.ledger().start_life(&start).await.expect("a life");
    assert_eq!(sweeper.sweep(Duration::ZERO).await, Ok(did(0, 1)));
}

#[tokio::test]
async fn a_request_is_answered_with_what_the_sweep_did() {
    let world = World::new().await;
    // No periodic sweep comes in between.
    let times = Times { sweep_every_min: HOUR, ..world.times };
    let running = world.run(Settings { times, ..world.settings() });
    // The first request is answered after the sweep at the start, so this upload is left to the second.
    ask(&world, "").await;
    world.upload("a.png", b"picture", &[]).await;
    assert_eq!(ask(&world, "").await, did(1, 0));
    let report = ask(&world, r#"{"age_min_ms": 1000000, "collect": true}"#).await;
    assert_eq!(report, SweepReport { collected: Some(0), ..did(0, 0) });
    assert_eq!(ask(&world, "no JSON").await, did(0, 0));
    running.stop().await;
}

async fn ask(world: &World, request: &'static str) -> SweepReport {
    loop {
        let wait = Duration::from_secs(20);
        match world.ports.wire.request(SWEEP_SUBJECT, request.into(), wait).await.expect("a wire") {
            Answer::Reply(body) => return serde_json::from_slice(&body).expect("a report"),
            // It has not begun to listen.
            Answer::NoResponders => tokio::task::yield_now().await,
            Answer::TimedOut => panic!("no answer"),
        }
    }
}

#[tokio::test]
async fn one_upload_that_the_store_cannot_handle_hides_no_others() {
    let world = World::new().await;
    for key in ["a.png", "b.png", "c.png"] {
        world.upload(key, b"picture", &[]).await;
    }
    world.faults.fail_heads(1);
    let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!((report.accepted, report.failed), (2, 1));
    assert_eq!(world.sweeper().sweep(HOUR).await, Ok(did(1, 0)));
}
