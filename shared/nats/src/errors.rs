//! What an error of the broker means for a caller.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use async_nats::{RequestError, RequestErrorKind};
use ports::PortError;
use std::collections::VecDeque;
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

/// Violations that are remembered: a role has some twenty permissions.
const VIOLATIONS_MAX: usize = 32;
/// What every answer needs, whatever is asked.
const INBOXES: &str = "_INBOX";

/// A missing permission that the server spoke of.
struct Violation {
    at: Instant,
    /// What may not be published or subscribed to.
    subject: String,
    text: String,
}

/// The last missing permissions that the server spoke of. A call that lacks one sees a timeout only.
#[derive(Default)]
pub(crate) struct Trouble {
    last: Mutex<VecDeque<Violation>>,
}

impl Trouble {
    /// Takes note of what the server says of itself, if it is a missing permission.
    pub(crate) fn hear(&self, text: String, now: Instant) {
        if !text.to_ascii_lowercase().contains("permissions violation") {
            return;
        }
        let subject = text.split('"').nth(1).unwrap_or_default().to_owned();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(Violation { at: now, subject, text });
        if last.len() > VIOLATIONS_MAX {
            last.pop_front();
        }
    }

    /// The violation that explains a call about a subject, a stream, a consumer or a board that failed now.
    /// One of another subject explains nothing: what nobody waits for is denied as well.
    pub(crate) fn take(&self, about: &str, now: Instant) -> Option<String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|violation| now.saturating_duration_since(violation.at) <= VIOLATION_AGE_MAX);
        let explains = |violation: &Violation| {
            violation.subject.contains(about) || violation.subject.starts_with(INBOXES)
        };
        let place = last.iter().position(explains)?;
        Some(last.remove(place)?.text)
    }
}

impl Broker {
    /// A call that was not answered: denied if the server spoke of a permission that it needs meanwhile.
    pub(crate) fn unanswered(&self, what: &str, about: &str, error: &dyn std::fmt::Display) -> PortError {
        match self.trouble.take(about, Instant::now()) {
            Some(text) => PortError::Denied(format!("{what}: {text}")),
            None => PortError::Unavailable(format!("{what}: {error}")),
        }
    }

    /// A request that failed.
    pub(crate) fn failed_request(&self, what: &str, about: &str, error: &RequestError) -> PortError {
        match error.kind() {
            RequestErrorKind::NoResponders => PortError::Missing(format!("{what}: nobody answers")),
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                PortError::Invalid(format!("{what}: {error}"))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => self.unanswered(what, about, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_missing_permission_of_its_own_explains_a_call_that_was_not_answered() {
        let (trouble, now) = (Trouble::default(), Instant::now());
        trouble.hear("Stale Connection".to_owned(), now);
        trouble.hear("maximum connections exceeded".to_owned(), now);
        assert_eq!(trouble.take("offer", now), None);
        let violation = "Permissions Violation for Publish to \"offer\"".to_owned();
        trouble.hear(violation.clone(), now);
        assert_eq!(trouble.take("TASKS", now), None, "an outage of something else");
        assert_eq!(trouble.take("offer", now + ANSWER_MAX), Some(violation.clone()));
        assert_eq!(trouble.take("offer", now + ANSWER_MAX), None, "it explains one call");
        trouble.hear(violation, now);
        assert_eq!(trouble.take("offer", now + Duration::from_secs(60)), None);
        let deaf = "Permissions Violation for Subscription to \"_INBOX_worker.*\"".to_owned();
        trouble.hear(deaf.clone(), now);
        assert_eq!(trouble.take("anything", now), Some(deaf), "no answer could ever come");
    }
}
