//! Two gateways on one broker and one store: whichever is asked, the answer is the same.

use crate::world::{PATIENCE, World, json};
use domain::{Ending, EventKind, JobId, JobRecord, Stage};
use harness::until;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;

/// A job of an object that is there: everybody hears of it.
async fn begin(world: &World, key: &str) -> JobRecord {
    world.put(key, b"picture").await;
    let body = serde_json::json!({"bucket": "uploads", "key": key}).to_string();
    let call = world.call(Method::POST, "/api/jobs").header("content-type", "application/json");
    let made = json(crate::world::sent(call.body(body)).await, StatusCode::ACCEPTED).await;
    let id = |name: &str| made[name].as_str().expect("an id").to_owned();
    let (upload, job) = (id("upload_id").parse().expect("an id"), id("id").parse().expect("an id"));
    world.ledger().record(upload, job).await.expect("a read").expect("a record")
}

/// What both say, once both have heard what was told.
async fn same(worlds: [&World; 2], path: &str) -> Value {
    let mut last = [Value::Null, Value::Null];
    let agreed = until("both to say the same", PATIENCE, async || {
        for (world, said) in worlds.iter().zip(&mut last) {
            *said = json(world.get(path).await, StatusCode::OK).await;
        }
        Ok((last[0] == last[1]).then_some(()))
    });
    let agreed = agreed.await;
    assert!(agreed.is_ok(), "{path}: {} and {}", last[0], last[1]);
    last[0].clone()
}

fn ids(page: &Value) -> Vec<String> {
    let rows = page["jobs"].as_array().expect("rows");
    rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn two_gateways_tell_the_same_of_every_job() {
    let one = World::new().await;
    let other = one.beside().await;
    let worlds = [&one, &other];
    let (done, dead, running) =
        (begin(&one, "done.png").await, begin(&other, "dead.png").await, begin(&one, "runs.png").await);
    // The event does not tell why nothing was published.
    let unpublished = Some("the name is too long".to_owned());
    one.decide(done.job_id(), 0, Ending::Done { files: vec![], unpublished }).await;
    one.tell(done.job_id(), 0, EventKind::Finished).await;
    one.die(&dead, Stage::Shape).await;
    one.commit(running.job_id(), Stage::Preprocess, &[]).await;
    one.tell(running.job_id(), 0, EventKind::Started { stage: Stage::Shape }).await;
    // Nobody told of this one but the gateway that made it.
    let silent = one.job("/api/jobs?name=silent.png", b"picture").await.job_id();
    let all: Vec<JobId> =
        [&done, &dead, &running].map(JobRecord::job_id).into_iter().chain([silent]).collect();
    for job in &all {
        same(worlds, &format!("/api/jobs/{job}")).await;
    }
    for (job, state) in all.iter().zip(["done", "dead", "running", "queued"]) {
        for world in worlds {
            world.until_listed(*job, state).await;
        }
    }
    let list = same(worlds, "/api/jobs").await;
    assert_eq!(ids(&list).len(), all.len());
    let rows = list["jobs"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["reason"] == "the name is too long"), "{list}");
    let letters = same(worlds, "/api/dead-letters").await;
    assert_eq!(letters["dead_letters"][0]["attempts"], 3);
    same(worlds, "/api/jobs?state=done&tenant=default&bucket=uploads&key=done").await;

    // A cursor of one goes on at the other.
    let (mut found, mut query) = (Vec::new(), "limit=1".to_owned());
    for n in 0.. {
        let page = json(worlds[n % 2].get(&format!("/api/jobs?{query}")).await, StatusCode::OK).await;
        found.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=1&cursor={next}");
    }
    assert_eq!(found, ids(&list));
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[tokio::test]
async fn what_is_done_at_one_is_done_for_both() {
    let one = World::new().await;
    let other = one.beside().await;
    let worlds = [&one, &other];
    let record = begin(&one, "dead.png").await;
    let job = record.job_id();
    // Its first task still waits: the next life wants another one.
    one.commit(job, Stage::Preprocess, &[]).await;
    one.die(&record, Stage::Shape).await;
    other.until_listed(job, "dead").await;
    let redriven = other.post(&format!("/api/jobs/{job}/redrive"), "").await;
    assert_eq!(redriven.status(), StatusCode::ACCEPTED);
    assert_eq!(same(worlds, &format!("/api/jobs/{job}")).await["life"], 1);
    let again = one.post(&format!("/api/jobs/{job}/redrive"), "").await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    json(one.post(&format!("/api/jobs/{job}/cancel"), "").await, StatusCode::ACCEPTED).await;
    assert_eq!(same(worlds, &format!("/api/jobs/{job}")).await["state"], "cancelled");
    for world in worlds {
        world.until_listed(job, "cancelled").await;
    }
    same(worlds, "/api/jobs").await;
    // The same picture under the same key is the same job at either.
    let once = async |world: &World| {
        let call = world.call(Method::POST, "/api/jobs?name=a.png").header("idempotency-key", "k").body("p");
        json(crate::world::sent(call).await, StatusCode::ACCEPTED).await
    };
    assert_eq!(once(&one).await, once(&other).await);
}
