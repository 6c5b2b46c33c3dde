//! The worker: owns one device, answers the planner, runs batches, drains on shutdown.

mod faults;

use crate::batch::{self, BatchRun};
use crate::device_desk::{Desk, DeviceFacts, Seat, SeatLane};
use crate::lane::{Lane, LaneReport};
use crate::process::RunnerCommand;
use crate::stall::Stalls;
use crate::steps::Steps;
use crate::timing::Moment;
use crate::xid::XidTable;
use bytes::Bytes as Payload;
use domain::{
    Batch, BatchId, BatchReply, CALL_SUBJECT, Control, DEVICES, DeviceEntry, DeviceId, OFFER_SUBJECT,
    RefusedReason, Released, Site, Stage, Stop, Times, WorkerId, release_subject, run_subject, stop_subject,
    subject_job,
};
use futures::StreamExt;
use ports::{Device, Expect, Ledger, Message, PortResult, Ports};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Everything that a worker is told once.
#[derive(Clone)]
pub struct Settings {
    /// Its name: a part of subjects.
    pub worker: WorkerId,
    /// Its device's name.
    pub device_id: DeviceId,
    /// Its device.
    pub device: Arc<dyn Device>,
    /// The stages that it runs.
    pub stages: Vec<Stage>,
    /// Places where a batch runs at a time.
    pub lanes: usize,
    /// Whether the next batch's inputs are fetched while one runs.
    pub fetches_ahead: bool,
    /// How to start a runner.
    pub runner: RunnerCommand,
    /// The buckets.
    pub site: Site,
    /// The protocol's times.
    pub times: Times,
    /// An idle runner ends after this long.
    pub runner_idle: Duration,
    /// Longest wait for running batches at shutdown.
    pub drain_max: Duration,
    /// What is done about the device's Xids.
    pub xids: XidTable,
    /// Told once it hears what it is asked.
    pub ready: Arc<Notify>,
}

/// From the word that a batch may come to its first input: asked for, cut, entered on the board.
const NEXT_COMES_AFTER: Duration = Duration::from_millis(50);
/// Longest wait between two looks at idle runners.
const IDLE_LOOK: Duration = Duration::from_secs(5);

struct Worker {
    settings: Settings,
    ports: Ports,
    steps: Steps,
    desk: Mutex<Desk>,
    /// The batches that stand in the device's entry as it was last written. Held while it is written, so that
    /// an older entry never comes after a newer one.
    written: Mutex<BTreeSet<BatchId>>,
    stalls: Arc<std::sync::Mutex<Stalls>>,
    /// How long inputs take to come: the decayed maximum.
    fetch: std::sync::Mutex<Duration>,
    changed: Notify,
    /// The device was taken out, or something that ran on it since then is over.
    test_due: Notify,
}

/// Runs until shutdown, then drains: takes nothing new and finishes what is in flight.
///
/// # Errors
/// The broker refuses the subscriptions; later outages are waited out.
pub async fn run(ports: Ports, settings: Settings, shutdown: CancellationToken) -> PortResult<()> {
    let name = &settings.worker;
    let mut runs = ports.wire.subscribe(&run_subject(name)).await?;
    let mut stops = ports.wire.subscribe(&stop_subject(name)).await?;
    let mut releases = ports.wire.subscribe(&release_subject(name)).await?;
    let mut controls = ports.wire.subscribe("control.*").await?;
    let calls = ports.wire.subscribe(CALL_SUBJECT).await?;
    crate::telemetry::begin(&settings.stages);
    let worker = Arc::new(Worker::new(ports, settings));
    let mut batches = JoinSet::new();
    let mut telling = JoinSet::new();
    telling.spawn(worker.clone().tell(calls));
    // Until the end: what runs while we drain must not wait for a device that is lost.
    let mut watching = JoinSet::new();
    watching.spawn(worker.clone().hear_faults());
    watching.spawn(worker.clone().test_device());
    worker.settings.ready.notify_one();
    tracing::info!(worker = %worker.settings.worker, stages = ?worker.settings.stages, "ready");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(message) = runs.next() => worker.answer_run(message, &mut batches).await,
            Some(message) = stops.next() => worker.answer_stop(message).await,
            Some(message) = controls.next() => worker.hear_control(message).await,
            Some(message) = releases.next() => drop(batches.spawn(worker.clone().answer_release(message))),
            Some(_ended) = batches.join_next() => {}
        }
    }
    // Before the offer is withdrawn: nothing may repeat it afterwards.
    telling.shutdown().await;
    worker.drain(batches, runs, stops, controls).await;
    Ok(())
}

