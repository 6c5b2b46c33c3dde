//! S4 to S7 of one task, whatever became of it: its result stored, committed, gone on from and acknowledged;
//! or the job ended; or the task on its way back. Every way ends with the task's timing.

use crate::batch::BatchRun;
use crate::lane::{ItemEnd, Spent};
use crate::steps::Look;
use crate::timing::{Scope, TaskClock};
use crate::token::HeldToken;
use domain::{
    AttemptId, BatchNote, BatchTask, Ending, InputHash, Life, Manifest, Phase, TaskEnd, Timing, task_spans,
    timing_subject,
};
use ports::{PortError, PortResult, tell_spans};
use stage::File;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument, Span};

/// A task on its way.
pub(crate) struct Item {
    pub(crate) given: BatchTask,
    pub(crate) token: HeldToken,
    pub(crate) clock: TaskClock,
    pub(crate) life: Life,
    pub(crate) attempt: AttemptId,
    pub(crate) inputs: Vec<InputHash>,
    /// What the lane said of it.
    pub(crate) spent: Spent,
    /// The wait for its neighbours' inputs.
    waiting: Option<Scope>,
    /// It was on the lane: the batch's peak is its own too.
    on_lane: bool,
    /// What every line about it says.
    pub(crate) log: Span,
}

/// Why a task needs no computing.
pub(crate) enum Over {
    /// Its life has an outcome.
    Ended,
    /// Its stage is committed.
    Committed,
    /// So many attempts failed, the last one so.
    Exhausted(usize, String),
    /// Its upload is gone or was replaced.
    Superseded,
    /// It cannot become a model, for this reason.
    Rejected(String),
}

/// How a task leaves the worker's hands.
enum Way {
    /// Acknowledged.
    Done,
    /// Deliverable again at once.
    Back,
    /// Said nothing of: delivered again after the ack wait.
    Left,
}

impl Item {
    /// Takes a task of the batch into the worker's hands.
    pub(crate) fn take(run: &BatchRun, given: &BatchTask) -> Item {
        let (queue, times) = (run.steps.ports.queue.clone(), run.steps.times);
        let attempt = AttemptId(*uuid::Uuid::new_v4().as_bytes());
        let log = task_log(run, given, attempt);
        let token = || HeldToken::hold(given.ack_token.clone(), queue, times, run.token_age());
        Item {
            given: given.clone(),
            token: log.in_scope(token),
            clock: TaskClock::start(given, &run.steps.worker, run.accepted),
            life: Life(0),
            attempt,
            inputs: Vec::new(),
            spent: Spent::default(),
            waiting: None,
            on_lane: false,
            log,
        }
    }

    /// It is fetched and waits: for its neighbours' inputs, then for the lane, then for its turn.
    pub(crate) fn wait(&mut self, at_most: Duration) {
        self.waiting = Some(self.clock.open(Phase::Wait));
        self.token.extend_at_most(at_most);
    }

    /// Its result is in the worker's hands.
    fn leave_lane(&mut self) {
        if let Some(ended) = self.spent.ended.take() {
            self.clock.close(TaskClock::open_since(Phase::Wait, ended));
        }
    }

    /// The batch is on its lane, which measures from here.
    pub(crate) fn enter_lane(&mut self) {
        self.on_lane = true;
        self.stop_waiting();
    }

    /// Its wait is over.
    pub(crate) fn stop_waiting(&mut self) {
        if let Some(scope) = self.waiting.take() {
            self.clock.close(scope);
        }
    }
}

/// What every line about a task says, and nothing of the batch twice. There whatever else is logged.
fn task_log(run: &BatchRun, given: &BatchTask, attempt: AttemptId) -> Span {
    let (job, batch, stage) = (given.task.job, run.batch.id, run.batch.stage);
    tracing::error_span!(parent: None, "task", %job, %batch, %stage, %attempt)
}

/// A phase has a longest time.
pub(crate) async fn capped<T>(
    max: Duration,
    what: &str,
    phase: impl Future<Output = PortResult<T>>,
) -> PortResult<T> {
    let ended = tokio::time::timeout(max, phase).await;
    ended.unwrap_or_else(|_| Err(PortError::Unavailable(format!("{what}: not done in {max:?}"))))
}

/// What the lane says that became of an item.
pub(crate) fn finish(run: Arc<BatchRun>, item: Item, end: ItemEnd) -> impl Future<Output = ()> {
    let log = item.log.clone();
    take_end(run, item, end).instrument(log)
}

