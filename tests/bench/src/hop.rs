//! One durable hop: from the call that publishes a task to the worker's word that it has accepted it; one job
//! at a time, so that nothing waits for anything else. Planner, worker, queue and wire are the real ones on a
//! real nats-server; stages compute nothing and objects are kept in memory.
//!
//! Beside it, in the same run on the same stream: publishing alone.

use crate::memory_store::MemoryStore;
use crate::pipeline::Pipeline;
use crate::servers;
use crate::watched::Hop;
use anyhow::Result;
use domain::{JobId, Recipe, Stage, Task, UploadId, task_subject};
use figures::{Bar, Report, ms, percentile};
use harness::{NatsConfig, NatsServer};
use ports::{Clock, Queue, SystemClock};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The two ways in which a broker may keep its promises.
pub(crate) fn sync_settings() -> [(&'static str, NatsConfig); 2] {
    [("sync always", NatsConfig::durable()), ("default sync", NatsConfig::default())]
}

/// Jobs that warm everything up and are not measured.
const WARM_UP: usize = 40;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 50 } else { 250 };
    for (sync, nats) in sync_settings() {
        let always = nats.sync_always;
        let server = NatsServer::start(nats).await?;
        let broker = servers::broker(server.url(), "bench").await?;
        broker.ensure().await?;
        let mut alone = publish_alone(&*broker.queue(), rounds * 4).await?;
        report.add_spans(&format!("publish alone, {sync}"), &mut alone, (Bar::None, Bar::None));
        let (first, later) = hops(server.url(), rounds).await?;
        let all: Vec<Hop> = first.iter().chain(&later).copied().collect();
        let (p50, p99) = if always { (2.0, 8.0) } else { (1.0, 5.0) };
        let bars = (Bar::AtMost(p50), Bar::AtMost(p99));
        report.add_spans(&format!("hop, {sync}"), &mut spans(&all), bars);
        let of_confirmed = |hop: &Hop| hop.accepted?.checked_duration_since(hop.confirmed?);
        let mut confirmed: Vec<Duration> =
            all.iter().map(|hop| of_confirmed(hop).unwrap_or_default()).collect();
        report.add(
            format!("of it after the publisher's confirmation, {sync}, p50"),
            ms(percentile(&mut confirmed, 0.5)),
            "ms",
            Bar::None,
        );
        let p50 = ms(percentile(&mut spans(&first), 0.5));
        report.add(format!("first hop of a job, {sync}, p50"), p50, "ms", Bar::None);
        let p50 = ms(percentile(&mut spans(&later), 0.5));
        report.add(format!("later hops of a job, {sync}, p50"), p50, "ms", Bar::None);
    }
    Ok(())
}

fn spans(hops: &[Hop]) -> Vec<Duration> {
    hops.iter().filter_map(|hop| Some(hop.accepted?.duration_since(hop.published))).collect()
}

/// Tasks of a tenant that nobody plans for: they are stored, and nothing follows.
async fn publish_alone(queue: &dyn Queue, count: usize) -> Result<Vec<Duration>> {
    let mut spans = Vec::with_capacity(count);
    for n in 0..count {
        let id = (n as u128).to_be_bytes();
        let task = Task {
            job: JobId(id),
            upload: UploadId(id),
            stage: Stage::Preprocess,
            class: domain::Class::Normal,
            tenant: "nobody".parse()?,
            recipe: Recipe::default(),
            size_bytes: domain::Bytes::kib(100),
            accepted_at: SystemClock.now(),
            deadline: None,
        };
        let body = serde_json::to_vec(&task)?.into();
        let began = Instant::now();
        queue.put_if_absent(&task_subject(&task), body).await?;
        spans.push(began.elapsed());
    }
    Ok(spans)
}

/// First hops and later hops of some jobs, one job after another.
async fn hops(url: String, rounds: usize) -> Result<(Vec<Hop>, Vec<Hop>)> {
    let mut pipeline = Pipeline::start(url, Arc::new(MemoryStore::default())).await?;
    let warm_up = pipeline.make_jobs("warm", WARM_UP).await?;
    for task in warm_up {
        pipeline.publish(vec![task]).await?;
        pipeline.wait_finished(1).await?;
    }
    pipeline.notes.take_hops();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for task in pipeline.make_jobs("measured", rounds).await? {
        pipeline.publish(vec![task]).await?;
        pipeline.wait_finished(1).await?;
        let mut hops = pipeline.notes.take_hops().into_iter();
        // In the order of stages.
        first.extend(hops.next());
        later.extend(hops);
    }
    pipeline.stop().await?;
    Ok((first, later))
}
