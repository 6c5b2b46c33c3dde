//! The life of an accepted batch: every task looked at and fetched, the rest computed on the lane as soon as
//! that is free, each result finished as it comes, while the others still run. A task never fails its
//! neighbours.

use crate::device_desk::{Seat, SeatLane};
use crate::finish::{self, Item, Over, capped};
use crate::lane::{ItemEnd, ItemSay, Lane, LaneReport, Work};
use crate::stall::Stalls;
use crate::steps::{Fetch, Look, Steps};
use crate::timing::{Moment, TaskClock};
use domain::{
    Batch, BatchEnd, BatchEnded, Bytes, DeviceClass, ENDED_SUBJECT, EngineVersion, EventKind, JobId, Phase,
    WorkerId,
};
use ports::{PortError, PortResult};
use stage::Input;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What all tasks of a batch share.
pub(crate) struct BatchRun {
    pub(crate) steps: Steps,
    pub(crate) batch: Batch,
    pub(crate) worker: WorkerId,
    pub(crate) device_class: DeviceClass,
    pub(crate) accepted: Moment,
    pub(crate) stalls: Arc<Mutex<Stalls>>,
    /// The runner's peak, once the lane has reported.
    pub(crate) peak: watch::Sender<Option<Bytes>>,
    /// What the planner is told of the computing.
    pub(crate) measured: Mutex<Measured>,
}

impl BatchRun {
    /// How old the oldest of its tokens may be: what the planner says, and its question's longest way.
    pub(crate) fn token_age(&self) -> Option<Duration> {
        let held = Duration::from_millis(self.batch.held_ms?);
        Some(held + self.steps.times.run_answer + self.accepted.instant.elapsed())
    }
}

/// What a batch's items say of its computing, for the planner to learn from.
#[derive(Default)]
pub(crate) struct Measured {
    /// Items that came to an end in the runner.
    items: u32,
    engine: EngineVersion,
    precision: String,
    /// Jobs whose items ran out of the whole reservation alone.
    ran_out: Vec<JobId>,
}

/// What S2 and S3 find of a task.
enum Found {
    /// It is to be computed.
    Ready(Input),
    /// It needs no computing.
    Over(Over),
    /// It cannot be read now.
    Lost(PortError),
}

/// The items that wait for the lane or are on it, each with its place in the batch; none once it has ended.
type Waiting = Vec<(usize, Option<Item>)>;

/// Runs the computing part. `fetched` is called once the inputs are there, and `release` when the lane is
/// free again, with the lane if the batch had one, while results are still being committed.
pub(crate) async fn run(
    run: Arc<BatchRun>,
    seat: Seat,
    fetched: impl FnOnce(Duration),
    release: impl AsyncFnOnce(Option<Lane>, LaneReport),
) {
    let Seat { lane, cancelled, broken, stopped } = seat;
    let mut finishing = JoinSet::new();
    // Tokens of a batch that was stopped before it began are the planner's to give back.
    let tasks = if stopped.is_cancelled() { &[] } else { run.batch.tasks.as_slice() };
    let mut items: Vec<Item> = tasks.iter().map(|given| Item::take(&run, given)).collect();
    let found = tokio::select! {
        biased;
        () = stopped.cancelled() => Vec::new(),
        found = futures::future::join_all(items.iter_mut().map(|item| {
            let log = item.log.clone();
            prepare(&run, item).instrument(log)
        })) => found,
    };
    let (mut waiting, mut inputs) = (Waiting::new(), Vec::new());
    let mut found = found.into_iter();
    for (place, item) in items.into_iter().enumerate() {
        match found.next() {
            Some(Found::Ready(input)) => {
                inputs.push(input);
                waiting.push((place, Some(item)));
            }
            Some(Found::Over(over)) => drop(finishing.spawn(finish::conclude(run.clone(), item, over))),
            Some(Found::Lost(error)) => drop(finishing.spawn(finish::lose(run.clone(), item, error))),
            None => waiting.push((place, Some(item))),
        }
    }
    fetched(run.accepted.instant.elapsed());
    let (mut lane, since) = take_lane(&run, lane, inputs.is_empty(), &stopped).await;
    let report = match &mut lane {
        Some(lane) if !stopped.is_cancelled() => {
            let (cancelled, following) = follow_places(cancelled, &waiting);
            let stall = run.stalls.lock().expect("plain spans").of(run.batch.stage);
            let (stage, reservation) = (run.batch.stage, run.batch.bytes);
            let work = Work { stage, reservation, inputs, stall, cancelled, broken };
            let report = compute(&run, (&mut *lane, work), &mut waiting, &mut finishing, &stopped).await;
            following.abort();
            if report.is_none() {
                lane.rest().await;
            }
            report
        }
        _ => None,
    };
    let mut left: Vec<Item> = waiting.into_iter().filter_map(|(_, item)| item).collect();
    left.iter_mut().for_each(Item::stop_waiting);
    let was_stopped = report.is_none();
    let report = report.unwrap_or_default();
    run.peak.send_replace(Some(report.peak));
    let lane_us = since.elapsed().saturating_sub(report.load).as_micros() as u64;
    // The lane first: who hears of the end may ask for it at once.
    release(lane, report.clone()).await;
    tell_end(&run, &report, was_stopped, lane_us).await;
    if stopped.is_cancelled() {
        finish::leave(&run, left).await;
    } else {
        // Its lane will never come: nobody else has their tokens.
        for item in left {
            finishing.spawn(finish::finish(run.clone(), item, ItemEnd::NotRun));
        }
    }
    while finishing.join_next().await.is_some() {}
}

