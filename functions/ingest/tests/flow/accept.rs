//! Events to jobs: through the acceptor alone, and through the running process.

use crate::world::{World, object_event};
use domain::{Ending, EventKind, Format, JobRecord, Life, Quality, Stage, event_subject, job_id};
use futures::StreamExt;
use ingest::{Accepted, Acceptor, Parsed, Settings, parse};
use ports::Decided;
use std::time::Duration;

const MINIO_EVENT: &str = include_str!("../golden/minio.json");

#[tokio::test]
async fn an_upload_becomes_one_record_one_task_and_one_event_however_often_it_is_told_of() {
    let world = World::new().await;
    let upload = world.upload("chairs/red.png", b"picture", &[("meshwright-quality", "fine")]).await;
    let mut told = world.ports.wire.subscribe("event.*.accepted").await.expect("a subscription");
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let event = object_event(&upload);

    assert_eq!(acceptor.event(&event, false).await, Ok(Accepted::New));
    assert_eq!(acceptor.event(&event, false).await, Ok(Accepted::Known));
    assert_eq!(acceptor.event(&event, true).await, Ok(Accepted::Known));

    let tasks = world.tasks(Stage::Preprocess).await;
    let [task] = tasks.as_slice() else { panic!("{tasks:?}") };
    assert_eq!((task.upload, task.recipe.quality), (upload.id(), Quality::Fine));
    let record = world.ledger().record(upload.id(), task.job).await.expect("read").expect("a record");
    assert_eq!((&record.upload, record.task(Stage::Preprocess)), (&upload, task.clone()));
    let told = told.next().await.expect("told");
    let (bucket, key, upload) = (upload.bucket.clone(), upload.key.clone(), Some(upload.id()));
    let kind = EventKind::Accepted { bucket, key, upload };
    assert_eq!(told.subject, event_subject(task.job, &kind));
    let event: domain::Event = serde_json::from_slice(&told.payload).expect("an event");
    assert_eq!(event.kind, kind);
}

#[tokio::test]
async fn an_event_after_the_end_of_a_job_queues_nothing_and_one_before_goes_on_where_it_is() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    let record = world.accept(&acceptor, &upload).await;
    world.lose_tasks(Stage::Preprocess).await;

    world.commit(&record, Stage::Preprocess).await;
    assert_eq!(acceptor.event(&object_event(&upload), false).await, Ok(Accepted::Requeued));
    assert_eq!(world.lose_tasks(Stage::Shape).await, 1);

    world.end(&record, Ending::Cancelled { reason: "requested".to_owned() }).await;
    assert_eq!(acceptor.event(&object_event(&upload), true).await, Ok(Accepted::Known));
    assert!(world.tasks(Stage::Shape).await.is_empty());
}

#[tokio::test]
async fn what_cannot_become_a_model_is_rejected_with_a_record_and_queues_nothing() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let mut told = world.ports.wire.subscribe("event.>").await.expect("a subscription");
    let wrong = world.upload("wrong.png", b"x", &[("meshwright-formats", "doc")]).await;
    let cases = [
        (world.upload("empty.png", b"", &[]).await, "the file is empty"),
        (world.upload("large.png", &[0; 101], &[]).await, "the file has 101 bytes; at most 100 are taken"),
        (wrong, "recipe: formats is \"doc\"; use one of glb, stl, ply, obj, 3mf, usdz, turntable"),
    ];
    for (upload, expect) in cases {
        assert_eq!(acceptor.event(&object_event(&upload), false).await, Ok(Accepted::Rejected));
        let job = job_id(upload.id(), &world.site.inputs[0].recipe);
        assert!(world.ledger().record(upload.id(), job).await.expect("read").is_some(), "{expect}");
        let outcome = world.ledger().outcome(job, Life(0)).await.expect("read").expect("an outcome");
        assert_eq!(outcome.ending, Ending::Rejected { reason: expect.to_owned() });
        // Whose end it is comes first.
        for kind in ["accepted", "rejected"] {
            assert_eq!(told.next().await.expect("told").subject, format!("event.{job}.{kind}"));
        }
        // Told of again, it says nothing again.
        assert_eq!(acceptor.event(&object_event(&upload), true).await, Ok(Accepted::Known));
    }
    assert!(world.tasks(Stage::Preprocess).await.is_empty());
}

