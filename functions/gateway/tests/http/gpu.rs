//! What the leading planner is asked through the gateway, and workers that give memory back. The planner and
//! the worker are the test.

use crate::world::{World, json, problem};
use domain::{
    Bytes, DEVICES, DeviceClass, DeviceEntry, DeviceHealth, Ending, PLAN_SUBJECT, PlanQuestion, Reading,
    Released, Stage, release_subject,
};
use futures::StreamExt;
use planning::{
    BatchSizeRecommendation, DeviceBatchSize, DeviceBatchSizes, DeviceReport, DeviceReports, Explanation,
    Optimizer, OptimizerReport, Recommendation, Whereabouts,
};
use ports::Expect;
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

async fn ok(world: &World, path: &str) -> Value {
    json(world.get(path).await, StatusCode::OK).await
}

/// Answers each request on a subject, in this order; gives back what was asked.
async fn answering(world: &World, subject: &str, answers: Vec<Vec<u8>>) -> JoinHandle<Vec<Vec<u8>>> {
    let wire = world.ports.wire.clone();
    let mut asked = wire.subscribe(subject).await.expect("a subscription");
    tokio::spawn(async move {
        let mut questions = Vec::new();
        for answer in answers {
            let message = asked.next().await.expect("a question");
            questions.push(message.payload.to_vec());
            wire.publish(&message.reply.expect("a request"), answer.into()).await.expect("a wire");
        }
        questions
    })
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

fn question(asked: &[u8]) -> PlanQuestion {
    serde_json::from_slice(asked).expect("a question")
}

fn report(device: &str, advice: &str) -> DeviceReport {
    let mut optimizer = Optimizer::new(DeviceClass("host".to_owned()));
    let reading = Reading { total_bytes: Bytes::gib(4), used_bytes: Bytes::gib(1), ..Reading::default() };
    optimizer.read(reading, Bytes::ZERO);
    let recommendation = Recommendation {
        what: advice.to_owned(),
        evidence: "numbers".to_owned(),
        expected_effect: "better ones".to_owned(),
        command: "such".to_owned(),
    };
    DeviceReport {
        device: device.parse().expect("a name"),
        worker: format!("w-{device}").parse().expect("a name"),
        stage: Stage::Shape,
        report: OptimizerReport { recommendations: vec![recommendation], ..optimizer.report() },
    }
}

#[tokio::test]
async fn without_a_planner_nothing_is_claimed_about_devices() {
    let world = World::new().await;
    for path in ["summary", "batch-size?image_size=512", "recommendations"] {
        let said = problem(world.get(&format!("/api/gpu/{path}")).await, 503, "unavailable").await;
        assert!(said.contains("meshwright run planner"), "{said}");
    }
    for bad in [
        "batch-size?image_size=0",
        "batch-size?image_size=16385",
        "batch-size?image_size=512&inference_steps=0",
        "batch-size?image_size=512&queue_size=1000001",
    ] {
        problem(world.get(&format!("/api/gpu/{bad}")).await, 422, "bad-query").await;
    }
    for bad in ["batch-size", "batch-size?image_size=many", "summary?colour=red", "summary?stage=paint"] {
        assert_eq!(world.get(&format!("/api/gpu/{bad}")).await.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn devices_are_told_page_by_page_and_all_that_could_be_done_at_once() {
    let world = World::new().await;
    let next = Some("a/shape".to_owned());
    let first = DeviceReports { devices: vec![report("a", "this")], next };
    let second = DeviceReports { devices: vec![report("b", "that")], next: None };
    let answers = vec![bytes(&first), bytes(&first), bytes(&second)];
    let planner = answering(&world, PLAN_SUBJECT, answers).await;
    let page = ok(&world, "/api/gpu/summary?stage=shape").await;
    assert_eq!((&page["devices"][0]["device"], &page["next"]), (&json!("a"), &json!("a/shape")));
    assert_eq!(page["devices"][0]["memory"]["free_mb"], 3072);
    let advice = ok(&world, "/api/gpu/recommendations").await;
    let said: Vec<_> = advice["recommendations"].as_array().expect("rows").iter().collect();
    assert_eq!((said.len(), &said[0]["what"], &said[1]["worker"]), (2, &json!("this"), &json!("w-b")));
    let asked = planner.await.expect("no panic");
    let devices = |stage, after: Option<&str>| PlanQuestion::Devices {
        device: None,
        stage,
        after: after.map(str::to_owned),
    };
    let expect = [devices(Some(Stage::Shape), None), devices(None, None), devices(None, Some("a/shape"))];
    assert_eq!(asked.iter().map(|asked| question(asked)).collect::<Vec<_>>(), expect);
}

#[tokio::test]
async fn a_batch_size_is_asked_for_a_kind_of_picture() {
    let world = World::new().await;
    let batch = BatchSizeRecommendation {
        recommended_size: 3,
        max_safe_size: 8,
        estimated_vram_per_image: Bytes::mib(100),
        confidence: 0.9,
        reasoning: "as measured".to_owned(),
    };
    let (device, worker) = ("a".parse().expect("a name"), "w".parse().expect("a name"));
    let sizes = vec![DeviceBatchSize { device, worker, batch }];
    let (image_size, inference_steps) = (1024, 50);
    let answer =
        DeviceBatchSizes { stage: Stage::Texture, image_size, inference_steps, queue_size: 9, sizes };
    let planner = answering(&world, PLAN_SUBJECT, vec![bytes(&answer)]).await;
    let found = ok(&world, "/api/gpu/batch-size?image_size=1024&queue_size=9&stage=texture").await;
    assert_eq!((&found["sizes"][0]["recommended_size"], &found["queue_size"]), (&json!(3), &json!(9)));
    let asked = question(&planner.await.expect("no panic")[0]);
    let (device, stage, queue_size) = (None, Stage::Texture, Some(9));
    assert_eq!(asked, PlanQuestion::BatchSize { device, stage, image_size, inference_steps, queue_size });
}

#[tokio::test]
async fn a_job_is_explained_by_the_planner_while_it_waits_and_by_its_manifests_afterwards() {
    let world = World::new().await;
    let record = world.job("/api/jobs?name=a.png", b"picture").await;
    let job = record.job_id();
    let path = format!("/api/jobs/{job}/explain");
    let alone = ok(&world, &path).await;
    assert!(alone["text"].as_str().expect("a sentence").contains("no planner leads"), "{alone}");

    world.commit(job, Stage::Preprocess, &[]).await;
    let text = "no worker offers shape; 2 offer other stages".to_owned();
    let why = Explanation {
        stage: Stage::Shape,
        whereabouts: Whereabouts::NoOffer { other_offers: 2 },
        text: text.clone(),
    };
    let planner = answering(&world, PLAN_SUBJECT, vec![bytes(&why)]).await;
    let found = ok(&world, &path).await;
    assert_eq!(found["text"], format!("shape: {text}"));
    assert_eq!((&found["now"]["state"], &found["now"]["other_offers"]), (&json!("no_offer"), &json!(2)));
    let batch = &found["batches"][0];
    assert_eq!((&batch["stage"], &batch["items"]), (&json!("preprocess"), &json!(1)));
    assert_eq!(batch["why"], "1 of 1 waiting");
    let asked = question(&planner.await.expect("no panic")[0]);
    assert_eq!(asked, PlanQuestion::Explain { task: Box::new(record.task(Stage::Shape)) });

    world.decide(job, 0, Ending::Cancelled { reason: "requested".to_owned() }).await;
    let ended = ok(&world, &path).await;
    assert_eq!(ended["text"], "it waits for nothing: it is cancelled");
    assert_eq!((&ended["now"], ended["batches"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
    problem(world.get("/api/jobs/0123456789abcdef0123456789abcdef/explain").await, 404, "not-found").await;
}

#[tokio::test]
async fn workers_are_asked_to_give_memory_back_each_or_one() {
    let world = World::new().await;
    for name in ["a", "b"] {
        let entry = DeviceEntry {
            worker: format!("w-{name}").parse().expect("a name"),
            device: name.parse().expect("a name"),
            device_class: DeviceClass("host".to_owned()),
            reading: Reading::default(),
            lanes: 1,
            stages: vec![Stage::Shape],
            resident_bytes: Bytes::ZERO,
            running: vec![],
            health: DeviceHealth::default(),
            activity: None,
        };
        world
            .ports
            .boards
            .write(&DEVICES, name, bytes(&entry).into(), Expect::Anything)
            .await
            .expect("written");
    }
    let released = Released { runners: 2, free_before_bytes: Bytes(5), free_after_bytes: Bytes(7) };
    let subject = release_subject(&"w-a".parse().expect("a name"));
    let worker = answering(&world, &subject, vec![bytes(&released), bytes(&released)]).await;
    let all = json(world.post("/api/gpu/optimize-cache", "").await, StatusCode::OK).await;
    let expect = json!([
        {"device": "a", "worker": "w-a", "runners": 2, "free_before_bytes": 5, "free_after_bytes": 7},
        {"device": "b", "worker": "w-b"}]);
    assert_eq!(all["devices"], expect);
    let one = json(world.post("/api/gpu/optimize-cache?device=a", "").await, StatusCode::OK).await;
    assert_eq!(one["devices"].as_array().map(Vec::len), Some(1));
    worker.await.expect("no panic");
    problem(world.post("/api/gpu/optimize-cache?device=c", "").await, 404, "not-found").await;
}
