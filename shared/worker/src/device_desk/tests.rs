//! The desk, on a host that nobody else uses.

use super::*;
use domain::{AckToken, BatchTask, Class, Recipe, Task, UploadId};

/// A host of 16 GiB with nothing on it but what is ours: each process holds so much.
struct Host {
    own: Bytes,
}

#[async_trait::async_trait]
impl Device for Host {
    fn name(&self) -> String {
        "16 GiB".to_owned()
    }

    fn class(&self) -> DeviceClass {
        DeviceClass("host".to_owned())
    }

    async fn reading(&self, own_pids: &[u32]) -> PortResult<Reading> {
        let own_bytes = own_pids.iter().map(|_| self.own).sum();
        let (total_bytes, used_bytes) = (Bytes::gib(16), own_bytes);
        Ok(Reading { total_bytes, used_bytes, own_bytes, ..Reading::default() })
    }
}

fn desk(lanes: usize) -> Desk {
    let facts = DeviceFacts {
        worker: "worker".parse().expect("a name"),
        device_id: "device".parse().expect("a name"),
        device: Arc::new(Host { own: Bytes::ZERO }),
        stages: vec![Stage::Shape],
        lanes,
    };
    Desk::new(facts, &RunnerCommand { program: "runner".into(), args: Vec::new() })
}

fn batch(id: u8, epoch: u64, gib: u64) -> Batch {
    let task = Task {
        job: JobId([id; 16]),
        upload: UploadId([id; 16]),
        stage: Stage::Shape,
        class: Class::Normal,
        tenant: "tenant".parse().expect("a name"),
        recipe: Recipe::default(),
        size_bytes: Bytes::ZERO,
        accepted_at: Timestamp(0),
        deadline: None,
    };
    let (ack_token, at) = (AckToken(format!("token-{id}")), Timestamp(0));
    let tasks = vec![BatchTask { task, ack_token, delivery: 1, published_at: at, drawn_at: at }];
    let (id, epoch, why) = (BatchId([id; 16]), Epoch(epoch), String::new());
    Batch {
        id,
        epoch,
        stage: Stage::Shape,
        tasks,
        bytes: Bytes::gib(gib),
        why,
        held_ms: None,
        expected_ms: None,
    }
}

async fn accept(desk: &mut Desk, batch: &Batch) -> Result<Seat, RefusedReason> {
    let answer = desk.accept(batch, Timestamp(0)).await.expect("a reading");
    answer.map_err(|(_, reason)| reason)
}

async fn seat(desk: &mut Desk, batch: &Batch) -> Seat {
    let Ok(seat) = accept(desk, batch).await else { panic!("there is room for {}", batch.id) };
    seat
}

/// The lane of a seat that has one at once.
fn lane(seat: Seat) -> Lane {
    let SeatLane::Free(lane) = seat.lane else { panic!("it waits for a lane") };
    *lane
}

async fn refusal(desk: &mut Desk, batch: &Batch) -> Option<RefusedReason> {
    accept(desk, batch).await.err()
}

#[tokio::test]
async fn property_h_a_batch_of_an_older_epoch_than_any_seen_is_refused_even_if_that_was_refused_too() {
    let mut desk = desk(4);
    assert_eq!(refusal(&mut desk, &batch(1, 5, 1)).await, None);
    assert_eq!(refusal(&mut desk, &batch(2, 4, 1)).await, Some(RefusedReason::Epoch));
    assert_eq!(refusal(&mut desk, &batch(3, 7, 1_000)).await, Some(RefusedReason::Memory));
    assert_eq!(refusal(&mut desk, &batch(4, 6, 1)).await, Some(RefusedReason::Epoch));
    assert_eq!(refusal(&mut desk, &batch(5, 7, 1)).await, None);
}

