//! The collector and retention over a real bucket. The clock is the test's, so that objects age at once.

use crate::world::World;
use domain::{
    ARTIFACTS_PREFIX, AttemptId, Bytes, Ending, JobRecord, NOTES_KEPT, Stage, artifact_key,
    attempt_marker_key, friendly_key, note_key,
};
use ingest::{Acceptor, CollectSettings, Collector, Retention};
use ports::list_all;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn collector(world: &World, retention: Retention) -> Collector {
    let settings = CollectSettings { retention, ..CollectSettings::new(&world.times) };
    Collector::new(world.ports.clone(), world.site.clone(), settings)
}

async fn artifacts(world: &World) -> Vec<String> {
    let listed = list_all(&*world.ports.store, &world.site.state, ARTIFACTS_PREFIX).await.expect("a list");
    listed.into_iter().map(|object| object.key).collect()
}

async fn done_job(world: &World, acceptor: &Acceptor, key: &str) -> JobRecord {
    let upload = world.upload(key, key.as_bytes(), &[]).await;
    let record = world.accept(acceptor, &upload).await;
    for stage in Stage::ALL {
        world.commit(&record, stage).await;
    }
    let copy = friendly_key(key, None, "model.glb").expect("a short name");
    world.put(&world.site.models, &copy, b"0123456789").await;
    world.end(&record, Ending::Done { files: vec![copy], unpublished: None }).await;
    record
}

#[tokio::test]
async fn litter_goes_after_the_grace_and_what_a_manifest_names_stays() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    let record = world.accept(&acceptor, &upload).await;
    let job = record.job_id();
    world.commit(&record, Stage::Preprocess).await;
    let kept = artifacts(&world).await;
    let (loser, state) = (AttemptId([0xee; 16]), world.site.state.clone());
    for key in [
        artifact_key(job, Stage::Preprocess, loser, "cutout.png"),
        attempt_marker_key(job, Stage::Preprocess, loser),
        artifact_key(job, Stage::Shape, loser, "mesh.glb"),
    ] {
        world.put(&state, &key, b"x").await;
    }
    let marker = attempt_marker_key(job, Stage::Shape, loser);
    world.put(&state, &marker, b"x").await;

    // Only the marker of the committed stage goes before the grace.
    let collector = collector(&world, Retention::default());
    assert_eq!(collector.collect().await, Ok(1));
    world.clock.advance(world.times.grace() + Duration::from_secs(60));
    assert_eq!(collector.collect().await, Ok(2));
    let mut expect = kept;
    expect.push(marker);
    expect.sort();
    assert_eq!(artifacts(&world).await, expect);
    assert_eq!(collector.collect().await, Ok(0));
}

#[tokio::test]
async fn notes_of_calls_go_after_a_day() {
    let world = World::new().await;
    let collector = collector(&world, Retention::default());
    let note = note_key("00112233445566778899aabbccddeeff");
    world.put(&world.site.state, &note, b"{}").await;
    world.clock.advance(NOTES_KEPT / 2);
    assert_eq!(collector.collect().await, Ok(0));
    world.clock.advance(NOTES_KEPT);
    assert_eq!(collector.collect().await, Ok(1));
    assert_eq!(world.keys(&world.site.state).await, [""; 0]);
}

#[tokio::test]
async fn intermediates_of_an_ended_job_expire_and_its_deliverables_stay() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let record = done_job(&world, &acceptor, "a.png").await;
    let collector = collector(&world, Retention::default());
    world.clock.advance(6 * DAY);
    assert_eq!(collector.collect().await, Ok(0));
    world.clock.advance(2 * DAY);
    assert_eq!(collector.collect().await, Ok(3));
    let left = artifacts(&world).await;
    assert_eq!(left, [world.artifact_of(&record, Stage::Export)]);
    assert_eq!(world.keys(&world.site.models).await, ["a.png/a.glb"]);
}

#[tokio::test]
async fn retention_takes_the_files_of_the_oldest_done_jobs_and_no_sweep_makes_them_again() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let old = done_job(&world, &acceptor, "old.png").await;
    world.tick().await;
    let young = done_job(&world, &acceptor, "young.png").await;
    world.lose_tasks(Stage::Preprocess).await;

    // Each job has four artifacts and one copy of 10 bytes.
    let keep = Retention { bytes_max: Some(Bytes(99)), ..Retention::default() };
    let by_bytes = collector(&world, keep);
    assert_eq!(by_bytes.collect().await, Ok(5));
    assert_eq!(by_bytes.collect().await, Ok(0));
    assert_eq!(world.keys(&world.site.models).await, ["young.png/young.glb"]);
    assert_eq!(artifacts(&world).await.len(), 4);

    world.clock.advance(DAY);
    let by_age = collector(&world, Retention { age_max: Some(DAY / 2), ..Retention::default() });
    assert_eq!(by_age.collect().await, Ok(5));
    assert!(world.keys(&world.site.models).await.is_empty());

    for record in [&old, &young] {
        let upload = &record.upload;
        assert!(world.ports.store.head(&upload.bucket, &upload.key).await.expect("read").is_some());
    }
    for _ in 0..2 {
        let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
        assert_eq!((report.accepted, report.queued), (0, 0));
    }
}

