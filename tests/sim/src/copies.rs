//! The friendly copies of one key whose upload is replaced meanwhile, as `publish.rs` makes them: two
//! versions, two files each, workers that die anywhere, the queue lost, somebody who cancels.
//!
//! An object's etag is its content here, as in stores that hash it: two puts of the same version look alike.

use stateright::{Model, Property};

/// Files of a model.
const FILES: usize = 2;
/// Versions of the upload.
const VERSIONS: usize = 2;

/// What stands under the key is copied everywhere once it is done.
pub const NEWEST: &str = "at rest the copies are those of the newest version, if that is done";
/// Nothing older replaces something newer.
pub const FORWARD: &str = "no older version replaces a newer one";
/// Only committed files are copied.
pub const COMMITTED: &str = "only what is committed is copied";

/// A fault that the properties must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The outcome before the copies.
    OutcomeFirst,
    /// PUT without a condition.
    Unconditional,
    /// The etag is read after the HEAD of the upload.
    EtagAfterHead,
    /// Only a version's own files are copied, even if another one stands under the key.
    OwnFilesAlways,
}

/// How a version's job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With its copies.
    Done,
    /// By a person, or because another version came.
    Cancelled,
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Nothing.
    Idle,
    /// S2.
    Look,
    /// S3 to S5 of export.
    Commit,
    /// The etag of the friendly object.
    ReadEtag,
    /// What stands under the upload's key, and what of it may be copied.
    ReadUpload,
    /// The copy, if the friendly object is still what was read.
    Put,
    /// The outcome.
    PutDone,
    /// S7.
    Ack,
}

/// A worker at a version's export task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker {
    step: Step,
    version: usize,
    token: bool,
    file: usize,
    etag: usize,
    /// The version whose file is copied.
    source: usize,
}

const IDLE: Worker = Worker { step: Step::Idle, version: 0, token: false, file: 0, etag: 0, source: 0 };

/// A state; versions count from 1, 0 is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    upload: usize,
    records: [bool; VERSIONS + 1],
    committed: [bool; VERSIONS + 1],
    outcomes: [Option<Ending>; VERSIONS + 1],
    queued: [bool; VERSIONS + 1],
    copies: [usize; FILES],
    workers: Vec<Worker>,
    queue_losses: u8,
    went_back: bool,
}

/// Something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The upload is replaced.
    Replace,
    /// The version is accepted.
    Accept(usize),
    /// It is cancelled.
    Cancel(usize),
    /// A sweep finds it unfinished.
    Sweep(usize),
    /// Its task is delivered.
    Deliver(usize),
    /// A worker takes this step.
    Work(usize, Step),
    /// A worker dies at this step.
    Die(usize, Step),
    /// All messages are lost.
    QueueLost,
}

/// The world.
#[derive(Clone, Copy, Debug)]
pub struct Copies {
    /// Workers.
    pub workers: usize,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

impl Copies {
    fn has(self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn first_read(self) -> Step {
        if self.has(Fault::EtagAfterHead) { Step::ReadUpload } else { Step::ReadEtag }
    }

    fn after_copies(self) -> Step {
        if self.has(Fault::OutcomeFirst) { Step::Ack } else { Step::PutDone }
    }

    fn next_file(self, worker: &mut Worker) -> Step {
        worker.file += 1;
        if worker.file < FILES { self.first_read() } else { self.after_copies() }
    }

    fn begin_copies(self) -> Step {
        if self.has(Fault::OutcomeFirst) { Step::PutDone } else { self.first_read() }
    }

    /// The version whose files belong under the key now, if it has any and did not end otherwise.
    fn source(self, state: &State, own: usize) -> Option<usize> {
        let now = state.upload;
        let ended_otherwise = state.outcomes[now] == Some(Ending::Cancelled);
        if now == own || self.has(Fault::OwnFilesAlways) {
            return Some(own);
        }
        (state.records[now] && state.committed[now] && !ended_otherwise).then_some(now)
    }

    fn work(self, state: &mut State, which: usize) {
        let mut worker = state.workers[which];
        let version = worker.version;
        worker.step = match worker.step {
            Step::Idle => Step::Idle,
            Step::Look if state.outcomes[version].is_some() => Step::Ack,
            Step::Look if state.committed[version] => self.begin_copies(),
            Step::Look => Step::Commit,
            Step::Commit => {
                state.committed[version] = true;
                self.begin_copies()
            }
            Step::ReadEtag => {
                worker.etag = state.copies[worker.file];
                if self.has(Fault::EtagAfterHead) { Step::Put } else { Step::ReadUpload }
            }
            Step::ReadUpload => match self.source(state, version) {
                None => self.next_file(&mut worker),
                Some(source) => {
                    worker.source = source;
                    if self.has(Fault::EtagAfterHead) { Step::ReadEtag } else { Step::Put }
                }
            },
            Step::Put => {
                let copy = &mut state.copies[worker.file];
                if *copy == worker.etag || self.has(Fault::Unconditional) {
                    state.went_back |= *copy > worker.source;
                    *copy = worker.source;
                    self.next_file(&mut worker)
                } else {
                    self.first_read()
                }
            }
            Step::PutDone => {
                state.outcomes[version].get_or_insert(Ending::Done);
                if self.has(Fault::OutcomeFirst) { self.first_read() } else { Step::Ack }
            }
            Step::Ack => {
                if worker.token {
                    state.queued[version] = false;
                    state.void_tokens(version);
                }
                Step::Idle
            }
        };
        if !matches!(worker.step, Step::ReadUpload | Step::Put | Step::ReadEtag) {
            (worker.etag, worker.source) = (0, 0);
        }
        worker.token &= state.workers[which].token;
        state.workers[which] = if worker.step == Step::Idle { IDLE } else { worker };
    }
}

impl State {
    fn void_tokens(&mut self, version: usize) {
        self.workers.iter_mut().filter(|worker| worker.version == version).for_each(|w| w.token = false);
    }

