//! Where the time goes, what bounds, what to try, what is left: from timings on the wire, devices on the
//! board, and what a job left in the bucket.

use crate::world::{PATIENCE, World, json, now, problem};
use domain::{
    Activity, BatchId, Bytes, DEVICES, DeviceClass, DeviceEntry, DeviceFault, DeviceHealth, Ending,
    EngineVersion, HealthState, JobId, Life, PhaseTimes, Reading, RunningBatch, SpanTime, Stage, TaskEnd,
    Throttle, Timestamp, Timing, timing_subject,
};
use harness::until;
use ports::Expect;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Milliseconds that a task computes, by stage.
const COMPUTES_MS: [u64; 4] = [100, 900, 530, 200];

fn host() -> DeviceClass {
    DeviceClass("host".to_owned())
}

fn timing(n: u64, stage: Stage) -> Timing {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id[15] = stage as u8;
    let compute_us = 1_000 * COMPUTES_MS[stage as usize];
    // It waits for longer than two batches take: the lanes are under load.
    let phases = PhaseTimes { queued_us: 3 * compute_us, compute_us, ..PhaseTimes::default() };
    Timing {
        kind: String::new(),
        job: JobId(id),
        life: Life(0),
        stage,
        end: TaskEnd::Committed,
        batch: BatchId(id),
        batch_items: 1,
        delivery: 1,
        worker: format!("w-{stage}").parse().expect("a name"),
        device_class: host(),
        engine: EngineVersion { name: "plain".to_owned(), version: "1".to_owned() },
        precision: "f32".to_owned(),
        phases,
        wall_us: 4 * compute_us,
        unaccounted_us: 0,
        spans: vec![SpanTime { name: "decimate".to_owned(), us: compute_us / 2 }],
        peak_bytes: Bytes::mib(5),
        at: Timestamp(1_700_000_000_000 + 1_000 * n),
    }
}

/// Ten jobs go all the way.
async fn ten_jobs(world: &World) {
    for n in 0..10 {
        for stage in Stage::ALL {
            let text = serde_json::to_vec(&timing(n, stage)).expect("JSON");
            world.ports.wire.append(&timing_subject(stage), text.into()).await.expect("stored");
        }
    }
    let foreign = world.ports.wire.append(&timing_subject(Stage::Shape), "no timing".into()).await;
    foreign.expect("stored");
}

/// A worker with one lane for a stage, and what runs there.
fn entry(stage: Stage, running: Vec<RunningBatch>) -> DeviceEntry {
    DeviceEntry {
        worker: format!("w-{stage}").parse().expect("a name"),
        device: "host".parse().expect("a name"),
        device_class: host(),
        reading: Reading {
            total_bytes: Bytes(1_000),
            used_bytes: Bytes(400),
            own_bytes: Bytes(300),
            reclaimable_bytes: Bytes(50),
            read_at: Timestamp(7),
        },
        lanes: 1,
        stages: vec![stage],
        resident_bytes: Bytes(60),
        running,
        health: DeviceHealth::default(),
        activity: None,
    }
}

async fn device(world: &World, stage: Stage, running: Vec<RunningBatch>) {
    write(world, &entry(stage, running)).await;
}

async fn write(world: &World, entry: &DeviceEntry) {
    let text = serde_json::to_vec(entry).expect("JSON");
    let key = entry.worker.to_string();
    world.ports.boards.write(&DEVICES, &key, text.into(), Expect::Anything).await.expect("written");
}

async fn ok(world: &World, path: &str) -> Value {
    json(world.get(path).await, StatusCode::OK).await
}

/// The bottlenecks, once the timings count: an answer may be given again for a moment.
async fn measured(world: &World) -> Value {
    let found = until("timings to count", PATIENCE, async || {
        let found = ok(world, "/api/performance/bottlenecks").await;
        Ok(found["limit"].is_object().then_some(found))
    });
    found.await.expect("in time")
}

