//! The device's desk: which lanes are free, what is promised, whether one more batch fits at this moment.
//!
//! Acceptance reads the memory again, at this moment, and judges by the same formula as the planner
//! (`Reading::to_give`).

use crate::health::Health;
use crate::lane::{Lane, LaneReport};
use crate::process::RunnerCommand;
use crate::xid::XidAction;
use domain::{
    Activity, Batch, BatchId, Bytes, DeviceClass, DeviceEntry, DeviceFault, DeviceHealth, DeviceId, Epoch,
    HealthState, JobId, Offer, Reading, RefusedReason, RunningBatch, Stage, Timestamp, WorkerId,
};
use ports::{Device, PortResult};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
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

/// A batch that holds a lane, or waits for one.
pub(crate) struct Running {
    pub(crate) entry: RunningBatch,
    /// What its runner holds besides the reservation, as last measured for the stage.
    warm: Bytes,
    /// Which jobs stand where, for cancellation.
    pub(crate) cancelled: watch::Sender<BTreeSet<usize>>,
    /// Why the device is broken, once it is.
    broken: watch::Sender<Option<String>>,
    /// The planner took it back.
    pub(crate) stopped: CancellationToken,
}

/// The batch that has come for the lane that is free next.
struct Waiting {
    batch: BatchId,
    /// How long it will have the lane.
    expected_ms: Option<u64>,
    lane: oneshot::Sender<Lane>,
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
    waiting: Option<Waiting>,
    /// Batches that end soon, as far as is known: one more may come for the lane of the first.
    ending: BTreeSet<BatchId>,
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
    /// Since when there are some.
    unproven_since: Timestamp,
    /// Batches in a row that ended so.
    troubles: u32,
    /// What the device's own faults have made of it.
    pub(crate) health: Health,
    /// What it was busy with when it was last asked.
    activity: Option<Activity>,
    draining: bool,
}

/// What an accepted batch works with.
pub(crate) struct Seat {
    pub(crate) lane: SeatLane,
    pub(crate) cancelled: watch::Receiver<BTreeSet<usize>>,
    pub(crate) broken: watch::Receiver<Option<String>>,
    pub(crate) stopped: CancellationToken,
}

/// Where a batch is computed.
pub(crate) enum SeatLane {
    /// Here, at once.
    Free(Box<Lane>),
    /// On the lane that is free next; on none if the device is not used any more.
    Next(oneshot::Receiver<Lane>),
}

