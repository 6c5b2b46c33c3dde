//! The broker of one process: the state behind the three twins, and who is woken when it changes.

use crate::boards::BoardsState;
use crate::queue::QueueState;
use crate::wire::WireState;
use domain::Times;
use ports::{Boards, Clock, Queue, Wire};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use tokio::sync::Notify;

/// Queue, Boards and Wire in memory.
pub struct MemoryBroker {
    /// Itself, so that streams may outlive the call that made them.
    pub(crate) this: Weak<MemoryBroker>,
    pub(crate) times: Times,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) queue: Mutex<QueueState>,
    pub(crate) boards: Mutex<BoardsState>,
    pub(crate) wire: Mutex<WireState>,
    /// Wakes those who wait for work.
    pub(crate) work: Notify,
    /// Wakes those who follow a log.
    pub(crate) logged: Notify,
}

impl MemoryBroker {
    /// Empty. `times` gives the ack wait, `clock` the broker's time stamps.
    pub fn new(times: Times, clock: Arc<dyn Clock>) -> Arc<MemoryBroker> {
        Arc::new_cyclic(|this| MemoryBroker {
            this: this.clone(),
            times,
            clock,
            queue: Mutex::default(),
            boards: Mutex::default(),
            wire: Mutex::default(),
            work: Notify::new(),
            logged: Notify::new(),
        })
    }

    /// As a queue.
    pub fn queue(self: &Arc<Self>) -> Arc<dyn Queue> {
        self.clone()
    }

    /// As boards.
    pub fn boards(self: &Arc<Self>) -> Arc<dyn Boards> {
        self.clone()
    }

    /// As a wire.
    pub fn wire(self: &Arc<Self>) -> Arc<dyn Wire> {
        self.clone()
    }
}

/// The state is left consistent by every holder: none of them can panic between two changes.
pub(crate) fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