#[tokio::test]
async fn property_a_reservations_never_exceed_the_budget_and_are_free_again_when_the_lane_is() {
    let mut desk = desk(4);
    // 16 GiB x 0.85 less 5 % are 12.8.
    let seat = seat(&mut desk, &batch(1, 1, 8)).await;
    assert_eq!(refusal(&mut desk, &batch(2, 1, 5)).await, Some(RefusedReason::Memory));
    assert_eq!(refusal(&mut desk, &batch(3, 1, 4)).await, None);
    desk.over(BatchId([1; 16]), Stage::Shape, &LaneReport::default());
    desk.release(lane(seat), Stage::Shape, Timestamp(0));
    assert_eq!(refusal(&mut desk, &batch(4, 1, 8)).await, None);
}

#[tokio::test]
async fn property_a_what_a_runner_holds_when_it_is_warm_comes_on_top_of_its_reservation() {
    let mut desk = desk(4);
    let first = seat(&mut desk, &batch(1, 1, 1)).await;
    let report = LaneReport { warm: Bytes::gib(2), ..LaneReport::default() };
    desk.over(BatchId([1; 16]), Stage::Shape, &report);
    desk.release(lane(first), Stage::Shape, Timestamp(0));
    // 12.8 less 8 + 2 are 2.8; less what the next one is warm with as well, 0.8.
    assert_eq!(refusal(&mut desk, &batch(2, 1, 8)).await, None);
    assert_eq!(refusal(&mut desk, &batch(3, 1, 3)).await, Some(RefusedReason::Memory));
    assert_eq!(refusal(&mut desk, &batch(4, 1, 2)).await, None);
}

#[tokio::test]
async fn property_a_what_we_hold_counts_if_it_is_more_than_what_was_promised() {
    let facts = DeviceFacts { device: Arc::new(Host { own: Bytes::gib(3) }), ..desk(2).facts };
    let mut desk = Desk::new(facts, &RunnerCommand { program: "runner".into(), args: Vec::new() });
    assert_eq!(refusal(&mut desk, &batch(1, 1, 10)).await, Some(RefusedReason::Memory));
    assert_eq!(refusal(&mut desk, &batch(2, 1, 9)).await, None);
    let reading = desk.reading().await.expect("a reading");
    assert_eq!(desk.offer(reading, Duration::from_secs(15)).reserved_bytes, Bytes::gib(12));
}

#[tokio::test]
async fn a_device_that_failed_offers_nothing_until_it_has_proved_itself_and_waits_longer_each_time() {
    let mut desk = desk(2);
    let reading = desk.reading().await.expect("a reading");
    let broken = LaneReport { device_broken: true, ..LaneReport::default() };
    let neighbour = seat(&mut desk, &batch(9, 1, 1)).await;
    for doublings in 0..3 {
        let seat = seat(&mut desk, &batch(1, 1, 1)).await;
        assert_eq!(desk.over(BatchId([1; 16]), Stage::Shape, &broken), Some(doublings));
        let offer = desk.offer(reading, Duration::from_secs(15));
        assert_eq!((offer.lanes_free, offer.lanes, offer.valid_for_ms), (0, 0, 15_000));
        assert_eq!(refusal(&mut desk, &batch(2, 1, 1)).await, Some(RefusedReason::NoLane));
        desk.proven();
        desk.release(lane(seat), Stage::Shape, Timestamp(0));
    }
    desk.over(BatchId([9; 16]), Stage::Shape, &broken);
    assert_eq!(desk.offer(reading, Duration::from_secs(15)).valid_for_ms, 0, "nothing runs: withdrawn");
    desk.proven();
    desk.release(lane(neighbour), Stage::Shape, Timestamp(0));
    let _seat = seat(&mut desk, &batch(3, 1, 1)).await;
    desk.over(BatchId([3; 16]), Stage::Shape, &LaneReport::default());
    assert_eq!(desk.over(BatchId([4; 16]), Stage::Shape, &broken), Some(0), "a good batch in between");
}

