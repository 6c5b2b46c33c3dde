//! The runner's own memory: its size, its peak in a batch, its limit. Linux only, through `/proc` and
//! rlimits.

use domain::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// A line of `/proc/self/status` in bytes, as `VmRSS`.
fn status(field: &str) -> Option<Bytes> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Bytes::kib(kib))
}

/// Resident memory now.
pub(crate) fn resident() -> Bytes {
    status("VmRSS").unwrap_or_default()
}

/// Highest resident memory since [`reset_peak`].
pub(crate) fn peak() -> Bytes {
    status("VmHWM").unwrap_or_default()
}

/// Forgets the highest resident memory. Where the kernel does not allow it the peak stays that of the
/// process, an upper bound.
pub(crate) fn reset_peak() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        eprintln!("runner: cannot reset VmHWM ({error}); peaks are those of the whole process");
    }
}

/// Limits the address space to what it is now plus the reservation: an allocation beyond it fails, and the
/// process aborts.
pub(crate) fn limit(reservation: Bytes) {
    let Some(size) = status("VmSize") else { return };
    set_limit(Some((size + reservation).0));
}

/// Ends the limit: the next batch sets its own, after what it loads for good.
pub(crate) fn unlimit() {
    set_limit(None);
}

fn set_limit(wanted: Option<u64>) {
    let hard = getrlimit(Resource::As).maximum;
    let current = match (wanted, hard) {
        (Some(wanted), Some(hard)) => Some(hard.min(wanted)),
        (wanted, hard) => wanted.or(hard),
    };
    if let Err(error) = setrlimit(Resource::As, Rlimit { current, maximum: hard }) {
        eprintln!("runner: cannot limit the address space to {current:?} bytes: {error}");
    }
}