impl Worker {
    fn new(ports: Ports, settings: Settings) -> Worker {
        let facts = DeviceFacts {
            worker: settings.worker.clone(),
            device_id: settings.device_id.clone(),
            device: settings.device.clone(),
            stages: settings.stages.clone(),
            lanes: settings.lanes.max(1),
        };
        let steps = Steps {
            ledger: Ledger::new(ports.store.clone(), &settings.site.state),
            site: settings.site.clone(),
            times: settings.times,
            worker: settings.worker.to_string(),
            ports: ports.clone(),
        };
        let desk = Mutex::new(Desk::new(facts, &settings.runner));
        let stalls = Arc::new(std::sync::Mutex::new(Stalls::new(settings.times.stall_min)));
        let (written, fetch) = (Mutex::default(), std::sync::Mutex::default());
        let (changed, test_due) = (Notify::new(), Notify::new());
        Worker { settings, ports, steps, desk, written, stalls, fetch, changed, test_due }
    }

    /// Keeps the planner and the board informed, beside the answers: on change, on call, and in between.
    async fn tell(self: Arc<Worker>, mut calls: impl futures::Stream<Item = Message> + Unpin) {
        let mut offers = tokio::time::interval(self.settings.times.offer_every);
        let mut entries = tokio::time::interval(self.settings.times.renew_every);
        let mut idle = tokio::time::interval(IDLE_LOOK.min(self.settings.runner_idle));
        loop {
            tokio::select! {
                Some(_call) = calls.next() => self.make_offer().await,
                () = self.changed.notified() => self.make_offer().await,
                _ = offers.tick() => self.make_offer().await,
                _ = entries.tick() => self.refresh_entry().await,
                _ = idle.tick() => drop(self.rest_idle_runners(self.settings.runner_idle).await),
            }
        }
    }