#[tokio::test]
async fn a_batch_is_refused_without_a_lane_for_another_stage_and_twice() {
    let mut desk = desk(1);
    let other = Batch { stage: Stage::Export, ..batch(1, 1, 1) };
    assert_eq!(refusal(&mut desk, &other).await, Some(RefusedReason::Stage));
    assert_eq!(refusal(&mut desk, &batch(2, 1, 1)).await, None);
    assert_eq!(refusal(&mut desk, &batch(2, 1, 1)).await, Some(RefusedReason::NoLane));
}

#[tokio::test]
async fn a_stopped_batch_is_refused_if_it_comes_late_and_stopped_if_it_runs() {
    let mut desk = desk(2);
    desk.stop(BatchId([1; 16]));
    assert_eq!(refusal(&mut desk, &batch(1, 1, 1)).await, Some(RefusedReason::Draining));
    let seat = seat(&mut desk, &batch(2, 1, 1)).await;
    desk.stop(BatchId([2; 16]));
    assert!(seat.stopped.is_cancelled());
}

#[tokio::test]
async fn an_offer_names_what_runs_and_a_drain_withdraws_it() {
    let mut desk = desk(2);
    let _seat = seat(&mut desk, &batch(1, 1, 3)).await;
    let reading = desk.reading().await.expect("a reading");
    let offer = desk.offer(reading, Duration::from_secs(15));
    assert_eq!((offer.running, offer.reserved_bytes), (vec![BatchId([1; 16])], Bytes::gib(3)));
    assert_eq!((offer.lanes_free, offer.lanes, offer.valid_for_ms), (1, 2, 15_000));
    desk.drain();
    let offer = desk.offer(reading, Duration::from_secs(15));
    assert_eq!((offer.lanes_free, offer.valid_for_ms), (0, 0));
    assert_eq!(refusal(&mut desk, &batch(2, 1, 1)).await, Some(RefusedReason::Draining));
}

#[tokio::test]
async fn a_cancel_reaches_the_place_of_its_job_only() {
    let mut desk = desk(2);
    let one = seat(&mut desk, &batch(1, 1, 1)).await;
    let two = seat(&mut desk, &batch(2, 1, 1)).await;
    desk.cancel(JobId([2; 16]));
    assert!(one.cancelled.borrow().is_empty());
    assert_eq!(*two.cancelled.borrow(), BTreeSet::from([0]));
}

#[tokio::test]
async fn one_batch_may_come_for_a_lane_whose_batch_ends_soon_with_what_that_gives_back() {
    let mut desk = desk(1);
    let first = seat(&mut desk, &batch(1, 1, 8)).await;
    assert_eq!(refusal(&mut desk, &batch(2, 1, 1)).await, Some(RefusedReason::NoLane));
    assert!(desk.ends_soon(BatchId([1; 16])) && !desk.ends_soon(BatchId([7; 16])));
    let reading = desk.reading().await.expect("a reading");
    let word = desk.offer(reading, Duration::from_secs(15));
    assert_eq!((word.lanes_free, word.next_bytes, word.warm), (0, Some(Bytes::gib(8)), vec![Stage::Shape]));
    assert_eq!(refusal(&mut desk, &batch(3, 1, 13)).await, Some(RefusedReason::Memory));
    let second = seat(&mut desk, &batch(4, 1, 12)).await;
    let word = desk.offer(reading, Duration::from_secs(15));
    assert_eq!(
        (word.next_bytes, word.reserved_bytes),
        (None, Bytes::gib(12)),
        "the larger of the two counts"
    );
    assert_eq!(refusal(&mut desk, &batch(5, 1, 1)).await, Some(RefusedReason::NoLane), "one at a time");
    assert!(desk.entry().running.iter().any(|batch| batch.waits));
    desk.over(BatchId([1; 16]), Stage::Shape, &LaneReport::default());
    let handed = desk.release(lane(first), Stage::Shape, Timestamp(9));
    assert_eq!(handed, Some((BatchId([4; 16]), None)));
    let SeatLane::Next(mut lane) = second.lane else { panic!("it was to wait") };
    assert!(lane.try_recv().is_ok());
    let running = desk.entry().running.remove(0);
    assert_eq!((running.waits, running.since), (false, Timestamp(9)));
}

