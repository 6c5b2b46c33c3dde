//! Jobs listed and shown.

use crate::world::{PATIENCE, World, json, problem};
use domain::{Ending, EventKind, JobRecord, Stage};
use reqwest::StatusCode;
use serde_json::Value;
use std::collections::BTreeSet;

fn ids(page: &Value) -> Vec<String> {
    let rows = page["jobs"].as_array().expect("rows");
    rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn the_list_goes_by_pages_from_new_to_old_and_names_each_job_once() {
    let world = World::new().await;
    let mut made = BTreeSet::new();
    for n in 0..7 {
        made.insert(world.job(&format!("/api/jobs?name={n}.png"), b"picture").await.job_id().to_string());
    }
    let (mut found, mut times, mut query) = (Vec::new(), Vec::new(), "limit=3".to_owned());
    for rows in [3, 3, 1] {
        let page = json(world.get(&format!("/api/jobs?{query}")).await, StatusCode::OK).await;
        assert_eq!(ids(&page).len(), rows, "{page}");
        found.extend(ids(&page));
        times.extend(page["jobs"].as_array().expect("rows").iter().map(|row| row["seen_at_ms"].as_u64()));
        match page["next"].as_str() {
            Some(next) => query = format!("limit=3&cursor={next}"),
            None => assert_eq!(rows, 1),
        }
    }
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (7, made));
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

#[tokio::test]
async fn the_list_is_filtered_by_state_and_refuses_what_it_does_not_know() {
    let world = World::new().await;
    let queued = world.job("/api/jobs?name=queued.png", b"1").await.job_id();
    let running = world.job("/api/jobs?name=running.png", b"2").await.job_id();
    let done = world.job("/api/jobs?name=done.png", b"3").await.job_id();
    world.tell(running, 0, EventKind::Started { stage: Stage::Shape }).await;
    world.decide(done, 0, Ending::Done { files: vec![], unpublished: None }).await;
    world.tell(done, 0, EventKind::Finished).await;
    for (job, state) in [(queued, "queued"), (running, "running"), (done, "done")] {
        world.until_listed(job, state).await;
        let page = json(world.get(&format!("/api/jobs?state={state}")).await, StatusCode::OK).await;
        assert_eq!(ids(&page), [job.to_string()], "{state}");
    }
    for bad in ["state=great", "cursor=x", "cursor=1-x", "limit=many", "limit=0", "limit=201", "colour=red"] {
        problem(world.get(&format!("/api/jobs?{bad}")).await, 400, "bad-request").await;
    }
}

/// All jobs that a query finds, by pages of two, and when each was seen.
async fn all_found(world: &World, query: &str) -> Vec<(String, u64)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/jobs?limit=2&{query}{cursor}");
        let page = json(world.get(&path).await, StatusCode::OK).await;
        let times = page["jobs"].as_array().expect("rows").iter();
        let times = times.map(|row| row["seen_at_ms"].as_u64().expect("a time"));
        found.extend(ids(&page).into_iter().zip(times));
        let Some(next) = page["next"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn the_list_is_filtered_by_what_records_say_though_no_event_told_it() {
    let mut world = World::new().await;
    let first = world.job("/api/jobs?name=first.png", b"1").await;
    let mut records = vec![first.clone()];
    for (n, (tenant, bucket)) in
        [("acme", "shop"), ("acme", "uploads"), ("zeta", "shop")].into_iter().cycle().take(9).enumerate()
    {
        let mut record = first.clone();
        record.tenant = tenant.parse().expect("a tenant");
        (record.upload.bucket, record.upload.key) = (bucket.to_owned(), format!("{tenant}/{n}.png"));
        world.ledger().put_record(&record).await.expect("a record");
        records.push(record);
    }
    world.forgetful_gateway().await;
    let of = |wanted: &dyn Fn(&JobRecord) -> bool| -> BTreeSet<String> {
        records.iter().filter(|record| wanted(record)).map(|record| record.job_id().to_string()).collect()
    };
    let check = async |query: &str, expect: BTreeSet<String>| {
        let found = all_found(&world, query).await;
        assert!(found.is_sorted_by(|a, b| a.1 >= b.1), "{query}: {found:?}");
        assert_eq!(found.len(), expect.len(), "{query}: {found:?}");
        assert_eq!(found.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>(), expect, "{query}");
    };
    // Names alone are known once the bucket was looked at: the rest is read for whoever asks.
    let acme = of(&|record| record.tenant.as_str() == "acme");
    harness::until("the bucket to be looked at", PATIENCE, async || {
        Ok((all_found(&world, "tenant=acme").await.len() == acme.len()).then_some(()))
    })
    .await
    .expect("in time");
    check("tenant=acme", acme).await;
    check("bucket=shop", of(&|record| record.upload.bucket == "shop")).await;
    check("key=zeta/", of(&|record| record.upload.key.starts_with("zeta/"))).await;
    check("key=web/&tenant=default&state=queued", of(&|record| *record == first)).await;
    check("tenant=zeta&bucket=uploads", BTreeSet::new()).await;

    let all = all_found(&world, "").await;
    assert_eq!(all.len(), records.len());
    for (_, at) in &all {
        let [late, early]: [BTreeSet<String>; 2] = [true, false].map(|is_late| {
            let part = all.iter().filter(|(_, seen_at)| (seen_at >= at) == is_late);
            part.map(|(id, _)| id.clone()).collect()
        });
        check(&format!("after_ms={at}"), late).await;
        check(&format!("before_ms={at}"), early).await;
    }
    for bad in ["tenant=No%20One", "after_ms=soon", "before_ms=-1"] {
        problem(world.get(&format!("/api/jobs?{bad}")).await, 400, "bad-request").await;
    }
}

#[tokio::test]
async fn a_gateway_that_heard_no_event_tells_the_same_of_every_job() {
    let mut world = World::new().await;
    let done = world.job("/api/jobs?name=done.png", b"1").await.job_id();
    let rejected = world.job("/api/jobs?name=rejected.png", b"2").await.job_id();
    let half = world.job("/api/jobs?name=half.png", b"3").await.job_id();
    let reason = "no picture".to_owned();
    world.decide(done, 0, Ending::Done { files: vec![], unpublished: None }).await;
    world.decide(rejected, 0, Ending::Rejected { reason: reason.clone() }).await;
    world.commit(half, Stage::Preprocess, &[]).await;
    world.forgetful_gateway().await;

    world.until_listed(rejected, "rejected").await;
    let page = json(world.get("/api/jobs").await, StatusCode::OK).await;
    let row = |job: domain::JobId| {
        let rows = page["jobs"].as_array().expect("rows");
        rows.iter().find(|row| row["id"] == job.to_string()).expect("a row").clone()
    };
    assert_eq!(row(done)["state"], "done");
    assert_eq!(row(rejected)["reason"], reason);
    assert_eq!((&row(half)["state"], &row(half)["stages"][0]["state"]), (&"queued".into(), &"done".into()));
    assert!(row(half)["key"].as_str().is_some_and(|key| key.ends_with("/half.png")), "{page}");
    let page = json(world.get("/api/jobs?state=done&limit=1").await, StatusCode::OK).await;
    assert_eq!((ids(&page), &page["next"]), (vec![done.to_string()], &Value::Null));
}

#[tokio::test]
async fn what_cannot_be_read_is_a_row_that_says_so_and_no_reason_to_fail() {
    let mut world = World::new().await;
    let good = world.job("/api/jobs?name=good.png", b"1").await.job_id();
    let bad = world.job("/api/jobs?name=bad.png", b"2").await.job_id();
    world.decide(good, 0, Ending::Done { files: vec![], unpublished: None }).await;
    let options = ports::PutOptions::of("application/json", ports::Condition::Always);
    let key = domain::outcome_key(bad, domain::Life(0));
    world.ports.store.put("state", &key, "no JSON".into(), &options).await.expect("a put");
    world.forgetful_gateway().await;
    world.until_listed(good, "done").await;
    world.until_listed(bad, "unreadable").await;
    let page = json(world.get("/api/jobs?state=unreadable").await, StatusCode::OK).await;
    assert_eq!(ids(&page), [bad.to_string()]);
    let shown = json(world.get(&format!("/api/jobs/{bad}")).await, StatusCode::OK).await;
    assert_eq!((&shown["state"], &shown["unreadable"]), (&"unreadable".into(), &true.into()));
}

#[tokio::test]
async fn a_job_on_its_way_tells_who_is_before_it_how_far_it_is_and_when_it_will_be_done() {
    let world = World::new().await;
    let first = world.job("/api/jobs?name=1.png", b"1").await;
    let second = world.job("/api/jobs?name=2.png", b"2").await.job_id();
    let show =
        async |job: domain::JobId| json(world.get(&format!("/api/jobs/{job}")).await, StatusCode::OK).await;
    let shown = show(second).await;
    assert_eq!((&shown["fraction"], &shown["eta_p50_ms"]), (&0.0.into(), &Value::Null));
    assert!(shown["jobs_ahead"].as_u64() <= Some(1), "{shown}");
    // One job goes all the way, as events tell.
    let (job, upload) = (first.job_id(), first.upload.clone());
    let kind = EventKind::Accepted {
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        upload: Some(upload.id()),
    };
    world.tell(job, 0, kind).await;
    for stage in Stage::ALL {
        world.commit(job, stage, &[]).await;
    }
    world.decide(job, 0, Ending::Done { files: vec![], unpublished: None }).await;
    world.tell(job, 0, EventKind::Finished).await;
    world.until_listed(job, "done").await;
    let shown = show(second).await;
    assert_eq!(shown["jobs_ahead"], 0);
    assert!(shown["eta_p50_ms"].is_u64(), "{shown}");
    let shown = show(job).await;
    assert_eq!((&shown["fraction"], &shown["jobs_ahead"]), (&1.0.into(), &Value::Null));
    assert_eq!(shown["timings"].as_array().expect("timings").len(), 4);
}

#[tokio::test]
async fn one_job_is_shown_with_its_files_and_its_end() {
    let world = World::new().await;
    let job = world.job("/api/jobs?name=a.png&quality=draft", b"picture").await.job_id();
    world.commit(job, Stage::Preprocess, &[("cutout.png", "image/png", b"cut")]).await;
    world.commit(job, Stage::Shape, &[("mesh.glb", "model/gltf-binary", b"mesh")]).await;
    let shown = json(world.get(&format!("/api/jobs/{job}")).await, StatusCode::OK).await;
    let states: Vec<&Value> =
        shown["stages"].as_array().expect("stages").iter().map(|stage| &stage["state"]).collect();
    assert_eq!(states, ["done", "done", "waiting", "waiting"]);
    assert_eq!(shown["artifacts"][1]["url"], format!("/api/jobs/{job}/artifacts/mesh.glb"));
    assert_eq!(shown["notes"][1], "shape is to be looked at");
    assert_eq!((&shown["state"], &shown["tenant"]), (&"queued".into(), &"default".into()));

    let error = "it broke".to_owned();
    world.decide(job, 0, Ending::Dead { stage: Stage::Texture, error }).await;
    let shown = json(world.get(&format!("/api/jobs/{job}")).await, StatusCode::OK).await;
    assert_eq!((&shown["state"], &shown["reason"]), (&"dead".into(), &"texture: it broke".into()));
    assert!(shown["decided_at_ms"].is_u64(), "{shown}");
}

#[tokio::test]
async fn what_is_no_job_is_a_problem_and_never_a_page() {
    let world = World::new().await;
    let unknown = "0123456789abcdef0123456789abcdef";
    for id in [unknown, "x", "%ff", "..%2f..%2fetc%2fpasswd", "%3Cscript%3E"] {
        for rest in ["", "/upload", "/events", "/artifacts/model.glb"] {
            let answer = world.get(&format!("/api/jobs/{id}{rest}")).await;
            let kind = if id == "%ff" { (400, "bad-request") } else { (404, "not-found") };
            problem(answer, kind.0, kind.1).await;
        }
    }
    for action in ["cancel", "redrive", "retry"] {
        problem(world.post(&format!("/api/jobs/{unknown}/{action}"), "").await, 404, "not-found").await;
    }
}
