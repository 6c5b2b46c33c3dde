//! Why the program does not start or go on: one clear sentence, and an exit code that scripts can tell apart
//! (sysexits).

use ports::PortError;
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

    /// The same, of one function of this process.
    pub(crate) fn of(self, name: &str) -> Refusal {
        let of = |text: String| format!("{name}: {text}");
        match self {
            Refusal::Config(text) => Refusal::Config(of(text)),
            Refusal::Unavailable(text) => Refusal::Unavailable(of(text)),
            Refusal::Input(text) => Refusal::Input(of(text)),
            Refusal::Io(text) => Refusal::Io(of(text)),
            Refusal::Stopped => Refusal::Stopped,
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

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Refusal {
        match error {
            PortError::Unavailable(text) => Refusal::Unavailable(text),
            PortError::Denied(text) | PortError::Missing(text) | PortError::Invalid(text) => {
                Refusal::Config(text)
            }
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::Io(error.to_string())
    }
}

/// What commands answer.
pub(crate) type Outcome<T> = Result<T, Refusal>;
