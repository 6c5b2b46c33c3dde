//! Jobs, listed and shown: what the bucket says, with the moment that the events tell.

use crate::Gateway;
use crate::end::End;
use crate::eta::{Outlook, Told};
use crate::filter::Filter;
use crate::index::{Known, Shown};
use crate::listing::{page, readable, settle};
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, Query, State};
use domain::{
    Bytes, Class, Ending, JobId, JobRecord, Manifest, Outcome, Recipe, Sha256, Stage, TenantId, Timestamp,
    UploadId,
};
use futures::future::try_join_all;
use ports::lives::find_record;
use ports::{JobState, PortResult, list_all};
use profile::Eta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Walks over all records at once, for jobs that nobody told of.
pub(crate) const WALKS_MAX: usize = 2;
/// Jobs that were looked for in vain and are remembered.
const MISSES_MAX: usize = 1_000;
/// How long such a one is not looked for again: a job that is made meanwhile is told by its event.
const MISS_KEPT: Duration = Duration::from_secs(5);

/// The job of a path.
pub(crate) fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| Problem::missing("such job; a job's id is 32 hex digits"))
}

/// Jobs that are not there, and since when that is known.
#[derive(Default)]
pub(crate) struct Misses(Mutex<BTreeMap<JobId, Timestamp>>);

impl Misses {
    fn has(&self, job: JobId, now: Timestamp) -> bool {
        let misses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        misses.get(&job).is_some_and(|at| now.since(*at) < MISS_KEPT)
    }

    fn add(&self, job: JobId, now: Timestamp) {
        let mut misses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if misses.len() >= MISSES_MAX {
            misses.retain(|_, at| now.since(*at) < MISS_KEPT);
        }
        if misses.len() < MISSES_MAX {
            misses.insert(job, now);
        }
    }
}

/// The job's record, found by what is known of it or by looking for it.
pub(crate) async fn find(gateway: &Gateway, job: JobId) -> PortResult<Option<JobRecord>> {
    match gateway.hub.known(job).and_then(|known| known.upload) {
        Some(upload) => gateway.ledger.record(upload, job).await,
        None => walk(gateway, job).await,
    }
}

/// The job's record, which whoever asks must name rightly.
pub(crate) async fn record(gateway: &Gateway, job: JobId) -> Result<JobRecord, Problem> {
    find(gateway, job).await?.ok_or_else(|| Problem::missing("such job"))
}

/// Looks through all records: for a job whose event was lost, before a look at the bucket found it.
async fn walk(gateway: &Gateway, job: JobId) -> PortResult<Option<JobRecord>> {
    let is_missed = || gateway.misses.has(job, gateway.ports.clock.now());
    if is_missed() {
        return Ok(None);
    }
    // The semaphore lives as long as the gateway and is never closed.
    let _walking = gateway.walks.acquire().await;
    if is_missed() {
        return Ok(None);
    }
    let found = find_record(&gateway.ports, &gateway.ledger, job).await?;
    match &found {
        Some(record) => gateway.hub.write().learn(record, gateway.ports.clock.now()),
        None => gateway.misses.add(job, gateway.ports.clock.now()),
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    state: Option<Shown>,
    tenant: Option<TenantId>,
    bucket: Option<String>,
    key: Option<String>,
    after_ms: Option<u64>,
    before_ms: Option<u64>,
}

/// A stage of a job, as far as it is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StageLine {
    stage: Stage,
    state: StageState,
    /// 0 to 1.
    fraction: f32,
}

/// How far a stage is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StageState {
    Waiting,
    Running,
    Done,
}

/// A job in the list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobLine")]
pub(crate) struct Line {
    id: JobId,
    state: Shown,
    /// How often it was begun again.
    life: u32,
    /// The upload's key.
    key: Option<String>,
    /// Why it ended so, or why nothing was published.
    reason: Option<String>,
    /// What it does now.
    phase: Option<String>,
    /// How much of its way it has gone, 0 to 1.
    fraction: f32,
    /// When its record was written; the list's order.
    seen_at_ms: Timestamp,
    stages: Vec<StageLine>,
    /// Its place among the jobs that have not ended, in the order of acceptance, from 1; none once it has
    /// ended.
    queue_position: Option<usize>,
    /// When it will be done, as measured tasks went; none once it has ended, and while a stage that it lacks
    /// was never measured.
    eta: Option<Eta>,
    /// Something of it in the bucket is not of this program.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    unreadable: bool,
}

/// A page of the list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobList")]
pub(crate) struct List {
    jobs: Vec<Line>,
    /// Cursor of the next page; none at the end.
    next: Option<String>,
}