    fn rests(&self) -> bool {
        let idle = self.workers.iter().all(|worker| worker.step == Step::Idle);
        idle && !self.queued.contains(&true) && self.records[self.upload]
    }

    fn unfinished(&self, version: usize) -> bool {
        self.records[version] && self.outcomes[version].is_none()
    }
}

impl Model for Copies {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            upload: 1,
            records: [false, true, false],
            committed: [false; VERSIONS + 1],
            outcomes: [None; VERSIONS + 1],
            queued: [false, true, false],
            copies: [0; FILES],
            workers: vec![IDLE; self.workers],
            queue_losses: 1,
            went_back: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.upload < VERSIONS {
            actions.push(Action::Replace);
        }
        if !state.records[state.upload] {
            actions.push(Action::Accept(state.upload));
        }
        if state.queue_losses > 0 {
            actions.push(Action::QueueLost);
        }
        let some_idle = state.workers.iter().any(|worker| worker.step == Step::Idle);
        for version in 1..=VERSIONS {
            if state.unfinished(version) {
                actions.push(Action::Cancel(version));
            }
            if state.unfinished(version) && !state.queued[version] {
                actions.push(Action::Sweep(version));
            }
            if state.queued[version] && some_idle {
                actions.push(Action::Deliver(version));
            }
        }
        for (n, worker) in state.workers.iter().enumerate().filter(|(_, w)| w.step != Step::Idle) {
            actions.extend([Action::Work(n, worker.step), Action::Die(n, worker.step)]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Replace => state.upload += 1,
            Action::Accept(version) => {
                state.records[version] = true;
                state.queued[version] = true;
            }
            Action::Cancel(version) => state.outcomes[version] = Some(Ending::Cancelled),
            Action::Sweep(version) => state.queued[version] = true,
            Action::Deliver(version) => {
                let idle = state.workers.iter_mut().find(|worker| worker.step == Step::Idle)?;
                *idle = Worker { step: Step::Look, version, token: true, ..IDLE };
            }
            Action::Work(which, _) => self.work(&mut state, which),
            Action::Die(which, _) => state.workers[which] = IDLE,
            Action::QueueLost => {
                state.queue_losses -= 1;
                state.queued = [false; VERSIONS + 1];
                (1..=VERSIONS).for_each(|version| state.void_tokens(version));
            }
        }
        state.workers.sort_unstable();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Copies>> {
        vec![
            Property::always(NEWEST, |_, state: &State| {
                let done = state.outcomes[state.upload] == Some(Ending::Done);
                !state.rests() || !done || state.copies == [state.upload; FILES]
            }),
            Property::always(FORWARD, |_, state: &State| !state.went_back),
            Property::always(COMMITTED, |_, state: &State| {
                state.copies.iter().all(|copy| *copy == 0 || state.committed[*copy])
            }),
        ]
    }
}
