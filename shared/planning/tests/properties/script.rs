//! What happens in a run: workers, jobs, faults. Made by proptest, or by hand.

use domain::{Bytes, Class, Engine, JobId, Quality, Recipe, Stage, Task, TenantId, Timestamp, UploadId};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct WorkerFacts {
    pub gib: u64,
    pub lanes: u32,
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub at: Duration,
    pub stage: Stage,
    pub class: Class,
    pub tenant: u8,
    pub quality: Quality,
    /// What it really takes.
    pub need: Bytes,
}

impl Default for Job {
    fn default() -> Job {
        let (class, quality) = (Class::Normal, Quality::Standard);
        Job { at: Duration::ZERO, stage: Stage::Shape, class, tenant: 0, quality, need: Bytes::mib(100) }
    }
}

pub fn tenant(n: u8) -> TenantId {
    format!("tenant-{n}").parse().expect("a name")
}

impl Job {
    pub fn task(&self, n: u64) -> Task {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        Task {
            job: JobId(id),
            upload: UploadId(id),
            stage: self.stage,
            class: self.class,
            tenant: tenant(self.tenant),
            recipe: Recipe { engine: Engine::Inflate, quality: self.quality, ..Recipe::default() },
            size_bytes: Bytes::kib(500),
            accepted_at: Timestamp(0),
            deadline: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Kill(usize),
    Revive(usize),
    /// It answers nothing and offers nothing for a while.
    Mute(usize, Duration),
    /// So many percent of the device are held by others.
    Strangers(usize, u32),
    /// The n-th waiting task is delivered to somebody else.
    LoseToken(usize),
}

impl Fault {
    /// Whether it takes anything from this worker.
    pub fn hits(&self, worker: usize, workers: usize) -> bool {
        match self {
            Fault::Kill(n) | Fault::Mute(n, _) => n % workers == worker,
            Fault::Strangers(n, percent) => n % workers == worker && *percent > 0,
            Fault::Revive(_) | Fault::LoseToken(_) => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Script {
    pub workers: Vec<WorkerFacts>,
    pub jobs: Vec<Job>,
    pub faults: Vec<(Duration, Fault)>,
    pub batch_time: Duration,
}

impl Script {
    pub fn tenants(&self) -> Vec<TenantId> {
        let most = self.jobs.iter().map(|job| job.tenant).max().unwrap_or(0);
        (0..=most).map(tenant).collect()
    }
}

const STAGES: [Stage; 2] = [Stage::Shape, Stage::Texture];

fn worker() -> impl Strategy<Value = WorkerFacts> {
    let stages = prop_oneof![
        3 => Just(STAGES.to_vec()),
        1 => Just(vec![Stage::Shape]),
        1 => Just(vec![Stage::Texture]),
    ];
    (prop_oneof![Just(2u64), Just(4), Just(8), Just(16)], 1u32..5, stages)
        .prop_map(|(gib, lanes, stages)| WorkerFacts { gib, lanes, stages })
}

fn job(need_mib: u64, spread: u64) -> impl Strategy<Value = Job> {
    let quality = prop_oneof![Just(Quality::Draft), Just(Quality::Standard)];
    let class = prop::sample::select(Class::ALL.to_vec());
    (0..spread, prop::sample::select(STAGES.to_vec()), class, 0u8..4, quality, 10..need_mib).prop_map(
        |(at, stage, class, tenant, quality, need)| Job {
            at: Duration::from_millis(at),
            stage,
            class,
            tenant,
            quality,
            need: Bytes::mib(need),
        },
    )
}

fn fault() -> impl Strategy<Value = (Duration, Fault)> {
    let fault = prop_oneof![
        (0usize..4).prop_map(Fault::Kill),
        (0usize..4).prop_map(Fault::Revive),
        (0usize..4, 1u64..30).prop_map(|(n, secs)| Fault::Mute(n, Duration::from_secs(secs))),
        (0usize..4, 0u32..100).prop_map(|(n, percent)| Fault::Strangers(n, percent)),
        (0usize..8).prop_map(Fault::LoseToken),
    ];
    ((0u64..60_000).prop_map(Duration::from_millis), fault)
}

/// A first worker that hosts everything, so that every stage has a home.
fn workers() -> impl Strategy<Value = Vec<WorkerFacts>> {
    (prop::collection::vec(worker(), 0..4), 1u32..5).prop_map(|(mut others, lanes)| {
        others.insert(0, WorkerFacts { gib: 8, lanes, stages: STAGES.to_vec() });
        others
    })
}

/// Everything fits everywhere beside everything else, nothing fails.
pub fn calm() -> impl Strategy<Value = Script> {
    (workers(), prop::collection::vec(job(100, 30_000), 1..60), 50u64..3_000).prop_map(
        |(mut workers, jobs, ms)| {
            // A texture's prior is 1 GiB: four of them fit.
            workers.iter_mut().for_each(|worker| worker.gib = worker.gib.max(8));
            let batch_time = Duration::from_millis(ms);
            Script { workers, jobs, faults: Vec::new(), batch_time }
        },
    )
}

/// Needs up to more than any device has, and faults; in the end everybody lives and strangers are gone.
pub fn rough() -> impl Strategy<Value = Script> {
    let faults = prop::collection::vec(fault(), 0..12);
    let big = prop_oneof![8 => job(300, 30_000), 2 => job(20_000, 30_000)];
    (workers(), prop::collection::vec(big, 1..40), faults, 50u64..5_000).prop_map(
        |(workers, jobs, mut faults, ms)| {
            for n in 0..workers.len() {
                let end = Duration::from_secs(61);
                faults.push((end, Fault::Revive(n)));
                faults.push((end, Fault::Strangers(n, 0)));
            }
            Script { workers, jobs, faults, batch_time: Duration::from_millis(ms) }
        },
    )
}