/// How long a committed stage took, from the marks of its manifest. Clocks of two machines may differ; no
/// time is below zero.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StageTiming {
    stage: Stage,
    /// In the queue and with the planner.
    waited_ms: u64,
    fetch_ms: u64,
    /// Waiting for a runner, and starting it.
    load_ms: u64,
    compute_ms: u64,
    store_ms: u64,
}

impl StageTiming {
    fn of(manifest: &Manifest) -> StageTiming {
        let ms = |from: Timestamp, to: Timestamp| to.since(from).as_millis() as u64;
        let marks = &manifest.marks;
        StageTiming {
            stage: manifest.stage,
            waited_ms: ms(marks.published_at, marks.accepted_at),
            fetch_ms: ms(marks.accepted_at, marks.fetched_at),
            load_ms: ms(marks.fetched_at, marks.started_at),
            compute_ms: ms(marks.started_at, marks.computed_at),
            store_ms: ms(marks.computed_at, marks.stored_at),
        }
    }
}

/// A file of a job.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobFile")]
pub(crate) struct File {
    name: String,
    stage: Stage,
    size_bytes: Bytes,
    content_type: String,
    sha256: Sha256,
    /// Where it is served.
    url: String,
}

/// A job with everything that is known of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Job {
    #[serde(flatten)]
    line: Line,
    upload_id: UploadId,
    bucket: String,
    upload_bytes: Bytes,
    recipe: Recipe,
    tenant: TenantId,
    class: Class,
    accepted_at_ms: Timestamp,
    decided_at_ms: Option<Timestamp>,
    /// Jobs that were accepted before it and have not ended; none once it has.
    jobs_ahead: Option<usize>,
    /// Median time until it is done: that of `eta`, or, before any task was measured, as recent jobs went;
    /// none while neither is known.
    eta_p50_ms: Option<u64>,
    timings: Vec<StageTiming>,
    /// Its files that are still there.
    artifacts: Vec<File>,
    /// Keys in the output bucket.
    published: Vec<String>,
    /// What a person should know of its model: what its stages say, in their order.
    notes: Vec<String>,
}

/// `GET /api/jobs`: newest first, by pages.
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<List>, Problem> {
    let filter = Filter {
        state: query.state,
        tenant: query.tenant,
        bucket: query.bucket,
        key: query.key,
        after: query.after_ms.map(Timestamp),
        before: query.before_ms.map(Timestamp),
    };
    let page = page(&gateway, query.cursor.as_deref(), &filter, query.limit).await?;
    let is_open = page.rows.iter().any(|(_, known)| !known.has_ended());
    let outlook = if is_open { Some(Outlook::of(&gateway).await) } else { None };
    let row = |(job, known): &(JobId, Known)| {
        let told = outlook.as_ref().map(|outlook| outlook.job(*job, known, &[]));
        line(*job, known, told.unwrap_or_default())
    };
    Ok(Json(List { jobs: page.rows.iter().filter_map(row).collect(), next: page.next }))
}

fn line(job: JobId, known: &Known, told: Told) -> Option<Line> {
    let one = |stage: Stage| {
        let (state, fraction) = match &known.running {
            _ if known.committed.contains(&stage) => (StageState::Done, 1.0),
            Some((running, fraction, _)) if *running == stage => (StageState::Running, *fraction),
            _ => (StageState::Waiting, 0.0),
        };
        StageLine { stage, state, fraction }
    };
    Some(Line {
        id: job,
        state: known.state()?,
        life: known.life,
        key: known.key.clone().filter(|key| !key.is_empty()),
        reason: known.end.as_ref().and_then(End::reason),
        phase: known.running.as_ref().map(|(_, _, phase)| phase.clone()),
        fraction: known.fraction(),
        seen_at_ms: known.seen_at,
        stages: Stage::ALL.map(one).into(),
        queue_position: told.queue_position,
        eta: told.eta,
        unreadable: known.unreadable,
    })
}

/// What the bucket says of a job.
pub(crate) struct Looked {
    pub(crate) record: JobRecord,
    pub(crate) state: JobState,
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) outcome: Option<Outcome>,
    /// Whether the outcome, if there is one, is of this program.
    is_readable: bool,
}

impl Looked {
    /// Reads it.
    pub(crate) async fn at(gateway: &Gateway, job: JobId) -> Result<Looked, Problem> {
        let record = record(gateway, job).await?;
        let state = gateway.ledger.state(job).await?;
        let (outcome, is_readable) = match state.has_outcome {
            true => readable(gateway.ledger.outcome(job, state.life).await)?,
            false => (None, true),
        };
        let manifests = state.committed.iter().map(|stage| gateway.ledger.manifest(job, *stage));
        let manifests = try_join_all(manifests.map(async |read| readable(read.await))).await?;
        let manifests = manifests.into_iter().filter_map(|(manifest, _)| manifest).collect();
        Ok(Looked { record, state, manifests, outcome, is_readable })
    }
}

