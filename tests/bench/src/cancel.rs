//! From the HTTP call that cancels a job to its outcome's event, and to the end of the runner that computed
//! it: a job that waits, and one that runs. One lane, which a synthetic load keeps busy.

use crate::servers::{Servers, WorkerShare};
use crate::upload::picture;
use anyhow::{Context, Result, ensure};
use domain::{Event, EventKind, JobId};
use figures::{Bar, Report, ms, percentile};
use futures::StreamExt;
use futures::stream::BoxStream;
use harness::{NatsConfig, Pid, children, until_every};
use ports::{Condition, Message, Ports, PutOptions};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Longer than anything here takes.
const LOAD: &str = "stage=preprocess,item-ms=120000,fixed=16MiB,per-item=16MiB";
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How often it is looked whether a runner still is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 4 } else { 20 };
    let mut site = crate::servers::site();
    site.synthetic = true;
    let one_lane = WorkerShare { lanes: Some(1), ..WorkerShare::default() };
    let servers = Servers::of(site, one_lane, NatsConfig::durable(), false).await?;
    let functions = servers.all_functions().await?;
    let ports = servers.ports().await?;
    let mut events = ports.wire.subscribe("event.*.*").await?;
    let caller = Caller { address: functions.gateway.address.clone(), client: reqwest::Client::new() };
    let bucket = &servers.site.inputs[0].bucket;
    let (mut waiting, mut running, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..rounds {
        let runs = upload(&ports, &mut events, (bucket, &format!("{n}/runs.png"))).await?;
        let computes = |event: &Event| matches!(event.kind, EventKind::Progress { .. });
        next(&mut events, runs, computes).await?;
        let runners = children(functions.worker.pid()?)?;
        ensure!(!runners.is_empty(), "no runner computes");
        let waits = upload(&ports, &mut events, (bucket, &format!("{n}/waits.png"))).await?;
        waiting.push(caller.cancel(&mut events, waits).await?);
        let began = Instant::now();
        let gone = async {
            until_every(LOOK_EVERY, "the runner's end", STUCK_AFTER, async || {
                Ok((!runners.iter().any(|runner| computes_still(*runner))).then_some(()))
            })
            .await?;
            anyhow::Ok(began.elapsed())
        };
        let (told, gone) = tokio::try_join!(caller.cancel(&mut events, runs), gone)?;
        running.push(told);
        ended.push(gone);
    }
    for (what, mut spans, most) in [
        ("cancel of a waiting job: call to its outcome's event", waiting, 100.0),
        ("cancel of a running job: call to its outcome's event", running, 1000.0),
        ("cancel of a running job: call to its runner's end", ended, 1000.0),
    ] {
        report.add(format!("{what}, p50"), ms(percentile(&mut spans, 0.5)), "ms", Bar::AtMost(most));
        let slowest = ms(percentile(&mut spans, 1.0));
        report.add(format!("{what}, slowest of {rounds}"), slowest, "ms", Bar::AtMost(most));
    }
    Ok(())
}

/// Uploads a picture under the load; its job, once it is accepted.
async fn upload(
    ports: &Ports,
    events: &mut BoxStream<'static, Message>,
    (bucket, key): (&str, &str),
) -> Result<JobId> {
    let mut options = PutOptions::of("image/png", Condition::Always);
    for (name, value) in [("synthetic", LOAD), ("quality", "draft")] {
        options.metadata.insert(format!("meshwright-{name}"), value.to_owned());
    }
    ports.store.put(bucket, key, picture(7)?.into(), &options).await?;
    let is_it = |event: &Event| match &event.kind {
        EventKind::Accepted { key: accepted, .. } => accepted == key,
        _ => false,
    };
    Ok(heard(events, is_it).await?.job)
}

/// The next such event of a job.
async fn next(
    events: &mut BoxStream<'static, Message>,
    job: JobId,
    is_it: impl Fn(&Event) -> bool,
) -> Result<()> {
    heard(events, |event| event.job == job && is_it(event)).await.map(drop)
}

async fn heard(events: &mut BoxStream<'static, Message>, is_it: impl Fn(&Event) -> bool) -> Result<Event> {
    let listen = async {
        while let Some(message) = events.next().await {
            let event = serde_json::from_slice::<Event>(&message.payload)?;
            if is_it(&event) {
                return Ok(event);
            }
        }
        anyhow::bail!("the connection was closed")
    };
    timeout(STUCK_AFTER, listen).await.context("wait for an event")?
}

struct Caller {
    address: String,
    client: reqwest::Client,
}

impl Caller {
    /// From the call to the event of the outcome.
    async fn cancel(&self, events: &mut BoxStream<'static, Message>, job: JobId) -> Result<Duration> {
        let address = format!("http://{}/api/jobs/{job}/cancel", self.address);
        let began = Instant::now();
        let call = async {
            let answer =
                self.client.post(address).timeout(STUCK_AFTER).send().await.context("cancel a job")?;
            ensure!(answer.status().is_success(), "a cancel was answered with {}", answer.status());
            anyhow::Ok(())
        };
        let told = async {
            next(events, job, |event| matches!(event.kind, EventKind::Cancelled { .. })).await?;
            anyhow::Ok(began.elapsed())
        };
        let ((), told) = tokio::try_join!(call, told)?;
        Ok(told)
    }
}

/// Whether a process still is; one that has ended and was not looked at yet is not.
fn computes_still(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    let state = stat.as_deref().ok().and_then(|text| text.rsplit(") ").next()?.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}
