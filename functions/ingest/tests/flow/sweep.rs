//! The sweep over a real bucket.

use crate::world::World;
use domain::{Ending, InputBucket, Life, LifeStart, SWEEP_SUBJECT, Stage, Times, Timestamp};
use ingest::{Acceptor, Settings, SweepReport};
use ports::{Answer, PortError};
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

/// More than an outage would need, none of them handled: `hidden` comes after them, and so do all jobs.
async fn world_of_cursed_uploads() -> World {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let known = world.upload("known.png", b"picture", &[]).await;
    world.accept(&acceptor, &known).await;
    assert_eq!(world.lose_tasks(Stage::Preprocess).await, 1);
    let uploads = (0..40).map(|n| {
        let world = &world;
        async move { world.upload(&format!("cursed/{n}.png"), b"picture", &[]).await }
    });
    futures::future::join_all(uploads).await;
    world.upload("hidden.png", b"picture", &[]).await;
    world
}

#[tokio::test]
async fn uploads_that_their_store_refuses_hide_nothing_however_many_there_are() {
    let world = world_of_cursed_uploads().await;
    world.faults.fail_heads_of("cursed/", PortError::Invalid("no such name".to_owned()));
    let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!(report, SweepReport { failed: 40, ..did(1, 1) });
}

#[tokio::test]
async fn uploads_that_always_time_out_hide_others_for_one_sweep_only_and_never_the_jobs() {
    let world = world_of_cursed_uploads().await;
    world.faults.fail_heads_of("cursed/", PortError::Unavailable("timeout".to_owned()));
    let sweeper = world.sweeper();
    let first = sweeper.sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!((first.accepted, first.queued, first.failed), (0, 1, 32));
    assert!(first.error.is_some());
    let second = sweeper.sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!(second, SweepReport { failed: 40, ..did(1, 0) });
}

#[tokio::test]
async fn a_bucket_that_cannot_be_listed_is_named_and_stops_no_other() {
    let mut world = World::new().await;
    let missing = InputBucket { bucket: "never-made".to_owned(), ..world.site.inputs[0].clone() };
    world.site.inputs.insert(0, missing);
    let bucket = world.site.inputs[1].bucket.clone();
    world.put(&bucket, "a.png", b"picture").await;
    let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!(report.accepted, 1);
    assert!(report.error.is_some_and(|error| error.starts_with("input bucket never-made: ")));
}

#[tokio::test]
async fn jobs_of_a_tenant_that_is_named_no_more_are_queued_and_reported_until_it_is_named_again() {
    let mut world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    world.accept(&acceptor, &upload).await;
    let old = world.site.inputs[0].tenant.clone();
    world.site.inputs[0].tenant = "new".parse().expect("a tenant");
    let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!(report.undrawn.get(&old), Some(&1));
    world.site.former_tenants.insert(old);
    assert_eq!(world.sweeper().sweep(Duration::ZERO).await, Ok(did(0, 0)));
}
