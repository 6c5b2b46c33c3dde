//! What a person may do to a job.

use crate::world::{PATIENCE, World, json, problem};
use domain::{Ending, JobId, Stage};
use futures::StreamExt;
use reqwest::StatusCode;
use serde_json::Value;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

async fn dead_letters(world: &World) -> Vec<Value> {
    let all = json(world.get("/api/dead-letters").await, StatusCode::OK).await;
    all["dead_letters"].as_array().expect("letters").clone()
}

async fn act(world: &World, job: JobId, action: &str) -> reqwest::Response {
    world.post(&format!("/api/jobs/{job}/{action}"), "").await
}

#[tokio::test]
async fn a_cancelled_job_has_ended_and_a_repeated_call_tells_the_workers_again() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let answer = json(act(&world, job, "cancel").await, StatusCode::ACCEPTED).await;
    assert_eq!((&answer["id"], &answer["life"]), (&job.to_string().into(), &0.into()));
    let shown = json(world.get(&format!("/api/jobs/{job}")).await, StatusCode::OK).await;
    assert_eq!((&shown["state"], &shown["reason"]), (&"cancelled".into(), &"requested".into()));
    let mut told = world.ports.wire.subscribe(&domain::control_subject(job)).await.expect("heard");
    let again = json(act(&world, job, "cancel").await, StatusCode::ACCEPTED).await;
    assert_eq!(again, answer);
    timeout(PATIENCE, told.next()).await.expect("in time").expect("a word to the workers");
}

#[tokio::test]
async fn a_cancel_whose_word_was_lost_reaches_the_workers_when_it_is_repeated() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let mut told = world.ports.wire.subscribe(&domain::control_subject(job)).await.expect("heard");
    world.broker_is_away.store(true, Ordering::Relaxed);
    problem(act(&world, job, "cancel").await, 503, "unavailable").await;
    world.broker_is_away.store(false, Ordering::Relaxed);
    json(act(&world, job, "cancel").await, StatusCode::ACCEPTED).await;
    timeout(PATIENCE, told.next()).await.expect("in time").expect("a word to the workers");
}

#[tokio::test]
async fn a_dead_job_starts_its_next_life_at_the_stage_that_it_lacks() {
    let world = World::new().await;
    let record = world.job("/api/jobs", b"picture").await;
    let job = record.job_id();
    world.commit(job, Stage::Preprocess, &[]).await;
    world.die(&record, Stage::Shape).await;
    world.until_listed(job, "dead").await;
    let answer = json(act(&world, job, "redrive").await, StatusCode::ACCEPTED).await;
    assert_eq!(answer["life"], 1);
    let tasks = world.tasks(Stage::Shape).await;
    assert_eq!(tasks.iter().map(|task| task.job).collect::<Vec<_>>(), [job]);
    // Shown and listed as what it is now, before any event tells so.
    let shown = json(world.get(&format!("/api/jobs/{job}")).await, StatusCode::OK).await;
    assert_eq!((&shown["state"], &shown["life"]), (&"queued".into(), &1.into()));
    world.until_listed(job, "queued").await;
}

#[tokio::test]
async fn a_job_that_runs_is_done_or_was_rejected_is_not_started_again() {
    let world = World::new().await;
    let ends = [
        Ending::Done { files: vec![], unpublished: None },
        Ending::Rejected { reason: "no picture".to_owned() },
    ];
    for (n, ending) in ends.into_iter().enumerate() {
        let job = world.job(&format!("/api/jobs?name={n}"), b"picture").await.job_id();
        for action in ["redrive", "retry"] {
            let detail = problem(act(&world, job, action).await, 409, "conflict").await;
            assert!(detail.contains("still runs"), "{detail}");
        }
        let word = ending.as_str();
        world.decide(job, 0, ending).await;
        for action in ["redrive", "retry", "cancel"] {
            let detail = problem(act(&world, job, action).await, 409, "conflict").await;
            assert_eq!(detail, format!("the job has ended: {word}"));
        }
        assert!(world.tasks(Stage::Preprocess).await.is_empty());
    }
}

#[tokio::test]
async fn a_job_whose_intermediates_have_expired_is_not_started_again() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let outcome = domain::Outcome {
        job,
        life: domain::Life(0),
        ending: Ending::Cancelled { reason: "requested".to_owned() },
        decided_at: domain::Timestamp(1),
        intermediates_expire_at: domain::Timestamp(2),
    };
    world.ledger().decide(&outcome).await.expect("decided");
    let detail = problem(act(&world, job, "retry").await, 409, "conflict").await;
    assert!(detail.contains("upload the picture again"), "{detail}");
}

#[tokio::test]
async fn dead_letters_are_those_of_jobs_that_are_dead_now() {
    let world = World::new().await;
    assert_eq!(dead_letters(&world).await, [Value::Null; 0]);
    let (mut dead, mut records) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let record = world.job(&format!("/api/jobs?name={n}"), b"picture").await;
        world.die(&record, Stage::Preprocess).await;
        world.until_listed(record.job_id(), "dead").await;
        dead.push(record.job_id().to_string());
        records.push(record);
    }
    let listed = |letters: &[Value]| {
        let mut jobs: Vec<String> =
            letters.iter().map(|one| one["task"]["job"].as_str().expect("a job").to_owned()).collect();
        jobs.sort();
        jobs
    };
    let letters = dead_letters(&world).await;
    dead.sort();
    assert_eq!(listed(&letters), dead);
    let stage = &letters[0]["task"]["stage"];
    assert_eq!((&letters[0]["error"], stage), (&"it broke".into(), &"preprocess".into()));
    harness::until("the letters' attempts", PATIENCE, async || {
        let letters = dead_letters(&world).await;
        Ok(letters.iter().all(|letter| letter["attempts"] == 3).then_some(()))
    })
    .await
    .expect("in time");
    let page = json(world.get("/api/dead-letters?limit=2").await, StatusCode::OK).await;
    let rest = format!("/api/dead-letters?cursor={}", page["next"].as_str().expect("a cursor"));
    let rest = json(world.get(&rest).await, StatusCode::OK).await;
    let count = |page: &Value| page["dead_letters"].as_array().expect("letters").len();
    assert_eq!((count(&page), count(&rest), &rest["next"]), (2, 1, &Value::Null));

    let job = records[0].job_id();
    let path = format!("/api/dead-letters/{job}/redrive");
    assert_eq!(json(world.post(&path, "").await, StatusCode::ACCEPTED).await["life"], 1);
    assert_eq!(world.tasks(Stage::Preprocess).await.len(), 1);
    dead.retain(|other| *other != job.to_string());
    assert_eq!(listed(&dead_letters(&world).await), dead);
}

#[tokio::test]
async fn dead_letters_outlive_the_broker() {
    let mut world = World::new().await;
    let record = world.job("/api/jobs", b"picture").await;
    world.die(&record, Stage::Texture).await;
    world.forgetful_gateway().await;
    let job = record.job_id();
    world.until_listed(job, "dead").await;
    let letters = dead_letters(&world).await;
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(
        (&letter["task"]["job"], &letter["task"]["stage"]),
        (&job.to_string().into(), &"texture".into())
    );
    assert_eq!((&letter["error"], &letter["attempts"]), (&"it broke".into(), &Value::Null));
    let path = format!("/api/dead-letters/{job}/redrive");
    assert_eq!(json(world.post(&path, "").await, StatusCode::ACCEPTED).await["life"], 1);
    assert_eq!(dead_letters(&world).await, [Value::Null; 0]);
}
