//! What people wish: cancel and redrive, step by step as `ports::lives` takes them.

use super::bucket::{Ending, JobState};
use super::state::{Expiry, Job, State};
use super::worker::hear_cancel;
use super::world::{Mutant, World};

/// How far a cancellation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// Nobody wants one.
    Idle,
    /// The LIST of `m/<job>/` showed this life.
    PutOutcome(u8),
    /// The workers are told.
    Control,
}

/// How far a redrive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redrive {
    /// Nobody wants one.
    Idle,
    /// The LIST of `m/<job>/` showed this state: its life's outcome is read.
    ReadOutcome(JobState),
    /// It is granted: the life after this one is begun.
    StartLife(JobState),
    /// The life has begun: what it needs is read.
    ReadStage,
    /// The task is published until it is stored.
    Publish(usize),
}

fn may_redrive(job: &Job, life: u8) -> bool {
    let ending = job.bucket.outcomes[usize::from(life)];
    matches!(ending, Some(Ending::Dead | Ending::Cancelled)) && job.expiry == Expiry::Kept
}

/// Whoever cancels takes the next step.
pub fn step_cancel(world: &World, state: &mut State, of: usize) {
    let job = &mut state.jobs[of];
    let told = job.cancel == Cancel::Control;
    job.cancel = match job.cancel {
        Cancel::Idle => Cancel::PutOutcome(job.bucket.state().life),
        Cancel::PutOutcome(life) => {
            let mine = job.bucket.decide(life, Ending::Cancelled);
            state.budget.cancels -= u8::from(mine);
            if mine { Cancel::Control } else { Cancel::Idle }
        }
        Cancel::Control => Cancel::Idle,
    };
    if told {
        hear_cancel(world, state, of);
    }
}

/// Whoever redrives takes the next step.
pub fn step_redrive(world: &World, state: &mut State, of: usize) {
    let job = &mut state.jobs[of];
    job.redrive = match job.redrive {
        Redrive::Idle => Redrive::ReadOutcome(job.bucket.state()),
        Redrive::ReadOutcome(seen) if may_redrive(job, seen.life) => Redrive::StartLife(seen),
        Redrive::ReadOutcome(_) => Redrive::Idle,
        Redrive::StartLife(seen) => {
            if job.bucket.start_life(seen.life) {
                job.expiry = Expiry::Kept;
                state.budget.redrives -= 1;
            }
            let early = world.has(Mutant::RedriveReadsStageEarly);
            if early { Redrive::Publish(seen.next_stage()) } else { Redrive::ReadStage }
        }
        Redrive::ReadStage => Redrive::Publish(job.bucket.state().next_stage()),
        Redrive::Publish(stage) => {
            let stored = job.queue.put(stage);
            let content = stored || world.has(Mutant::RedriveTakesAlreadyThere);
            if content { Redrive::Idle } else { Redrive::Publish(stage) }
        }
    };
}
