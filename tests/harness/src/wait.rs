//! The one bounded wait loop of the harness, for what nobody tells us: a server that becomes ready, a line in
//! a log.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks `look` until it gives a value, fails, or `limit` has passed; `what` names the wait in the error.
///
/// # Errors
/// What `look` failed with, or that the time is over.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        if let Some(value) = look().await? {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
    }
}
