//! One process under test: its output goes to files, waits on it are bounded, and it never outlives its test.

use crate::{Scratch, reaper, until};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Ends of the names of its logs.
const OUT: &str = "out";
const ERR: &str = "err";
const LOGS: [&str; 2] = [OUT, ERR];

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    folder: Option<PathBuf>,
}

impl Spec {
    /// What it runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A program; `name` appears in messages and names its log files.
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Spec {
        let (args, env) = (Vec::new(), Vec::new());
        Spec { name: name.to_owned(), program: program.into(), args, env, folder: None }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Spec {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Spec {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable; the rest is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Spec {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes an inherited environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Spec {
        self.env.push((name.into(), None));
        self
    }

    /// Where its logs go and where it runs; without one, the child has a scratch folder of its own.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Spec {
        self.folder = Some(folder.to_owned());
        self
    }
}

/// The `meshwright` binary of this build, as a process to start with `args`.
///
/// # Errors
/// The binary is not built; the message says how.
pub fn meshwright<A: Into<OsString>>(name: &str, args: impl IntoIterator<Item = A>) -> Result<Spec> {
    let program = match std::env::var_os("MESHWRIGHT_BIN") {
        Some(path) => PathBuf::from(path),
        // A test runs as target/<profile>/deps/<test>.
        None => std::env::current_exe()?.ancestors().nth(2).unwrap_or(Path::new("/")).join("meshwright"),
    };
    if !program.is_file() {
        bail!(
            "{} is not there: run `cargo build --release -p meshwright` or set MESHWRIGHT_BIN",
            program.display()
        );
    }
    Ok(Spec::new(name, program).args(args))
}

/// A process that runs, or has ended. Dropping it kills it and its children.
#[derive(Debug)]
pub struct Child {
    spec: Spec,
    process: std::process::Child,
    exit: Option<ExitStatus>,
    // Process groups of this and earlier starts that may have members.
    groups: Vec<Pid>,
    // Lengths of both logs when the newest start began, in bytes.
    logged_before: [usize; 2],
    folder: PathBuf,
    // Only held to be dropped after the process is gone.
    _scratch: Option<Scratch>,
}

impl Child {
    /// Starts it, with its output appended to `<name>.out` and `<name>.err` in its folder and nothing to
    /// read.
    ///
    /// # Errors
    /// The folder cannot be written, or the program cannot be started.
    pub fn spawn(spec: Spec) -> Result<Child> {
        let scratch = if spec.folder.is_none() { Some(Scratch::new(&spec.name)?) } else { None };
        let folder = match (&spec.folder, &scratch) {
            (Some(folder), _) => folder.clone(),
            (None, scratch) => scratch.as_ref().expect("made just above").path().to_owned(),
        };
        let logged_before = LOGS.map(|which| length(&folder, &spec, which));
        let process = start(&spec, &folder)?;
        let groups = vec![pid(&process)];
        Ok(Child { spec, process, exit: None, groups, logged_before, folder, _scratch: scratch })
    }

    /// Starts it again after it has ended, with the same arguments; logs are appended. One that still runs is
    /// killed first.
    ///
    /// # Errors
    /// As [`Child::spawn`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.logged_before = LOGS.map(|which| length(&self.folder, &self.spec, which));
        self.process = start(&self.spec, &self.folder)?;
        self.groups.push(pid(&self.process));
        self.exit = None;
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The folder with its logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has written to standard output since its first start.
    pub fn stdout(&self) -> String {
        read(&log(&self.folder, &self.spec, OUT), 0)
    }

    /// What it has written to standard error since its first start.
    pub fn stderr(&self) -> String {
        read(&log(&self.folder, &self.spec, ERR), 0)
    }

    /// What it has written to standard output and to standard error since its newest start.
    pub fn said_since_start(&self) -> [String; 2] {
        let [out, err] = self.logged_before;
        [(OUT, out), (ERR, err)].map(|(which, from)| read(&log(&self.folder, &self.spec, which), from))
    }

    /// Waits for a whole line, on either output, for which `wanted` holds, and returns it. Lines written
    /// before the call count, those of earlier starts do not.
    ///
    /// # Errors
    /// The process ends or `limit` passes first; the message has the end of its output.
    pub async fn wait_for_line(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let what = format!("{what} from {}", self.spec.name);
        let found = until(&what, limit, async || {
            // Asked before the logs are read: what it wrote before it ended is then in them.
            let ended = self.ended()?;
            let logs = self.said_since_start();
            let line = logs.iter().flat_map(|log| log.split_inclusive('\n')).find(|line| {
                let whole = line.ends_with('\n');
                whole && wanted(line.trim_end())
            });
            match (line, ended) {
                (Some(line), _) => Ok(Some(line.trim_end().to_owned())),
                (None, Some(status)) => bail!("it ended with {status} before {what}"),
                (None, None) => Ok(None),
            }
        });
        let found = found.await;
        found.with_context(|| self.tail())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// `limit` passes first; the message has the end of its output.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.spec.name);
        let ended = until(&what, limit, async || self.ended()).await;
        ended.with_context(|| self.tail())
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            let exit = self.process.try_wait().context("ask for the end of a process")?;
            exit.into_iter().for_each(|status| self.has_ended(status));
        }
        Ok(self.exit)
    }

    /// `kill -9` to this process alone, and waits until it is gone. Its own children learn of it by
    /// themselves, or not: that is what tests look at. Nothing happens to one that has ended.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.process.kill().context("kill a process")?;
        let status = self.process.wait().context("wait for a killed process")?;
        self.has_ended(status);
        Ok(status)
    }

    /// Asks it to end, with SIGTERM.
    ///
    /// # Errors
    /// It has ended already, or the signal cannot be sent.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends a signal: `STOP` and `CONT` make it hang for a while.
    ///
    /// # Errors
    /// It has ended already, or the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended with {status}: there is nobody to signal", self.spec.name);
        }
        kill_process(pid(&self.process), signal).context("send a signal")
    }

    /// A group without members is forgotten at once: its number may soon be somebody else's.
    fn has_ended(&mut self, status: ExitStatus) {
        self.exit = Some(status);
        let group = pid(&self.process);
        if test_kill_process_group(group).is_err() {
            self.groups.retain(|other| *other != group);
            reaper::forget(group);
        }
    }

    fn tail(&self) -> String {
        let last = |log: String| log.lines().rev().take(15).map(|l| format!("  {l}\n")).collect::<Vec<_>>();
        let end = |log: String| last(log).into_iter().rev().collect::<String>();
        let (out, err) = (end(self.stdout()), end(self.stderr()));
        format!("{} (logs in {})\n stdout:\n{out} stderr:\n{err}", self.spec.name, self.folder.display())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Whole groups: a runner must not outlive the test of its worker.
        for group in &self.groups {
            let _ = kill_process_group(*group, Signal::KILL);
        }
        let _ = self.kill();
        for group in &self.groups {
            reaper::forget(*group);
        }
    }
}

