//! What the leading planner says of devices: their memory, the batch that would be cut now, what could be
//! done; why a job waits; and workers that are asked to give memory back.

use crate::Gateway;
use crate::jobs::{Looked, job_id};
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, Query, State};
use domain::{
    Bytes, DeviceId, JobId, Manifest, PLAN_SUBJECT, PlanQuestion, Released, Stage, WorkerId, release_subject,
};
use futures::future::join_all;
use planning::{DeviceBatchSizes, DeviceReports, Explanation, Recommendation};
use ports::{Answer, PortError};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a planner, which answers from memory.
const PLAN_MAX: Duration = Duration::from_secs(5);
/// Longest wait for idle runners to end.
const RELEASE_MAX: Duration = Duration::from_secs(20);
/// Largest side of a picture that is asked for, in pixels.
pub(crate) const IMAGE_SIZE_MAX: u32 = 16_384;
/// Most steps that are asked for.
pub(crate) const STEPS_MAX: u32 = 1_000;
/// Longest queue that is asked for.
pub(crate) const QUEUE_SIZE_MAX: u32 = 1_000_000;
/// Pages of reports that one answer collects: those of a thousand devices.
const PAGES_MAX: usize = 512;

/// Asks the leading planner.
async fn ask<T: DeserializeOwned>(gateway: &Gateway, question: &PlanQuestion) -> Result<T, Problem> {
    let invalid = |error: serde_json::Error| PortError::Invalid(format!("ask the planner: {error}"));
    let question = serde_json::to_vec(question).map_err(invalid)?;
    match gateway.ports.wire.request(PLAN_SUBJECT, question.into(), PLAN_MAX).await? {
        Answer::Reply(body) => Ok(serde_json::from_slice(&body).map_err(invalid)?),
        Answer::NoResponders => {
            Err(Problem::unavailable("no planner leads; start one with `meshwright run planner`"))
        }
        Answer::TimedOut => Err(Problem::unavailable("the planner does not answer; ask again")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicesQuery {
    device: Option<DeviceId>,
    stage: Option<Stage>,
    cursor: Option<String>,
}

/// `GET /api/gpu/summary`
pub(crate) async fn summary(
    State(gateway): State<Arc<Gateway>>,
    Query(DevicesQuery { device, stage, cursor }): Query<DevicesQuery>,
) -> Result<Json<DeviceReports>, Problem> {
    let question = PlanQuestion::Devices { device, stage, after: cursor };
    Ok(Json(ask(&gateway, &question).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizeQuery {
    image_size: u32,
    inference_steps: Option<u32>,
    queue_size: Option<u32>,
    device: Option<DeviceId>,
    stage: Option<Stage>,
}

/// `GET /api/gpu/batch-size`
pub(crate) async fn batch_size(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<SizeQuery>,
) -> Result<Json<DeviceBatchSizes>, Problem> {
    let SizeQuery { image_size, inference_steps, queue_size, device, stage } = query;
    let (inference_steps, stage) = (inference_steps.unwrap_or(50), stage.unwrap_or(Stage::Shape));
    let numbers = [
        ("image_size", image_size, 1, IMAGE_SIZE_MAX),
        ("inference_steps", inference_steps, 1, STEPS_MAX),
        ("queue_size", queue_size.unwrap_or(0), 0, QUEUE_SIZE_MAX),
    ];
    for (name, value, least, most) in numbers {
        if !(least..=most).contains(&value) {
            return Err(Problem::bad_query(format!("{name} is a whole number from {least} to {most}")));
        }
    }
    let question = PlanQuestion::BatchSize { device, stage, image_size, inference_steps, queue_size };
    Ok(Json(ask(&gateway, &question).await?))
}

/// What could be done about a device.
#[derive(Serialize, JsonSchema)]
struct Advice {
    device: DeviceId,
    worker: WorkerId,
    stage: Stage,
    #[serde(flatten)]
    advice: Recommendation,
}

/// What could be done about all devices.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GpuRecommendations")]
pub(crate) struct Recommendations {
    /// By device and stage, the most urgent first.
    recommendations: Vec<Advice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdviceQuery {
    device: Option<DeviceId>,
    stage: Option<Stage>,
}

/// `GET /api/gpu/recommendations`
pub(crate) async fn recommendations(
    State(gateway): State<Arc<Gateway>>,
    Query(AdviceQuery { device, stage }): Query<AdviceQuery>,
) -> Result<Json<Recommendations>, Problem> {
    let (mut recommendations, mut after) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let question = PlanQuestion::Devices { device: device.clone(), stage, after };
        let page: DeviceReports = ask(&gateway, &question).await?;
        for of in page.devices {
            let advice = |advice| Advice {
                device: of.device.clone(),
                worker: of.worker.clone(),
                stage: of.stage,
                advice,
            };
            recommendations.extend(of.report.recommendations.into_iter().map(advice));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(Json(Recommendations { recommendations }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheQuery {
    device: Option<DeviceId>,
}

/// What a device gave back.
#[derive(Serialize, JsonSchema)]
struct GaveBack {
    device: DeviceId,
    worker: WorkerId,
    /// None of a worker that did not answer.
    #[serde(flatten)]
    released: Option<Released>,
}

/// What all devices gave back.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CachesGivenBack")]
pub(crate) struct CacheAnswer {
    devices: Vec<GaveBack>,
}

/// `POST /api/gpu/optimize-cache`: idle runners end, with all that they cached and their models.
pub(crate) async fn optimize_cache(
    State(gateway): State<Arc<Gateway>>,
    Query(CacheQuery { device }): Query<CacheQuery>,
) -> Result<Json<CacheAnswer>, Problem> {
    let entries = crate::devices::read(&gateway).await?;
    let asked = entries.iter().filter(|entry| device.as_ref().is_none_or(|device| *device == entry.device));
    let answers = asked.map(async |entry| {
        let subject = release_subject(&entry.worker);
        let answer = gateway.ports.wire.request(&subject, bytes::Bytes::new(), RELEASE_MAX).await?;
        let released = match answer {
            Answer::Reply(body) => serde_json::from_slice(&body).ok(),
            Answer::NoResponders | Answer::TimedOut => None,
        };
        let (device, worker) = (entry.device.clone(), entry.worker.clone());
        Ok::<_, PortError>(GaveBack { device, worker, released })
    });
    let devices: Vec<GaveBack> = join_all(answers).await.into_iter().collect::<Result<_, _>>()?;
    match device {
        Some(device) if devices.is_empty() => Err(Problem::missing(&format!("device {device}"))),
        _ => Ok(Json(CacheAnswer { devices })),
    }
}

/// The batch in which a stage was computed.
#[derive(Serialize, JsonSchema)]
struct BatchOf {
    stage: Stage,
    worker: String,
    /// Its tasks.
    items: u32,
    /// What was reserved for it.
    bytes: Bytes,
    /// Why it had this size and place.
    why: String,
}

impl BatchOf {
    fn of(manifest: &Manifest) -> Option<BatchOf> {
        let batch = manifest.batch.clone()?;
        let (stage, worker) = (manifest.stage, manifest.marks.clock.clone());
        Some(BatchOf { stage, worker, items: batch.items, bytes: batch.bytes, why: batch.why })
    }
}

/// Why a job waits or runs as it does, and why its batches were what they were.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Explained {
    id: JobId,
    /// In one sentence.
    text: String,
    /// Where its next task stands; none once it has ended, and while no planner answers.
    now: Option<Explanation>,
    /// The batches of the stages that are done.
    batches: Vec<BatchOf>,
}

/// `GET /api/jobs/{id}/explain`
pub(crate) async fn explain(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<Explained>, Problem> {
    let id = job_id(&id)?;
    let Looked { record, state, manifests, outcome, .. } = Looked::at(&gateway, id).await?;
    let batches = manifests.iter().filter_map(BatchOf::of).collect();
    if state.has_outcome {
        let ended = outcome.map_or("ended", |outcome| outcome.ending.as_str());
        let text = format!("it waits for nothing: it is {ended}");
        return Ok(Json(Explained { id, text, now: None, batches }));
    }
    let task = Box::new(record.task(state.next_stage()));
    let (text, now) = match ask::<Explanation>(&gateway, &PlanQuestion::Explain { task }).await {
        Ok(now) => (format!("{}: {}", now.stage, now.text), Some(now)),
        Err(problem) => (problem.detail().to_owned(), None),
    };
    Ok(Json(Explained { id, text, now, batches }))
}
