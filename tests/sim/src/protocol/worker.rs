//! A worker with one lane: steps S1 to S7 of one task, as `steps.rs` and `batch.rs` take them.

use super::bucket::{Ending, Manifest};
use super::collector::Collector;
use super::queue::Task;
use super::state::{Job, State};
use super::world::{Mutant, World};
use super::{ATTEMPTS_MAX, LAST};

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Nothing.
    Idle,
    /// S2: LIST `m/<job>/`.
    Look,
    /// S2, from the second delivery on: count the attempt markers.
    CountMarkers,
    /// S3, from the second delivery on: PUT the attempt marker.
    PutMarker,
    /// S3 and S4: fetch the inputs, compute, PUT the artifacts.
    Run,
    /// S5.
    Commit,
    /// S6: publish the next stage's task.
    PublishNext,
    /// S6 after the last stage: the friendly copies.
    Copy,
    /// S6 after the last stage: the outcome.
    PutDone,
    /// The attempts are used up: the letter first.
    AppendLetter,
    /// The attempts are used up: then the outcome.
    PutDead,
    /// The upload is gone: the outcome that says so.
    PutSuperseded,
    /// A cancellation stopped the computing: S2 again, for the permission to acknowledge.
    LookAgain,
    /// S7.
    Ack,
    /// Only in worlds with that fault: S7 before S6.
    AckEarly,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker {
    /// What it does next.
    pub step: Step,
    /// At which job.
    pub job: u8,
    /// At which stage.
    pub stage: u8,
    /// The life that S2 saw.
    pub life: u8,
    /// Whether the delivery was not the message's first.
    pub again: bool,
    /// Whether the message behind its token is still the one it was given.
    pub token: bool,
    /// Whether artifacts of its attempt lie in the bucket, not committed.
    pub artifacts: bool,
    /// Whether its attempt is older than the grace.
    pub old: bool,
    /// Whether the collector has its artifacts on its list.
    pub listed: bool,
    /// Whether its manifest was stored and it has not heard so.
    pub unheard: bool,
}

impl Worker {
    /// Without a task.
    pub const IDLE: Worker = Worker {
        step: Step::Idle,
        job: 0,
        stage: 0,
        life: 0,
        again: false,
        token: false,
        artifacts: false,
        old: false,
        listed: false,
        unheard: false,
    };
}

/// S1: an idle worker gets a delivery of this task.
pub fn accept(state: &mut State, job: usize, stage: usize) -> Option<()> {
    let idle = state.workers.iter_mut().find(|worker| worker.step == Step::Idle)?;
    let again = state.jobs[job].queue.deliver(stage);
    let (job, stage) = (job as u8, stage as u8);
    *idle = Worker { step: Step::Look, job, stage, again, token: true, ..Worker::IDLE };
    Some(())
}

/// The worker takes its next step.
pub fn step(world: &World, state: &mut State, which: usize) -> Option<()> {
    let mut worker = state.workers[which];
    let job = &mut state.jobs[usize::from(worker.job)];
    let next = match worker.step {
        Step::Idle => return None,
        Step::Look => look(world, job, &mut worker),
        Step::CountMarkers => {
            let across = world.has(Mutant::MarkersAcrossLives);
            let marked = job.bucket.marked(worker.stage.into(), worker.life, across);
            if marked >= ATTEMPTS_MAX { Step::AppendLetter } else { Step::PutMarker }
        }
        Step::PutMarker => {
            job.bucket.mark(worker.stage.into(), worker.life);
            begin(job, worker)
        }
        Step::Run => run(job, &mut worker),
        Step::Commit => commit(world, job, &mut worker),
        Step::PublishNext | Step::Copy | Step::PutDone => go_on(world, job, worker),
        Step::AppendLetter => {
            job.bucket.letters[usize::from(worker.life)] = true;
            Step::PutDead
        }
        Step::PutDead => decide(job, worker, Ending::Dead),
        Step::PutSuperseded => decide(job, worker, Ending::Cancelled),
        Step::LookAgain if job.bucket.state().ended => Step::Ack,
        Step::LookAgain => Step::Idle,
        Step::Ack | Step::AckEarly => {
            acknowledge(state, worker);
            let early = worker.step == Step::AckEarly;
            worker.token = false;
            if early { after_commit(world, worker, true) } else { Step::Idle }
        }
    };
    if next == Step::Idle {
        leave(state, which, worker);
    } else {
        state.workers[which] = Worker { step: next, ..worker };
    }
    Some(())
}

fn look(world: &World, job: &mut Job, worker: &mut Worker) -> Step {
    let seen = job.bucket.state();
    if seen.ended {
        return Step::Ack;
    }
    worker.life = seen.life;
    if seen.is_committed(worker.stage.into()) {
        after_commit(world, *worker, false)
    } else if worker.again {
        Step::CountMarkers
    } else {
        begin(job, *worker)
    }
}

fn begin(job: &mut Job, worker: Worker) -> Step {
    job.begin_attempt(worker.life);
    Step::Run
}

