//! The sweep: finds the jobs that nothing in the queue would finish, and queues them. What makes lost
//! events, a lost queue and a crash between any two steps harmless.
//!
//! LIST `j/`, then the input buckets, then `m/`. In this order whatever arrives meanwhile looks unknown or
//! unfinished, and is found out by the conditional PUT or the queue; never the other way round.

use crate::accept::{Accepted, Acceptor};
use crate::sweep_plan::{Records, States, SweepAction, plan_jobs, plan_uploads};
use crate::telemetry;
use domain::{JOBS_PREFIX, JobId, MANIFESTS_PREFIX, Site, Stage, UploadId};
use futures::{StreamExt, stream};
use ports::{Ledger, Listed, PortResult, Ports};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// So many failures in a row end a sweep: the store or the queue is away. One upload that its store cannot
/// handle must not hide all others.
const FAILURES_MAX: usize = 32;
/// Uploads and jobs handled at once: a sweep must not crowd out events.
const CONCURRENCY: usize = 16;

/// What a sweep did; also the answer to a request on subject `sweep`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Tasks of known jobs that were not queued and now are.
    pub queued: usize,
    /// Uploads without a job that now have one, or were rejected.
    pub accepted: usize,
    /// Uploads and jobs that could not be handled; the next sweep tries them again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: usize,
    /// Objects that the collector removed, where it was asked to run too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<usize>,
    /// Why the sweep ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Sweeps one site.
pub struct Sweeper {
    ports: Ports,
    ledger: Ledger,
    site: Site,
    acceptor: Arc<Acceptor>,
}

impl Sweeper {
    /// Of this site, accepting through `acceptor`.
    pub fn new(ports: Ports, site: Site, acceptor: Arc<Acceptor>) -> Sweeper {
        let ledger = Ledger::new(ports.store.clone(), &site.state);
        Sweeper { ports, ledger, site, acceptor }
    }

    /// One sweep over everything. Jobs whose record is younger than `age_min` are left to the queue.
    ///
    /// # Errors
    /// The first one of a port; the next sweep begins anew.
    pub async fn sweep(&self, age_min: Duration) -> PortResult<SweepReport> {
        let begun = tokio::time::Instant::now();
        let records = self.records().await?;
        let mut report = SweepReport::default();
        for input in &self.site.inputs {
            self.sweep_bucket(&input.bucket, &records, &mut report).await?;
        }
        let now = self.ports.clock.now();
        let states = self.states().await?;
        let actions = plan_jobs(now, age_min, &records, &states);
        drop((records, states));
        self.act(actions, &mut report).await?;
        telemetry::time_sweep(begun.elapsed().as_secs_f64());
        telemetry::count_swept("accepted", report.accepted);
        telemetry::count_swept("queued", report.queued);
        if report.accepted + report.queued > 0 {
            tracing::info!(accepted = report.accepted, queued = report.queued, "a sweep found work");
        }
        Ok(report)
    }

    async fn records(&self) -> PortResult<Records> {
        let mut records = Records::default();
        let mut pages = Pages::of(&self.ports, self.ledger.bucket(), JOBS_PREFIX);
        while let Some(page) = pages.next().await? {
            records.add(&page);
        }
        records.sort();
        Ok(records)
    }

    async fn states(&self) -> PortResult<States> {
        let mut states = States::default();
        let mut pages = Pages::of(&self.ports, self.ledger.bucket(), MANIFESTS_PREFIX);
        while let Some(page) = pages.next().await? {
            states.add(page);
        }
        states.sort();
        Ok(states)
    }

    async fn sweep_bucket(
        &self,
        bucket: &str,
        records: &Records,
        report: &mut SweepReport,
    ) -> PortResult<()> {
        let mut pages = Pages::of(&self.ports, bucket, "");
        while let Some(page) = pages.next().await? {
            self.act(plan_uploads(&self.site, bucket, page, records), report).await?;
        }
        Ok(())
    }

    async fn act(&self, actions: Vec<SweepAction>, report: &mut SweepReport) -> PortResult<()> {
        let mut results = stream::iter(actions).map(|action| self.one(action)).buffer_unordered(CONCURRENCY);
        let mut failures = 0;
        while let Some((action, result)) = results.next().await {
            match result {
                Ok(did) => {
                    failures = 0;
                    report.accepted += usize::from(did == Did::Accepted);
                    report.queued += usize::from(did == Did::Queued);
                }
                Err(error) => {
                    failures += 1;
                    report.failed += 1;
                    if failures >= FAILURES_MAX {
                        return Err(error);
                    }
                    tracing::warn!(%error, ?action, "a sweep could not handle this");
                }
            }
        }
        Ok(())
    }

    async fn one(&self, action: SweepAction) -> (SweepAction, PortResult<Did>) {
        let result = match &action {
            SweepAction::Accept(upload) => self.acceptor.listed(upload).await.map(Did::of),
            SweepAction::Queue { upload, job, stage } => self.queue(*upload, *job, *stage).await,
        };
        (action, result)
    }

    async fn queue(&self, upload: UploadId, job: JobId, stage: Stage) -> PortResult<Did> {
        let Some(record) = self.ledger.record(upload, job).await? else { return Ok(Did::Nothing) };
        Ok(if self.acceptor.queue(&record, stage).await? { Did::Queued } else { Did::Nothing })
    }
}

/// What one action did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Accepted,
    Queued,
    Nothing,
}

impl Did {
    fn of(accepted: Accepted) -> Did {
        match accepted {
            Accepted::New | Accepted::Rejected => Did::Accepted,
            Accepted::Requeued => Did::Queued,
            _ => Did::Nothing,
        }
    }
}

/// A LIST, page by page.
struct Pages<'a> {
    ports: &'a Ports,
    bucket: &'a str,
    prefix: &'a str,
    next: Option<String>,
    begun: bool,
}

impl<'a> Pages<'a> {
    fn of(ports: &'a Ports, bucket: &'a str, prefix: &'a str) -> Pages<'a> {
        Pages { ports, bucket, prefix, next: None, begun: false }
    }

    async fn next(&mut self) -> PortResult<Option<Vec<Listed>>> {
        if self.begun && self.next.is_none() {
            return Ok(None);
        }
        self.begun = true;
        let page = self.ports.store.list(self.bucket, self.prefix, self.next.take()).await?;
        self.next = page.next;
        Ok(Some(page.objects))
    }
}
