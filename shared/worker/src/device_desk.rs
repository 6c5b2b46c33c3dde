//! The device's desk: which lanes are free, what is promised, whether one more batch fits at this moment.
//!
//! Acceptance reads the memory again, at this moment, and judges by the same formula as the planner
//! (`Reading::to_give`).

use crate::lane::{Lane, LaneReport};
use crate::process::RunnerCommand;
use domain::{
    Batch, BatchId, Bytes, DeviceClass, DeviceEntry, DeviceId, Epoch, JobId, Offer, Reading, RefusedReason,
    RunningBatch, Stage, Timestamp, WorkerId,
};
use ports::{Device, PortResult};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Stopped batches that are remembered, so that a late `run` of one is refused.
const STOPPED_MAX: usize = 1024;

/// Thousands of short batches a second each change the offer, and a reading costs more than such a batch.
const OFFER_READING_AGE_MAX: Duration = Duration::from_millis(20);

/// The worker's own size changes slowly, and is read again after this long.
const WORKER_READING_AGE_MAX: Duration = Duration::from_secs(1);

/// Doublings of the pause after which a device that failed has to prove itself.
const TROUBLES_MAX: u32 = 6;

/// What does not change about a device.
#[derive(Clone)]
pub(crate) struct DeviceFacts {
    pub(crate) worker: WorkerId,
    pub(crate) device_id: DeviceId,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) lanes: usize,
}

/// A batch that holds a lane.
pub(crate) struct Running {
    pub(crate) entry: RunningBatch,
    /// What its runner holds besides the reservation, as last measured for the stage.
    warm: Bytes,
    /// Which jobs stand where, for cancellation.
    pub(crate) cancelled: watch::Sender<BTreeSet<usize>>,
    /// The planner took it back.
    pub(crate) stopped: CancellationToken,
}

/// A lane that is free.
struct FreeLane {
    lane: Lane,
    since: Instant,
    warm: Option<Stage>,
}

/// The desk.
pub(crate) struct Desk {
    facts: DeviceFacts,
    free: Vec<FreeLane>,
    pids: BTreeMap<BatchId, Arc<std::sync::Mutex<Option<u32>>>>,
    running: BTreeMap<BatchId, Running>,
    stopped: VecDeque<BatchId>,
    epoch: Epoch,
    /// The memory as it was last read.
    read: Reading,
    /// What this process itself holds of it, and when that was read.
    own: Option<(Instant, Bytes)>,
    /// A runner's size before its last batch of each stage.
    warm: BTreeMap<Stage, Bytes>,
    /// Lanes whose device has to prove itself: until it has, nothing is offered or accepted.
    unproven: usize,
    /// Batches in a row that ended so.
    troubles: u32,
    pub(crate) draining: bool,
}

/// What an accepted batch works with.
pub(crate) struct Seat {
    pub(crate) lane: Lane,
    pub(crate) cancelled: watch::Receiver<BTreeSet<usize>>,
    pub(crate) stopped: CancellationToken,
}

impl Desk {
    pub(crate) fn new(facts: DeviceFacts, command: &RunnerCommand) -> Desk {
        let lane = |_| FreeLane { lane: Lane::new(command.clone()), since: Instant::now(), warm: None };
        Desk {
            free: (0..facts.lanes).map(lane).collect(),
            facts,
            pids: BTreeMap::new(),
            running: BTreeMap::new(),
            stopped: VecDeque::new(),
            epoch: Epoch::default(),
            read: Reading::default(),
            own: None,
            warm: BTreeMap::new(),
            unproven: 0,
            troubles: 0,
            draining: false,
        }
    }

    /// The device's memory at this moment. Ours is this process and its runners; idle runners could give
    /// theirs back at once.
    pub(crate) async fn reading(&mut self) -> PortResult<Reading> {
        let idle: Vec<u32> = self.free.iter().filter_map(|free| free.lane.pid()).collect();
        let busy = self.pids.values().filter_map(|pid| *pid.lock().expect("a plain number"));
        let own: Vec<u32> = busy.chain(idle.iter().copied()).chain([std::process::id()]).collect();
        let reading = self.facts.device.reading(&own).await?;
        let reclaimable_bytes = match idle.as_slice() {
            [] => Bytes::ZERO,
            idle => self.facts.device.held(idle).await?,
        };
        if self.own.is_none_or(|(read, _)| read.elapsed() >= WORKER_READING_AGE_MAX) {
            let own_bytes = self.facts.device.held(&[std::process::id()]).await?;
            self.own = Some((Instant::now(), own_bytes));
        }
        self.read = Reading { reclaimable_bytes, ..reading };
        Ok(self.read)
    }

