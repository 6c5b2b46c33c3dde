//! What must hold in every state of every world. `tests/` asks for them by these names.

use super::bucket::{Ending, Manifest};
use super::collector::{collect_through, is_clean};
use super::state::{Expiry, Job, State};
use super::sweep::sweep_through;
use super::world::World;
use super::{ATTEMPTS_MAX, LAST};
use stateright::Property;

/// Uniqueness: a manifest is created once.
pub const UNIQUENESS: &str = "a manifest is created once";
/// Exactly one result per upload.
pub const ONE_RESULT: &str =
    "a life begins after a dead or cancelled one, and nothing is done before its manifests";
/// Integrity.
pub const INTEGRITY: &str = "what a manifest names exists until it expires";
/// No loss.
pub const NO_LOSS: &str = "at rest every upload has an outcome";
/// No resurrection.
pub const NO_RESURRECTION: &str = "two further sweeps queue nothing";
/// No litter at rest.
pub const NO_LITTER: &str = "a collection at rest leaves what is needed and nothing else";
/// Markers per life.
pub const FAIR_DEATH: &str = "a life is dead only after all its own attempts";
/// Redrive works.
pub const REDRIVE_WORKS: &str = "at rest a redriven life has an outcome";
/// Friendly copies before the outcome.
pub const COPIED: &str = "what is done has its friendly copies";
/// Letter before the outcome.
pub const LETTER: &str = "what is dead has its letter";
/// A rejected upload is never started.
pub const REJECTED: &str = "an unacceptable upload ends rejected and is never started";

/// All of them.
pub fn all() -> Vec<Property<World>> {
    vec![
        Property::always(UNIQUENESS, |_, state: &State| state.jobs.iter().all(|job| !job.history.rewritten)),
        Property::always(ONE_RESULT, |_, state: &State| state.jobs.iter().all(has_one_result)),
        Property::always(INTEGRITY, |_, state: &State| state.jobs.iter().all(is_whole)),
        Property::always(NO_LOSS, no_loss),
        Property::always(NO_RESURRECTION, no_resurrection),
        Property::always(NO_LITTER, no_litter),
        Property::always(FAIR_DEATH, |_, state: &State| state.jobs.iter().all(died_fairly)),
        Property::always(REDRIVE_WORKS, redrive_works),
        Property::always(COPIED, |_, state: &State| state.jobs.iter().all(is_copied)),
        Property::always(LETTER, |_, state: &State| state.jobs.iter().all(has_letter)),
        Property::always(REJECTED, |world, state: &State| {
            !world.rejected || state.jobs.iter().all(is_rejected_at_most)
        }),
    ]
}

/// A world that is over: nothing happens by itself, and a sweep would change nothing.
pub fn is_over(world: &World, state: &State) -> bool {
    let settled = |job: &Job| !world.sweeps() || !sweep_through(world, &mut job.clone()).changed;
    state.rests() && state.jobs.iter().all(settled)
}

/// Whether an upload needs no outcome: it was removed before anybody saw it.
fn was_never_there(job: &Job) -> bool {
    job.gone && !job.bucket.record
}

fn no_loss(world: &World, state: &State) -> bool {
    let has_outcome = |job: &Job| was_never_there(job) || job.bucket.outcome().is_some() && job.bucket.record;
    !is_over(world, state) || state.jobs.iter().all(has_outcome)
}

fn redrive_works(world: &World, state: &State) -> bool {
    let works = |job: &Job| job.bucket.life == 0 || job.bucket.outcome().is_some();
    !is_over(world, state) || state.jobs.iter().all(works)
}

fn has_one_result(job: &Job) -> bool {
    let bucket = &job.bucket;
    let life = usize::from(bucket.life);
    let earlier = bucket.outcomes[..life].iter();
    let redriven = |outcome: &Option<Ending>| matches!(outcome, Some(Ending::Dead | Ending::Cancelled));
    let done = bucket.outcome() == Some(Ending::Done);
    let committed = bucket.manifests.iter().all(|manifest| *manifest != Manifest::Absent);
    earlier.into_iter().all(redriven)
        && bucket.outcomes[life + 1..].iter().all(Option::is_none)
        && (!done || committed)
}

fn is_whole(job: &Job) -> bool {
    let may_be_gone =
        |stage: usize| stage != LAST && job.expiry == Expiry::Collectable && job.bucket.outcome().is_some();
    let mut manifests = job.bucket.manifests.iter().enumerate();
    manifests.all(|(stage, manifest)| *manifest != Manifest::Hollow || may_be_gone(stage))
}

fn no_resurrection(world: &World, state: &State) -> bool {
    let stays = |job: &Job| {
        let mut job = job.clone();
        let mut queues_nothing = || !sweep_through(world, &mut job).queued;
        queues_nothing() && queues_nothing()
    };
    let stays = |job: &Job| job.bucket.outcome().is_none() || stays(job);
    !world.sweeps() || !state.rests() || state.jobs.iter().all(stays)
}

fn no_litter(world: &World, state: &State) -> bool {
    if !world.collect || !state.rests() {
        return true;
    }
    let mut collected = state.clone();
    (0..state.jobs.len()).for_each(|of| collect_through(world, &mut collected, of));
    collected.jobs.iter().all(|job| is_clean(job) && is_whole(job))
}

fn died_fairly(job: &Job) -> bool {
    let mut lives = job.bucket.outcomes.iter().zip(job.history.begun);
    lives.all(|(outcome, begun)| *outcome != Some(Ending::Dead) || begun >= ATTEMPTS_MAX)
}

fn is_copied(job: &Job) -> bool {
    job.bucket.outcome() != Some(Ending::Done) || job.bucket.copied
}

fn has_letter(job: &Job) -> bool {
    let mut lives = job.bucket.outcomes.iter().zip(job.bucket.letters);
    lives.all(|(outcome, letter)| *outcome != Some(Ending::Dead) || letter)
}

fn is_rejected_at_most(job: &Job) -> bool {
    let never_begun = job.history.begun == [0; super::LIVES];
    never_begun && matches!(job.bucket.outcome(), None | Some(Ending::Rejected))
}
