//! Resident memory of the control processes while many tasks are queued: each job has its record in the
//! bucket and its task in the queue, and nothing takes them. Read when ingest has swept over all of them and
//! the gateway has listed them.

use crate::pipeline::each;
use crate::servers::{Process, Servers};
use anyhow::{Context, Result, ensure};
use domain::{JobRecord, SWEEP_SUBJECT, Stage, Timestamp, Upload, task_subject};
use figures::{Bar, Report};
use harness::{NatsConfig, until};
use ports::{Answer, Clock, Ledger, Ports, SystemClock};
use std::time::{Duration, Instant};

/// A sweep over everything, and the gateway's look at everything.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let count = if quick { 10_000 } else { 100_000 };
    let servers = Servers::start(NatsConfig::default(), true).await?;
    let ports = servers.ports().await?;
    let (mut idle, mut full) = (Vec::new(), Vec::new());
    for function in ["planner", "ingest", "gateway"] {
        let process = servers.process(&[function]).await?;
        sweep_if(function == "ingest", &ports).await?;
        idle.push(resident(&process, "VmRSS")?);
        process.kill().await?;
    }
    let began = Instant::now();
    fill(&servers, &ports, count).await?;
    eprintln!("  {count} records and tasks after {:.0} s", began.elapsed().as_secs_f64());
    for function in ["planner", "ingest", "gateway"] {
        let process = servers.process(&[function]).await?;
        sweep_if(function == "ingest", &ports).await?;
        settle(&process).await?;
        full.push((function, resident(&process, "VmRSS")?, resident(&process, "VmHWM")?));
        process.kill().await?;
    }
    for ((function, now, peak), idle) in full.into_iter().zip(idle) {
        let of = format!("{function}: resident with {count} tasks queued");
        report.add(&of, now, "MiB", Bar::AtMost(64.0));
        report.add(format!("{of}, at its peak"), peak, "MiB", Bar::None);
        report.add(format!("{function}: resident with none"), idle, "MiB", Bar::None);
    }
    Ok(())
}

/// Records and tasks.
async fn fill(servers: &Servers, ports: &Ports, count: usize) -> Result<()> {
    let ledger = Ledger::new(ports.store.clone(), &servers.site.state);
    each(0..count, |n| {
        let (ledger, queue, record) = (ledger.clone(), ports.queue.clone(), record(servers, n));
        async move {
            ledger.put_record(&record).await?;
            let task = record.task(Stage::Preprocess);
            queue.put_if_absent(&task_subject(&task), serde_json::to_vec(&task)?.into()).await?;
            Ok(())
        }
    })
    .await
}

fn record(servers: &Servers, n: usize) -> JobRecord {
    let (input, now) = (&servers.site.inputs[0], SystemClock.now());
    JobRecord {
        upload: Upload {
            store: servers.site.store.clone(),
            bucket: input.bucket.clone(),
            key: format!("pictures/{n}.png"),
            version_id: None,
            etag: format!("{n:032x}"),
            size_bytes: domain::Bytes::kib(100),
            last_modified_s: now.0 / 1000,
        },
        tenant: input.tenant.clone(),
        class: input.class,
        recipe: input.recipe.clone(),
        accepted_at: Timestamp(now.0),
        secondary: false,
        traceparent: None,
    }
}

/// Asks ingest for a sweep over all jobs, however young, and waits for its end.
async fn sweep_if(wanted: bool, ports: &Ports) -> Result<()> {
    if !wanted {
        return Ok(());
    }
    until("a sweep's answer", SETTLED_WITHIN, async || {
        let answer = ports.wire.request(SWEEP_SUBJECT, bytes::Bytes::new(), SETTLED_WITHIN).await?;
        Ok(matches!(answer, Answer::Reply(_)).then_some(()))
    })
    .await
}

/// Waits until the process has used no processor time for a while: what it does at its start is done.
async fn settle(process: &Process) -> Result<()> {
    const QUIET: Duration = Duration::from_secs(2);
    let (pid, mut last) = (process.pid()?, (Instant::now(), u64::MAX));
    until("a process to be at rest", SETTLED_WITHIN, async || {
        let ticks = processor_ticks(pid)?;
        // A few ticks (10 ms each) are its timers.
        if ticks.abs_diff(last.1) > 5 {
            last = (Instant::now(), ticks);
        }
        Ok((last.0.elapsed() > QUIET).then_some(()))
    })
    .await
}

/// Processor time of a process so far, in units of 10 ms.
///
/// # Errors
/// It has ended.
pub(crate) fn processor_ticks(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's times")?;
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    ticks(11).zip(ticks(12)).map(|(user, system)| user + system).context("read a process's times")
}

/// `VmRSS` or `VmHWM` in MiB.
///
/// # Errors
/// It has ended.
pub(crate) fn resident(process: &Process, what: &str) -> Result<f64> {
    let path = format!("/proc/{}/status", process.pid()?);
    let text = std::fs::read_to_string(path).context("read a process's memory")?;
    let line = text.lines().find(|line| line.starts_with(what)).context("the kernel says no memory")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    ensure!(kib > 0.0, "the kernel says no memory");
    Ok(kib / 1024.0)
}