#[tokio::test]
async fn timings_tell_where_the_time_goes_what_bounds_and_what_one_more_lane_gives() {
    let mut world = World::new().await;
    let nothing = ok(&world, "/api/performance/bottlenecks").await;
    assert_eq!((&nothing["limit"], &nothing["bottlenecks"]), (&Value::Null, &json!([])));
    for stage in Stage::ALL {
        device(&world, stage, vec![]).await;
    }
    ten_jobs(&world).await;

    let found = measured(&world).await;
    let brief: Vec<_> = found["bottlenecks"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|of| (&of["stage"], &of["severity"]))
        .collect();
    assert_eq!(brief, [(&json!("shape"), &json!("critical")), (&json!("texture"), &json!("high"))]);
    let text = found["limit"]["text"].as_str().expect("a sentence");
    let start = "shape limits you at 4000 jobs/h; one more shape worker gives 6792 (texture then limits)";
    assert!(text.starts_with(start), "{text}");
    assert_eq!(found["limit"]["predictions"][0]["limits_then"], "texture");
    let all = ok(&world, "/api/performance/bottlenecks?threshold_percent=0").await;
    assert_eq!(all["bottlenecks"].as_array().map(Vec::len), Some(4));

    let summary = ok(&world, "/api/performance/summary?window_s=60").await;
    assert_eq!((&summary["stages"]["tasks"], &summary["limit"]["stage"]), (&json!(40), &json!("shape")));
    assert_eq!(summary["breakdown"]["rows"][1]["device_class"], "host");
    let texture = ok(&world, "/api/performance/summary?stage=texture").await;
    assert_eq!((&texture["stages"]["tasks"], &texture["limit"]["stage"]), (&json!(10), &json!("shape")));
    let advice = ok(&world, "/api/performance/recommendations?stage=shape").await;
    let levers: Vec<_> =
        advice["recommendations"].as_array().expect("rows").iter().map(|of| &of["lever"]).collect();
    assert_eq!(levers, ["lower triangle budget", "more lanes where it bounds"], "{advice}");

    let lines = world.get("/api/performance/timings?stage=shape").await;
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines = lines.text().await.expect("text");
    let read: Vec<Timing> = lines.lines().map(|line| serde_json::from_str(line).expect("a timing")).collect();
    assert_eq!(read, (0..10).map(|n| timing(n, Stage::Shape)).collect::<Vec<_>>());

    // Another one says the same, though it has heard nothing yet when it is asked.
    let before = ok(&world, "/api/performance/summary").await;
    world.restart_gateway().await;
    assert_eq!(ok(&world, "/api/performance/summary").await, before);
}

