//! What an error of the broker means for a caller.

use crate::Broker;
use async_nats::{RequestError, RequestErrorKind};
use ports::PortError;
use std::sync::{Mutex, PoisonError};

/// JetStream: the stream does not exist.
pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
/// JetStream: the consumer does not exist.
pub(crate) const CONSUMER_NOT_FOUND: u64 = 10014;
/// JetStream: the message could not be stored. Which limit refused it is not in the code.
pub(crate) const STORE_FAILED: u64 = 10077;

/// The last violation that the server spoke of. The call that caused it sees a timeout only.
#[derive(Default)]
pub(crate) struct Trouble {
    last: Mutex<Option<String>>,
}

impl Trouble {
    pub(crate) fn keep(&self, text: String) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn take(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Broker {
    /// A call that was not answered: denied if the server spoke of a violation meanwhile.
    pub(crate) fn unanswered(&self, what: &str, error: &dyn std::fmt::Display) -> PortError {
        match self.trouble.take() {
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
