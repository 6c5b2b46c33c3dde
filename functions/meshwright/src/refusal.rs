//! Why the program does not start or go on: one clear sentence, and an exit code that scripts can tell apart
//! (sysexits).

use std::fmt;

/// A sentence for a person and what kind of thing is wrong.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The configuration cannot work: exit 78.
    Config(String),
    /// A server does not answer: exit 69.
    Unavailable(String),
    /// What the person named does not exist or is not allowed: exit 65.
    Input(String),
    /// This machine does not let us: exit 74.
    Io(String),
}

impl Refusal {
    /// As in `sysexits.h`.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Refusal::Input(_) => 65,
            Refusal::Unavailable(_) => 69,
            Refusal::Io(_) => 74,
            Refusal::Config(_) => 78,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Config(text) | Refusal::Unavailable(text) | Refusal::Input(text) | Refusal::Io(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// What commands answer.
pub(crate) type Outcome<T> = Result<T, Refusal>;
