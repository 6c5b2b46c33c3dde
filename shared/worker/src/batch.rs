//! The life of an accepted batch: every task looked at and fetched, the rest computed on the lane, each
//! result stored, committed
//! and acknowledged as it comes, while the others still run. A task never fails its neighbours.

use crate::device_desk::Seat;
use crate::lane::{ItemEnd, ItemSay, LaneReport, Work};
use crate::steps::{Fetch, Look, Steps};
use crate::timing::TaskClock;
use crate::token::HeldToken;
use domain::{
    AttemptId, Batch, BatchEnd, BatchEnded, BatchTask, Bytes, DeviceClass, ENDED_SUBJECT, Ending,
    EngineVersion, EventKind, InputHash, Life, Manifest, Phase, SpanTime, TaskEnd, Timing, WorkerId,
    timing_subject,
};
use ports::{PortError, PortResult};
use stage::{File, Input};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What all tasks of a batch share.
pub(crate) struct BatchRun {
    pub(crate) steps: Steps,
    pub(crate) batch: Batch,
    pub(crate) worker: WorkerId,
    pub(crate) device_class: DeviceClass,
    pub(crate) accepted: Instant,
    /// The runner's peak, once the lane has reported.
    pub(crate) peak: watch::Sender<Option<Bytes>>,
}

/// A task on its way.
struct Item {
    given: BatchTask,
    token: HeldToken,
    clock: TaskClock,
    life: Life,
    attempt: AttemptId,
    inputs: Vec<InputHash>,
    /// Where the open phase began.
    since: Instant,
    /// Boot-time clock at the attempt's beginning: suspended machines count too.
    began: std::time::Duration,
}

/// Runs the computing part; `release` is called with the lane when it is free again, while results are still
/// being committed.
pub(crate) async fn run(run: Arc<BatchRun>, seat: Seat, release: impl FnOnce(crate::Lane, LaneReport)) {
    let mut finishing = JoinSet::new();
    let prepared = run.batch.tasks.iter().cloned().map(|given| prepare(run.clone(), given));
    let prepared = futures::future::join_all(prepared);
    let (mut items, mut inputs) = (Vec::new(), Vec::new());
    for (place, ready) in prepared.await.into_iter().enumerate() {
        if let Some((item, input)) = ready {
            items.push((place, Some(item)));
            inputs.push(input);
        }
    }
    let Seat { mut lane, cancelled, stopped } = seat;
    let places: Vec<usize> = items.iter().map(|(place, _)| *place).collect();
    let (cancelled, following) = follow_places(cancelled, places);
    let stall = run.steps.times.stall_min;
    let work = Work { stage: run.batch.stage, reservation: run.batch.bytes, inputs, stall, cancelled };
    let (heard, mut hear) = mpsc::channel(64);
    let began = Instant::now();
    let report = {
        let mut computing = std::pin::pin!(lane.run(work, &heard));
        loop {
            tokio::select! {
                report = &mut computing => break Some(report),
                Some((place, say)) = hear.recv() => take(&run, &mut items, place, say, &mut finishing).await,
                () = stopped.cancelled() => break None,
            }
        }
    };
    following.abort();
    if report.is_none() {
        lane.rest().await;
    }
    drop(heard);
    while let Some((place, say)) = hear.recv().await {
        take(&run, &mut items, place, say, &mut finishing).await;
    }
    for item in items.into_iter().filter_map(|(_, item)| item) {
        item.token.let_go();
    }
    let was_stopped = report.is_none();
    let report = report.unwrap_or_default();
    run.peak.send_replace(Some(report.peak));
    tell_end(&run, &report, was_stopped, began).await;
    release(lane, report);
    while finishing.join_next().await.is_some() {}
}

