//! The two work queues, as far as one job sees them: events of its upload, and at most one task per stage.
//!
//! Any message that is there may be delivered at any time and any number of times: an ack wait that passes
//! needs no action of its own.

use super::STAGES;

/// A task's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// None with this subject.
    Absent,
    /// Stored, not delivered yet.
    Waiting,
    /// Delivered once.
    Delivered,
    /// Delivered more than once.
    Redelivered,
}

/// What of one upload is queued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Events of the upload in `UPLOADS`.
    pub events: u8,
    /// Its tasks in `TASKS`, by stage.
    pub tasks: [Task; STAGES],
}

impl Queue {
    /// With so many events and no task.
    pub fn new(events: u8) -> Queue {
        Queue { events, tasks: [Task::Absent; STAGES] }
    }

    /// `put_if_absent`. False: a message with this subject is there already (10077).
    pub fn put(&mut self, stage: usize) -> bool {
        let stored = self.tasks[stage] == Task::Absent;
        if stored {
            self.tasks[stage] = Task::Waiting;
        }
        stored
    }

    /// Counts a delivery. True if it is not the first.
    pub fn deliver(&mut self, stage: usize) -> bool {
        let again = self.tasks[stage] != Task::Waiting;
        self.tasks[stage] = if again { Task::Redelivered } else { Task::Delivered };
        again
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.events == 0 && self.tasks.iter().all(|task| *task == Task::Absent)
    }

    /// Forgets everything.
    pub fn lose(&mut self) {
        *self = Queue::new(0);
    }
}
