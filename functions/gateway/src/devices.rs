//! Devices as their workers say on the board: memory, lanes, and the batches that run.

use crate::Gateway;
use crate::eta;
use crate::problem::Problem;
use crate::timings::{self, Analysis};
use axum::Json;
use axum::extract::State;
use domain::{
    Activity, BatchId, Bytes, DEVICES, DeviceClass, DeviceEntry, DeviceHealth, DeviceId, JobId, RunningBatch,
    Stage, Timestamp, WorkerId,
};
use ports::PortResult;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Workers write their entry anew every 3 s; nobody who only reckons needs it newer than this.
const RECENT: Duration = Duration::from_secs(2);

/// Longest wait for a board that only makes an answer better.
const RECENT_MAX: Duration = Duration::from_millis(500);

/// The board as it was read last, and when.
#[derive(Default)]
pub(crate) struct LastRead(Mutex<Option<(Instant, Arc<Vec<DeviceEntry>>)>>);

/// All entries, as they are now. One that is not of this program is passed over.
pub(crate) async fn read(gateway: &Gateway) -> PortResult<Arc<Vec<DeviceEntry>>> {
    let listed = gateway.ports.boards.list(&DEVICES).await?;
    let entries = listed.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok());
    let entries = Arc::new(entries.collect::<Vec<DeviceEntry>>());
    let mut last = gateway.devices.0.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some((Instant::now(), entries.clone()));
    Ok(entries)
}

/// All entries of a moment ago; none when the board cannot be read. An answer about a job must not wait for a
/// board that does not answer: nobody asks it again for a moment.
pub(crate) async fn recent(gateway: &Gateway) -> Arc<Vec<DeviceEntry>> {
    {
        let last = gateway.devices.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, entries)) = last.as_ref().filter(|(at, _)| at.elapsed() < RECENT) {
            return entries.clone();
        }
    }
    match timeout(RECENT_MAX, read(gateway)).await {
        Ok(Ok(entries)) => return entries,
        Ok(Err(error)) => tracing::debug!(%error, "read the board of devices"),
        Err(_) => tracing::debug!("the board of devices does not answer"),
    }
    let mut last = gateway.devices.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, entries) = last.insert((Instant::now(), Arc::default()));
    entries.clone()
}

/// Memory of a device at one moment.
#[derive(Serialize, JsonSchema)]
struct Memory {
    total_bytes: Bytes,
    /// In use by anybody.
    used_bytes: Bytes,
    /// Of that, held by the worker and its runners.
    own_bytes: Bytes,
    /// Of its own, what it could give back at once.
    reclaimable_bytes: Bytes,
    free_bytes: Bytes,
    /// By the worker's clock.
    read_at: Timestamp,
}

/// A batch that runs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeviceBatch")]
struct Running {
    id: BatchId,
    stage: Stage,
    jobs: Vec<JobId>,
    /// Its reservation.
    bytes: Bytes,
    /// When it began.
    since: Timestamp,
    /// When it ends if it takes as long as measured ones did; none while none of about its size was.
    until: Option<Timestamp>,
    /// It waits for the lane that is free next, and its inputs are fetched.
    waits: bool,
}

/// A device.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeviceLine")]
struct Line {
    /// Who owns it.
    worker: WorkerId,
    device: DeviceId,
    device_class: DeviceClass,
    /// What it is used for.
    stages: Vec<Stage>,
    lanes: u32,
    reading: Memory,
    /// Promised to batches, or held and not to be given back: the larger of the two.
    reserved_bytes: Bytes,
    /// Held by idle runners and models.
    resident_bytes: Bytes,
    running: Vec<Running>,
    /// Whether it is used, and why not.
    health: DeviceHealth,
    /// What it is busy with and what slows it down; none where it does not tell.
    activity: Option<Activity>,
}

/// All devices whose workers live.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeviceList")]
pub(crate) struct List {
    devices: Vec<Line>,
    /// What they have before them.
    queue: Vec<Queued>,
}

/// Jobs at a stage that have not ended.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StageQueue")]
struct Queued {
    stage: Stage,
    waiting: u64,
    running: u64,
}

/// `GET /api/devices`
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Json<List>, Problem> {
    let entries = read(&gateway).await?;
    let analysis = timings::recent(&gateway, RECENT).await?;
    let queue = eta::queue(&gateway.hub.read());
    let queue = queue.map(|(stage, [waiting, running])| Queued { stage, waiting, running }).into();
    Ok(Json(List { devices: entries.iter().map(|entry| line(entry, &analysis)).collect(), queue }))
}

fn line(entry: &DeviceEntry, analysis: &Analysis) -> Line {
    let reading = &entry.reading;
    let on_lanes = entry.running.iter().filter(|batch| !batch.waits);
    let promised: Bytes = on_lanes.map(|batch| batch.bytes).sum();
    let batch = |batch: &RunningBatch| {
        let items = u32::try_from(batch.jobs.len()).unwrap_or(u32::MAX);
        let time = analysis.capacity.batch_time(batch.stage, &entry.device_class, items);
        Running {
            id: batch.id,
            stage: batch.stage,
            jobs: batch.jobs.clone(),
            bytes: batch.bytes,
            since: batch.since,
            until: time.filter(|_| !batch.waits).map(|time| batch.since + time),
            waits: batch.waits,
        }
    };
    Line {
        worker: entry.worker.clone(),
        device: entry.device.clone(),
        device_class: entry.device_class.clone(),
        stages: entry.stages.clone(),
        lanes: entry.lanes,
        reserved_bytes: promised.max(reading.own_bytes.saturating_sub(reading.reclaimable_bytes)),
        resident_bytes: entry.resident_bytes,
        reading: Memory {
            total_bytes: reading.total_bytes,
            used_bytes: reading.used_bytes,
            own_bytes: reading.own_bytes,
            reclaimable_bytes: reading.reclaimable_bytes,
            free_bytes: reading.total_bytes.saturating_sub(reading.used_bytes),
            read_at: reading.read_at,
        },
        running: entry.running.iter().map(batch).collect(),
        health: entry.health.clone(),
        activity: entry.activity.clone(),
    }
}
