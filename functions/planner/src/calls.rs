//! Calls that the driver does not wait for: drawing, proposing, rejecting, looking at what waits.

use domain::{
    Batch, BatchReply, BatchTask, Class, Consumer, Ending, Event as JobEvent, EventKind, INTERMEDIATES_KEPT,
    Outcome, Stage, Stop, Task, TenantId, WorkerId, event_subject, life_span, run_subject, stop_subject,
};
use futures::StreamExt;
use ports::{Answer, Decided, Delivery, Ledger, PortError, PortResult, Ports, tell_spans};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest pull. A pull returns as soon as there is a task, so this bounds only how long an idle one stands.
const PULL_WAIT: Duration = Duration::from_secs(20);
/// A failed pull is tried again after this long.
const PULL_AGAIN: Duration = Duration::from_secs(1);
/// Consumers that are looked at at the same time.
const LOOKS: usize = 8;

/// How a proposal ended.
pub(crate) enum Reply {
    Heard(BatchReply),
    /// Nobody listens: the worker is gone, and has seen nothing.
    Gone,
    /// It was stopped in time, whether it had begun or not.
    Stopped,
    /// Nobody knows: the tokens may be in use.
    Unknown,
}

/// Draws from a consumer. Nothing if the lease was lost meanwhile: then what came is given back.
///
/// # Errors
/// What only a changed configuration mends: a denied or invalid call. An outage draws nothing, a little
/// later.
pub(crate) async fn draw(
    ports: &Ports,
    consumer: &Consumer,
    count: usize,
    lost: &CancellationToken,
) -> PortResult<Vec<BatchTask>> {
    let tasks = match ports.queue.take(consumer, count, PULL_WAIT).await {
        Ok(deliveries) => read_tasks(ports, deliveries).await,
        Err(error @ (PortError::Denied(_) | PortError::Invalid(_))) => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "draw tasks");
            tokio::time::sleep(PULL_AGAIN).await;
            Vec::new()
        }
    };
    if !lost.is_cancelled() {
        return Ok(tasks);
    }
    // Drawn for a leader that is none any more: fresh deliveries of our own.
    for task in &tasks {
        let _left_to_redelivery = ports.queue.give_back(&task.ack_token).await;
    }
    Ok(Vec::new())
}

/// Messages as tasks. One that cannot be read is removed: its job is found again by the sweep.
async fn read_tasks(ports: &Ports, deliveries: Vec<Delivery>) -> Vec<BatchTask> {
    let mut tasks = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match serde_json::from_slice::<Task>(&delivery.payload) {
            Ok(task) => tasks.push(BatchTask {
                task,
                ack_token: delivery.token,
                delivery: delivery.count,
                published_at: delivery.published_at,
                drawn_at: ports.clock.now(),
            }),
            Err(error) => {
                tracing::error!(subject = %delivery.subject, %error, "a task that cannot be read is removed");
                let _left_to_redelivery = ports.queue.done(&delivery.token).await;
            }
        }
    }
    tasks
}

/// Asks a worker to run a batch. A batch whose answer does not come is stopped before its tasks go elsewhere.
pub(crate) async fn ask(ports: &Ports, worker: &WorkerId, batch: &Batch, wait: Duration) -> Reply {
    let Ok(body) = serde_json::to_vec(batch) else { return Reply::Gone };
    match ports.wire.request(&run_subject(worker), body.into(), wait).await {
        Ok(Answer::NoResponders) => return Reply::Gone,
        Ok(Answer::Reply(reply)) => {
            if let Ok(reply) = serde_json::from_slice(&reply) {
                return Reply::Heard(reply);
            }
        }
        Ok(Answer::TimedOut) | Err(_) => {}
    }
    let stop = Stop { batch: batch.id, epoch: batch.epoch };
    let Ok(body) = serde_json::to_vec(&stop) else { return Reply::Unknown };
    match ports.wire.request(&stop_subject(worker), body.into(), wait).await {
        Ok(Answer::Reply(_)) => Reply::Stopped,
        // Nobody listens any more; whether it had begun before that, nobody can say.
        Ok(Answer::NoResponders | Answer::TimedOut) | Err(_) => Reply::Unknown,
    }
}

/// The job ends as rejected, once, and its task is done.
pub(crate) async fn reject(
    ports: &Ports,
    state_bucket: &str,
    given: &BatchTask,
    reason: String,
) -> PortResult<()> {
    let (ledger, job) = (Ledger::new(ports.store.clone(), state_bucket), given.task.job);
    let state = ledger.state(job).await?;
    let now = ports.clock.now();
    let ending = Ending::Rejected { reason: reason.clone() };
    let expire = now + INTERMEDIATES_KEPT;
    let outcome = Outcome { job, life: state.life, ending, decided_at: now, intermediates_expire_at: expire };
    if !state.has_outcome && ledger.decide(&outcome).await? == Decided::Mine {
        tell_spans(|| vec![life_span("planner", given.task.accepted_at, &outcome)]);
        let kind = EventKind::Rejected { reason };
        let subject = event_subject(job, &kind);
        let event = JobEvent { job, life: state.life, at: now, kind };
        if let Ok(body) = serde_json::to_vec(&event) {
            ports.wire.publish(&subject, body.into()).await?;
        }
    }
    ports.queue.done(&given.ack_token).await
}

/// What waits at each consumer; one that cannot be looked at is left out.
pub(crate) async fn backlogs(ports: &Ports, tenants: &[TenantId]) -> Vec<(Consumer, u64)> {
    let mut looks = Vec::new();
    for stage in Stage::ALL {
        for class in Class::ALL {
            looks.extend(tenants.iter().map(|of| look(ports, Consumer::Tasks(stage, class, of.clone()))));
        }
    }
    futures::stream::iter(looks).buffered(LOOKS).filter_map(std::future::ready).collect().await
}

async fn look(ports: &Ports, consumer: Consumer) -> Option<(Consumer, u64)> {
    let backlog = ports.queue.backlog(&consumer).await;
    let backlog = backlog.inspect_err(|error| tracing::debug!(%error, "look at a backlog")).ok()?;
    Some((consumer, backlog.waiting))
}
