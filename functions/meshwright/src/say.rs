//! What the program says: results on standard output, everything else on standard error. `println!` panics
//! where nobody listens any more; here `meshwright watch | head` ends quietly, and a full disk is told with
//! exit 74.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// A line of the result.
macro_rules! say {
    ($($line:tt)*) => { $crate::say::line(format_args!($($line)*)) };
}

/// A line beside the result.
macro_rules! note {
    ($($line:tt)*) => { $crate::say::aside(format_args!($($line)*)) };
}

/// Writes a line to standard output; ends the program if nobody can read it.
pub(crate) fn line(line: Arguments<'_>) {
    bytes(format!("{line}\n").as_bytes());
}

/// Writes to standard output, as [`line`].
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            aside(format_args!("meshwright: write the result: {error}"));
            std::process::exit(74);
        }
    }
}

/// Writes a line to standard error, if it can be written.
pub(crate) fn aside(line: Arguments<'_>) {
    // Where standard error is closed too, nobody is left to be told.
    let _nobody_listens = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