#[tokio::test]
async fn events_that_mean_nothing_here_are_told_apart() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a b.png", b"picture", &[]).await;
    let event = object_event(&upload);
    let check = async |event: ingest::ObjectEvent, expect: Accepted| {
        assert_eq!(acceptor.event(&event, false).await, Ok(expect));
    };
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();

    let bucket = world.site.models.clone();
    check(ingest::ObjectEvent { bucket, ..event.clone() }, Accepted::NotWatched).await;
    let key_candidates = keys(&["folder/"]);
    check(ingest::ObjectEvent { key_candidates, ..event.clone() }, Accepted::Folder).await;
    let key_candidates = keys(&["gone.png", "never.png"]);
    check(ingest::ObjectEvent { key_candidates, ..event.clone() }, Accepted::Gone).await;
    let etag = Some("another".to_owned());
    check(ingest::ObjectEvent { etag, ..event.clone() }, Accepted::Stale).await;
    let size = Some(domain::Bytes(8));
    check(ingest::ObjectEvent { size, ..event.clone() }, Accepted::Stale).await;
    // Without etag and size the object that exists is taken, whichever reading of the key names it.
    let key_candidates = keys(&["a+b.png", "a b.png", "a%20b.png"]);
    check(ingest::ObjectEvent { key_candidates, etag: None, size: None, ..event }, Accepted::New).await;
}

#[tokio::test]
async fn an_edited_default_recipe_makes_no_second_job_of_an_old_upload() {
    let world = World::new().await;
    let upload = world.upload("a.png", b"picture", &[]).await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let record = world.accept(&acceptor, &upload).await;

    let mut site = world.site.clone();
    site.inputs[0].recipe.formats = [Format::Glb].into();
    let edited = Acceptor::new(world.ports.clone(), site);
    assert_eq!(edited.event(&object_event(&upload), false).await, Ok(Accepted::Known));
    let tasks = world.tasks(Stage::Preprocess).await;
    assert_eq!(tasks.iter().map(|task| task.job).collect::<Vec<_>>(), [record.job_id()]);
}

#[tokio::test]
async fn the_process_takes_events_whatever_comes_between_and_acknowledges_all() {
    let world = World::new().await;
    let Parsed::Objects { objects, .. } = parse(MINIO_EVENT.as_bytes()) else { panic!("it is golden") };
    let upload = world.upload(&objects[0].key_candidates[0], b"abc", &[]).await;
    let event = MINIO_EVENT.replace("\"uploads\"", &format!("{:?}", upload.bucket));
    for body in ["no JSON", r#"{"Event":"s3:TestEvent"}"#, &event, &event] {
        world.send(body).await;
    }
    let running = world.run(Settings { sweep: false, ..world.settings() });
    let task = world.next_task(Stage::Preprocess).await;
    assert_eq!(task.upload, upload.id());
    world.until_no_event_waits().await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_waits_while_the_store_is_away_and_is_taken_afterwards() {
    let world = World::new().await;
    let upload = world.upload("a.png", b"picture", &[]).await;
    world.faults.fail_heads(4);
    world.send(&world.event_of(&upload)).await;
    let running = world.run(Settings { sweep: false, ..world.settings() });
    assert_eq!(world.next_task(Stage::Preprocess).await.upload, upload.id());
    world.until_no_event_waits().await;
    assert_eq!(world.faults.heads_to_fail(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_record_that_was_written_before_a_crash_gets_its_task() {
    let world = World::new().await;
    let upload = world.upload("a.png", b"picture", &[]).await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let input = &world.site.inputs[0];
    let record = JobRecord {
        upload: upload.clone(),
        tenant: input.tenant.clone(),
        class: input.class,
        recipe: input.recipe.clone(),
        accepted_at: domain::Timestamp(1),
        secondary: false,
        traceparent: None,
    };
    assert_eq!(world.ledger().put_record(&record).await, Ok(Decided::Mine));
    assert_eq!(acceptor.event(&object_event(&upload), true).await, Ok(Accepted::Requeued));
    assert_eq!(world.tasks(Stage::Preprocess).await, [record.task(Stage::Preprocess)]);
}

#[tokio::test]
async fn a_rejection_that_ends_before_its_record_is_never_started() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("empty.png", b"", &[]).await;
    world.faults.fail_puts_of(Some("j/"));
    assert!(acceptor.event(&object_event(&upload), false).await.is_err());
    world.faults.fail_puts_of(None);
    // The outcome came first.
    let job = job_id(upload.id(), &world.site.inputs[0].recipe);
    assert!(world.ledger().state(job).await.expect("read").has_outcome);
    let report = world.sweeper().sweep(Duration::ZERO).await.expect("a sweep");
    assert_eq!((report.accepted, report.queued), (1, 0));
    assert!(world.tasks(Stage::Preprocess).await.is_empty());
}

#[tokio::test]
async fn no_task_is_published_before_its_record_exists() {
    let world = World::new().await;
    let acceptor = Acceptor::new(world.ports.clone(), world.site.clone());
    let upload = world.upload("a.png", b"picture", &[]).await;
    world.faults.fail_puts_of(Some("j/"));
    assert!(acceptor.event(&object_event(&upload), false).await.is_err());
    assert!(world.tasks(Stage::Preprocess).await.is_empty());
    world.faults.fail_puts_of(None);
    assert_eq!(acceptor.event(&object_event(&upload), true).await, Ok(Accepted::New));
}