    /// Reads memory at this moment, writes the board entry, and only then accepts. The next answer does not
    /// wait for the board.
    async fn answer_run(self: &Arc<Worker>, message: Message, batches: &mut JoinSet<()>) {
        let Ok(batch) = serde_json::from_slice::<Batch>(&message.payload) else {
            tracing::warn!("a batch that cannot be read is ignored");
            return;
        };
        let answer = self.desk.lock().await.accept(&batch, self.ports.clock.now()).await;
        let seat = match answer {
            Ok(Ok(seat)) => seat,
            Ok(Err((reading, reason))) => {
                tracing::debug!(batch = %batch.id, stage = %batch.stage, ?reason, "refused");
                self.reply(&message, &BatchReply::Refused { reading, reason }).await;
                // The lane's offer may have been heard before this answer, and would count as older than it.
                if reason == RefusedReason::NoLane {
                    self.changed.notify_one();
                }
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "read the device's memory; the batch is not answered");
                return;
            }
        };
        let (tasks, why) = (batch.tasks.len(), &batch.why);
        tracing::debug!(batch = %batch.id, stage = %batch.stage, tasks, %why, "accepted");
        batches.spawn(self.clone().begin(batch, seat, message));
    }

    /// Enters the batch, answers, and runs it. A batch that cannot be entered is refused: the board is what
    /// a new planner believes.
    async fn begin(self: Arc<Worker>, batch: Batch, seat: Seat, message: Message) {
        let (id, stage) = (batch.id, batch.stage);
        if !self.enter(id).await {
            let reading = self.desk.lock().await.last_reading();
            self.desk.lock().await.over(id, stage, &LaneReport::default());
            let lane = match seat.lane {
                SeatLane::Free(lane) => Some(*lane),
                SeatLane::Next(mut next) => {
                    next.close();
                    next.try_recv().ok()
                }
            };
            if let Some(lane) = lane {
                self.clone().free_lane(lane, stage).await;
            }
            self.reply(&message, &BatchReply::Refused { reading, reason: RefusedReason::NoLane }).await;
            return;
        }
        self.reply(&message, &BatchReply::Accepted).await;
        let run = Arc::new(BatchRun {
            steps: self.steps.clone(),
            worker: self.settings.worker.clone(),
            device_class: self.settings.device.class(),
            accepted: Moment { at: self.ports.clock.now(), instant: Instant::now() },
            stalls: self.stalls.clone(),
            peak: watch::channel(None).0,
            measured: std::sync::Mutex::default(),
            batch,
        });
        if matches!(seat.lane, SeatLane::Free(_)) {
            self.clone().await_end(id, run.batch.expected_ms);
        }
        let worker = self.clone();
        let fetched = move |took: Duration| {
            let mut fetch = worker.fetch.lock().expect("a plain span");
            *fetch = took.max(*fetch * 7 / 8);
        };
        let release = async move |lane, report| self.take_lane_back((id, stage), lane, &report).await;
        let log = tracing::error_span!("batch", batch = %id, %stage);
        batch::run(run, seat, fetched, release).instrument(log).await;
    }

    /// Says that a batch may come for this one's lane when it will have its inputs just in time.
    fn await_end(self: Arc<Worker>, batch: BatchId, expected_ms: Option<u64>) {
        let Some(expected) = expected_ms.filter(|_| self.settings.fetches_ahead) else { return };
        let lead = NEXT_COMES_AFTER + *self.fetch.lock().expect("a plain span");
        let pause = Duration::from_millis(expected).min(self.settings.times.wait_max).saturating_sub(lead);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if self.desk.lock().await.ends_soon(batch) {
                self.changed.notify_one();
            }
        });
    }

    /// A batch's computing is over, and its lane is free when this returns. After a broken device, or where
    /// no runner starts, the lane proves itself before anything is offered: a runner must start.
    async fn take_lane_back(
        self: Arc<Worker>,
        (id, stage): (BatchId, Stage),
        lane: Option<Lane>,
        report: &LaneReport,
    ) {
        let troubles = self.desk.lock().await.over(id, stage, report);
        self.test_due.notify_one();
        let Some(lane) = lane else { return self.changed.notify_one() };
        match troubles {
            None => self.free_lane(lane, stage).await,
            Some(doublings) => {
                self.desk.lock().await.unproven_since(self.ports.clock.now());
                self.changed.notify_one();
                tokio::spawn(async move {
                    let lane = self.prove(lane, doublings).await;
                    self.desk.lock().await.proven();
                    self.free_lane(lane, stage).await;
                });
            }
        }
    }

    async fn free_lane(self: Arc<Worker>, lane: Lane, stage: Stage) {
        let now = self.ports.clock.now();
        if let Some((next, expected_ms)) = self.desk.lock().await.release(lane, stage, now) {
            self.clone().await_end(next, expected_ms);
        }
        self.changed.notify_one();
    }

    /// Starts a runner, again and again; a dead device needs none.
    async fn prove(&self, mut lane: Lane, mut doublings: u32) -> Lane {
        while !self.desk.lock().await.health.is_dead() {
            let pause = self.pause(doublings);
            tracing::warn!(?pause, "nothing is offered until a runner has started");
            tokio::time::sleep(pause).await;
            match lane.warm_up().await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "no runner starts"),
            }
            doublings += 1;
        }
        lane
    }

    /// The pause before a device that failed is tried again.
    fn pause(&self, doublings: u32) -> Duration {
        let shortest = self.settings.times.offer_every / 10;
        shortest.saturating_mul(2u32.saturating_pow(doublings)).min(self.settings.times.stall_min / 2)
    }

    async fn answer_stop(&self, message: Message) {
        if let Ok(stop) = serde_json::from_slice::<Stop>(&message.payload) {
            self.desk.lock().await.stop(stop.batch);
            self.reply(&message, &BatchReply::Accepted).await;
        }
    }

    /// Ends idle runners at once, however short they have been idle.
    async fn answer_release(self: Arc<Worker>, message: Message) {
        let free = async || {
            let reading = self.desk.lock().await.reading().await;
            reading.map(|reading| reading.total_bytes.saturating_sub(reading.used_bytes))
        };
        let before = free().await;
        let runners = self.rest_idle_runners(Duration::ZERO).await;
        if let (Ok(free_before_bytes), Ok(free_after_bytes)) = (before, free().await) {
            self.reply(&message, &Released { runners, free_before_bytes, free_after_bytes }).await;
        }
        self.changed.notify_one();
    }

    async fn hear_control(&self, message: Message) {
        let control = serde_json::from_slice::<Control>(&message.payload);
        if let (Ok(Control::Cancel), Some(job)) = (control, subject_job(&message.subject)) {
            self.desk.lock().await.cancel(job);
        }
    }

    async fn reply(&self, message: &Message, reply: &impl serde::Serialize) {
        let (Some(subject), Ok(body)) = (&message.reply, serde_json::to_vec(reply)) else { return };
        self.publish(subject, body).await;
    }

    async fn publish(&self, subject: &str, body: Vec<u8>) {
        if let Err(error) = self.ports.wire.publish(subject, Payload::from(body)).await {
            tracing::debug!(subject, %error, "publish");
        }
    }

    async fn make_offer(&self) {
        let mut desk = self.desk.lock().await;
        let reading = match desk.recent_reading(self.ports.clock.now()).await {
            Ok(reading) => reading,
            // That it is out must be said, whatever is free on it.
            Err(_) if !desk.health.is_healthy() => desk.last_reading(),
            Err(_) => return,
        };
        let offer = desk.offer(reading, self.settings.times.offer_every * 3);
        drop(desk);
        if let Ok(body) = serde_json::to_vec(&offer) {
            self.publish(OFFER_SUBJECT, body).await;
        }
    }

    /// Writes the device's entry with a batch in it, unless one that was written meanwhile for another batch
    /// has it already. Whether it stands there now.
    async fn enter(&self, batch: BatchId) -> bool {
        let mut written = self.written.lock().await;
        if !written.contains(&batch) {
            let entry = self.desk.lock().await.entry();
            self.write_entry(&mut written, entry).await;
        }
        written.contains(&batch)
    }

    /// Writes the device's entry with its memory at this moment.
    async fn refresh_entry(&self) {
        let mut written = self.written.lock().await;
        let mut desk = self.desk.lock().await;
        if desk.reading().await.is_ok() || !desk.health.is_healthy() {
            desk.look_busy().await;
            let entry = desk.entry();
            drop(desk);
            self.write_entry(&mut written, entry).await;
        }
    }

    async fn write_entry(&self, written: &mut BTreeSet<BatchId>, entry: DeviceEntry) {
        crate::telemetry::show_device(&entry);
        let Ok(body) = serde_json::to_vec(&entry) else { return };
        let key = self.settings.device_id.as_str();
        *written = entry.running.into_iter().map(|running| running.id).collect();
        if let Err(error) = self.ports.boards.write(&DEVICES, key, body.into(), Expect::Anything).await {
            tracing::warn!(%error, "write the device's entry");
            written.clear();
        }
    }

    /// Ends runners that have been idle for so long; returns how many.
    async fn rest_idle_runners(&self, idle: Duration) -> u32 {
        let lanes = self.desk.lock().await.idle_lanes(idle);
        let ended = lanes.len() as u32;
        for mut lane in lanes {
            lane.rest().await;
            self.desk.lock().await.put_back(lane);
        }
        ended
    }

    /// Withdraws the offer, refuses what still comes, and waits for what runs, up to a limit.
    async fn drain(
        self: &Arc<Worker>,
        mut batches: JoinSet<()>,
        mut runs: impl futures::Stream<Item = Message> + Unpin,
        mut stops: impl futures::Stream<Item = Message> + Unpin,
        mut controls: impl futures::Stream<Item = Message> + Unpin,
    ) {
        self.desk.lock().await.drain();
        self.make_offer().await;
        let mut late = std::pin::pin!(tokio::time::sleep(self.settings.drain_max));
        // What runs is ours until it has ended.
        let mut entries = tokio::time::interval(self.settings.times.renew_every);
        while !batches.is_empty() {
            tokio::select! {
                Some(message) = runs.next() => self.answer_run(message, &mut JoinSet::new()).await,
                Some(message) = stops.next() => self.answer_stop(message).await,
                Some(message) = controls.next() => self.hear_control(message).await,
                Some(_ended) = batches.join_next() => {}
                _ = entries.tick() => self.refresh_entry().await,
                () = &mut late => break,
            }
        }
        let left = !self.desk.lock().await.is_idle();
        tracing::info!(left_to_redelivery = left, "drained");
        if let Err(error) = self.ports.boards.remove(&DEVICES, self.settings.device_id.as_str()).await {
            tracing::debug!(%error, "remove the device's entry");
        }
    }
}