async fn take_end(run: Arc<BatchRun>, mut item: Item, end: ItemEnd) {
    item.leave_lane();
    match end {
        ItemEnd::Files { files } => keep(&run, item, files).await,
        ItemEnd::Rejected(reason) => conclude(run, item, Over::Rejected(reason)).await,
        ItemEnd::Failed(error) => fail(&run, item, error, TaskEnd::Failed).await,
        ItemEnd::OutOfMemory => {
            let error = format!("out of memory alone in its batch, with {} reserved", run.batch.bytes);
            fail(&run, item, error, TaskEnd::OutOfMemory).await;
        }
        ItemEnd::NotRun => {
            let scope = item.clock.open(Phase::Commit);
            unmark(&run, std::slice::from_ref(&item)).await;
            part(&run, item, scope, (Way::Back, TaskEnd::NotRun)).await;
        }
        // Only an outcome of the life it is in permits the acknowledgement.
        ItemEnd::Cancelled => match run.steps.look(&item.given).await {
            Ok(Look::Ended) => conclude(run, item, Over::Ended).await,
            looked => {
                let way = if looked.is_ok() { Way::Back } else { Way::Left };
                let scope = item.clock.open(Phase::Commit);
                part(&run, item, scope, (way, TaskEnd::Cancelled)).await;
            }
        },
    }
}

/// A result: stored, committed, gone on from, acknowledged.
async fn keep(run: &BatchRun, mut item: Item, files: Vec<File>) {
    let (steps, task, max) = (&run.steps, item.given.task.clone(), run.steps.times.phase_max);
    let first_put = boot_time();
    let scope = item.clock.open(Phase::Store);
    let stored = capped(max, "store the artifacts", steps.store(&task, item.attempt, files)).await;
    item.clock.close(scope);
    item.clock.marks.stored_at = steps.ports.clock.now();
    let scope = item.clock.open(Phase::Commit);
    let committed = async {
        let manifest = Manifest {
            job: task.job,
            stage: task.stage,
            life: item.life,
            attempt: item.attempt,
            inputs: std::mem::take(&mut item.inputs),
            artifacts: stored?,
            engine: item.spent.engine.clone(),
            marks: item.clock.marks.clone(),
            batch: Some(BatchNote::of(&run.batch)),
            notes: std::mem::take(&mut item.spent.notes),
            traceparent: None,
        };
        if boot_time().saturating_sub(first_put) > steps.times.commit_begins_max() {
            let error = "the attempt is too old: the collector may take it, so it must not commit";
            return Err(PortError::Invalid(error.to_owned()));
        }
        capped(max, "commit", steps.commit(&manifest)).await?;
        capped(max, "go on", steps.go_on(&task, item.life)).await
    };
    let way = match committed.await {
        Ok(()) => (Way::Done, TaskEnd::Committed),
        Err(error) => {
            tracing::warn!(%error, "store and commit");
            mark_failed(run, &item, &error.to_string()).await;
            (Way::Left, TaskEnd::Failed)
        }
    };
    part(run, item, scope, way).await;
}

/// A task that needs no computing: what is left to do for it, then its acknowledgement.
pub(crate) fn conclude(run: Arc<BatchRun>, item: Item, over: Over) -> impl Future<Output = ()> {
    let log = item.log.clone();
    conclude_it(run, item, over).instrument(log)
}

async fn conclude_it(run: Arc<BatchRun>, item: Item, over: Over) {
    let (steps, task, life) = (&run.steps, item.given.task.clone(), item.life);
    let scope = item.clock.open(Phase::Commit);
    let end = match &over {
        Over::Ended => TaskEnd::Cancelled,
        Over::Committed => TaskEnd::Redelivered,
        Over::Exhausted(..) => TaskEnd::Dead,
        Over::Superseded => TaskEnd::Superseded,
        Over::Rejected(_) => TaskEnd::Rejected,
    };
    let concluding = async {
        match over {
            Over::Ended => Ok(()),
            Over::Committed => steps.go_on(&task, life).await,
            Over::Exhausted(attempts, last) => {
                let error = format!("{attempts} attempts at {} failed; the last: {last}", task.stage);
                steps.bury(&task, life, attempts, error).await
            }
            Over::Superseded => {
                let reason = "superseded".to_owned();
                steps.decide(&task, life, Ending::Cancelled { reason }).await.map(drop)
            }
            Over::Rejected(reason) => steps.decide(&task, life, Ending::Rejected { reason }).await.map(drop),
        }
    };
    let way = match capped(steps.times.phase_max, "conclude", concluding).await {
        Ok(()) => (Way::Done, end),
        Err(error) => {
            tracing::warn!(%error, "conclude a task");
            (Way::Left, TaskEnd::Failed)
        }
    };
    part(&run, item, scope, way).await;
}

