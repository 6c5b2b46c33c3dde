//! What a person may do to a job: end its life, or start the next one. Used by gateway and CLI alike.

use crate::{Decided, Ledger, PortError, PortResult, Ports, Put};
use domain::{
    Control, Ending, Event, EventKind, INTERMEDIATES_KEPT, JobId, JobRecord, Life, LifeStart, Outcome,
    StateKey, Task, control_subject, event_subject, parse_state_key, task_subject,
};
use std::time::Duration;

/// First pause before a redriven task is published again; doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Longest pause.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Tries; the old message is gone after its acknowledgement or its ack wait.
const AGAIN_TIMES: u32 = 12;

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is done; the life it concerns.
    Granted(Life),
    /// The job's current life has ended otherwise, thus.
    Ended(Outcome),
    /// The job's current life still runs.
    Running,
    /// Its intermediates have expired: upload the picture again.
    Expired,
}

/// Ends the current life of a job, wherever it is, and tells the workers. A life that was cancelled before
/// is told of again: whoever decided it may have ended before it told anybody.
///
/// # Errors
/// As the ports. After an error the life may have ended; the same call tells the workers.
pub async fn cancel(ports: &Ports, ledger: &Ledger, job: JobId) -> PortResult<(Wish, Option<Outcome>)> {
    let state = ledger.state(job).await?;
    let now = ports.clock.now();
    let wanted = Outcome {
        job,
        life: state.life,
        ending: Ending::Cancelled { reason: "requested".to_owned() },
        decided_at: now,
        intermediates_expire_at: now + INTERMEDIATES_KEPT,
    };
    let (decided, mine) = match ledger.decide(&wanted).await? {
        Decided::Mine => (wanted.clone(), Some(wanted)),
        Decided::Already(first) => (first, None),
    };
    let Ending::Cancelled { reason } = decided.ending.clone() else {
        return Ok((Wish::Ended(decided), None));
    };
    let control = serde_json::to_vec(&Control::Cancel).map_err(|e| PortError::Invalid(e.to_string()))?;
    ports.wire.publish(&control_subject(job), control.into()).await?;
    let kind = EventKind::Cancelled { reason };
    let subject = event_subject(job, &kind);
    let event = Event { job, life: state.life, at: decided.decided_at, kind };
    let event = serde_json::to_vec(&event).map_err(|e| PortError::Invalid(e.to_string()))?;
    ports.wire.publish(&subject, event.into()).await?;
    Ok((Wish::Granted(state.life), mine))
}

/// Starts the next life of a dead or cancelled job and publishes its first uncommitted stage **until it is
/// stored**: that a message is there already is no success here, since the old one may be about to be
/// removed.
///
/// # Errors
/// As the ports; `Unavailable` if a task of an earlier life stays queued. After an error the life may have
/// begun; the sweep goes on with it.
pub async fn redrive(ports: &Ports, ledger: &Ledger, record: &JobRecord) -> PortResult<Wish> {
    let job = record.job_id();
    let state = ledger.state(job).await?;
    let Some(outcome) = ledger.outcome(job, state.life).await? else { return Ok(Wish::Running) };
    if !outcome.ending.may_redrive() {
        return Ok(Wish::Ended(outcome));
    }
    if outcome.intermediates_expire_at <= ports.clock.now() {
        return Ok(Wish::Expired);
    }
    let life = state.life.next();
    ledger.start_life(&LifeStart { job, life, started_at: ports.clock.now() }).await?;
    // Read again: a worker of the earlier life may have committed until now, and from now on none begins.
    let task = record.task(ledger.state(job).await?.next_stage());
    put_until_stored(ports, &task).await?;
    tell_begun(ports, record, life).await?;
    Ok(Wish::Granted(life))
}

/// Whoever follows the events learns that the job runs again.
async fn tell_begun(ports: &Ports, record: &JobRecord, life: Life) -> PortResult<()> {
    let (job, upload) = (record.job_id(), &record.upload);
    let (bucket, key) = (upload.bucket.clone(), upload.key.clone());
    let kind = EventKind::Accepted { bucket, key, upload: Some(upload.id()) };
    let subject = event_subject(job, &kind);
    let event = Event { job, life, at: ports.clock.now(), kind };
    let event = serde_json::to_vec(&event).map_err(|e| PortError::Invalid(e.to_string()))?;
    ports.wire.publish(&subject, event.into()).await
}

async fn put_until_stored(ports: &Ports, task: &Task) -> PortResult<()> {
    let body = serde_json::to_vec(task).map_err(|e| PortError::Invalid(e.to_string()))?;
    let (subject, mut pause) = (task_subject(task), AGAIN_AFTER);
    for _ in 0..AGAIN_TIMES {
        if ports.queue.put_if_absent(&subject, body.clone().into()).await? == Put::Stored {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
    let job = task.job;
    Err(PortError::Unavailable(format!(
        "the next life of job {job} has begun, but a task of an earlier one is still queued; it or the next \
         sweep goes on"
    )))
}

/// The record of a job of which only the id is known: looked for in the bucket.
///
/// # Errors
/// As [`crate::Store::list`].
pub async fn find_record(ports: &Ports, ledger: &Ledger, job: JobId) -> PortResult<Option<JobRecord>> {
    let mut next = None;
    loop {
        let page = ports.store.list(ledger.bucket(), domain::JOBS_PREFIX, next).await?;
        for object in page.objects {
            if let Some(StateKey::JobRecord(upload, of)) = parse_state_key(&object.key)
                && of == job
            {
                return ledger.record(upload, job).await;
            }
        }
        next = page.next;
        if next.is_none() {
            return Ok(None);
        }
    }
}
