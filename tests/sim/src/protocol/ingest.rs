//! Ingest's steps I1 to I3, as `accept.rs` takes them: for an event, and for an upload that a sweep found.

use super::bucket::{Ending, JobState};
use super::state::Job;
use super::world::{Mutant, World};

/// How far an acceptance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accept {
    /// Nothing is being accepted.
    Idle,
    /// Unacceptable: its outcome is put first.
    PutRejection,
    /// Unacceptable: then its record.
    PutRejectedRecord,
    /// Its record is put.
    PutRecord,
    /// It has a record: what it needs is read.
    Resume,
    /// A task of it is published.
    Publish(usize),
    /// Over; an event is acknowledged now.
    Over,
}

impl Accept {
    /// The object was asked (HEAD) and judged.
    pub fn begin(world: &World) -> Accept {
        match (world.rejected, world.has(Mutant::RecordBeforeRejection)) {
            (false, _) => Accept::PutRecord,
            (true, false) => Accept::PutRejection,
            (true, true) => Accept::PutRejectedRecord,
        }
    }

    /// The next step; `Over` once there is none.
    pub fn next(self, world: &World, job: &mut Job) -> Accept {
        let backwards = world.has(Mutant::RecordBeforeRejection);
        match self {
            Accept::Idle | Accept::Over => Accept::Over,
            Accept::PutRejection => {
                job.bucket.decide(0, Ending::Rejected);
                if backwards { Accept::Over } else { Accept::PutRejectedRecord }
            }
            Accept::PutRejectedRecord => {
                job.bucket.record = true;
                if backwards { Accept::PutRejection } else { Accept::Over }
            }
            Accept::PutRecord if job.bucket.record => Accept::Resume,
            Accept::PutRecord => {
                job.bucket.record = true;
                Accept::Publish(0)
            }
            Accept::Resume => match job.bucket.state() {
                JobState { ended: true, .. } => Accept::Over,
                state => Accept::Publish(state.next_stage()),
            },
            Accept::Publish(stage) => {
                job.queue.put(stage);
                Accept::Over
            }
        }
    }
}

/// The handler of the upload's event takes its next step.
pub fn step(world: &World, job: &mut Job) {
    job.intake = match job.intake {
        // Deleted before it was accepted: acknowledged and counted.
        Accept::Idle if job.gone && !job.bucket.record => Accept::Over,
        Accept::Idle => Accept::begin(world),
        Accept::Over => {
            job.queue.events = job.queue.events.saturating_sub(1);
            Accept::Idle
        }
        under_way => under_way.next(world, job),
    };
}
