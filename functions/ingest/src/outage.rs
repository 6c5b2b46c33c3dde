//! An outage: logged once when it begins and once when it is over, however many calls fail in between.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many failures in a row are an outage. Fewer may be one object that its store cannot handle, and that
/// must not slow down all others.
const FAILURES_MIN: u32 = 3;

/// Whether something does not answer at the moment.
pub(crate) struct Outage {
    what: &'static str,
    failures: AtomicU32,
}

impl Outage {
    /// Of `what`, as a person names it; none yet.
    pub(crate) const fn of(what: &'static str) -> Outage {
        Outage { what, failures: AtomicU32::new(0) }
    }

    /// A call failed.
    pub(crate) fn failed(&self, error: &dyn Display) {
        match self.failures.fetch_add(1, Ordering::Relaxed) + 1 {
            FAILURES_MIN => tracing::warn!(%error, "{} does not answer; trying on", self.what),
            _ => tracing::debug!(%error, "{} did not answer", self.what),
        }
    }

    /// A call succeeded.
    pub(crate) fn over(&self) {
        if self.failures.swap(0, Ordering::Relaxed) >= FAILURES_MIN {
            tracing::info!("{} answers again", self.what);
        }
    }

    /// Whether so many calls failed in a row.
    pub(crate) fn is_on(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_needs_failures_in_a_row_and_ends_with_one_success() {
        let outage = Outage::of("the store");
        outage.failed(&"timeout");
        outage.failed(&"timeout");
        outage.over();
        outage.failed(&"timeout");
        outage.failed(&"timeout");
        assert!(!outage.is_on());
        outage.failed(&"timeout");
        assert!(outage.is_on());
        outage.over();
        assert!(!outage.is_on());
    }
}
