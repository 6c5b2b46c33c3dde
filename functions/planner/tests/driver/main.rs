//! The planner's part of the conversation, on the embedded twins: what it asks, whom, and what it does with
//! each answer and with none.

mod bench;
mod questions;
mod refusals;

use bench::{Bench, consumer};
use domain::{
    Bytes, CALL_SUBJECT, Class, DEVICES, DeviceClass, DeviceEntry, DeviceHealth, JobId, LEASE, Lease,
    RefusedReason, Stage,
};
use ports::Expect;
use std::time::Duration;

const ACK_WAIT: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_task_is_proposed_when_there_is_an_offer_and_not_before() {
    let bench = Bench::new();
    let mut calls = bench.ports.wire.subscribe(CALL_SUBJECT).await.expect("a subscription");
    let mut worker = bench.worker("a").await;
    let planner = bench.planner("one");
    bench.led(&mut calls).await;
    let job = bench.put(1, 0, Class::Normal).await;
    assert!(worker.hears_nothing(Duration::from_secs(30)).await);
    let backlog = bench.backlog(0, Class::Normal).await;
    assert_eq!((backlog.waiting, backlog.in_flight), (1, 0), "it is not even drawn");
    worker.offer(1).await;
    let asked = worker.asked().await;
    assert_eq!((asked.batch.tasks[0].task.job, asked.batch.tasks[0].delivery), (job, 1));
    assert!(asked.batch.why.contains("to give"), "{}", asked.batch.why);
    worker.accept(&asked).await;
    worker.finish(&asked.batch).await;
    planner.drain().await;
    let backlog = bench.backlog(0, Class::Normal).await;
    assert_eq!((backlog.waiting, backlog.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_offer_with_a_stage_of_a_newer_version_stands_for_those_that_are_known() {
    let bench = Bench::new();
    let mut calls = bench.ports.wire.subscribe(CALL_SUBJECT).await.expect("a subscription");
    let mut worker = bench.worker("a").await;
    let _planner = bench.planner("one");
    bench.led(&mut calls).await;
    let job = bench.put(1, 0, Class::Normal).await;
    worker.offer_besides("glaze").await;
    assert_eq!(worker.asked().await.batch.tasks[0].task.job, job);
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_is_cut_again_and_nothing_is_given_back() {
    let bench = Bench::new();
    let mut worker = bench.worker("a").await;
    let _planner = bench.planner("one");
    bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.offer(1).await;
    let first = worker.asked().await;
    worker.refuse(&first, 2, RefusedReason::Memory).await;
    let second = worker.asked().await;
    assert_ne!(second.batch.id, first.batch.id);
    assert_eq!(second.batch.tasks[0].ack_token, first.batch.tasks[0].ack_token);
    // And once more by another one, since this one says that it has no lane.
    let mut other = bench.worker("b").await;
    worker.refuse(&second, 2, RefusedReason::NoLane).await;
    other.offer(1).await;
    let third = other.asked().await;
    assert_eq!((third.batch.tasks[0].delivery, third.batch.epoch), (1, first.batch.epoch));
    assert_eq!(third.batch.tasks[0].ack_token, first.batch.tasks[0].ack_token);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_answer_is_told_to_stop_before_its_tasks_go_to_another() {
    let bench = Bench::new();
    let (mut silent, mut other) = (bench.worker("a").await, bench.worker("b").await);
    let _planner = bench.planner("one");
    bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    silent.offer(1).await;
    let asked = silent.asked().await;
    other.offer(1).await;
    assert!(other.hears_nothing(Duration::from_millis(400)).await, "the answer may still come");
    let stop = silent.stopped(true).await;
    assert_eq!((stop.batch, stop.epoch), (asked.batch.id, asked.batch.epoch));
    let again = other.asked().await;
    assert_eq!(again.batch.tasks[0].ack_token, asked.batch.tasks[0].ack_token);
    assert_eq!(again.batch.tasks[0].delivery, 1, "nothing was given back");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_worker_that_answers_nothing_at_all_are_dropped_and_delivered_again_after_the_ack_wait() {
    let bench = Bench::new();
    let (mut silent, mut other) = (bench.worker("a").await, bench.worker("b").await);
    let _planner = bench.planner("one");
    let job = bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    silent.offer(1).await;
    let asked = silent.asked().await;
    silent.stopped(false).await;
    let dropped = tokio::time::Instant::now();
    other.offer(1).await;
    let again = other.asked().await;
    assert_eq!((again.batch.tasks[0].task.job, again.batch.tasks[0].delivery), (job, 2));
    assert!(dropped.elapsed() >= ACK_WAIT - Duration::from_secs(4), "{:?}", dropped.elapsed());
    assert_ne!(again.batch.tasks[0].ack_token, asked.batch.tasks[0].ack_token);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_gone_when_it_is_to_be_stopped_may_have_begun_so_that_its_tokens_are_dropped() {
    let bench = Bench::new();
    let (mut gone, mut other) = (bench.worker("a").await, bench.worker("b").await);
    let _planner = bench.planner("one");
    let job = bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    gone.offer(1).await;
    let asked = gone.asked().await;
    drop(gone);
    other.offer(1).await;
    let again = other.asked().await;
    assert_eq!((again.batch.tasks[0].task.job, again.batch.tasks[0].delivery), (job, 2));
    assert_ne!(again.batch.tasks[0].ack_token, asked.batch.tasks[0].ack_token);
}

#[tokio::test(start_paused = true)]
async fn a_gone_workers_batch_goes_to_another_at_once() {
    let bench = Bench::new();
    let gone = bench.worker("a").await;
    let mut other = bench.worker("b").await;
    let _planner = bench.planner("one");
    tokio::time::sleep(Duration::from_secs(1)).await;
    gone.offer(4).await;
    drop(gone);
    bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let since = tokio::time::Instant::now();
    other.offer(1).await;
    let asked = other.asked().await;
    assert_eq!(asked.batch.tasks[0].delivery, 1);
    assert!(since.elapsed() < Duration::from_millis(500), "nobody is waited for who does not listen");
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_the_lease_over_once_it_has_expired_with_a_higher_epoch() {
    let bench = Bench::new();
    let mut worker = bench.worker("a").await;
    let first = bench.planner("one");
    bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _standby = bench.planner("two");
    worker.offer(1).await;
    let asked = worker.asked().await;
    worker.accept(&asked).await;
    worker.finish(&asked.batch).await;
    let entry = bench.ports.boards.read(&LEASE, "planner.0").await.expect("a board").expect("a lease");
    let lease: Lease = serde_json::from_slice(&entry.value).expect("a lease");
    assert_eq!((lease.holder.as_str(), lease.epoch), ("one", asked.batch.epoch));
    let mut calls = bench.ports.wire.subscribe(CALL_SUBJECT).await.expect("a subscription");
    first.kill();
    let killed = tokio::time::Instant::now();
    bench.led(&mut calls).await;
    let age_max = LEASE.age_max.expect("a lease expires");
    assert!(killed.elapsed() <= age_max + Duration::from_secs(1), "{:?}", killed.elapsed());
    assert!(killed.elapsed() >= age_max - Duration::from_secs(3), "it was renewed at most 3 s before");
    bench.put(2, 0, Class::Normal).await;
    worker.offer(1).await;
    let asked = worker.asked().await;
    assert!(asked.batch.epoch > lease.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_gives_nothing_to_a_device_that_only_an_old_entry_speaks_of() {
    let bench = Bench::new();
    let mut worker = bench.worker("a").await;
    let entry = DeviceEntry {
        worker: "a".parse().expect("a name"),
        device: "device".parse().expect("a name"),
        device_class: DeviceClass("host".to_owned()),
        reading: bench::reading(0),
        lanes: 8,
        stages: vec![Stage::Shape],
        resident_bytes: Bytes::ZERO,
        running: Vec::new(),
        health: DeviceHealth::default(),
        activity: None,
    };
    let body = serde_json::to_vec(&entry).expect("JSON");
    bench.ports.boards.write(&DEVICES, "device", body.into(), Expect::Anything).await.expect("a board");
    worker.offer(8).await;
    let mut calls = bench.ports.wire.subscribe(CALL_SUBJECT).await.expect("a subscription");
    let _planner = bench.planner("one");
    bench.led(&mut calls).await;
    bench.put(1, 0, Class::Normal).await;
    assert!(worker.hears_nothing(Duration::from_secs(14)).await, "a word for another leader is no word");
    worker.offer(1).await;
    worker.asked().await;
}

#[tokio::test(start_paused = true)]
async fn a_light_tenant_is_seen_behind_a_thousand_tasks_of_another_and_a_high_class_before_both() {
    let bench = Bench::new();
    let mut worker = bench.worker("a").await;
    let _planner = bench.planner("one");
    for n in 0..1_000 {
        bench.put(n, 0, Class::Normal).await;
    }
    let light = bench.put(2_000, 1, Class::Normal).await;
    let high = bench.put(3_000, 0, Class::High).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut served: Vec<JobId> = Vec::new();
    while served.len() < 40 {
        worker.offer(1).await;
        let asked = worker.asked().await;
        worker.accept(&asked).await;
        let drawn = bench.backlog(0, Class::Normal).await.in_flight;
        let most = 2 * asked.batch.tasks.len().max(1) as u64 * 2 + 4;
        assert!(drawn <= most, "{drawn} of the heavy tenant are drawn, for batches of at most {most}");
        worker.finish(&asked.batch).await;
        served.extend(asked.batch.tasks.iter().map(|given| given.task.job));
    }
    let place = |job| served.iter().position(|of| *of == job);
    assert!(place(light).is_some_and(|place| place < 12), "{:?}", place(light));
    assert!(place(high).is_some_and(|place| place < 12), "{:?}", place(high));
    assert!(place(high) < place(light), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drained_planner_gives_its_window_and_its_lease_back_at_once() {
    let bench = Bench::new();
    let worker = bench.worker("a").await;
    let planner = bench.planner("one");
    for n in 0..4 {
        bench.put(n, 0, Class::Normal).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // It has lanes, but none is free: a window is drawn and nothing proposed.
    worker.offer(0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.backlog(0, Class::Normal).await.in_flight > 0);
    planner.drain().await;
    let taken = bench.ports.queue.take(&consumer(0, Class::Normal), 4, Duration::from_millis(1)).await;
    assert_eq!(taken.expect("a queue").len(), 4);
    assert_eq!(bench.ports.boards.read(&LEASE, "planner.0").await.expect("a board"), None);
}

#[tokio::test(start_paused = true)]
async fn a_drained_planner_gives_back_what_a_worker_declines_meanwhile() {
    let bench = Bench::new();
    let mut worker = bench.worker("a").await;
    let planner = bench.planner("one");
    bench.put(1, 0, Class::Normal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.offer(1).await;
    let asked = worker.asked().await;
    planner.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.refuse(&asked, 15, RefusedReason::Memory).await;
    planner.drain().await;
    let taken = bench.ports.queue.take(&consumer(0, Class::Normal), 4, Duration::from_millis(1)).await;
    assert_eq!(taken.expect("a queue").len(), 1);
}