/// The batch's lane, and since when it has it; none if it is stopped before that, if there will be none, or
/// if there is nothing to do on it.
async fn take_lane(
    run: &BatchRun,
    lane: SeatLane,
    is_done: bool,
    stopped: &CancellationToken,
) -> (Option<Lane>, Instant) {
    let mut next = match lane {
        SeatLane::Free(lane) => return (Some(*lane), run.accepted.instant),
        SeatLane::Next(next) => next,
    };
    let lane = tokio::select! {
        biased;
        // One that was sent at this moment is not lost.
        () = async { if !is_done { stopped.cancelled().await } } => {
            next.close();
            next.try_recv().ok()
        }
        lane = &mut next => lane.ok(),
    };
    (lane, Instant::now())
}

/// Computes what was fetched. None if the planner took the batch back.
async fn compute(
    run: &Arc<BatchRun>,
    (lane, work): (&mut Lane, Work),
    waiting: &mut Waiting,
    finishing: &mut JoinSet<()>,
    stopped: &CancellationToken,
) -> Option<LaneReport> {
    waiting.iter_mut().filter_map(|(_, item)| item.as_mut()).for_each(Item::enter_lane);
    let (heard, mut hear) = mpsc::channel(64);
    let report = {
        let computing = async {
            let heard = heard;
            lane.run(work, &heard).await
        };
        // Beside the lane, which must not wait for our own publishing.
        let taking = async {
            while let Some((place, say)) = hear.recv().await {
                take(run, waiting, (place, say), finishing).await;
            }
        };
        tokio::select! {
            (report, ()) = async { tokio::join!(computing, taking) } => Some(report),
            () = stopped.cancelled() => None,
        }
    };
    while let Some((place, say)) = hear.recv().await {
        take(run, waiting, (place, say), finishing).await;
    }
    report
}

/// The worker cancels by the task's place in the batch, the lane by the item's place among those that were
/// fetched.
fn follow_places(
    mut cancelled: watch::Receiver<BTreeSet<usize>>,
    waiting: &Waiting,
) -> (watch::Receiver<BTreeSet<usize>>, tokio::task::JoinHandle<()>) {
    let places: Vec<usize> = waiting.iter().map(|(place, _)| *place).collect();
    let map = move |cancelled: &BTreeSet<usize>| {
        let hit = |(item, place): (usize, &usize)| cancelled.contains(place).then_some(item);
        places.iter().enumerate().filter_map(hit).collect()
    };
    let (sender, receiver) = watch::channel(map(&cancelled.borrow_and_update()));
    let following = tokio::spawn(async move {
        while cancelled.changed().await.is_ok() {
            sender.send_replace(map(&cancelled.borrow_and_update()));
        }
        // Kept open: a closed channel would wake the lane for nothing.
        std::future::pending::<()>().await;
    });
    (receiver, following)
}

/// S2 and S3. A task that needs no computing is finished elsewhere; one that cannot be read is left to
/// redelivery.
async fn prepare(run: &BatchRun, item: &mut Item) -> Found {
    let scope = TaskClock::open_since(Phase::Fetch, run.accepted.instant);
    let found = capped(run.steps.times.phase_max, "fetch a task", look_and_fetch(&run.steps, item)).await;
    item.clock.close(scope);
    match found {
        Ok(found) => {
            item.clock.marks.fetched_at = run.steps.ports.clock.now();
            item.wait(run.steps.times.wait_max);
            found
        }
        Err(error) => Found::Lost(error),
    }
}