    /// The device's memory at about this moment: read again only if the last reading is older than an offer
    /// minds. What is accepted on it is judged by a reading of its own.
    pub(crate) async fn recent_reading(&mut self, now: Timestamp) -> PortResult<Reading> {
        if now.since(self.read.read_at) < OFFER_READING_AGE_MAX && self.read.read_at <= now {
            return Ok(self.read);
        }
        self.reading().await
    }

    /// What of the device is spoken for, besides idle runners (property A): this process, and what each
    /// running batch was promised above its runner's warm size; or what all of them hold, if that is more.
    fn reserved(&self) -> Bytes {
        let own = self.own.map_or(Bytes::ZERO, |(_, bytes)| bytes);
        let promised: Bytes = self.running.values().map(|running| running.entry.bytes + running.warm).sum();
        (own + promised).max(self.read.own_bytes.saturating_sub(self.read.reclaimable_bytes))
    }

    /// Takes a batch in, or says why not.
    pub(crate) async fn accept(
        &mut self,
        batch: &Batch,
        now: Timestamp,
    ) -> PortResult<Result<Seat, (Reading, RefusedReason)>> {
        let reading = self.reading().await?;
        let class = self.facts.device.class();
        let fits = batch.bytes <= reading.to_give(&class, Bytes::ZERO, self.reserved());
        let older = batch.epoch < self.epoch;
        // Seen is seen, whatever becomes of the batch.
        self.epoch = self.epoch.max(batch.epoch);
        let refused = match () {
            () if self.draining || self.stopped.contains(&batch.id) => Some(RefusedReason::Draining),
            () if older => Some(RefusedReason::Epoch),
            () if !self.facts.stages.contains(&batch.stage) => Some(RefusedReason::Stage),
            () if self.unproven > 0 => Some(RefusedReason::NoLane),
            () if self.free.is_empty() || self.running.contains_key(&batch.id) => Some(RefusedReason::NoLane),
            () if !fits => Some(RefusedReason::Memory),
            () => None,
        };
        if let Some(reason) = refused {
            return Ok(Err((reading, reason)));
        }
        let Some(free) = self.take_lane(batch.stage) else {
            return Ok(Err((reading, RefusedReason::NoLane)));
        };
        let (cancelled, receiver) = watch::channel(BTreeSet::new());
        let stopped = CancellationToken::new();
        let jobs = batch.tasks.iter().map(|given| given.task.job).collect();
        let (id, stage, bytes) = (batch.id, batch.stage, batch.bytes);
        let entry = RunningBatch { id, stage, jobs, bytes, since: now };
        self.pids.insert(id, free.lane.pid_cell());
        let warm = self.warm.get(&stage).copied().unwrap_or_default();
        self.running.insert(id, Running { entry, warm, cancelled, stopped: stopped.clone() });
        Ok(Ok(Seat { lane: free.lane, cancelled: receiver, stopped }))
    }

    /// A lane that is warm for the stage, else the one used last.
    fn take_lane(&mut self, stage: Stage) -> Option<FreeLane> {
        let warm = self.free.iter().rposition(|free| free.warm == Some(stage));
        let any = self.free.iter().rposition(|free| free.warm.is_some());
        let place = warm.or(any).or(self.free.len().checked_sub(1))?;
        Some(self.free.remove(place))
    }

    /// The batch's computing is over: its reservation is free. If no runner could start, or the device is
    /// broken, its lane must prove itself before anything is offered again, after so many doublings of the
    /// shortest pause.
    pub(crate) fn over(&mut self, batch: BatchId, stage: Stage, report: &LaneReport) -> Option<u32> {
        self.running.remove(&batch);
        self.pids.remove(&batch);
        if report.warm > Bytes::ZERO {
            self.warm.insert(stage, report.warm);
        }
        if !report.is_unusable() {
            self.troubles = 0;
            return None;
        }
        self.unproven += 1;
        self.troubles += 1;
        Some((self.troubles - 1).min(TROUBLES_MAX))
    }

    /// A runner has started on that lane again.
    pub(crate) fn proven(&mut self) {
        self.unproven = self.unproven.saturating_sub(1);
    }

    /// The lane is free. `stage` is what its runner ran last.
    pub(crate) fn release(&mut self, lane: Lane, stage: Stage) {
        let warm = lane.pid().map(|_| stage);
        self.free.push(FreeLane { lane, since: Instant::now(), warm });
    }

