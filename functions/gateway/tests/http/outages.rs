//! Store or broker away: said so, with what to do, and over when they are back.

use crate::world::{World, json, problem, sent};
use reqwest::{Method, StatusCode};
use std::sync::atomic::Ordering;

#[tokio::test]
async fn without_the_store_every_call_that_needs_it_says_that_it_is_away() {
    let mut world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    world.lose_store().await;
    let gets = ["/readyz".to_owned()]
        .into_iter()
        .chain(["", "/artifacts/model.glb", "/events"].map(|rest| format!("/api/jobs/{job}{rest}")));
    let posts = ["/api/jobs".to_owned(), format!("/api/jobs/{job}/cancel")].into_iter();
    let calls = gets.map(|path| (Method::GET, path)).chain(posts.map(|path| (Method::POST, path)));
    // All at once: the client of the store tries for a while before it gives up.
    let answers = calls.map(|(method, path)| sent(world.call(method, &path).body("picture")));
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer.headers()["retry-after"], "2");
        problem(answer, 503, "unavailable").await;
    }
    // What is known without it is told.
    assert_eq!(world.get("/livez").await.status(), StatusCode::OK);
    let list = json(world.get("/api/jobs").await, StatusCode::OK).await;
    assert_eq!(list["jobs"][0]["id"], job.to_string());
}

#[tokio::test]
async fn without_the_broker_pictures_are_still_taken_and_the_rest_says_that_it_is_away() {
    let world = World::new().await;
    world.put("a.png", b"picture").await;
    world.broker_is_away.store(true, Ordering::Relaxed);
    let job = world.job("/api/jobs", b"picture").await.job_id();
    problem(world.get("/readyz").await, 503, "unavailable").await;
    problem(world.get("/api/events").await, 503, "unavailable").await;
    problem(world.get(&format!("/api/jobs/{job}/events")).await, 503, "unavailable").await;
    // What was set aside stands in the bucket.
    json(world.get("/api/dead-letters").await, StatusCode::OK).await;
    problem(world.post("/api/sweep", "").await, 503, "unavailable").await;
    assert_eq!(world.get(&format!("/api/jobs/{job}")).await.status(), StatusCode::OK);

    world.broker_is_away.store(false, Ordering::Relaxed);
    assert_eq!(world.get("/readyz").await.status(), StatusCode::OK);
    let detail = problem(world.post("/api/sweep", "").await, 503, "unavailable").await;
    assert!(detail.contains("meshwright run ingest"), "{detail}");
}
