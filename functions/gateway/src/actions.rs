//! What a person may do: cancel, redrive, look at what was set aside, ask for a sweep.

use crate::Gateway;
use crate::filter::Filter;
use crate::index::{Known, Shown};
use crate::jobs::{job_id, record};
use crate::listing::page;
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{JobId, Life, SWEEP_SUBJECT, Stage, Timestamp, UploadId, life_span};
use ports::lives::{self, Wish};
use ports::{Answer, PortError, tell_spans};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Longest sweep that a caller waits for.
const SWEEP_MAX: Duration = Duration::from_secs(120);

/// A wish that was granted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Granted {
    id: JobId,
    /// The life that it concerns.
    life: Life,
}

type Done = Result<(StatusCode, Json<Granted>), Problem>;

fn answer(id: JobId, wish: Wish) -> Done {
    match wish {
        Wish::Granted(life) => Ok((StatusCode::ACCEPTED, Json(Granted { id, life }))),
        Wish::Ended(outcome) => {
            Err(Problem::conflict(format!("the job has ended: {}", outcome.ending.as_str())))
        }
        Wish::Running => {
            Err(Problem::conflict("the job still runs; only a dead or cancelled one is redriven"))
        }
        Wish::Expired => Err(Problem::conflict("its intermediates have expired; upload the picture again")),
    }
}

/// `POST /api/jobs/{id}/cancel`. Repeating it tells the workers again.
pub(crate) async fn cancel(State(gateway): State<Arc<Gateway>>, Path(id): Path<String>) -> Done {
    let job = job_id(&id)?;
    let record = record(&gateway, job).await?;
    let (wish, decided) = lives::cancel(&gateway.ports, &gateway.ledger, job).await?;
    if let Some(outcome) = decided {
        crate::telemetry::count_cancelled();
        tell_spans(|| vec![life_span("gateway", record.accepted_at, &outcome)]);
    }
    answer(job, wish)
}

/// `POST /api/jobs/{id}/redrive`, `…/retry` and `POST /api/dead-letters/{id}/redrive`
pub(crate) async fn redrive(State(gateway): State<Arc<Gateway>>, Path(id): Path<String>) -> Done {
    let job = job_id(&id)?;
    let record = record(&gateway, job).await?;
    let wish = lives::redrive(&gateway.ports, &gateway.ledger, &record).await?;
    if let Wish::Granted(life) = wish {
        gateway.hub.write().begin(job, life);
    }
    answer(job, wish)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LettersQuery {
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Which task was set aside.
#[derive(Serialize, JsonSchema)]
struct TaskName {
    job: JobId,
    upload: Option<UploadId>,
    stage: Option<Stage>,
}

/// A task set aside for a person.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterLine")]
pub(crate) struct Letter {
    task: TaskName,
    /// The upload's key.
    key: Option<String>,
    /// The life that ended.
    life: u32,
    /// How many attempts were counted; none once the broker has forgotten its letter.
    attempts: Option<u32>,
    /// The last known error.
    error: String,
    /// When it was set aside.
    at: Timestamp,
}

/// A page of tasks that were set aside.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterList")]
pub(crate) struct Letters {
    dead_letters: Vec<Letter>,
    /// Cursor of the next page; none at the end.
    next: Option<String>,
}

/// `GET /api/dead-letters`: the jobs that are dead now, as their outcomes say; the broker's letters only add
/// to that.
pub(crate) async fn dead_letters(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<LettersQuery>,
) -> Result<Json<Letters>, Problem> {
    let dead = Filter { state: Some(Shown::Dead), ..Filter::default() };
    let page = page(&gateway, query.cursor.as_deref(), &dead, query.limit).await?;
    let dead_letters = page.rows.into_iter().filter_map(|(job, known)| letter(job, known)).collect();
    Ok(Json(Letters { dead_letters, next: page.next }))
}

fn letter(job: JobId, known: Known) -> Option<Letter> {
    let end = known.end?;
    Some(Letter {
        task: TaskName { job, upload: known.upload, stage: end.stage },
        key: known.key.filter(|key| !key.is_empty()),
        life: known.life,
        attempts: known.letter.filter(|(life, _)| *life == known.life).map(|(_, attempts)| attempts),
        error: end.text.unwrap_or_default(),
        at: end.at,
    })
}

/// A sweep that takes longer than anybody waits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SweepGoesOn {
    detail: &'static str,
}

/// `POST /api/sweep`
pub(crate) async fn sweep(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    match gateway.ports.wire.request(SWEEP_SUBJECT, bytes::Bytes::new(), SWEEP_MAX).await? {
        Answer::Reply(body) => {
            let answer: Value =
                serde_json::from_slice(&body).map_err(|e| PortError::Invalid(e.to_string()))?;
            Ok(Json(answer).into_response())
        }
        Answer::NoResponders => {
            Err(Problem::unavailable("no ingest runs; start one with `meshwright run ingest`"))
        }
        Answer::TimedOut => {
            let answer = SweepGoesOn { detail: "the sweep takes long and goes on" };
            Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
        }
    }
}