/// `GET /api/jobs/{id}`: what the bucket says, with the moment that the events tell.
pub(crate) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    let job = job_id(&id)?;
    let Looked { record, state, manifests, outcome, is_readable } = Looked::at(&gateway, job).await?;
    if let Some(known) = gateway.hub.known(job).filter(|known| !known.is_placed) {
        settle(&gateway, &Filter::default(), vec![(job, known)]).await;
    }
    let mut known = moment(&gateway, job, &state, outcome.as_ref());
    known.unreadable |= !is_readable;
    known.key = Some(record.upload.key.clone());
    known.kind = Some(record.recipe.kind());
    if !known.is_placed {
        known.seen_at = record.accepted_at;
    }
    // Who asks about a job that has ended waits for no board and no line.
    let told = match known.has_ended() {
        true => Told::default(),
        false => Outlook::of(&gateway).await.job(job, &known, &manifests),
    };
    let jobs_ahead = told.queue_position.map(|position| position - 1);
    let by_pace = gateway.hub.read().left(&known, gateway.ports.clock.now());
    let eta_p50_ms = told.eta.as_ref().map(|eta| eta.p50_ms);
    let eta_p50_ms = eta_p50_ms.or(by_pace.map(|left| left.as_millis() as u64));
    let artifacts = files(&gateway, job, &manifests, known.has_ended()).await?;
    let line = line(job, &known, told).ok_or_else(|| Problem::unavailable("the job is ending; ask again"))?;
    let decided_at_ms = outcome.as_ref().map(|outcome| outcome.decided_at);
    let published = match outcome.map(|outcome| outcome.ending) {
        Some(Ending::Done { files, .. }) => files,
        _ => Vec::new(),
    };
    Ok(Json(Job {
        line,
        upload_id: record.upload.id(),
        bucket: record.upload.bucket,
        upload_bytes: record.upload.size_bytes,
        recipe: record.recipe,
        tenant: record.tenant,
        class: record.class,
        accepted_at_ms: record.accepted_at,
        decided_at_ms,
        jobs_ahead,
        eta_p50_ms,
        timings: manifests.iter().map(StageTiming::of).collect(),
        artifacts,
        published,
        notes: manifests.into_iter().flat_map(|manifest| manifest.notes).collect(),
    }))
}

/// What the events tell of a job, set right by what the bucket says.
fn moment(gateway: &Gateway, job: JobId, state: &JobState, outcome: Option<&Outcome>) -> Known {
    let heard = gateway.hub.known(job).unwrap_or_default();
    let (seen_at, is_placed) = (heard.seen_at, heard.is_placed);
    let is_this_life = heard.life == state.life.0;
    let mut known = if is_this_life { heard } else { Known { seen_at, is_placed, ..Known::default() } };
    known.life = state.life.0;
    known.committed.extend(state.committed.iter().copied());
    known.has_outcome = state.has_outcome;
    known.end = outcome.map(End::of);
    if known.has_ended() {
        known.running = None;
    }
    known
}

/// The files that manifests name. After the end some may have been collected: those are left out.
async fn files(
    gateway: &Gateway,
    job: JobId,
    manifests: &[Manifest],
    has_ended: bool,
) -> PortResult<Vec<File>> {
    let there: Option<BTreeSet<String>> = match has_ended && !manifests.is_empty() {
        true => {
            let prefix = format!("{}{job}/", domain::ARTIFACTS_PREFIX);
            let listed = list_all(&*gateway.ports.store, gateway.ledger.bucket(), &prefix).await?;
            Some(listed.into_iter().map(|object| object.key).collect())
        }
        false => None,
    };
    let all = manifests
        .iter()
        .flat_map(|manifest| manifest.artifacts.iter().map(|artifact| (manifest.stage, artifact)));
    let kept = all.filter(|(_, artifact)| there.as_ref().is_none_or(|there| there.contains(&artifact.key)));
    let file = |(stage, artifact): (Stage, &domain::Artifact)| File {
        name: artifact.name.clone(),
        stage,
        size_bytes: artifact.size_bytes,
        content_type: artifact.content_type.clone(),
        sha256: artifact.sha256.clone(),
        url: format!("/api/jobs/{job}/artifacts/{}", artifact.name),
    };
    Ok(kept.map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_remembered_for_a_while_and_no_more_than_so_many() {
        let misses = Misses::default();
        let job = JobId([1; 16]);
        misses.add(job, Timestamp(1_000));
        assert!(misses.has(job, Timestamp(5_999)));
        assert!(!misses.has(job, Timestamp(6_000)));
        for n in 0..2 * MISSES_MAX as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            misses.add(JobId(id), Timestamp(7_000));
        }
        assert_eq!(misses.0.lock().expect("a lock").len(), MISSES_MAX);
    }
}
