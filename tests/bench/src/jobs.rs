//! Jobs per second through four null stages: every publication, draw, batch, runner, acknowledgement and
//! event is real, and nothing is computed. Without S3 work (objects are kept in memory), and with everything
//! in MinIO beside it.

use crate::hop::sync_settings;
use crate::memory_store::MemoryStore;
use crate::pipeline::Pipeline;
use crate::servers;
use anyhow::Result;
use figures::{Bar, Report};
use harness::{Minio, MinioConfig, NatsConfig, NatsServer};
use ports::Store;
use std::sync::Arc;
use std::time::Instant;

/// Jobs that warm everything up, and from which the planner learns how large batches may be.
const WARM_UP: usize = 300;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let less = if quick { 4 } else { 1 };
    for (sync, nats) in sync_settings() {
        let bar = if nats.sync_always { Bar::AtLeast(400.0) } else { Bar::AtLeast(2000.0) };
        let what = format!("four null stages without S3, {sync}");
        run(report, &what, nats, Arc::new(MemoryStore::default()), (4000 / less, bar)).await?;
    }
    let minio = Minio::start(MinioConfig::default()).await?;
    servers::create_buckets(&minio, &servers::site()).await?;
    let store = servers::store(minio.endpoint());
    let what = "four null stages with all objects in MinIO, sync always";
    run(report, what, NatsConfig::durable(), store, (1000 / less, Bar::None)).await
}

async fn run(
    report: &mut Report,
    what: &str,
    nats: NatsConfig,
    store: Arc<dyn Store>,
    (count, bar): (usize, Bar),
) -> Result<()> {
    let server = NatsServer::start(nats).await?;
    servers::broker(server.url(), "bench").await?.ensure().await?;
    let mut pipeline = Pipeline::start(server.url(), store).await?;
    let warm_up = pipeline.make_jobs("warm", WARM_UP).await?;
    let jobs = pipeline.make_jobs("measured", count).await?;
    pipeline.publish(warm_up).await?;
    pipeline.wait_finished(WARM_UP).await?;
    pipeline.notes.take_batches();
    let began = Instant::now();
    pipeline.publish(jobs).await?;
    let published = began.elapsed();
    pipeline.wait_finished(count).await?;
    report.add(what, count as f64 / began.elapsed().as_secs_f64(), "jobs/s", bar);
    let batches = pipeline.notes.take_batches();
    let mean = batches.iter().sum::<usize>() as f64 / batches.len().max(1) as f64;
    report.add(format!("{what}: tasks in a batch, mean"), mean, "tasks", Bar::None);
    let rate = count as f64 / published.as_secs_f64();
    report.add(format!("{what}: first tasks published"), rate, "tasks/s", Bar::None);
    pipeline.stop().await
}
