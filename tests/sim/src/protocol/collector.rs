//! The collector (step G), as `collect.rs` and `collect_plan.rs` take it: fix the ages by a LIST of `a/`,
//! then LIST `m/`, then delete what the two say together.

use super::bucket::{JobState, Manifest};
use super::state::{Expiry, Job, State};
use super::world::{Mutant, World};
use super::{LAST, STAGES};

/// How far a collection is with one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Collector {
    /// Not under way.
    Idle,
    /// `a/` was listed: litter of these stages, artifacts that manifests name, both as bits. Attempts that
    /// workers are at carry their own mark.
    ListedArtifacts {
        /// Stages with litter.
        litter: u8,
        /// Stages with artifacts that a manifest names, or will by the time that `m/` is listed.
        named: u8,
    },
    /// Both were listed.
    Listed {
        /// Stages with litter.
        litter: u8,
        /// Stages with artifacts that a manifest names.
        named: u8,
        /// What `m/` said.
        state: JobState,
        /// Whether the time in the outcome, read then, and the grace after it are over.
        expired: bool,
    },
    /// Only in worlds with that fault: `m/` was listed first.
    ListedManifests(JobState),
}

/// The collector takes its next step with job `of`.
pub fn step(world: &World, state: &mut State, of: usize) {
    let backwards = world.has(Mutant::ManifestsListedFirst);
    let job = &mut state.jobs[of];
    let expired = job.expiry == Expiry::Collectable;
    job.collector = match job.collector {
        Collector::Idle if backwards => Collector::ListedManifests(job.bucket.state()),
        Collector::Idle => {
            let (litter, named) = list_artifacts(world, state, of);
            state.jobs[of].collector = Collector::ListedArtifacts { litter, named };
            return;
        }
        Collector::ListedManifests(seen) => {
            let (litter, named) = list_artifacts(world, state, of);
            state.jobs[of].collector = Collector::Listed { litter, named, state: seen, expired };
            return;
        }
        Collector::ListedArtifacts { litter, named } => {
            Collector::Listed { litter, named, state: job.bucket.state(), expired }
        }
        Collector::Listed { litter, named, state: seen, expired } => {
            delete(state, of, (litter, named), seen, expired);
            end(state, of);
            return;
        }
    };
}

/// The collector ends or dies: what it saw is forgotten.
pub fn end(state: &mut State, of: usize) {
    state.jobs[of].collector = Collector::Idle;
    state.workers.iter_mut().filter(|worker| usize::from(worker.job) == of).for_each(|w| w.listed = false);
}

/// What of `a/` is older than the grace. Litter and committed artifacts may have any age; here they are old.
fn list_artifacts(world: &World, state: &mut State, of: usize) -> (u8, u8) {
    let any_age = world.has(Mutant::CollectWithoutGrace);
    for worker in state.workers.iter_mut().filter(|worker| usize::from(worker.job) == of) {
        worker.listed = worker.artifacts && (worker.old || any_age);
    }
    let bucket = &state.jobs[of].bucket;
    let bits = |is: &dyn Fn(usize) -> bool| (0..STAGES).map(|stage| u8::from(is(stage)) << stage).sum();
    (bits(&|stage| bucket.litter[stage]), bits(&|stage| bucket.manifests[stage] == Manifest::Whole))
}

/// Deletes: of a committed stage all but what its manifest names, of another one everything, and markers and
/// intermediates of a job that has ended.
fn delete(state: &mut State, of: usize, (litter, named): (u8, u8), seen: JobState, expired: bool) {
    for stage in 0..STAGES {
        let bit = |bits: u8| bits >> stage & 1 == 1;
        let bucket = &mut state.jobs[of].bucket;
        bucket.litter[stage] &= !bit(litter);
        let is_expired = seen.ended && expired && stage != LAST;
        if bit(named) && (!seen.is_committed(stage) || is_expired) {
            bucket.manifests[stage] = Manifest::Hollow;
        }
        if seen.is_committed(stage) || seen.ended {
            bucket.markers[stage][..=usize::from(seen.life)].fill(0);
        }
        let of_attempt = |worker: &super::worker::Worker| {
            worker.listed && (usize::from(worker.job), usize::from(worker.stage)) == (of, stage)
        };
        for worker in state.workers.iter_mut().filter(|worker| of_attempt(worker)) {
            worker.artifacts = false;
        }
    }
}

/// A whole collection of a job at rest.
pub fn collect_through(world: &World, state: &mut State, of: usize) {
    step(world, state, of);
    while state.jobs[of].collector != Collector::Idle {
        step(world, state, of);
    }
}

/// Whether nothing lies below `a/` that nothing needs.
pub fn is_clean(job: &Job) -> bool {
    let ended = job.bucket.outcome().is_some();
    let marked = job.bucket.markers.iter().flatten().any(|markers| *markers > 0);
    let needless = ended && marked;
    !needless && !job.bucket.litter.contains(&true)
}
