//! A runner as its worker sees it: a child process, started on demand, killed when it must be.

use crate::frames::{self, Say};
use crate::self_test;
use domain::{Bytes, Stage};
use stage::{File, Input};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

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
    /// A failed allocation ended it.
    OutOfMemory,
    /// It said that the device is broken.
    DeviceBroken,
    /// Anything else, in words.
    Crashed(String),
}

/// Longest start of a runner: it loads nothing before its first batch.
const READY_MAX: Duration = Duration::from_secs(30);

/// `SIGABRT`: how a failed allocation ends a Rust process, and a full stack, and a panic inside a panic.
const SIGABRT: i32 = 6;
/// What Rust says when an allocation has failed, right before it aborts. Any other abort is no lack of
/// memory: more of it would not help.
const LAST_WORDS: &[u8] = b"memory allocation of ";
/// How much of a runner's last words is looked at.
const LAST_BYTES: usize = 512;
/// Longest end of a runner that has closed its pipe.
const EXIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the last words of a runner that is gone: something that it started may hold the pipe.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

impl Death {
    fn of(status: io::Result<ExitStatus>, last_words: &[u8]) -> Death {
        let ran_out = last_words.windows(LAST_WORDS.len()).any(|words| words == LAST_WORDS);
        match status {
            Ok(status) if status.signal() == Some(SIGABRT) && ran_out => Death::OutOfMemory,
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
    /// Passes on what it writes to its standard error, and ends with the last of it.
    last_words: JoinHandle<Vec<u8>>,
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
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the whole group: the worker drains, and its runners must finish.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("the runner has no pipes");
        let stdin = BufWriter::new(child.stdin.take().ok_or_else(gone)?);
        let stdout = BufReader::with_capacity(1 << 16, child.stdout.take().ok_or_else(gone)?);
        let last_words = tokio::spawn(pass_on(child.stderr.take().ok_or_else(gone)?));
        let mut runner = RunnerProcess { child, stdin, stdout, last_words };
        match tokio::time::timeout(READY_MAX, runner.hear()).await {
            Ok(Ok(Some((Say::Ready, _)))) => Ok(runner),
            Ok(heard) => {
                // Whatever it said, it is no runner of ours, and may live.
                let death = runner.put_down().await;
                Err(io::Error::other(format!("it began with {heard:?} and ended with {death:?}")))
            }
            Err(_elapsed) => {
                runner.kill().await;
                Err(io::Error::new(io::ErrorKind::TimedOut, "it was not ready in time"))
            }
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

    /// Has it test itself with the numbers of a seed: their sum, or what it found broken.
    pub(crate) async fn test(&mut self, seed: u64) -> io::Result<Result<u64, String>> {
        frames::send_test(&mut self.stdin, seed, self_test::RESERVATION).await?;
        match self.hear().await? {
            Some((Say::Tested { sum, broken }, _)) => Ok(broken.map_or(Ok(sum), Err)),
            said => Err(io::Error::other(format!("it said {said:?}"))),
        }
    }

    /// Its next word; none when it is gone.
    pub(crate) async fn hear(&mut self) -> io::Result<Option<(Say, Vec<File>)>> {
        frames::hear(&mut self.stdout).await
    }

    /// Waits for its end, which was seen on the pipe, and says what it means. One that has closed its pipe
    /// and lives on is killed.
    pub(crate) async fn death(mut self) -> Death {
        if tokio::time::timeout(EXIT_MAX, self.child.wait()).await.is_err() {
            tracing::warn!("a runner closed its pipe and did not end; it is killed");
        }
        self.put_down().await
    }

    /// Kills it if it lives, and says what its end means: one that was ending already keeps its own status.
    pub(crate) async fn put_down(mut self) -> Death {
        // A child that ended by itself cannot be killed; either way it is gone afterwards.
        let _ended_already = self.child.start_kill();
        let status = self.child.wait().await;
        let said = tokio::time::timeout(LAST_WORDS_MAX, self.last_words).await;
        Death::of(status, &said.ok().and_then(Result::ok).unwrap_or_default())
    }

    /// Kills it and waits until it is gone, so that its memory is free again.
    pub(crate) async fn kill(mut self) {
        // A child that ended by itself cannot be killed; either way it is gone afterwards.
        let _ended_already = self.child.kill().await;
    }
}

/// Writes what comes to our standard error; gives the end of it.
async fn pass_on(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut last, mut chunk) = (Vec::new(), vec![0; 4096]);
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let _nobody_reads = io::stderr().write_all(&chunk[..n]);
        last.extend_from_slice(&chunk[..n]);
        last.drain(..last.len().saturating_sub(LAST_BYTES));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_runner_is_read_from_its_status_and_its_last_words() {
        let check = |raw: i32, said: &str, expect: fn(&Death) -> bool| {
            let death = Death::of(Ok(ExitStatus::from_raw(raw)), said.as_bytes());
            assert!(expect(&death), "{raw} gave {death:?}");
        };
        let failed = "runner: ready\nmemory allocation of 68719476736 bytes failed\n";
        check(SIGABRT, failed, |death| *death == Death::OutOfMemory);
        check(SIGABRT, "thread 'main' has overflowed its stack\n", |d| matches!(d, Death::Crashed(_)));
        check(SIGABRT, "", |death| matches!(death, Death::Crashed(text) if text.contains("signal: 6")));
        check(70 << 8, "", |death| *death == Death::DeviceBroken);
        check(9, failed, |death| matches!(death, Death::Crashed(text) if text.contains("signal: 9")));
        check(101 << 8, "", |death| matches!(death, Death::Crashed(_)));
    }

    #[tokio::test]
    async fn of_all_that_a_runner_writes_the_end_is_kept() {
        let mut said = vec![b' '; 3 * LAST_BYTES];
        said.extend_from_slice(b"memory allocation of 8 bytes failed\n");
        let last = pass_on(said.as_slice()).await;
        assert_eq!(last, said[said.len() - LAST_BYTES..]);
    }
}
