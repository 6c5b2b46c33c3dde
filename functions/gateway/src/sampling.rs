//! `GET /debug/pprof/profile`: which functions this process computes in, as `go tool pprof` reads it. How
//! it is found out is told by whoever builds the process.

use crate::Gateway;
use crate::problem::Problem;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// For how long a process may be sampled, and for how long it is unless said.
const SECONDS: RangeInclusive<u64> = 1..=60;
const SECONDS_USUAL: u64 = 10;

/// Samples for so long; gives a gzipped profile. Dropped before its end, it samples no more.
pub type Sample = Arc<dyn Fn(Duration) -> BoxFuture<'static, Result<Vec<u8>, Unsampled>> + Send + Sync>;

/// Why there are no samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsampled {
    /// Somebody samples this process already.
    Busy,
    /// It cannot be done, and why.
    Failed(String),
}

impl std::fmt::Display for Unsampled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unsampled::Busy => f.write_str("this process is sampled already; one at a time"),
            Unsampled::Failed(why) => write!(f, "this process cannot be sampled: {why}"),
        }
    }
}

fn asked(words: &BTreeMap<String, String>) -> Result<Duration, Problem> {
    let mut seconds = SECONDS_USUAL;
    for (name, value) in words {
        if name != "seconds" {
            return Err(Problem::bad_query(format!("there is no option {name:?} here")));
        }
        let (least, most) = SECONDS.into_inner();
        let wrong = || Problem::bad_query(format!("seconds is a whole number from {least} to {most}"));
        seconds = value.parse().ok().filter(|seconds| SECONDS.contains(seconds)).ok_or_else(wrong)?;
    }
    Ok(Duration::from_secs(seconds))
}

/// Answers with a profile once it is taken.
pub(crate) async fn profile(
    State(gateway): State<Arc<Gateway>>,
    Query(words): Query<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let span = asked(&words)?;
    let busy = |_| Problem::unavailable(Unsampled::Busy.to_string());
    // Free again once this answer is given, or nobody waits for it any more.
    let _alone = gateway.sampling.try_acquire().map_err(busy)?;
    let profile = tokio::select! {
        profile = (gateway.settings.sample)(span) => profile,
        () = gateway.shutdown.cancelled() => {
            return Err(Problem::unavailable("this gateway is about to end"));
        }
    };
    let profile = profile.map_err(|why| Problem::unavailable(why.to_string()))?;
    let named = (header::CONTENT_DISPOSITION, "attachment; filename=\"profile.pb.gz\"");
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), named], profile).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_has_bounds() {
        let check = |name: &str, value: &str, expect: Option<u64>| {
            let words = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(asked(&words).ok(), expect.map(Duration::from_secs), "{name}={value}");
        };
        assert_eq!(asked(&BTreeMap::new()).ok(), Some(Duration::from_secs(10)));
        check("seconds", "1", Some(1));
        check("seconds", "60", Some(60));
        for wrong in ["0", "61", "-1", "1.5", "", "ever"] {
            check("seconds", wrong, None);
        }
        check("minutes", "1", None);
    }
}