fn run(job: &mut Job, worker: &mut Worker) -> Step {
    if worker.stage == 0 && job.gone {
        Step::PutSuperseded
    } else if job.bucket.has_input(worker.stage.into()) {
        worker.artifacts = true;
        Step::Commit
    } else {
        // Something that an earlier stage committed is missing: left to redelivery.
        Step::Idle
    }
}

fn commit(world: &World, job: &mut Job, worker: &mut Worker) -> Step {
    if worker.old {
        return Step::Idle;
    }
    if worker.unheard {
        // 412, and a GET that tells whose it is.
        worker.unheard = false;
        if world.has(Mutant::OwnCommitTakenForAnothers) {
            job.bucket.manifests[usize::from(worker.stage)] = Manifest::Hollow;
        }
    } else {
        put_manifest(world, job, worker);
    }
    // Committed, or deleted because another attempt won.
    worker.artifacts = false;
    worker.listed = false;
    after_commit(world, *worker, false)
}

/// The conditional PUT of S5. True if it created the manifest.
fn put_manifest(world: &World, job: &mut Job, worker: &Worker) -> bool {
    let stage = usize::from(worker.stage);
    let before = job.bucket.manifests[stage];
    let overwrites = before != Manifest::Absent && world.has(Mutant::UnconditionalManifest);
    if before == Manifest::Absent || overwrites {
        job.history.rewritten |= overwrites;
        job.bucket.litter[stage] |= overwrites && before == Manifest::Whole;
        job.bucket.manifests[stage] = if worker.artifacts { Manifest::Whole } else { Manifest::Hollow };
        if worker.listed {
            name_listed(job, stage);
        }
    }
    before == Manifest::Absent || overwrites
}

/// The store takes the PUT of S5, or refuses it, and nobody hears of it: the worker is where it was.
pub fn lose_answer(world: &World, state: &mut State, which: usize) {
    let worker = &mut state.workers[which];
    if put_manifest(world, &mut state.jobs[usize::from(worker.job)], worker) {
        (worker.unheard, worker.artifacts, worker.listed) = (true, false, false);
    }
}

/// What the collector has on its list is now named by a manifest.
fn name_listed(job: &mut Job, stage: usize) {
    if let Collector::ListedArtifacts { named, .. } | Collector::Listed { named, .. } = &mut job.collector {
        *named |= 1 << stage;
    }
}

/// S6, or what a fault puts in its place.
fn after_commit(world: &World, worker: Worker, acknowledged: bool) -> Step {
    if world.has(Mutant::AckFirst) && !acknowledged {
        Step::AckEarly
    } else if usize::from(worker.stage) != LAST {
        Step::PublishNext
    } else if world.has(Mutant::OutcomeBeforeCopies) {
        Step::PutDone
    } else {
        Step::Copy
    }
}

fn go_on(world: &World, job: &mut Job, worker: Worker) -> Step {
    let acknowledged = world.has(Mutant::AckFirst);
    let over = if acknowledged { Step::Idle } else { Step::Ack };
    let backwards = world.has(Mutant::OutcomeBeforeCopies);
    match worker.step {
        // That it is there already is success: it is queued.
        Step::PublishNext => {
            job.queue.put(usize::from(worker.stage) + 1);
            over
        }
        Step::Copy if job.bucket.manifests[LAST] != Manifest::Whole => Step::Idle,
        Step::Copy => {
            job.bucket.copied = true;
            if backwards { over } else { Step::PutDone }
        }
        _ => {
            decide(job, worker, Ending::Done);
            if backwards { Step::Copy } else { over }
        }
    }
}

fn decide(job: &mut Job, worker: Worker, ending: Ending) -> Step {
    job.bucket.decide(worker.life, ending);
    Step::Ack
}

fn acknowledge(state: &mut State, worker: Worker) {
    if worker.token {
        state.jobs[usize::from(worker.job)].queue.tasks[usize::from(worker.stage)] = Task::Absent;
        state.void_tokens(|other| (other.job, other.stage) == (worker.job, worker.stage));
    }
}

/// It lets the task go, gives it back, is done with it, or dies: what it has not committed stays behind.
fn leave(state: &mut State, which: usize, worker: Worker) {
    let litter = &mut state.jobs[usize::from(worker.job)].bucket.litter[usize::from(worker.stage)];
    *litter |= worker.artifacts;
    state.workers[which] = Worker::IDLE;
}

/// It dies, a port fails it, or its runner does.
pub fn die(state: &mut State, which: usize) {
    leave(state, which, state.workers[which]);
}

/// A cancellation is heard: what is being computed stops, and S2 comes again.
pub fn hear_cancel(world: &World, state: &mut State, job: usize) {
    let unseen = world.has(Mutant::CancelAcksUnseen);
    let stops = |worker: &&mut Worker| worker.step == Step::Run && usize::from(worker.job) == job;
    for worker in state.workers.iter_mut().filter(stops) {
        worker.step = if unseen { Step::Ack } else { Step::LookAgain };
    }
}
