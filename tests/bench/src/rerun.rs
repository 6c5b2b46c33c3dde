//! Real runs of jobs with a synthetic load on the stage shape, through workers of one lane each, and the
//! timings of all their tasks: what a replay and a prediction are held against.

use crate::servers::{Servers, WorkerShare, site};
use crate::upload::picture;
use anyhow::{Context, Result, ensure};
use domain::{Stage, TIMINGS, TaskEnd, Timing};
use futures::StreamExt;
use harness::NatsConfig;
use ports::{Condition, Logged, PortResult, Ports, PutOptions};
use std::time::Duration;
use tokio::time::timeout;

const STUCK_AFTER: Duration = Duration::from_secs(300);

/// A worker of all stages.
pub(crate) const ALL: &[&str] = &["preprocess", "shape", "texture", "export"];

/// What the jobs go through.
pub(crate) struct Line<'a> {
    /// The stages of each worker, each with one lane.
    pub(crate) workers: &'a [&'a [&'a str]],
    /// What an item takes at the stage shape: far more than all that is real beside it on two cores.
    pub(crate) load: &'a str,
    /// Memory of each worker; all there is if nothing is said.
    pub(crate) memory_max: Option<&'a str>,
}

impl Line<'_> {
    /// Jobs through it, some and then more once those are done; the timings of each lot. The first lot loads
    /// runners and teaches the planner what batches need: it measures nothing.
    ///
    /// # Errors
    /// Something does not start, or a task fails or is stuck.
    pub(crate) async fn run<const LOTS: usize>(&self, lots: [usize; LOTS]) -> Result<[Vec<Timing>; LOTS]> {
        let mut site = site();
        site.synthetic = true;
        let share = WorkerShare { lanes: Some(1), memory_max: self.memory_max.map(str::to_owned) };
        let servers = Servers::of(site, share, NatsConfig::durable(), false).await?;
        let mut processes = vec![servers.process(&["ingest", "planner"]).await?];
        for stages in self.workers {
            processes.push(servers.process(stages).await?);
        }
        let ports = servers.ports().await?;
        let mut log = ports.wire.follow(&TIMINGS, "timing.*", 1).await?;
        let mut options = PutOptions::of("image/png", Condition::Always);
        for (name, value) in [("synthetic", self.load), ("quality", "draft"), ("texture-px", "256")] {
            options.metadata.insert(format!("meshwright-{name}"), value.to_owned());
        }
        let bucket = &servers.site.inputs[0].bucket;
        let mut timings = [const { Vec::new() }; LOTS];
        for (lot, (jobs, timings)) in lots.into_iter().zip(&mut timings).enumerate() {
            upload(&ports, (bucket, lot), jobs, &options).await?;
            *timings = hear(&mut log, jobs * Stage::ALL.len()).await?;
        }
        Ok(timings)
    }
}

async fn upload(
    ports: &Ports,
    (bucket, lot): (&str, usize),
    jobs: usize,
    options: &PutOptions,
) -> Result<()> {
    let picture = bytes::Bytes::from(picture(7)?);
    for n in 0..jobs {
        ports.store.put(bucket, &format!("{lot}/{n}.png"), picture.clone(), options).await?;
    }
    Ok(())
}

async fn hear(
    log: &mut (impl futures::Stream<Item = PortResult<Logged>> + Unpin),
    count: usize,
) -> Result<Vec<Timing>> {
    let mut heard = Vec::with_capacity(count);
    while heard.len() < count {
        let logged = timeout(STUCK_AFTER, log.next()).await.context("wait for a timing")?;
        let timing: Timing = serde_json::from_slice(&logged.context("the log ended")??.payload)?;
        ensure!(timing.end == TaskEnd::Committed, "a task ended as {:?}", timing.end);
        heard.push(timing);
    }
    Ok(heard)
}