fn pid(process: &std::process::Child) -> Pid {
    Pid::from_child(process)
}

fn start(spec: &Spec, folder: &Path) -> Result<std::process::Child> {
    let open = |which: &str| -> Result<File> {
        let path = log(folder, spec, which);
        let file = File::options().create(true).append(true).open(&path);
        file.with_context(|| format!("open {}", path.display()))
    };
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(open(OUT)?).stderr(open(ERR)?);
    for (name, value) in &spec.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let process = command.spawn().with_context(|| format!("start {}", spec.program.display()))?;
    reaper::watch(pid(&process));
    Ok(process)
}

fn log(folder: &Path, spec: &Spec, which: &str) -> PathBuf {
    folder.join(format!("{}.{which}", spec.name))
}

fn length(folder: &Path, spec: &Spec, which: &str) -> usize {
    std::fs::metadata(log(folder, spec, which)).map_or(0, |facts| facts.len() as usize)
}

fn read(path: &Path, from: usize) -> String {
    let all = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(all.get(from..).unwrap_or_default()).into_owned()
}

/// Sends a signal to any process.
///
/// # Errors
/// It is gone, or not ours.
pub fn kill(pid: Pid, signal: Signal) -> Result<()> {
    rustix::process::kill_process(pid, signal).context("send a signal")
}

/// The children of any process, whichever of its threads started them.
///
/// # Errors
/// It is gone.
pub fn children(pid: u32) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).context("list the threads of a process")?;
    for thread in threads {
        // A thread that has ended meanwhile started nothing that lives.
        let Ok(listed) = std::fs::read_to_string(thread?.path().join("children")) else { continue };
        for child in listed.split_whitespace() {
            found.push(Pid::from_raw(child.parse()?).with_context(|| format!("{child} is no process id"))?);
        }
    }
    Ok(found)
}
