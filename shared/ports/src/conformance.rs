//! Public conformance suites: what every implementation of a port must do. A twin that fails one is not used.
//!
//! A suite is one public `conforms` over a port, and a few further functions for what only some servers can
//! be brought to: a full stream, versions. It names nothing of what stands behind the port. Each promise is
//! one case, all cases of a suite run at once, and every broken promise is told by its sentence. Waits are
//! awaited answers with an end; on a paused clock they cost nothing.

pub mod boards;
pub mod device;
pub mod keys;
pub mod queue;
pub mod store;
pub mod wire;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Longest time of one promise: what takes longer hangs.
const PROMISE_MAX: Duration = Duration::from_secs(60);

/// Longest wait for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often something is asked for that nobody tells.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A promise: its name, and what panics where it is not kept.
type Promise<'a> = (&'static str, LocalBoxFuture<'a, ()>);

/// Promises by the names of their functions.
macro_rules! promises {
    ($on:expr; $($promise:ident),+ $(,)?) => {
        vec![$((stringify!($promise), futures::FutureExt::boxed_local($promise($on)))),+]
    };
}
pub(crate) use promises;

/// Tries all promises at once.
async fn all_kept(promises: Vec<Promise<'_>>) {
    let tried = join_all(promises.into_iter().map(|(name, promise)| async move {
        match AssertUnwindSafe(timeout(PROMISE_MAX, promise)).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(format!("{} (no end within {PROMISE_MAX:?})", name.replace('_', " "))),
            Err(_) => Some(name.replace('_', " ")),
        }
    }));
    let broken: Vec<String> = tried.await.into_iter().flatten().collect();
    assert!(broken.is_empty(), "promises that are not kept:\n  {}", broken.join("\n  "));
}

/// Asks until there is a value, for what nobody tells.
async fn asked<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let (started, mut ticks) = (Instant::now(), interval(ASK_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(value) = ask().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
    }
}
