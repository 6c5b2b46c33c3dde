//! A runner as its worker sees it: a child process, started on demand, killed when it must be.

use crate::frames::{self, Say};
use domain::{Bytes, Stage};
use stage::{File, Input};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How to start a runner: this binary with the argument `runner`.
#[derive(Clone, Debug)]
pub struct RunnerCommand {
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What the end of a runner means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// A failed allocation aborted it.
    OutOfMemory,
    /// It said that the device is broken.
    DeviceBroken,
    /// Anything else, in words.
    Crashed(String),
}

/// Longest start of a runner: it loads nothing before its first batch.
const READY_MAX: Duration = Duration::from_secs(30);

/// `SIGABRT`: how a failed allocation ends a Rust process.
const SIGABRT: i32 = 6;

impl Death {
    fn of(status: io::Result<ExitStatus>) -> Death {
        match status {
            Ok(status) if status.signal() == Some(SIGABRT) => Death::OutOfMemory,
            Ok(status) if status.code() == Some(crate::runner::EXIT_DEVICE_BROKEN) => Death::DeviceBroken,
            Ok(status) => Death::Crashed(format!("the runner ended: {status}")),
            Err(error) => Death::Crashed(format!("the runner was lost: {error}")),
        }
    }
}

/// A running runner.
pub(crate) struct RunnerProcess {
    child: Child,
    stdin: BufWriter<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl RunnerProcess {
    /// Starts one and waits until it is ready. It dies with this value.
    pub(crate) async fn start(command: &RunnerCommand) -> io::Result<RunnerProcess> {
        let mut child = Command::new(&command.program)
            .args(&command.args)
            // An abort under a memory limit has no memory for a backtrace.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("the runner has no pipes");
        let stdin = BufWriter::new(child.stdin.take().ok_or_else(gone)?);
        let stdout = BufReader::with_capacity(1 << 16, child.stdout.take().ok_or_else(gone)?);
        let mut runner = RunnerProcess { child, stdin, stdout };
        match tokio::time::timeout(READY_MAX, runner.hear()).await {
            Ok(Ok(Some((Say::Ready, _)))) => Ok(runner),
            Ok(heard) => {
                let death = runner.death().await;
                Err(io::Error::other(format!("it began with {heard:?} and ended with {death:?}")))
            }
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "it was not ready in time")),
        }
    }

    /// Its process id while it lives.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Hands it a batch.
    pub(crate) async fn send(&mut self, stage: Stage, bytes: Bytes, inputs: &[&Input]) -> io::Result<()> {
        frames::send_batch(&mut self.stdin, stage, bytes, inputs).await
    }

    /// Its next word; none when it is gone.
    pub(crate) async fn hear(&mut self) -> io::Result<Option<(Say, Vec<File>)>> {
        frames::hear(&mut self.stdout).await
    }

    /// Waits for its end, which was seen on the pipe, and says what it means.
    pub(crate) async fn death(mut self) -> Death {
        drop(self.stdin);
        Death::of(self.child.wait().await)
    }

    /// Kills it and waits until it is gone, so that its memory is free again.
    pub(crate) async fn kill(mut self) {
        // A child that ended by itself cannot be killed; either way it is gone afterwards.
        let _ended_already = self.child.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_runner_is_read_from_its_status() {
        let check = |raw: i32, expect: fn(&Death) -> bool| {
            let death = Death::of(Ok(ExitStatus::from_raw(raw)));
            assert!(expect(&death), "{raw} gave {death:?}");
        };
        check(SIGABRT, |death| *death == Death::OutOfMemory);
        check(70 << 8, |death| *death == Death::DeviceBroken);
        check(9, |death| matches!(death, Death::Crashed(text) if text.contains("signal: 9")));
        check(101 << 8, |death| matches!(death, Death::Crashed(_)));
    }
}
