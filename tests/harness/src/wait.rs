//! The one bounded wait loop of the harness, for what nobody tells us: a server that becomes ready, a line in
//! a log.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks `look` until it gives a value, fails, or `limit` has passed; `what` names the wait in the error. A
/// look that does not end by then is given up.
///
/// # Errors
/// What `look` failed with, or that the time is over.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    until_every(LOOK_EVERY, what, limit, look).await
}

/// As [`until`], for looks that cost somebody something: at most one in `every`.
///
/// # Errors
/// As [`until`].
pub async fn until_every<T>(
    every: Duration,
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut ticks = interval(every);
    // What a slow look missed is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        ticks.tick().await;
        match timeout_at(deadline, look()).await {
            Ok(looked) => {
                if let Some(value) = looked? {
                    return Ok(value);
                }
            }
            Err(_elapsed) => break,
        }
    }
    bail!("waited {} s in vain for {what}", limit.as_secs_f32())
}