/// The worker cancels by the task's place in the batch, the lane by the item's place among those that were
/// fetched.
fn follow_places(
    mut cancelled: watch::Receiver<std::collections::BTreeSet<usize>>,
    places: Vec<usize>,
) -> (watch::Receiver<std::collections::BTreeSet<usize>>, tokio::task::JoinHandle<()>) {
    let map = move |cancelled: &std::collections::BTreeSet<usize>| {
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

/// S2 and S3. A task that needs no computing is finished here; one that cannot be read is left to redelivery.
async fn prepare(run: Arc<BatchRun>, given: BatchTask) -> Option<(Item, Input)> {
    let queue = run.steps.ports.queue.clone();
    let token = HeldToken::hold(given.ack_token.clone(), queue, run.steps.times);
    let now = run.steps.ports.clock.now();
    let clock = TaskClock::start(&given, &run.steps.worker, run.accepted, now);
    let attempt = AttemptId(*uuid::Uuid::new_v4().as_bytes());
    let (began, since) = (boot_time(), run.accepted);
    let mut item = Item { given, token, clock, life: Life(0), attempt, inputs: vec![], since, began };
    let read = tokio::time::timeout(run.steps.times.phase_max, look_and_fetch(&run, &mut item)).await;
    match read.unwrap_or_else(|_| Err(PortError::Unavailable("fetching took too long".to_owned()))) {
        Ok(Some(input)) => {
            item.since = item.clock.close(Phase::Fetch, item.since);
            item.clock.marks.fetched_at = run.steps.ports.clock.now();
            Some((item, input))
        }
        Ok(None) => {
            item.token.done().await;
            None
        }
        Err(error) => {
            let task = &item.given.task;
            tracing::warn!(job = %task.job, stage = %task.stage, %error, "fetch a task");
            item.token.let_go();
            None
        }
    }
}

/// The input to compute, or none if the task is over.
async fn look_and_fetch(run: &BatchRun, item: &mut Item) -> PortResult<Option<Input>> {
    let (steps, task) = (&run.steps, &item.given.task);
    match steps.look(&item.given).await? {
        Look::Ended => return Ok(None),
        Look::Committed(life) => {
            steps.go_on(task, life).await?;
            return Ok(None);
        }
        Look::Exhausted(life, attempts) => {
            let error =
                format!("{attempts} attempts at {} failed; each ended its runner or failed", task.stage);
            steps.bury(task, life, attempts, error).await?;
            return Ok(None);
        }
        Look::Todo(life) => item.life = life,
    }
    match steps.fetch(&item.given, item.life, item.attempt).await? {
        Fetch::Ready(input, hashes) => {
            item.inputs = hashes;
            Ok(Some(input))
        }
        Fetch::Superseded => {
            let reason = "superseded".to_owned();
            steps.decide(task.job, item.life, Ending::Cancelled { reason }).await?;
            Ok(None)
        }
        Fetch::Broken(what) => Err(PortError::Missing(what)),
    }
}

/// Takes what the lane says of an item.
async fn take(
    run: &Arc<BatchRun>,
    items: &mut [(usize, Option<Item>)],
    place: usize,
    say: ItemSay,
    finishing: &mut JoinSet<()>,
) {
    let Some((_, slot)) = items.get_mut(place) else { return };
    let Some(item) = slot else { return };
    let (job, stage, life) = (item.given.task.job, item.given.task.stage, item.life);
    match say {
        ItemSay::Started => {
            item.clock.marks.started_at = run.steps.ports.clock.now();
            run.steps.tell(job, life, EventKind::Started { stage }).await;
        }
        ItemSay::Progress { fraction, phase } => {
            run.steps.tell(job, life, EventKind::Progress { stage, fraction, phase }).await;
        }
        ItemSay::Ended(end) => {
            if let Some(item) = slot.take() {
                finishing.spawn(finish(run.clone(), item, end));
            }
        }
    }
}

/// S4 to S7 of one item, whatever became of it.
async fn finish(run: Arc<BatchRun>, mut item: Item, end: ItemEnd) {
    let (steps, task) = (&run.steps, item.given.task.clone());
    let (job, stage) = (task.job, task.stage);
    match end {
        ItemEnd::Files { files, spans, engine, computed } => {
            item.clock.add(Phase::Load, item.since, computed.0);
            item.clock.add(Phase::Compute, computed.0, computed.1);
            item.clock.marks.computed_at = steps.ports.clock.now();
            item.since = computed.1;
            match store_and_commit(&run, &mut item, files, engine.clone()).await {
                Ok(()) => {
                    let Item { token, mut clock, given, life, since, .. } = item;
                    token.done().await;
                    clock.close(Phase::Commit, since);
                    tell_timing(&run, (given, life, clock), engine, spans).await;
                }
                Err(error) => {
                    tracing::warn!(%job, %stage, %error, "store and commit");
                    item.token.let_go();
                }
            }
        }
        ItemEnd::Rejected(reason) => match steps.decide(job, item.life, Ending::Rejected { reason }).await {
            Ok(()) => item.token.done().await,
            Err(error) => {
                tracing::warn!(%job, %stage, %error, "reject a job");
                item.token.let_go();
            }
        },
        ItemEnd::Failed(error) => {
            tracing::warn!(%job, %stage, %error, attempt = %item.attempt, "an attempt failed");
            item.token.give_back().await;
        }
        ItemEnd::OutOfMemory => {
            let reserved = run.batch.bytes;
            tracing::warn!(%job, %stage, %reserved, "out of memory alone in its batch");
            item.token.give_back().await;
        }
        ItemEnd::Cancelled => match steps.look(&item.given).await {
            Ok(Look::Ended) => item.token.done().await,
            Ok(_) => item.token.give_back().await,
            Err(_) => item.token.let_go(),
        },
    }
}

async fn store_and_commit(
    run: &BatchRun,
    item: &mut Item,
    files: Vec<File>,
    engine: EngineVersion,
) -> PortResult<()> {
    let (steps, task) = (&run.steps, item.given.task.clone());
    let artifacts = steps.store(&task, item.attempt, files).await?;
    item.since = item.clock.close(Phase::Store, item.since);
    item.clock.marks.stored_at = steps.ports.clock.now();
    if boot_time().saturating_sub(item.began) > steps.times.grace() {
        return Err(PortError::Invalid("the attempt is older than the grace; it must not commit".to_owned()));
    }
    let manifest = Manifest {
        job: task.job,
        stage: task.stage,
        life: item.life,
        attempt: item.attempt,
        inputs: std::mem::take(&mut item.inputs),
        artifacts,
        engine,
        marks: item.clock.marks.clone(),
        traceparent: None,
    };
    steps.commit(&manifest).await?;
    steps.go_on(&task, item.life).await
}

/// Time since boot, suspension included.
fn boot_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    std::time::Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

async fn tell_timing(
    run: &BatchRun,
    (given, life, clock): (BatchTask, Life, TaskClock),
    engine: EngineVersion,
    spans: Vec<SpanTime>,
) {
    let (phases, wall_us, unaccounted_us) = clock.read();
    let mut peak = run.peak.subscribe();
    let peak_bytes = peak.wait_for(Option::is_some).await.ok().and_then(|peak| *peak).unwrap_or_default();
    let timing = Timing {
        job: given.task.job,
        life,
        stage: given.task.stage,
        end: TaskEnd::Committed,
        batch: run.batch.id,
        batch_items: run.batch.tasks.len() as u32,
        delivery: given.delivery,
        worker: run.worker.clone(),
        device_class: run.device_class.clone(),
        engine,
        precision: "f32".to_owned(),
        phases,
        wall_us,
        unaccounted_us,
        spans,
        peak_bytes,
        at: run.steps.ports.clock.now(),
    };
    crate::telemetry::count_task(&timing);
    let Ok(body) = serde_json::to_vec(&timing) else { return };
    if let Err(error) = run.steps.ports.wire.publish(&timing_subject(given.task.stage), body.into()).await {
        tracing::debug!(%error, "publish a timing");
    }
}

async fn tell_end(run: &BatchRun, report: &LaneReport, was_stopped: bool, began: Instant) {
    let end = match report {
        _ if was_stopped => BatchEnd::Stopped,
        LaneReport { device_broken: true, .. } => BatchEnd::DeviceLost,
        LaneReport { out_of_memory_at: Some(at_items), .. } => BatchEnd::OutOfMemory { at_items: *at_items },
        LaneReport { deaths: 1.., .. } => BatchEnd::RunnerLost,
        _ => BatchEnd::Done,
    };
    let ended = BatchEnded {
        batch: run.batch.id,
        worker: run.worker.clone(),
        device_class: run.device_class.clone(),
        stage: run.batch.stage,
        end,
        items: run.batch.tasks.len() as u32,
        peak_bytes: report.peak,
        reserved_bytes: run.batch.bytes,
        compute_ms: began.elapsed().as_millis() as u64,
    };
    crate::telemetry::count_batch(&ended);
    let Ok(body) = serde_json::to_vec(&ended) else { return };
    if let Err(error) = run.steps.ports.wire.publish(ENDED_SUBJECT, body.into()).await {
        tracing::debug!(%error, "publish the end of a batch");
    }
}
