//! The sweep (step R), as `sweep.rs` and `sweep_plan.rs` take it: LIST `j/`, then the uploads, then `m/`,
//! then act on what was seen, however old that is by then.

use super::bucket::JobState;
use super::ingest::Accept;
use super::state::Job;
use super::world::{Mutant, World};

/// How far a sweep is with one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweep {
    /// Not under way.
    Idle,
    /// The LIST of `j/` showed no record: the upload is accepted.
    Accepting(Accept),
    /// The LIST of `j/` showed a record.
    Known,
    /// The LIST of `m/` showed that this stage is next.
    Publish(usize),
}

/// What a sweep concludes from the LIST of `m/`.
pub fn plan(world: &World, state: JobState) -> Option<usize> {
    if world.has(Mutant::SweepForgetsCommitted) && (0..super::STAGES).all(|stage| state.is_committed(stage)) {
        return None;
    }
    (!state.ended || world.has(Mutant::SweepBlindToOutcomes)).then(|| state.next_stage())
}

/// The sweep takes its next step.
pub fn step(world: &World, job: &mut Job) {
    job.sweep = match job.sweep {
        Sweep::Idle if job.bucket.record => Sweep::Known,
        // No LIST shows it: it ended before anybody accepted it.
        Sweep::Idle if job.gone => Sweep::Idle,
        Sweep::Idle => Sweep::Accepting(Accept::begin(world)),
        Sweep::Accepting(accept) => match accept.next(world, job) {
            Accept::Over => Sweep::Idle,
            accept => Sweep::Accepting(accept),
        },
        Sweep::Known => plan(world, job.bucket.state()).map_or(Sweep::Idle, Sweep::Publish),
        Sweep::Publish(stage) => {
            job.queue.put(stage);
            Sweep::Idle
        }
    };
}

/// What a whole sweep over a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// It queued a task.
    pub queued: bool,
    /// It queued a task, or wrote to the bucket.
    pub changed: bool,
}

/// A whole sweep over a job at rest.
pub fn sweep_through(world: &World, job: &mut Job) -> Swept {
    let before = job.clone();
    step(world, job);
    while job.sweep != Sweep::Idle {
        step(world, job);
    }
    let queued = job.queue != before.queue;
    Swept { queued, changed: queued || job.bucket != before.bucket }
}
