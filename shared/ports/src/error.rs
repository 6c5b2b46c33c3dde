//! Errors of ports: the variants are what a caller can do.

/// Why a port did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The other side does not answer or is overloaded; the same call may succeed later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The call is not permitted; only a changed configuration helps.
    #[error("denied: {0}")]
    Denied(String),
    /// What the call names does not exist: a bucket, a stream, a consumer.
    #[error("missing: {0}")]
    Missing(String),
    /// The call itself is wrong: too large, a bad name.
    #[error("invalid: {0}")]
    Invalid(String),
}

impl PortError {
    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, PortError::Unavailable(_))
    }
}

/// What ports answer.
pub type PortResult<T> = Result<T, PortError>;