#[tokio::test]
async fn retention_leaves_the_copies_of_a_newer_version_of_the_upload() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    done_job(&world, &acceptor, "a.png").await;
    world.upload("a.png", b"a newer picture", &[]).await;
    world.clock.advance(DAY);
    let collector = collector(&world, Retention { age_max: Some(DAY / 2), ..Retention::default() });
    assert_eq!(collector.collect().await, Ok(4));
    assert_eq!(world.keys(&world.site.models).await, ["a.png/a.glb"]);
}

#[tokio::test]
async fn retention_leaves_a_job_that_may_be_redriven() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    let record = world.accept(&acceptor, &upload).await;
    world.commit(&record, Stage::Preprocess).await;
    world.end(&record, Ending::Dead { stage: Stage::Shape, error: "it broke".to_owned() }).await;
    world.clock.advance(DAY);
    let keep = Retention { bytes_max: Some(Bytes(0)), age_max: Some(Duration::ZERO), uploads: true };
    assert_eq!(collector(&world, keep).collect().await, Ok(0));
    assert_eq!(artifacts(&world).await.len(), 1);
}

/// How many objects there are in the state bucket and in the input bucket.
async fn left(world: &World) -> (usize, usize) {
    let inputs = world.keys(&world.site.inputs[0].bucket).await;
    (world.keys(&world.site.state).await.len(), inputs.len())
}

#[tokio::test]
async fn retention_bounds_all_of_the_disk_where_uploads_are_its_own() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    done_job(&world, &acceptor, "old.png").await;
    world.tick().await;
    let empty = world.upload("empty.png", b"", &[]).await;
    let rejected = acceptor.event(&crate::world::object_event(&empty), false).await;
    assert_eq!(rejected, Ok(ingest::Accepted::Rejected));
    world.tick().await;
    done_job(&world, &acceptor, "young.png").await;
    let running = world.upload("running.png", b"picture", &[]).await;
    world.accept(&acceptor, &running).await;
    world.lose_tasks(Stage::Preprocess).await;

    // A done job has 50 bytes and its upload; the bound leaves room for one and for what still runs.
    let keep = Retention { bytes_max: Some(Bytes(70)), uploads: true, ..Retention::default() };
    let by_bytes = collector(&world, keep);
    // Four artifacts, a copy, and the upload; then the upload that was rejected only if room is still short.
    assert_eq!(by_bytes.collect().await, Ok(6));
    assert_eq!(world.keys(&world.site.inputs[0].bucket).await, ["empty.png", "running.png", "young.png"]);
    assert_eq!(by_bytes.collect().await, Ok(0));

    world.clock.advance(DAY);
    let by_age =
        collector(&world, Retention { age_max: Some(DAY / 2), uploads: true, ..Retention::default() });
    assert_eq!(by_age.collect().await, Ok(7));
    assert_eq!(world.keys(&world.site.inputs[0].bucket).await, ["running.png"]);
    assert_eq!(by_age.collect().await, Ok(0));
    nothing_is_made_again(&world).await;

    // Later not even their names are left; what still runs is left alone.
    world.clock.advance(8 * DAY);
    assert!(by_age.collect().await.expect("a collection") > 0);
    assert_eq!(left(&world).await, (1, 1), "the record and the upload of the running job");
    nothing_is_made_again(&world).await;
}

/// A sweep queues the one job that runs, and makes none of those that have ended.
async fn nothing_is_made_again(world: &World) {
    let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!((report.accepted, report.queued), (0, 1));
    assert_eq!(world.lose_tasks(Stage::Preprocess).await, 1);
}

#[tokio::test]
async fn a_dead_job_is_retired_once_it_cannot_be_redriven() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    let record = world.accept(&acceptor, &upload).await;
    for stage in Stage::ALL {
        world.commit(&record, stage).await;
    }
    world.end(&record, Ending::Cancelled { reason: "by a person".to_owned() }).await;
    let retention = Retention { age_max: Some(DAY), uploads: true, ..Retention::default() };
    let collector = collector(&world, retention);
    world.clock.advance(2 * DAY);
    assert_eq!(collector.collect().await, Ok(0));
    world.clock.advance(6 * DAY);
    assert!(collector.collect().await.expect("a collection") > 0);
    assert!(artifacts(&world).await.is_empty());
    assert_eq!(left(&world).await.1, 0);
}
