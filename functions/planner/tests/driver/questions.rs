//! What a person asks: the leader answers, and nobody else.

use crate::bench::{Bench, tenant};
use domain::{CALL_SUBJECT, Class, PLAN_SUBJECT, PlanQuestion, Recipe, Stage, Task, Timestamp};
use planning::{DeviceBatchSizes, DeviceReports, Explanation, Whereabouts};
use ports::Answer;
use serde::de::DeserializeOwned;
use std::time::Duration;

async fn ask<T: DeserializeOwned>(bench: &Bench, question: &PlanQuestion) -> T {
    let body = serde_json::to_vec(question).expect("JSON");
    let answer = bench.ports.wire.request(PLAN_SUBJECT, body.into(), Duration::from_secs(5)).await;
    let Ok(Answer::Reply(body)) = answer else { panic!("{answer:?}") };
    serde_json::from_slice(&body).expect("an answer")
}

#[tokio::test(start_paused = true)]
async fn the_leader_says_why_a_task_waits_and_what_a_device_can_take() {
    let bench = Bench::new();
    let mut calls = bench.ports.wire.subscribe(CALL_SUBJECT).await.expect("a subscription");
    let mut worker = bench.worker("a").await;
    let nobody = bench.ports.wire.request(PLAN_SUBJECT, "{}".into(), Duration::from_secs(5)).await;
    assert_eq!(nobody, Ok(Answer::NoResponders), "nobody leads");
    let _planner = bench.planner("one");
    bench.led(&mut calls).await;
    let job = bench.put(1, 0, Class::Normal).await;
    let task = Task {
        job,
        upload: domain::UploadId(job.0),
        stage: Stage::Shape,
        class: Class::Normal,
        tenant: tenant(0),
        recipe: Recipe::default(),
        size_bytes: domain::Bytes::kib(100),
        accepted_at: Timestamp(0),
        deadline: None,
    };
    let explain = PlanQuestion::Explain { task: Box::new(task) };
    let why: Explanation = ask(&bench, &explain).await;
    assert!(matches!(why.whereabouts, Whereabouts::NotDrawn { .. }), "{why:?}");
    worker.offer(1).await;
    let asked = worker.asked().await;
    worker.accept(&asked).await;
    let why: Explanation = ask(&bench, &explain).await;
    assert!(matches!(&why.whereabouts, Whereabouts::InBatch { items: 1, .. }), "{why:?}");
    assert!(why.text.contains(&asked.batch.why), "{}", why.text);
    worker.finish(&asked.batch).await;

    let devices = PlanQuestion::Devices { device: None, stage: None, after: None };
    let reports: DeviceReports = ask(&bench, &devices).await;
    let report = &reports.devices[0];
    assert_eq!((report.worker.as_str(), report.stage, report.report.history.len()), ("a", Stage::Shape, 1));
    let (stage, image_size, inference_steps) = (Stage::Shape, 512, 50);
    let sizes =
        PlanQuestion::BatchSize { device: None, stage, image_size, inference_steps, queue_size: Some(4) };
    let sizes: DeviceBatchSizes = ask(&bench, &sizes).await;
    assert_eq!((sizes.queue_size, sizes.sizes[0].batch.recommended_size), (4, 2), "twice what was measured");
}