async fn look_and_fetch(steps: &Steps, item: &mut Item) -> PortResult<Found> {
    item.life = match steps.look(&item.given).await? {
        Look::Ended => return Ok(Found::Over(Over::Ended)),
        Look::Committed(life) => {
            item.life = life;
            return Ok(Found::Over(Over::Committed));
        }
        Look::Exhausted(life, attempts, error) => {
            item.life = life;
            return Ok(Found::Over(Over::Exhausted(attempts, error)));
        }
        Look::Todo(life) => life,
    };
    match steps.fetch(&item.given, item.life, item.attempt).await? {
        Fetch::Ready(input, hashes) => {
            item.inputs = hashes;
            Ok(Found::Ready(input))
        }
        Fetch::Superseded => Ok(Found::Over(Over::Superseded)),
        Fetch::Broken(what) => Err(PortError::Missing(what)),
    }
}

/// Takes what the lane says of an item.
async fn take(
    run: &Arc<BatchRun>,
    waiting: &mut Waiting,
    (place, say): (usize, ItemSay),
    finishing: &mut JoinSet<()>,
) {
    let Some((_, slot)) = waiting.get_mut(place) else { return };
    let Some(item) = slot else { return };
    let (job, stage, life) = (item.given.task.job, item.given.task.stage, item.life);
    match say {
        ItemSay::Started => {
            item.clock.marks.started_at = run.steps.ports.clock.now();
            item.token.extend_freely();
            run.steps.tell(job, life, EventKind::Started { stage }).instrument(item.log.clone()).await;
        }
        ItemSay::Progress { fraction, phase } => {
            let kind = EventKind::Progress { stage, fraction, phase };
            run.steps.tell(job, life, kind).instrument(item.log.clone()).await;
        }
        ItemSay::Spent(spent) => {
            item.clock.marks.computed_at = run.steps.ports.clock.now();
            item.clock.add(&spent);
            if !spent.engine.name.is_empty() {
                let mut measured = run.measured.lock().expect("plain words");
                measured.items += 1;
                (measured.engine, measured.precision) = (spent.engine.clone(), spent.precision.clone());
            }
            item.spent = spent;
        }
        ItemSay::Ended(end) => {
            if let Some(item) = slot.take() {
                if matches!(end, ItemEnd::OutOfMemory) {
                    run.measured.lock().expect("plain words").ran_out.push(job);
                }
                if matches!(end, ItemEnd::Files { .. }) {
                    let computed = item.spent.phases.of(Phase::Compute);
                    run.stalls.lock().expect("plain spans").see(stage, computed);
                }
                finishing.spawn(finish::finish(run.clone(), item, end));
            }
        }
    }
}

async fn tell_end(run: &BatchRun, report: &LaneReport, was_stopped: bool, lane_us: u64) {
    let end = match report {
        _ if was_stopped => BatchEnd::Stopped,
        LaneReport { device_broken: true, .. } => BatchEnd::DeviceLost,
        LaneReport { no_runner: true, .. } => BatchEnd::RunnerLost,
        LaneReport { out_of_memory_at: Some(at_items), .. } => BatchEnd::OutOfMemory { at_items: *at_items },
        LaneReport { deaths: 1.., .. } => BatchEnd::RunnerLost,
        _ => BatchEnd::Done,
    };
    let measured = std::mem::take(&mut *run.measured.lock().expect("plain words"));
    let ended = BatchEnded {
        batch: run.batch.id,
        worker: run.worker.clone(),
        device_class: run.device_class.clone(),
        stage: run.batch.stage,
        end,
        items: measured.items,
        peak_bytes: report.peak,
        reserved_bytes: run.batch.bytes,
        lane_us,
        ran_out: measured.ran_out,
        engine: measured.engine,
        precision: measured.precision,
        load_ms: report.load.as_millis() as u64,
    };
    crate::telemetry::count_batch(&ended);
    let Ok(body) = serde_json::to_vec(&ended) else { return };
    if let Err(error) = run.steps.ports.wire.publish(ENDED_SUBJECT, body.into()).await {
        tracing::debug!(%error, "publish the end of a batch");
    }
}