/// An attempt failed: its marker says why, and the task goes back.
async fn fail(run: &BatchRun, item: Item, error: String, end: TaskEnd) {
    tracing::warn!(%error, "an attempt failed");
    let scope = item.clock.open(Phase::Commit);
    mark_failed(run, &item, &error).await;
    part(run, item, scope, (Way::Back, end)).await;
}

async fn mark_failed(run: &BatchRun, item: &Item, error: &str) {
    let marking = run.steps.mark_failed(&item.given, item.life, (item.attempt, error));
    if let Err(error) = capped(run.steps.times.phase_max, "mark an attempt", marking).await {
        tracing::debug!(%error, "an attempt marker does not say why");
    }
}

/// A task that cannot be read. What is missing or damaged counts, or it would be tried for ever; an outage
/// does not.
pub(crate) fn lose(run: Arc<BatchRun>, item: Item, error: PortError) -> impl Future<Output = ()> {
    let log = item.log.clone();
    lose_it(run, item, error).instrument(log)
}

async fn lose_it(run: Arc<BatchRun>, item: Item, error: PortError) {
    tracing::warn!(%error, "fetch a task");
    let scope = item.clock.open(Phase::Commit);
    let end = match error {
        PortError::Unavailable(_) => {
            unmark(&run, std::slice::from_ref(&item)).await;
            TaskEnd::NotRun
        }
        error => {
            mark_failed(&run, &item, &error.to_string()).await;
            TaskEnd::Failed
        }
    };
    part(&run, item, scope, (Way::Left, end)).await;
}

/// Tasks of a batch that was taken back. Their tokens are their giver's; nothing speaks against them.
pub(crate) async fn leave(run: &BatchRun, items: Vec<Item>) {
    unmark(run, &items).await;
    for item in items {
        let (scope, log) = (item.clock.open(Phase::Commit), item.log.clone());
        part(run, item, scope, (Way::Left, TaskEnd::NotRun)).instrument(log).await;
    }
}

async fn unmark(run: &BatchRun, items: &[Item]) {
    let attempts: Vec<_> = items.iter().map(|item| (item.given.clone(), item.attempt)).collect();
    let unmarking = run.steps.unmark_attempts(&attempts);
    if let Err(error) = capped(run.steps.times.phase_max, "remove attempt markers", unmarking).await {
        tracing::debug!(%error, "an attempt counts that was none");
    }
}

/// Time since boot, suspension included.
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The task leaves the worker's hands, and its timing is told.
async fn part(run: &BatchRun, mut item: Item, commit: Scope, (way, end): (Way, TaskEnd)) {
    match way {
        Way::Done => item.token.done().await,
        Way::Back => item.token.give_back().await,
        Way::Left => item.token.let_go(),
    }
    item.clock.close(commit);
    let (phases, wall_us, unaccounted_us) = item.clock.read();
    let at = run.steps.ports.clock.now();
    let mut peak = run.peak.subscribe();
    let peak_bytes = match item.on_lane {
        true => peak.wait_for(Option::is_some).await.ok().and_then(|peak| *peak).unwrap_or_default(),
        false => domain::Bytes::ZERO,
    };
    let timing = Timing {
        job: item.given.task.job,
        life: item.life,
        stage: item.given.task.stage,
        kind: item.given.task.recipe.kind(),
        end,
        batch: run.batch.id,
        batch_items: run.batch.tasks.len() as u32,
        delivery: item.given.delivery,
        worker: run.worker.clone(),
        device_class: run.device_class.clone(),
        engine: item.spent.engine,
        precision: item.spent.precision,
        phases,
        wall_us,
        unaccounted_us,
        spans: item.spent.spans,
        peak_bytes,
        at,
    };
    crate::telemetry::count_task(&timing);
    tell_spans(|| task_spans(&timing));
    let Ok(body) = serde_json::to_vec(&timing) else { return };
    if let Err(error) = run.steps.ports.wire.publish(&timing_subject(timing.stage), body.into()).await {
        tracing::debug!(%error, "publish a timing");
    }
}

#[cfg(test)]
mod tests;
