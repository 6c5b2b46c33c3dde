//! A world as a stateright model: what can happen in a state, and what state it leads to.

use super::collector::{self, Collector};
use super::ingest::{self, Accept};
use super::people::{self, Cancel, Redrive};
use super::properties;
use super::queue::Task;
use super::state::{Expiry, Job, State};
use super::sweep::{self, Sweep};
use super::worker::{self, Step};
use super::world::World;
use super::{LIVES, STAGES};
use stateright::{Model, Property};

/// Something happens. The first number is the upload, or the worker's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The store loses its event.
    EventLost(usize),
    /// The store sends its event once more.
    EventRepeated(usize),
    /// It is removed or replaced.
    UploadGone(usize),
    /// The handler of its event takes this step.
    Intake(usize, Accept),
    /// The handler of its event dies; the event is delivered again.
    IntakeDies(usize),
    /// The sweep takes this step.
    Sweep(usize, Sweep),
    /// The sweep dies.
    SweepDies(usize),
    /// The collector takes this step.
    Collect(usize, Collector),
    /// The collector dies.
    CollectorDies(usize),
    /// The intermediates of the ended job come closer to their end.
    TimeToLivePasses(usize),
    /// The task of this stage is delivered to a worker.
    Deliver(usize, usize),
    /// The task of this stage is delivered to a planner that dies, or gets no worker to accept it.
    DeliverInVain(usize, usize),
    /// A worker takes this step.
    Work(usize, Step),
    /// The attempt of a worker fails or kills its runner.
    AttemptFails(usize),
    /// The attempt of a worker grows older than the grace.
    GracePasses(usize),
    /// The answer to a worker's commit is lost.
    AnswerLost(usize),
    /// A worker dies, or a port fails it, at this step.
    WorkerDies(usize, Step),
    /// All messages are lost.
    QueueLost,
    /// Whoever cancels takes this step.
    CancelStep(usize, Cancel),
    /// Whoever cancels dies.
    CancelDies(usize),
    /// Whoever redrives takes this step.
    RedriveStep(usize, Redrive),
    /// Whoever redrives dies.
    RedriveDies(usize),
}

impl Action {
    /// Whether it is a fault or a wish: what need not happen for work to end.
    pub fn is_optional(self) -> bool {
        let is_fault = matches!(
            self,
            Action::EventLost(_)
                | Action::EventRepeated(_)
                | Action::UploadGone(_)
                | Action::IntakeDies(_)
                | Action::SweepDies(_)
                | Action::CollectorDies(_)
                | Action::DeliverInVain(..)
                | Action::GracePasses(_)
                | Action::AnswerLost(_)
                | Action::WorkerDies(..)
                | Action::QueueLost
                | Action::CancelDies(_)
                | Action::RedriveDies(_)
        );
        let is_wish =
            matches!(self, Action::CancelStep(_, Cancel::Idle) | Action::RedriveStep(_, Redrive::Idle));
        is_fault || is_wish || matches!(self, Action::TimeToLivePasses(_))
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (n, job) in state.jobs.iter().enumerate() {
            self.store_and_ingest(state, (n, job), actions);
            self.queue(state, (n, job), actions);
            self.walkers((n, job), actions);
            self.people(state, (n, job), actions);
        }
        self.workers(state, actions);
        if state.budget.queue_losses > 0 {
            actions.push(Action::QueueLost);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::EventLost(n) => {
                state.budget.events_lost -= 1;
                state.jobs[n].queue.events -= 1;
            }
            Action::EventRepeated(n) => {
                state.budget.events_repeated -= 1;
                state.jobs[n].queue.events += 1;
            }
            Action::UploadGone(n) => {
                state.budget.uploads_gone -= 1;
                state.jobs[n].gone = true;
            }
            Action::Intake(n, _) => ingest::step(self, &mut state.jobs[n]),
            Action::IntakeDies(n) => state.jobs[n].intake = Accept::Idle,
            Action::Sweep(n, _) => sweep::step(self, &mut state.jobs[n]),
            Action::SweepDies(n) => state.jobs[n].sweep = Sweep::Idle,
            Action::Collect(n, _) => collector::step(self, &mut state, n),
            Action::CollectorDies(n) => collector::end(&mut state, n),
            Action::TimeToLivePasses(n) => {
                let expiry = &mut state.jobs[n].expiry;
                *expiry = if *expiry == Expiry::Kept { Expiry::Expired } else { Expiry::Collectable };
            }
            Action::Deliver(n, stage) => worker::accept(&mut state, n, stage)?,
            Action::DeliverInVain(n, stage) => drop(state.jobs[n].queue.deliver(stage)),
            Action::Work(which, _) => worker::step(self, &mut state, which)?,
            Action::AttemptFails(which) => worker::die(&mut state, which),
            Action::GracePasses(which) => state.workers[which].old = true,
            Action::AnswerLost(which) => {
                state.budget.answers_lost -= 1;
                worker::lose_answer(self, &mut state, which);
            }
            Action::WorkerDies(which, _) => {
                state.budget.worker_deaths -= 1;
                worker::die(&mut state, which);
            }
            Action::QueueLost => {
                state.budget.queue_losses -= 1;
                state.jobs.iter_mut().for_each(|job| job.queue.lose());
                state.void_tokens(|_| true);
            }
            Action::CancelStep(n, _) => people::step_cancel(self, &mut state, n),
            Action::CancelDies(n) => state.jobs[n].cancel = Cancel::Idle,
            Action::RedriveStep(n, _) => people::step_redrive(self, &mut state, n),
            Action::RedriveDies(n) => state.jobs[n].redrive = Redrive::Idle,
        }
        state.settle();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<World>> {
        properties::all()
    }
}

impl World {
    fn store_and_ingest(&self, state: &State, (n, job): (usize, &Job), actions: &mut Vec<Action>) {
        let budget = &state.budget;
        if job.queue.events > 0 && job.intake == Accept::Idle && budget.events_lost > 0 {
            actions.push(Action::EventLost(n));
        }
        if budget.events_repeated > 0 {
            actions.push(Action::EventRepeated(n));
        }
        if budget.uploads_gone > 0 && !job.gone {
            actions.push(Action::UploadGone(n));
        }
        if job.queue.events > 0 || job.intake != Accept::Idle {
            actions.push(Action::Intake(n, job.intake));
        }
        if job.intake != Accept::Idle {
            actions.push(Action::IntakeDies(n));
        }
    }

