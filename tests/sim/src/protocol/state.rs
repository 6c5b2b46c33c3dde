//! A state of the world: per upload what is stored and queued and how far its actors are, then the workers.

use super::bucket::Bucket;
use super::collector::Collector;
use super::ingest::Accept;
use super::people::{Cancel, Redrive};
use super::queue::Queue;
use super::sweep::Sweep;
use super::worker::{Step, Worker};
use super::world::{Begins, Budget, World};
use super::{ATTEMPTS_MAX, LAST, LIVES, bucket::Manifest};

/// What only an observer of the whole history knows; no actor reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// A manifest was written over another.
    pub rewritten: bool,
    /// Attempts begun in each life, counted up to the limit.
    pub begun: [u8; LIVES],
}

/// When the intermediates of an ended job expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// Not yet.
    #[default]
    Kept,
    /// The time in the outcome has come: no redrive is granted any more.
    Expired,
    /// The grace after it has passed too: the collector may take them.
    Collectable,
}

/// Everything about one upload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    /// Whether the upload is removed or replaced.
    pub gone: bool,
    /// In the state bucket.
    pub bucket: Bucket,
    /// In the queues.
    pub queue: Queue,
    /// The handler of its event.
    pub intake: Accept,
    /// The sweep, as far as it concerns this upload.
    pub sweep: Sweep,
    /// The collector, as far as it concerns this job.
    pub collector: Collector,
    /// Somebody who cancels it.
    pub cancel: Cancel,
    /// Somebody who redrives it.
    pub redrive: Redrive,
    /// Of its current life's outcome.
    pub expiry: Expiry,
    /// What happened.
    pub history: History,
}

impl Job {
    fn new(begins: Begins) -> Job {
        let uploaded = begins == Begins::Uploaded;
        let mut job = Job {
            gone: false,
            bucket: Bucket::new(),
            queue: Queue::new(u8::from(uploaded)),
            intake: Accept::Idle,
            sweep: Sweep::Idle,
            collector: Collector::Idle,
            cancel: Cancel::Idle,
            redrive: Redrive::Idle,
            expiry: Expiry::Kept,
            history: History::default(),
        };
        if !uploaded {
            let first = if begins == Begins::AtLastStage { LAST } else { 0 };
            job.bucket.record = true;
            job.bucket.manifests[..first].fill(Manifest::Whole);
            job.queue.put(first);
        }
        job
    }

    /// Whether nobody is doing anything about it and nothing is queued.
    pub fn rests(&self) -> bool {
        self.queue.is_empty()
            && self.intake == Accept::Idle
            && self.sweep == Sweep::Idle
            && self.collector == Collector::Idle
            && self.cancel == Cancel::Idle
            && self.redrive == Redrive::Idle
    }

    /// An attempt begins.
    pub fn begin_attempt(&mut self, life: u8) {
        let begun = &mut self.history.begun[usize::from(life)];
        *begun = (*begun + 1).min(ATTEMPTS_MAX);
    }
}

/// A state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// By upload.
    pub jobs: Vec<Job>,
    /// Sorted: which worker is which makes no difference.
    pub workers: Vec<Worker>,
    /// What may still go wrong.
    pub budget: Budget,
}

impl State {
    /// The beginning.
    pub fn new(world: &World) -> State {
        State {
            jobs: vec![Job::new(world.begins); world.uploads],
            workers: vec![Worker::IDLE; world.workers],
            budget: world.budget,
        }
    }

    /// Whether nothing happens by itself any more, but for sweeps and collections.
    pub fn rests(&self) -> bool {
        self.workers.iter().all(|worker| worker.step == Step::Idle) && self.jobs.iter().all(Job::rests)
    }

    /// The message behind these tokens is gone: acknowledging by them does nothing.
    pub fn void_tokens(&mut self, of: impl Fn(&Worker) -> bool) {
        for worker in self.workers.iter_mut().filter(|worker| of(worker)) {
            worker.token = false;
        }
    }

    /// Brings states that differ in nothing that matters to one form.
    pub fn settle(&mut self) {
        for worker in &mut self.workers {
            if worker.step == Step::Ack && !worker.token {
                *worker = Worker::IDLE;
            }
        }
        self.workers.sort_unstable();
    }
}
