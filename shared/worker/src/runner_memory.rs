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
    let hard = getrlimit(Resource::As).maximum;
    let wanted = (size + reservation).0;
    let current = Some(hard.map_or(wanted, |hard| hard.min(wanted)));
    if let Err(error) = setrlimit(Resource::As, Rlimit { current, maximum: hard }) {
        eprintln!("runner: cannot limit the address space to {wanted} bytes: {error}");
    }
}