    fn queue(&self, state: &State, (n, job): (usize, &Job), actions: &mut Vec<Action>) {
        let some_idle = state.workers.iter().any(|worker| worker.step == Step::Idle);
        for stage in (0..STAGES).filter(|stage| job.queue.tasks[*stage] != Task::Absent) {
            if some_idle {
                actions.push(Action::Deliver(n, stage));
            }
            if job.queue.tasks[stage] != Task::Redelivered {
                actions.push(Action::DeliverInVain(n, stage));
            }
        }
    }

    fn walkers(&self, (n, job): (usize, &Job), actions: &mut Vec<Action>) {
        if self.sweeps() {
            actions.push(Action::Sweep(n, job.sweep));
            if job.sweep != Sweep::Idle {
                actions.push(Action::SweepDies(n));
            }
        }
        if self.collect {
            actions.push(Action::Collect(n, job.collector));
            if job.collector != Collector::Idle {
                actions.push(Action::CollectorDies(n));
            }
        }
        // A granted redrive takes less time than the grace between the two.
        let passes = match job.expiry {
            Expiry::Kept => true,
            Expiry::Expired => job.redrive == Redrive::Idle,
            Expiry::Collectable => false,
        };
        if self.expire && job.bucket.outcome().is_some() && passes {
            actions.push(Action::TimeToLivePasses(n));
        }
    }

    fn people(&self, state: &State, (n, job): (usize, &Job), actions: &mut Vec<Action>) {
        let known = job.bucket.record;
        if job.cancel != Cancel::Idle || known && state.budget.cancels > 0 {
            actions.push(Action::CancelStep(n, job.cancel));
        }
        if job.cancel != Cancel::Idle && self.gateway_dies {
            actions.push(Action::CancelDies(n));
        }
        let lives_left = state.budget.redrives > 0 && usize::from(job.bucket.life) + 1 < LIVES;
        if job.redrive != Redrive::Idle || known && lives_left {
            actions.push(Action::RedriveStep(n, job.redrive));
        }
        if job.redrive != Redrive::Idle && self.gateway_dies {
            actions.push(Action::RedriveDies(n));
        }
    }

    fn workers(&self, state: &State, actions: &mut Vec<Action>) {
        for (n, worker) in state.workers.iter().enumerate() {
            let is_twin = n > 0 && state.workers[n - 1] == *worker;
            if worker.step == Step::Idle || is_twin {
                continue;
            }
            if worker.step == Step::Run && self.kills(worker.stage, worker.life) {
                actions.push(Action::AttemptFails(n));
            } else {
                actions.push(Action::Work(n, worker.step));
            }
            // A worker that is not sure yet asks again: one loss more changes nothing.
            let commits = worker.step == Step::Commit && !worker.old && !worker.unheard;
            if commits && state.budget.answers_lost > 0 {
                actions.push(Action::AnswerLost(n));
            }
            if state.budget.worker_deaths > 0 {
                actions.push(Action::WorkerDies(n, worker.step));
            }
            if self.collect && !worker.old && matches!(worker.step, Step::Run | Step::Commit) {
                actions.push(Action::GracePasses(n));
            }
        }
    }
}
