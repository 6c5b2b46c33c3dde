//! What an error of the broker means for a caller.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use async_nats::{RequestError, RequestErrorKind};
use ports::PortError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// JetStream: the stream does not exist.
pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
/// JetStream: the consumer does not exist.
pub(crate) const CONSUMER_NOT_FOUND: u64 = 10014;
/// JetStream: the message is larger than its stream allows.
pub(crate) const MESSAGE_TOO_LARGE: u64 = 10054;
/// What JetStream says as HTTP would, of a call that no repetition makes right.
pub(crate) const BAD_REQUEST: usize = 400;
/// JetStream: the message could not be stored. Which limit refused it is not in the code.
pub(crate) const STORE_FAILED: u64 = 10077;

/// How long a violation explains a call that was not answered: the call waited for its answer, and may have
/// begun a little before or ended a little after.
const VIOLATION_AGE_MAX: Duration = Duration::from_secs(2 * ANSWER_MAX.as_secs());

/// The last missing permission that the server spoke of. The call that lacked it sees a timeout only.
#[derive(Default)]
pub(crate) struct Trouble {
    last: Mutex<Option<(Instant, String)>>,
}

impl Trouble {
    /// Takes note of what the server says of itself, if it is a missing permission.
    pub(crate) fn hear(&self, text: String, now: Instant) {
        if text.to_ascii_lowercase().contains("permissions violation") {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, text));
        }
    }

    /// The violation that explains a call that failed now.
    fn take(&self, now: Instant) -> Option<String> {
        let (at, text) = self.last.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (now.saturating_duration_since(at) <= VIOLATION_AGE_MAX).then_some(text)
    }
}

impl Broker {
    /// A call that was not answered: denied if the server spoke of a missing permission meanwhile.
    pub(crate) fn unanswered(&self, what: &str, error: &dyn std::fmt::Display) -> PortError {
        match self.trouble.take(Instant::now()) {
            Some(text) => PortError::Denied(format!("{what}: {text}")),
            None => PortError::Unavailable(format!("{what}: {error}")),
        }
    }

    /// A request that failed.
    pub(crate) fn failed_request(&self, what: &str, error: &RequestError) -> PortError {
        match error.kind() {
            RequestErrorKind::NoResponders => PortError::Missing(format!("{what}: nobody answers")),
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                PortError::Invalid(format!("{what}: {error}"))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => self.unanswered(what, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_missing_permission_explains_a_call_that_was_not_answered() {
        let (trouble, now) = (Trouble::default(), Instant::now());
        trouble.hear("Stale Connection".to_owned(), now);
        trouble.hear("maximum connections exceeded".to_owned(), now);
        assert_eq!(trouble.take(now), None);
        let violation = "Permissions Violation for Publish to \"offer\"".to_owned();
        trouble.hear(violation.clone(), now);
        assert_eq!(trouble.take(now + ANSWER_MAX), Some(violation.clone()));
        assert_eq!(trouble.take(now + ANSWER_MAX), None, "it explains one call");
        trouble.hear(violation, now);
        assert_eq!(trouble.take(now + Duration::from_secs(60)), None);
    }
}
