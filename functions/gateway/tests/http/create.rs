//! `POST /api/jobs`, in each of its forms, and what it refuses.

use crate::world::{UPLOAD_BYTES_MAX, World, json, problem, sent};
use domain::{Quality, Stage};
use ports::list_all;
use reqwest::{Method, Response, StatusCode};

const BOUNDARY: &str = "a-boundary-of-a-form";

/// A form with these fields and a file.
async fn send_form(world: &World, fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Response {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n").bytes());
    }
    if let Some((name, content)) = file {
        let head = format!("Content-Disposition: form-data; name=\"image\"; filename=\"{name}\"");
        body.extend(format!("--{BOUNDARY}\r\n{head}\r\nContent-Type: image/png\r\n\r\n").bytes());
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    sent(world.call(Method::POST, "/api/jobs").header("content-type", kind).body(body)).await
}

async fn send_name(world: &World, query: &str, body: &'static str) -> Response {
    let call = world.call(Method::POST, &format!("/api/jobs{query}"));
    sent(call.header("content-type", "application/json").body(body)).await
}

async fn uploads(world: &World) -> Vec<String> {
    let listed = list_all(&*world.ports.store, "uploads", "").await.expect("a list");
    listed.into_iter().map(|object| object.key).collect()
}

#[tokio::test]
async fn a_raw_picture_is_stored_with_its_recipe_and_its_job_is_there_at_once() {
    let world = World::new().await;
    let sent = world.post("/api/jobs?quality=fine&size-mm=20&name=red%20chair.png", "picture").await;
    let location = sent.headers()["location"].to_str().expect("text").to_owned();
    let made = json(sent, StatusCode::ACCEPTED).await;
    assert_eq!(made["url"], location.as_str());

    let shown = json(world.get(&location).await, StatusCode::OK).await;
    assert_eq!((&shown["id"], &shown["state"]), (&made["id"], &"queued".into()));
    assert_eq!((&shown["recipe"]["quality"], &shown["recipe"]["size_mm"]), (&"fine".into(), &20.into()));

    let [key] = &uploads(&world).await[..] else { panic!("one upload") };
    assert!(key.starts_with("web/") && key.ends_with("/red chair.png"), "{key}");
    let info = world.ports.store.head("uploads", key).await.expect("a head").expect("an object");
    assert_eq!(info.metadata["meshwright-quality"], "fine");
    // Ingest, which sees nothing but the object, would make the same job of it.
    let metadata = info.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let recipe = world.site.inputs[0].recipe.with_metadata(metadata).expect("good options");
    assert_eq!(recipe.quality, Quality::Fine);
    let upload = made["upload_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    assert_eq!(made["id"], domain::job_id(upload, &recipe).to_string());
}

#[tokio::test]
async fn the_first_file_of_a_form_is_the_picture_and_its_fields_are_options() {
    let world = World::new().await;
    let fields = [("quality", "draft"), ("bucket", "uploads")];
    let made = json(send_form(&world, &fields, Some(("cup.png", b"picture"))).await, StatusCode::ACCEPTED);
    let made = made.await;
    assert_eq!(made["recipe"]["quality"], "draft");
    assert!(made["key"].as_str().is_some_and(|key| key.ends_with("/cup.png")), "{made}");

    problem(send_form(&world, &fields, None).await, 400, "bad-request").await;
    problem(send_form(&world, &[("colour", "red")], Some(("a", b"b"))).await, 422, "bad-recipe").await;
    let kind = "multipart/form-data";
    let cut = sent(world.call(Method::POST, "/api/jobs").header("content-type", kind).body("x")).await;
    problem(cut, 400, "bad-request").await;
    assert_eq!(uploads(&world).await.len(), 1);
}

#[tokio::test]
async fn the_name_of_an_object_starts_its_job_once_and_another_recipe_one_beside_it() {
    let world = World::new().await;
    world.put("a.png", b"picture").await;
    let body = r#"{"bucket": "uploads", "key": "a.png"}"#;
    let own = json(send_name(&world, "", body).await, StatusCode::ACCEPTED).await;
    let again = json(send_name(&world, "", body).await, StatusCode::ACCEPTED).await;
    assert_eq!(own["id"], again["id"]);
    let beside = json(send_name(&world, "?quality=fine", body).await, StatusCode::ACCEPTED).await;
    assert_ne!(own["id"], beside["id"]);
    let mut queued: Vec<String> =
        world.tasks(Stage::Preprocess).await.iter().map(|task| task.job.to_string()).collect();
    let mut made = [&own, &beside].map(|job| job["id"].as_str().expect("an id").to_owned());
    queued.sort();
    made.sort();
    assert_eq!(queued, made);

    let missing = r#"{"bucket": "uploads", "key": "b.png"}"#;
    problem(send_name(&world, "", missing).await, 404, "not-found").await;
    // A bucket that is there, and is none of the inputs.
    let foreign = r#"{"bucket": "state", "key": "a.png"}"#;
    problem(send_name(&world, "", foreign).await, 404, "not-found").await;
    for broken in ["{", "{}", r#"{"bucket": "uploads", "key": "a.png", "more": 1}"#] {
        problem(send_name(&world, "", broken).await, 400, "bad-request").await;
    }
}

#[tokio::test]
async fn a_recipe_that_makes_no_sense_is_refused_and_nothing_is_stored() {
    let world = World::new().await;
    let check = async |query: &str, says: &str| {
        let detail = problem(world.post(&format!("/api/jobs?{query}"), "p").await, 422, "bad-recipe").await;
        assert!(detail.contains(says), "{detail}");
    };
    check("colour=red", "unknown option \"colour\"").await;
    check("quality=best", "use one of draft, standard, fine").await;
    check("size-mm=0", "use 1 to 10000").await;
    check("formats=doc", "use one of glb, stl").await;
    assert_eq!(uploads(&world).await, [""; 0]);
}

#[tokio::test]
async fn a_call_that_is_repeated_under_its_idempotency_key_makes_one_job() {
    let world = World::new().await;
    let send = async |key: &str, query: &str, body: &'static str| {
        let call = world.call(Method::POST, &format!("/api/jobs?{query}"));
        sent(call.header("idempotency-key", key).body(body)).await
    };
    let first = json(send("k 1", "name=a.png", "picture").await, StatusCode::ACCEPTED).await;
    let again = json(send("k 1", "name=a.png", "picture").await, StatusCode::ACCEPTED).await;
    assert_eq!(first, again);
    assert_eq!(uploads(&world).await.len(), 1);

    let reused = "idempotency-key-reused";
    problem(send("k 1", "name=a.png", "another").await, 422, reused).await;
    problem(send("k 1", "name=b.png", "picture").await, 422, reused).await;
    problem(send("k 1", "name=a.png&quality=fine", "picture").await, 422, reused).await;
    let other = json(send("k 2", "name=a.png", "picture").await, StatusCode::ACCEPTED).await;
    assert_ne!(first["id"], other["id"]);
    for bad in [String::new(), "x".repeat(256)] {
        problem(send(&bad, "", "picture").await, 400, "bad-request").await;
    }
    assert_eq!(uploads(&world).await.len(), 2);
}

#[tokio::test]
async fn a_named_object_is_taken_once_under_an_idempotency_key_whatever_becomes_of_it() {
    let world = World::new().await;
    world.put("a.png", b"picture").await;
    world.put("b.png", b"picture").await;
    let send = async |key: &str, query: &str, name: &str| {
        let call = world.call(Method::POST, &format!("/api/jobs{query}")).header("idempotency-key", key);
        let body = format!("{{\"bucket\": \"uploads\", \"key\": \"{name}\"}}");
        sent(call.header("content-type", "application/json").body(body)).await
    };
    let first = json(send("k 1", "", "a.png").await, StatusCode::ACCEPTED).await;
    assert_eq!(first, json(send("k 1", "", "a.png").await, StatusCode::ACCEPTED).await);
    let reused = "idempotency-key-reused";
    problem(send("k 1", "", "b.png").await, 422, reused).await;
    problem(send("k 1", "?quality=fine", "a.png").await, 422, reused).await;
    // A picture under the same key is another body, and the other way round.
    let picture = async |key: &str| {
        sent(world.call(Method::POST, "/api/jobs").header("idempotency-key", key).body("picture")).await
    };
    problem(picture("k 1").await, 422, reused).await;
    json(picture("k 2").await, StatusCode::ACCEPTED).await;
    problem(send("k 2", "", "a.png").await, 422, reused).await;
    // Another object under the same name is another job, for who does not repeat himself.
    world.put("a.png", b"replaced").await;
    assert_eq!(first, json(send("k 1", "", "a.png").await, StatusCode::ACCEPTED).await);
    let second = json(send("k 3", "", "a.png").await, StatusCode::ACCEPTED).await;
    assert_ne!(first["id"], second["id"]);
    world.ports.store.delete("uploads", &["a.png".to_owned()]).await.expect("a delete");
    assert_eq!(first, json(send("k 1", "", "a.png").await, StatusCode::ACCEPTED).await);
    problem(send("k 4", "", "a.png").await, 404, "not-found").await;
    // Nothing was noted for what was refused.
    let notes = list_all(&*world.ports.store, "state", domain::NOTES_PREFIX).await.expect("a list");
    assert_eq!(notes.len(), 2);
    // A call that ended behind its note is repeated as if it were the first.
    let key = domain::job_record_key(
        second["upload_id"].as_str().and_then(|id| id.parse().ok()).expect("an id"),
        second["id"].as_str().and_then(|id| id.parse().ok()).expect("an id"),
    );
    world.ports.store.delete("state", &[key]).await.expect("a delete");
    world.put("a.png", b"replaced").await;
    json(send("k 3", "", "a.png").await, StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_in_every_form() {
    let world = World::new().await;
    let over = vec![7; UPLOAD_BYTES_MAX + 1];
    let far_over = vec![7; UPLOAD_BYTES_MAX + (200 << 10)];
    problem(world.post("/api/jobs", over.clone()).await, 413, "too-large").await;
    problem(world.post("/api/jobs", far_over.clone()).await, 413, "too-large").await;
    problem(send_form(&world, &[], Some(("a.png", &over))).await, 413, "too-large").await;
    problem(send_form(&world, &[], Some(("a.png", &far_over))).await, 413, "too-large").await;
    problem(world.post("/api/jobs", "").await, 400, "bad-request").await;
    // Without a length that could be looked at beforehand.
    let pieces: Vec<_> = far_over.chunks(1 << 10).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
    let pieces = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    problem(world.post("/api/jobs", pieces).await, 413, "too-large").await;
    assert_eq!(uploads(&world).await, [""; 0]);
    let exact = vec![7; UPLOAD_BYTES_MAX];
    json(world.post("/api/jobs", exact).await, StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let world = World::new().await;
    let head =
        format!("POST /api/jobs HTTP/1.1\r\nHost: {}\r\nContent-Length: 2147483648\r\n\r\n", world.address());
    let answer = world.raw(&head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn no_more_bodies_are_held_than_the_limit_says_and_none_for_ever() {
    let body_max = std::time::Duration::from_millis(300);
    let limits = gateway::Limits { bodies: 1, body_max, ..gateway::Limits::default() };
    let world = World::with(None, limits).await;
    // A picture of which only the first byte ever comes.
    let head = format!("POST /api/jobs HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\nx", world.address());
    let stalled = world.raw(&head);
    let others = harness::until("a call that finds no place", crate::world::PATIENCE, async || {
        let answer = world.post("/api/jobs", "picture").await;
        if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        assert!(answer.headers().contains_key("retry-after"));
        problem(answer, 503, "unavailable").await;
        Ok(Some(()))
    });
    let (stalled, others) = futures::join!(stalled, others);
    others.expect("in time");
    assert!(stalled.starts_with("HTTP/1.1 408 "), "{stalled}");
    json(world.post("/api/jobs", "picture").await, StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn a_key_that_no_store_takes_is_the_callers_fault() {
    let world = World::new().await;
    let long = format!("{{\"bucket\":\"uploads\",\"key\":\"{}\"}}", "x".repeat(1025));
    for body in ["{\"bucket\":\"uploads\",\"key\":\"\"}", &long] {
        let call = world.call(Method::POST, "/api/jobs").header("content-type", "application/json");
        problem(sent(call.body(body.to_owned())).await, 400, "bad-request").await;
    }
    // Some stores have no word for it, some refuse it; nothing breaks.
    let climbs = send_name(&world, "", "{\"bucket\":\"uploads\",\"key\":\"a/../b\"}").await;
    assert!(climbs.status().is_client_error(), "{climbs:?}");
    let name = "%E5%B1%B1".repeat(120);
    let made = world.post(&format!("/api/jobs?name={name}"), "picture").await;
    json(made, StatusCode::ACCEPTED).await;
}

/// Its event was lost, and a call for another recipe comes before the sweep.
#[tokio::test]
async fn a_job_beside_an_uploads_own_one_never_hides_that_one() {
    let world = World::new().await;
    world.put("chair.png", b"picture").await;
    let name = "{\"bucket\":\"uploads\",\"key\":\"chair.png\"}";
    let beside = json(send_name(&world, "?quality=fine", name).await, StatusCode::ACCEPTED).await;
    let own = json(send_name(&world, "", name).await, StatusCode::ACCEPTED).await;
    assert_ne!(own["id"], beside["id"]);
    let record = async |made: &serde_json::Value| {
        let id = |name: &str| made[name].as_str().expect("an id").to_owned();
        let (upload, job) = (id("upload_id").parse().expect("an id"), id("id").parse().expect("an id"));
        world.ledger().record(upload, job).await.expect("a read").expect("a record")
    };
    assert!(record(&beside).await.secondary && !record(&own).await.secondary);
    assert_eq!(world.tasks(Stage::Preprocess).await.len(), 2);
    let records = list_all(&*world.ports.store, "state", "j/").await.expect("a list");
    assert_eq!(records.len(), 2);
}

#[tokio::test]
async fn an_edited_default_makes_no_second_job_of_an_upload() {
    let mut world = World::new().await;
    world.put("chair.png", b"picture").await;
    let name = "{\"bucket\":\"uploads\",\"key\":\"chair.png\"}";
    let before = json(send_name(&world, "", name).await, StatusCode::ACCEPTED).await;
    world.site.inputs[0].recipe.quality = Quality::Draft;
    world.restart_gateway().await;
    let after = json(send_name(&world, "", name).await, StatusCode::ACCEPTED).await;
    assert_eq!((&after["id"], &after["recipe"]["quality"]), (&before["id"], &"standard".into()));
    // What stands beside it is said against its own recipe.
    let beside = json(send_name(&world, "?texture-px=512", name).await, StatusCode::ACCEPTED).await;
    assert_eq!(beside["recipe"]["quality"], "standard");
    assert_eq!(list_all(&*world.ports.store, "state", "j/").await.expect("a list").len(), 2);
}

#[tokio::test]
async fn a_size_without_a_format_that_has_one_is_refused() {
    let world = World::new().await;
    let detail = problem(world.post("/api/jobs?formats=glb&size-mm=50", "p").await, 422, "bad-recipe").await;
    assert!(detail.contains("no meaning without stl, ply"), "{detail}");
}

#[tokio::test]
async fn a_tenant_that_has_made_its_jobs_of_a_minute_is_told_when_to_come_again() {
    let jobs_per_minute = std::num::NonZeroU32::new(2);
    let world = World::with(None, gateway::Limits { jobs_per_minute, ..gateway::Limits::default() }).await;
    for name in ["a", "b"] {
        world.job(&format!("/api/jobs?name={name}.png"), b"picture").await;
    }
    let answer = world.post("/api/jobs?name=c.png", "picture").await;
    let again = answer.headers()["retry-after"].to_str().expect("text").parse::<u64>().expect("seconds");
    assert!((1..=31).contains(&again), "{again}");
    problem(answer, 429, "too-many").await;
}