#[tokio::test]
async fn a_lane_is_free_again_if_the_batch_that_came_for_it_is_over() {
    let mut desk = desk(1);
    let first = seat(&mut desk, &batch(1, 1, 1)).await;
    desk.ends_soon(BatchId([1; 16]));
    drop(seat(&mut desk, &batch(2, 1, 1)).await);
    desk.over(BatchId([1; 16]), Stage::Shape, &LaneReport::default());
    assert_eq!(desk.release(lane(first), Stage::Shape, Timestamp(0)), None, "nobody is there to take it");
    desk.over(BatchId([2; 16]), Stage::Shape, &LaneReport::default());
    assert_eq!(refusal(&mut desk, &batch(3, 1, 1)).await, None);
}

#[tokio::test]
async fn what_waits_for_a_lane_is_told_when_there_will_be_none() {
    for why in ["broken", "faulty", "draining"] {
        let mut desk = desk(1);
        let _first = seat(&mut desk, &batch(1, 1, 1)).await;
        desk.ends_soon(BatchId([1; 16]));
        let SeatLane::Next(lane) = seat(&mut desk, &batch(2, 1, 1)).await.lane else { panic!("it waits") };
        match why {
            "broken" => {
                let report = LaneReport { device_broken: true, ..LaneReport::default() };
                desk.over(BatchId([1; 16]), Stage::Shape, &report);
            }
            "faulty" => desk.take_fault(Timestamp(5), DeviceFault::Ecc, XidAction::Drain),
            _ => desk.drain(),
        }
        assert!(lane.await.is_err());
    }
}

#[tokio::test]
async fn a_drained_device_offers_nothing_and_still_tells_of_what_runs() {
    let mut desk = desk(2);
    let seat = seat(&mut desk, &batch(1, 1, 1)).await;
    desk.take_fault(Timestamp(5), DeviceFault::Ecc, XidAction::Drain);
    let reading = desk.reading().await.expect("a reading");
    let offer = desk.offer(reading, Duration::from_secs(15));
    assert_eq!((offer.lanes_free, offer.lanes, offer.valid_for_ms, offer.running.len()), (0, 0, 15_000, 1));
    assert_eq!(refusal(&mut desk, &batch(2, 1, 1)).await, Some(RefusedReason::NoLane));
    assert_eq!(desk.entry().health.state, HealthState::Draining);
    let broken = LaneReport { device_broken: true, ..LaneReport::default() };
    assert_eq!(desk.over(BatchId([1; 16]), Stage::Shape, &broken), None, "its self-test will tell");
    desk.release(lane(seat), Stage::Shape, Timestamp(0));
    assert_eq!(desk.offer(reading, Duration::from_secs(15)).valid_for_ms, 0);
}

#[tokio::test]
async fn a_broken_device_is_told_to_all_that_runs_on_it_and_shown_until_a_runner_starts() {
    let mut desk = desk(2);
    let one = seat(&mut desk, &batch(1, 1, 1)).await;
    let two = seat(&mut desk, &batch(2, 1, 1)).await;
    desk.break_running("Xid 31");
    for seat in [&one, &two] {
        assert_eq!(seat.broken.borrow().as_deref(), Some("Xid 31"));
    }
    let broken = LaneReport { device_broken: true, ..LaneReport::default() };
    desk.over(BatchId([1; 16]), Stage::Shape, &broken);
    desk.unproven_since(Timestamp(7));
    let health = desk.entry().health;
    assert_eq!((health.state, health.fault), (HealthState::Testing, Some(DeviceFault::Runner)));
    assert_eq!(health.since, Timestamp(7));
    desk.proven();
    assert!(desk.entry().health.is_healthy());
}
