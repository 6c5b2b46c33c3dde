//! An outage: logged once when it begins and once when it is over, however many calls fail in between.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something does not answer at the moment.
pub(crate) struct Outage {
    what: &'static str,
    on: AtomicBool,
}

impl Outage {
    /// Of `what`, as a person names it; none yet.
    pub(crate) const fn of(what: &'static str) -> Outage {
        Outage { what, on: AtomicBool::new(false) }
    }

    /// A call failed.
    pub(crate) fn failed(&self, error: &dyn Display) {
        if !self.on.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{} does not answer; trying on", self.what);
        }
    }

    /// A call succeeded.
    pub(crate) fn over(&self) {
        if self.on.swap(false, Ordering::Relaxed) {
            tracing::info!("{} answers again", self.what);
        }
    }

    /// Whether the last call failed.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }
}
