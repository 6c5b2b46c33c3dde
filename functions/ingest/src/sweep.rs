//! The sweep: finds the jobs that nothing in the queue would finish, and queues them. What makes lost
//! events, a lost queue and a crash between any two steps harmless.
//!
//! LIST `j/`, then the input buckets, then `m/`. In this order whatever arrives meanwhile looks unknown or
//! unfinished, and is found out by the conditional PUT or the queue; never the other way round.

use crate::accept::{Accepted, Acceptor};
use crate::sweep_plan::{Records, States, SweepAction, plan_jobs, plan_uploads};
use crate::telemetry;
use domain::{JOBS_PREFIX, JobId, MANIFESTS_PREFIX, Site, Stage, TenantId, UploadId};
use futures::{StreamExt, stream};
use ports::{Ledger, Listed, PortError, PortResult, Ports};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many failures in a row mean that the store or the queue is away. Uploads that their store cannot
/// handle do not count, however many there are: they must not hide the others.
const FAILURES_MAX: usize = 32;
/// Uploads and jobs handled at once: a sweep must not crowd out events.
const CONCURRENCY: usize = 16;
/// Failures that are remembered until the next sweep, 16 bytes each.
const REMEMBERED_MAX: usize = 100_000;

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
    /// Unfinished jobs of tenants that the configuration names no more: no planner draws them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undrawn: BTreeMap<TenantId, usize>,
    /// Objects that the collector removed, where it was asked to run too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<usize>,
    /// Why the sweep left something out.
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
    last: Mutex<Last>,
}

/// What is remembered of the last sweep.
#[derive(Default)]
struct Last {
    /// Ids of the uploads and jobs that failed.
    failed: BTreeSet<[u8; 16]>,
    /// Tenants that no planner draws: the log says it once.
    undrawn: BTreeSet<TenantId>,
}

/// One sweep while it runs.
#[derive(Default)]
struct Run {
    report: SweepReport,
    /// What failed in it.
    failed: BTreeSet<[u8; 16]>,
}

impl Sweeper {
    /// Of this site, accepting through `acceptor`.
    pub fn new(ports: Ports, site: Site, acceptor: Arc<Acceptor>) -> Sweeper {
        let ledger = Ledger::new(ports.store.clone(), &site.state);
        Sweeper { ports, ledger, site, acceptor, last: Mutex::default() }
    }

    /// One sweep over everything. Jobs whose record is younger than `age_min` are left to the queue. An
    /// input bucket that cannot be walked is left out and named in the report.
    ///
    /// # Errors
    /// What kept it from walking all jobs; the next sweep begins anew.
    pub async fn sweep(&self, age_min: Duration) -> PortResult<SweepReport> {
        let mut run = Run::default();
        let walked = self.walk(age_min, &mut run).await;
        let report = self.remember(run);
        telemetry::count_swept("accepted", report.accepted);
        telemetry::count_swept("queued", report.queued);
        if report.accepted + report.queued > 0 {
            tracing::info!(accepted = report.accepted, queued = report.queued, "a sweep found work");
        }
        walked.map(|()| report)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, run: Run) -> SweepReport {
        let mut last = self.last();
        for (tenant, jobs) in &run.report.undrawn {
            if !last.undrawn.contains(tenant) {
                tracing::warn!(
                    %tenant,
                    jobs,
                    "no input bucket names this tenant any more, so no planner draws its unfinished jobs; \
                     list it under former_tenants of the site until they have ended"
                );
            }
        }
        *last = Last { failed: run.failed, undrawn: run.report.undrawn.keys().cloned().collect() };
        run.report
    }

    async fn walk(&self, age_min: Duration, run: &mut Run) -> PortResult<()> {
        let begun = tokio::time::Instant::now();
        let records = self.records().await?;
        for input in &self.site.inputs {
            if let Err(error) = self.sweep_bucket(&input.bucket, &records, run).await {
                tracing::warn!(%error, bucket = input.bucket, "a sweep leaves out an input bucket");
                run.report.error.get_or_insert(format!("input bucket {}: {error}", input.bucket));
            }
        }
        let now = self.ports.clock.now();
        let states = self.states().await?;
        let actions = plan_jobs(now, age_min, &records, &states);
        drop((records, states));
        self.act(actions, run).await?;
        telemetry::time_sweep(begun.elapsed().as_secs_f64());
        Ok(())
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

    async fn sweep_bucket(&self, bucket: &str, records: &Records, run: &mut Run) -> PortResult<()> {
        let mut pages = Pages::of(&self.ports, bucket, "");
        while let Some(page) = pages.next().await? {
            self.act(plan_uploads(&self.site, bucket, page, records), run).await?;
        }
        Ok(())
    }

    /// Carries out all actions, or as many as can be before the store or the queue goes away.
    async fn act(&self, actions: Vec<SweepAction>, run: &mut Run) -> PortResult<()> {
        let mut results = stream::iter(actions).map(|action| self.one(action)).buffer_unordered(CONCURRENCY);
        let mut away = 0;
        while let Some((action, result)) = results.next().await {
            match result {
                Ok(did) => {
                    away = 0;
                    run.report.accepted += usize::from(did == Did::Accepted);
                    run.report.queued += usize::from(matches!(did, Did::Queued | Did::Undrawn(_)));
                    if let Did::Undrawn(tenant) | Did::StillUndrawn(tenant) = did {
                        *run.report.undrawn.entry(tenant).or_default() += 1;
                    }
                }
                Err(error) => {
                    away += usize::from(self.failed(&action, &error, run));
                    if away >= FAILURES_MAX {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Remembers a failure. True if it may mean that the store or the queue is away: what fails in every
    /// sweep means nothing.
    fn failed(&self, action: &SweepAction, error: &PortError, run: &mut Run) -> bool {
        run.report.failed += 1;
        let id = match action {
            SweepAction::Accept(upload) => upload.id().0,
            SweepAction::Queue { job, .. } => job.0,
        };
        if run.failed.len() < REMEMBERED_MAX {
            run.failed.insert(id);
        }
        if self.last().failed.contains(&id) {
            tracing::debug!(%error, ?action, "a sweep again could not handle this");
            return false;
        }
        tracing::warn!(%error, ?action, "a sweep could not handle this");
        error.is_transient()
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
        let queued = self.acceptor.queue(&record, stage).await?;
        Ok(match (queued, self.site.knows(&record.tenant)) {
            (true, true) => Did::Queued,
            (false, true) => Did::Nothing,
            (true, false) => Did::Undrawn(record.tenant),
            (false, false) => Did::StillUndrawn(record.tenant),
        })
    }
}

/// What one action did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Accepted,
    Queued,
    /// Queued for a tenant that no planner draws.
    Undrawn(TenantId),
    /// So it was before.
    StillUndrawn(TenantId),
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
