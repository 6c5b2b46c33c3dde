//! What a person may do: cancel, redrive, look at what was set aside, ask for a sweep.

use crate::Gateway;
use crate::jobs::{job_id, record};
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::{DEAD, DeadLetter, Ending, JobId, SWEEP_SUBJECT};
use futures::StreamExt;
use ports::lives::{self, Wish};
use ports::{Answer, PortError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Longest sweep that a caller waits for.
const SWEEP_MAX: Duration = Duration::from_secs(120);
/// Longest pause within the reading of a log that has an end.
const LOG_PAUSE_MAX: Duration = Duration::from_secs(5);

type Done = Result<(StatusCode, Json<Value>), Problem>;

fn answer(job: JobId, wish: Wish) -> Done {
    match wish {
        Wish::Granted(life) => Ok((StatusCode::ACCEPTED, Json(json!({"id": job, "life": life})))),
        Wish::Ended(outcome) => {
            Err(Problem::conflict(format!("the job has ended: {}", outcome.ending.as_str())))
        }
        Wish::Running => {
            Err(Problem::conflict("the job still runs; only a dead or cancelled one is redriven"))
        }
        Wish::Expired => Err(Problem::conflict("its intermediates have expired; upload the picture again")),
    }
}

pub(crate) async fn cancel(State(gateway): State<Arc<Gateway>>, Path(id): Path<String>) -> Done {
    let job = job_id(&id)?;
    record(&gateway, job).await?;
    answer(job, lives::cancel(&gateway.ports, &gateway.ledger, job).await?)
}

pub(crate) async fn redrive(State(gateway): State<Arc<Gateway>>, Path(id): Path<String>) -> Done {
    let job = job_id(&id)?;
    let record = record(&gateway, job).await?;
    let wish = lives::redrive(&gateway.ports, &gateway.ledger, &record).await?;
    if let Wish::Granted(life) = wish {
        gateway.index.write().unwrap_or_else(PoisonError::into_inner).begin(job, life);
    }
    answer(job, wish)
}

/// The letters whose life is still the dead one.
pub(crate) async fn dead_letters(State(gateway): State<Arc<Gateway>>) -> Result<Json<Value>, Problem> {
    let last = gateway.ports.wire.last_sequence(&DEAD).await?;
    let mut letters: BTreeMap<JobId, DeadLetter> = BTreeMap::new();
    let mut log = gateway.ports.wire.follow(&DEAD, "dead.>", 0).await?;
    let mut read_to = 0;
    while read_to < last {
        // What was removed leaves a gap at the end, and silence is the end then.
        let Ok(Some(logged)) = tokio::time::timeout(LOG_PAUSE_MAX, log.next()).await else { break };
        let logged = logged?;
        if let Ok(letter) = serde_json::from_slice::<DeadLetter>(&logged.payload) {
            letters.insert(letter.task.job, letter);
        }
        read_to = logged.sequence;
    }
    let mut dead = Vec::new();
    for (job, letter) in letters {
        let state = gateway.ledger.state(job).await?;
        let outcome = gateway.ledger.outcome(job, state.life).await?;
        if outcome.is_some_and(|outcome| matches!(outcome.ending, Ending::Dead { .. })) {
            dead.push(letter);
        }
    }
    Ok(Json(json!({"dead_letters": dead})))
}

pub(crate) async fn sweep(State(gateway): State<Arc<Gateway>>) -> Result<Json<Value>, Problem> {
    match gateway.ports.wire.request(SWEEP_SUBJECT, bytes::Bytes::new(), SWEEP_MAX).await? {
        Answer::Reply(body) => {
            let answer = serde_json::from_slice(&body).map_err(|e| PortError::Invalid(e.to_string()))?;
            Ok(Json(answer))
        }
        Answer::NoResponders => {
            Err(Problem::unavailable("no ingest runs; start one with `meshwright run ingest`"))
        }
        Answer::TimedOut => Err(Problem::unavailable("the sweep takes long; it goes on")),
    }
}