impl Desk {
    pub(crate) fn new(facts: DeviceFacts, command: &RunnerCommand) -> Desk {
        let lane = |_| FreeLane { lane: Lane::new(command.clone()), since: Instant::now(), warm: None };
        Desk {
            free: (0..facts.lanes).map(lane).collect(),
            facts,
            pids: BTreeMap::new(),
            running: BTreeMap::new(),
            waiting: None,
            ending: BTreeSet::new(),
            stopped: VecDeque::new(),
            epoch: Epoch::default(),
            read: Reading::default(),
            own: None,
            warm: BTreeMap::new(),
            unproven: 0,
            unproven_since: Timestamp::default(),
            troubles: 0,
            health: Health::default(),
            activity: None,
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
    /// With one that waits there are more batches than lanes, and the largest ones count.
    fn reserved(&self) -> Bytes {
        let own = self.own.map_or(Bytes::ZERO, |(_, bytes)| bytes);
        let mut promised: Vec<Bytes> =
            self.running.values().map(|running| running.entry.bytes + running.warm).collect();
        promised.sort_by_key(|bytes| Reverse(*bytes));
        let promised: Bytes = promised.into_iter().take(self.facts.lanes).sum();
        (own + promised).max(self.read.own_bytes.saturating_sub(self.read.reclaimable_bytes))
    }

    /// The smallest reservation on a lane, if one more batch may come for the lane that is free next.
    fn next_bytes(&self) -> Option<Bytes> {
        let out = self.unproven > 0 || !self.health.is_healthy();
        if out || self.ending.is_empty() || !self.free.is_empty() || self.waiting.is_some() {
            return None;
        }
        self.running.values().map(|running| running.entry.bytes).min()
    }

    /// The batch ends soon. True if one more may come for its lane.
    pub(crate) fn ends_soon(&mut self, batch: BatchId) -> bool {
        let on_lane = self.running.get(&batch).is_some_and(|running| !running.entry.waits);
        if on_lane {
            self.ending.insert(batch);
        }
        on_lane && self.next_bytes().is_some()
    }

    /// Takes a batch in, or says why not.
    pub(crate) async fn accept(
        &mut self,
        batch: &Batch,
        now: Timestamp,
    ) -> PortResult<Result<Seat, (Reading, RefusedReason)>> {
        let reading = match self.reading().await {
            Err(_) if !self.health.is_healthy() => return Ok(Err((self.read, RefusedReason::NoLane))),
            reading => reading?,
        };
        let class = self.facts.device.class();
        let next = self.next_bytes();
        let gives = match next {
            Some(over) => reading.to_give_after(&class, Bytes::ZERO, self.reserved(), over),
            None => reading.to_give(&class, Bytes::ZERO, self.reserved()),
        };
        let older = batch.epoch < self.epoch;
        // Seen is seen, whatever becomes of the batch.
        self.epoch = self.epoch.max(batch.epoch);
        let refused = match () {
            () if self.draining || self.stopped.contains(&batch.id) => Some(RefusedReason::Draining),
            () if older => Some(RefusedReason::Epoch),
            () if !self.facts.stages.contains(&batch.stage) => Some(RefusedReason::Stage),
            () if self.unproven > 0 || !self.health.is_healthy() => Some(RefusedReason::NoLane),
            () if self.running.contains_key(&batch.id) => Some(RefusedReason::NoLane),
            () if self.free.is_empty() && next.is_none() => Some(RefusedReason::NoLane),
            () if batch.bytes > gives => Some(RefusedReason::Memory),
            () => None,
        };
        if let Some(reason) = refused {
            return Ok(Err((reading, reason)));
        }
        let (cancelled, receiver) = watch::channel(BTreeSet::new());
        let (broken, is_broken) = watch::channel(None);
        let stopped = CancellationToken::new();
        let jobs = batch.tasks.iter().map(|given| given.task.job).collect();
        let (id, stage, bytes) = (batch.id, batch.stage, batch.bytes);
        let (lane, waits) = match self.take_lane(batch.stage) {
            Some(free) => {
                self.pids.insert(id, free.lane.pid_cell());
                (SeatLane::Free(Box::new(free.lane)), false)
            }
            None => {
                let (lane, next) = oneshot::channel();
                self.waiting = Some(Waiting { batch: id, expected_ms: batch.expected_ms, lane });
                (SeatLane::Next(next), true)
            }
        };
        let entry = RunningBatch { id, stage, jobs, bytes, since: now, waits };
        let warm = self.warm.get(&stage).copied().unwrap_or_default();
        self.running.insert(id, Running { entry, warm, cancelled, broken, stopped: stopped.clone() });
        Ok(Ok(Seat { lane, cancelled: receiver, broken: is_broken, stopped }))
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
    /// shortest pause; unless the device is out already, and its self-test will tell.
    pub(crate) fn over(&mut self, batch: BatchId, stage: Stage, report: &LaneReport) -> Option<u32> {
        self.running.remove(&batch);
        self.ending.remove(&batch);
        self.pids.remove(&batch);
        if report.is_unusable() || self.waiting.as_ref().is_some_and(|waiting| waiting.batch == batch) {
            self.waiting = None;
        }
        if report.warm > Bytes::ZERO {
            self.warm.insert(stage, report.warm);
        }
        if !report.is_unusable() {
            self.troubles = 0;
            self.health.went_well();
            return None;
        }
        if !self.health.is_healthy() {
            return None;
        }
        self.unproven += 1;
        self.troubles += 1;
        Some((self.troubles - 1).min(TROUBLES_MAX))
    }

    /// The lane of the batch that ended has to prove itself from now on.
    pub(crate) fn unproven_since(&mut self, now: Timestamp) {
        if self.unproven == 1 {
            self.unproven_since = now;
        }
    }

    /// Ends what runs, since the device is broken: the item that is computed is charged, the others are not.
    pub(crate) fn break_running(&self, why: &str) {
        for running in self.running.values() {
            running.broken.send_replace(Some(why.to_owned()));
        }
    }

    /// Asks the device what it is busy with. One that cannot tell at this moment is not shown to be idle.
    pub(crate) async fn look_busy(&mut self) {
        self.activity = self.facts.device.activity().await.unwrap_or_default();
    }

    /// A runner has started on that lane again.
    pub(crate) fn proven(&mut self) {
        self.unproven = self.unproven.saturating_sub(1);
    }

    /// The lane is free, or the batch's that has come for it: then that is returned, and how long it will
    /// have the lane. `stage` is what its runner ran last.
    pub(crate) fn release(
        &mut self,
        mut lane: Lane,
        stage: Stage,
        now: Timestamp,
    ) -> Option<(BatchId, Option<u64>)> {
        if let Some(Waiting { batch, expected_ms, lane: next }) = self.waiting.take() {
            let pid = lane.pid_cell();
            match next.send(lane) {
                Ok(()) => {
                    self.pids.insert(batch, pid);
                    if let Some(running) = self.running.get_mut(&batch) {
                        (running.entry.waits, running.entry.since) = (false, now);
                    }
                    return Some((batch, expected_ms));
                }
                Err(back) => lane = back,
            }
        }
        let warm = lane.pid().map(|_| stage);
        self.free.push(FreeLane { lane, since: Instant::now(), warm });
        None
    }

    /// The device told of a fault: what waits for a lane goes elsewhere, unless that changes nothing.
    pub(crate) fn take_fault(&mut self, now: Timestamp, fault: DeviceFault, action: XidAction) {
        self.health.take(now, fault, action);
        if action != XidAction::Note {
            self.waiting = None;
        }
    }

    /// Nothing new: what waits for a lane goes elsewhere.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.waiting = None;
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
        let out = self.unproven > 0 || !self.health.is_healthy();
        let next_bytes = self.next_bytes().filter(|_| !self.draining);
        // The lane that is free next has the runner of one of those.
        let soon = self.running.values().filter(|_| next_bytes.is_some()).map(|running| running.entry.stage);
        let warm: BTreeSet<Stage> = self.free.iter().filter_map(|free| free.warm).chain(soon).collect();
        let running = self.running.keys().copied().collect();
        // Batches on other lanes go on, and the word that names them stands.
        let withdrawn = self.draining || (out && self.is_idle());
        Offer {
            worker: self.facts.worker.clone(),
            device: self.facts.device_id.clone(),
            device_class: self.class(),
            lanes_free: if self.draining || out { 0 } else { self.free.len() as u32 },
            lanes: if out { 0 } else { self.facts.lanes as u32 },
            reading,
            reserved_bytes: self.reserved(),
            stages: self.facts.stages.clone(),
            warm: warm.into_iter().collect(),
            valid_for_ms: if withdrawn { 0 } else { valid_for.as_millis() as u64 },
            running,
            next_bytes,
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
            health: self.health(),
            activity: self.activity.clone(),
        }
    }

    /// The device's health as it is told: what its faults made of it, or what its runners did.
    fn health(&self) -> DeviceHealth {
        if self.unproven == 0 || !self.health.is_healthy() {
            return self.health.shown().clone();
        }
        let fault = DeviceFault::Runner;
        DeviceHealth {
            state: HealthState::Testing,
            fault: Some(fault),
            reason: format!("{fault}; one must start first"),
            since: self.unproven_since,
        }
    }

    pub(crate) fn class(&self) -> DeviceClass {
        self.facts.device.class()
    }
}

#[cfg(test)]
mod tests;
