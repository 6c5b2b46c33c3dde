//! Why the program does not start or go on: one clear sentence, and an exit code that scripts can tell apart
//! (sysexits).

use serde_json::json;
use std::fmt;

/// A sentence for a person and what kind of thing is wrong.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The configuration cannot work: exit 78.
    Config(String),
    /// A server does not answer: exit 69.
    Unavailable(String),
    /// What the person named does not exist or is not allowed: exit 65.
    Input(String),
    /// This machine does not let us: exit 74.
    Io(String),
    /// Ctrl-C or SIGTERM before it was done: exit 130.
    Stopped,
}

impl Refusal {
    /// As in `sysexits.h`; 130 as shells say it of ctrl-C.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Refusal::Input(_) => 65,
            Refusal::Unavailable(_) => 69,
            Refusal::Io(_) => 74,
            Refusal::Config(_) => 78,
            Refusal::Stopped => 130,
        }
    }

    /// Tells it on standard error, for a person or for a program.
    pub(crate) fn tell(&self, as_json: bool) {
        if as_json {
            note!("{}", json!({"error": self.to_string(), "exit_code": self.exit_code()}));
        } else {
            note!("meshwright: {self}");
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Config(text) | Refusal::Unavailable(text) | Refusal::Input(text) | Refusal::Io(text) => {
                f.write_str(text)
            }
            Refusal::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What commands answer.
pub(crate) type Outcome<T> = Result<T, Refusal>;