#[tokio::test]
async fn without_a_device_that_says_so_lanes_are_those_that_were_busy() {
    let world = World::new().await;
    ten_jobs(&world).await;
    let found = measured(&world).await;
    let lanes: Vec<_> =
        found["limit"]["stages"].as_array().expect("rows").iter().map(|of| &of["lanes"]).collect();
    assert_eq!(lanes, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_a_problem() {
    let world = World::new().await;
    for name in ["summary", "bottlenecks", "recommendations", "timings"] {
        for bad in ["window_s=0", "window_s=86401", "window_s=1h", "stage=paint", "colour=red"] {
            let answer = world.get(&format!("/api/performance/{name}?{bad}")).await;
            problem(answer, 422, "bad-query").await;
        }
    }
    for bad in ["bottlenecks?threshold_percent=101", "summary?threshold_percent=20"] {
        problem(world.get(&format!("/api/performance/{bad}")).await, 422, "bad-query").await;
    }
}

#[tokio::test]
async fn without_the_broker_nothing_is_claimed_about_performance_and_jobs_are_still_shown() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    world.broker_is_away.store(true, Ordering::Relaxed);
    problem(world.get("/api/performance/summary").await, 503, "unavailable").await;
    assert_eq!(ok(&world, &format!("/api/jobs/{job}")).await["eta"], Value::Null);
}

#[tokio::test]
async fn devices_tell_their_memory_and_what_runs_on_them_until_when() {
    let world = World::new().await;
    let none = json!({"stage": "shape", "waiting": 0, "running": 0});
    let listed = ok(&world, "/api/devices").await;
    assert_eq!((&listed["devices"], &listed["queue"][1]), (&json!([]), &none));
    let since = now();
    let batch = |n: u8, jobs: Vec<JobId>| RunningBatch {
        id: BatchId([n; 16]),
        stage: Stage::Shape,
        jobs,
        bytes: Bytes(200),
        since,
        waits: false,
    };
    let job = JobId([9; 16]);
    device(&world, Stage::Shape, vec![batch(1, vec![job]), batch(2, vec![job; 40])]).await;
    ten_jobs(&world).await;
    let found = until("the end of a batch to be known", PATIENCE, async || {
        let found = ok(&world, "/api/devices").await;
        let running = &found["devices"][0]["running"];
        Ok(running[0]["until"].is_u64().then(|| found.clone()))
    });
    let found = found.await.expect("in time");
    let mut line = found["devices"][0].clone();
    let running = line["running"].take();
    assert_eq!(
        line,
        json!({"worker": "w-shape", "device": "host", "device_class": "host", "stages": ["shape"], "lanes": 1,
               "reading": {"total_bytes": 1000, "used_bytes": 400, "own_bytes": 300, "reclaimable_bytes": 50,
                           "free_bytes": 600, "read_at": 7},
               "reserved_bytes": 400, "resident_bytes": 60, "running": null, "activity": null,
               "health": {"state": "healthy", "since": 0}})
    );
    assert_eq!(running[0]["jobs"], json!([job]));
    assert_eq!(running[0]["until"], since.0 + COMPUTES_MS[1]);
    // Nobody has ever measured a batch of forty.
    assert_eq!((&running[1]["bytes"], &running[1]["until"]), (&json!(200), &Value::Null));
}

#[tokio::test]
async fn a_device_that_is_not_used_says_why_and_what_slows_it_down() {
    let world = World::new().await;
    let health = DeviceHealth {
        state: HealthState::Draining,
        fault: Some(DeviceFault::Xid { number: 48 }),
        reason: "Xid 48".to_owned(),
        since: Timestamp(8),
    };
    let throttled = vec![Throttle::Thermal];
    let activity = Activity { compute_percent: Some(90), memory_percent: None, throttled };
    let known = DeviceEntry { health, activity: Some(activity), ..entry(Stage::Shape, Vec::new()) };
    write(&world, &known).await;
    let listed = ok(&world, "/api/devices").await;
    let device = &listed["devices"][0];
    let health = json!({"state": "draining", "fault": {"fault": "xid", "number": 48}, "reason": "Xid 48",
                        "since": 8});
    let activity = json!({"compute_percent": 90, "throttled": ["thermal"]});
    assert_eq!((&device["health"], &device["activity"]), (&health, &activity));
}

#[tokio::test]
async fn the_profile_of_a_job_is_what_its_objects_tell() {
    let world = World::new().await;
    let record = world.job("/api/jobs?name=a.png", b"picture").await;
    let job = record.job_id();
    let path = format!("/api/jobs/{job}/profile");
    let names = |profile: &Value| {
        let stages = profile["stages"].as_array().expect("stages").clone();
        stages.iter().map(|stage| stage["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let profile = ok(&world, &path).await;
    assert_eq!((names(&profile), &profile["complete"]), (vec![], &json!(false)));
    for stage in Stage::ALL {
        world.commit(job, stage, &[]).await;
    }
    world.decide(job, 0, Ending::Done { files: vec![], unpublished: None }).await;
    let profile = ok(&world, &path).await;
    assert_eq!(names(&profile), Stage::ALL.map(|stage| stage.to_string()));
    assert_eq!((&profile["complete"], &profile["metadata"]["outcome"]), (&json!(true), &json!("done")));
    let outcome = world.ledger().outcome(job, Life(0)).await.expect("a read").expect("an outcome");
    let wall_us = 1_000 * (outcome.decided_at.0 - record.accepted_at.0);
    assert_eq!((&profile["name"], &profile["wall_us"]), (&json!(job), &json!(wall_us)));
    problem(world.get("/api/jobs/0123456789abcdef0123456789abcdef/profile").await, 404, "not-found").await;
}

#[tokio::test]
async fn a_job_tells_its_place_in_the_line_and_how_long_it_will_be_from_the_first_measured_task_on() {
    let world = World::new().await;
    let first = world.job("/api/jobs?name=1.png", b"1").await.job_id();
    let second = world.job("/api/jobs?name=2.png", b"2").await.job_id();
    let show = async |job: JobId| ok(&world, &format!("/api/jobs/{job}")).await;
    world.until_listed(first, "queued").await;
    world.until_listed(second, "queued").await;
    assert_eq!(show(first).await["eta"], Value::Null);
    let positions = async || {
        let list = ok(&world, "/api/jobs").await;
        let row = |row: &Value| (row["id"].as_str().map(str::to_owned), row["queue_position"].as_u64());
        list["jobs"].as_array().expect("rows").iter().map(row).collect::<BTreeMap<_, _>>()
    };
    let places = positions().await;
    let place = |job: JobId| places[&Some(job.to_string())];
    assert_eq!(place(first).zip(place(second)).map(|(a, b)| a + b), Some(3));

    for stage in Stage::ALL {
        device(&world, stage, vec![]).await;
    }
    ten_jobs(&world).await;
    let (ahead, behind) = if place(first) == Some(1) { (first, second) } else { (second, first) };
    let whole: u64 = COMPUTES_MS.iter().sum();
    let shown = until("the line to be reckoned with", PATIENCE, async || {
        let (ahead, behind) = (show(ahead).await, show(behind).await);
        let waits = [&ahead, &behind].map(|shown| shown["eta"]["wait_ms"].as_u64());
        Ok((waits[0] == Some(0) && waits[1] > Some(0)).then_some((ahead, behind)))
    });
    let (ahead, behind) = shown.await.expect("in time");
    let ms = |shown: &Value, name: &str| shown["eta"][name].as_u64().expect("a time");
    // Nobody is before it: all its own work, within what a sketch is off by.
    assert!(ms(&ahead, "p50_ms").abs_diff(whole) * 50 < whole, "{ahead}");
    // The stage that bounds works for the one before it first.
    assert!(ms(&behind, "p50_ms").abs_diff(whole + COMPUTES_MS[1]) * 20 < whole, "{behind}");
    assert!(ms(&behind, "p90_ms") >= ms(&behind, "p50_ms"));
    assert_eq!((&behind["queue_position"], &behind["jobs_ahead"]), (&json!(2), &json!(1)));
    assert_eq!(behind["eta_p50_ms"], behind["eta"]["p50_ms"]);

    world.decide(first, 0, Ending::Done { files: vec![], unpublished: None }).await;
    let shown = show(first).await;
    assert_eq!((&shown["eta"], &shown["queue_position"]), (&Value::Null, &Value::Null));
}
