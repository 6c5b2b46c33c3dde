//! How many files this process may open, for clients by the thousand.

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one; says what it is now.
///
/// # Errors
/// The system refuses.
pub fn allow_all_files() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")?;
    // No limit at all is told as none.
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