    /// The planner takes a batch back: it is stopped if it runs, and refused if it comes late.
    pub(crate) fn stop(&mut self, batch: BatchId) {
        if let Some(running) = self.running.get(&batch) {
            running.stopped.cancel();
        }
        self.stopped.push_back(batch);
        if self.stopped.len() > STOPPED_MAX {
            self.stopped.pop_front();
        }
    }

    /// Somebody says that the job has an outcome: its item is taken out of its batch.
    pub(crate) fn cancel(&self, job: JobId) {
        for running in self.running.values() {
            let places = running.entry.jobs.iter().enumerate().filter(|(_, of)| **of == job);
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            if !places.is_empty() {
                running.cancelled.send_modify(|cancelled| cancelled.extend(places));
            }
        }
    }

    /// Runners that have been idle for longer than this give their memory back.
    pub(crate) fn idle_lanes(&mut self, idle: Duration) -> Vec<Lane> {
        let (old, kept): (Vec<FreeLane>, Vec<FreeLane>) = std::mem::take(&mut self.free)
            .into_iter()
            .partition(|free| free.warm.is_some() && free.since.elapsed() >= idle);
        self.free = kept;
        old.into_iter().map(|free| free.lane).collect()
    }

    /// A lane whose runner was ended.
    pub(crate) fn put_back(&mut self, lane: Lane) {
        self.free.push(FreeLane { lane, since: Instant::now(), warm: None });
    }

    /// Whether nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The standing word to the planner.
    pub(crate) fn offer(&self, reading: Reading, valid_for: Duration) -> Offer {
        let warm: BTreeSet<Stage> = self.free.iter().filter_map(|free| free.warm).collect();
        let (unproven, running) = (self.unproven > 0, self.running.keys().copied().collect());
        // Batches on other lanes go on, and the word that names them stands.
        let withdrawn = self.draining || (unproven && self.is_idle());
        Offer {
            worker: self.facts.worker.clone(),
            device: self.facts.device_id.clone(),
            device_class: self.class(),
            lanes_free: if self.draining || unproven { 0 } else { self.free.len() as u32 },
            lanes: if unproven { 0 } else { self.facts.lanes as u32 },
            reading,
            reserved_bytes: self.reserved(),
            stages: self.facts.stages.clone(),
            warm: warm.into_iter().collect(),
            valid_for_ms: if withdrawn { 0 } else { valid_for.as_millis() as u64 },
            running,
        }
    }

    /// The memory as it was last read.
    pub(crate) fn last_reading(&self) -> Reading {
        self.read
    }

    /// The entry on board `devices`, with the memory as it was last read.
    pub(crate) fn entry(&self) -> DeviceEntry {
        let reading = self.read;
        DeviceEntry {
            worker: self.facts.worker.clone(),
            device: self.facts.device_id.clone(),
            device_class: self.class(),
            reading,
            lanes: self.facts.lanes as u32,
            stages: self.facts.stages.clone(),
            resident_bytes: reading.reclaimable_bytes,
            running: self.running.values().map(|running| running.entry.clone()).collect(),
        }
    }

    pub(crate) fn class(&self) -> DeviceClass {
        self.facts.device.class()
    }
}

#[cfg(test)]
mod tests {
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
        Batch { id, epoch, stage: Stage::Shape, tasks, bytes: Bytes::gib(gib), why, held_ms: None }
    }

    async fn accept(desk: &mut Desk, batch: &Batch) -> Result<Seat, RefusedReason> {
        let answer = desk.accept(batch, Timestamp(0)).await.expect("a reading");
        answer.map_err(|(_, reason)| reason)
    }

    async fn seat(desk: &mut Desk, batch: &Batch) -> Seat {
        let Ok(seat) = accept(desk, batch).await else { panic!("there is room for {}", batch.id) };
        seat
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
        desk.release(seat.lane, Stage::Shape);
        assert_eq!(refusal(&mut desk, &batch(4, 1, 8)).await, None);
    }

    #[tokio::test]
    async fn property_a_what_a_runner_holds_when_it_is_warm_comes_on_top_of_its_reservation() {
        let mut desk = desk(4);
        let first = seat(&mut desk, &batch(1, 1, 1)).await;
        let report = LaneReport { warm: Bytes::gib(2), ..LaneReport::default() };
        desk.over(BatchId([1; 16]), Stage::Shape, &report);
        desk.release(first.lane, Stage::Shape);
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
            desk.release(seat.lane, Stage::Shape);
        }
        desk.over(BatchId([9; 16]), Stage::Shape, &broken);
        assert_eq!(desk.offer(reading, Duration::from_secs(15)).valid_for_ms, 0, "nothing runs: withdrawn");
        desk.proven();
        desk.release(neighbour.lane, Stage::Shape);
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
        desk.draining = true;
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
}
