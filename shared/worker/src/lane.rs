//! A lane: the place where one batch runs at a time. It owns a runner, starts it on demand and survives its
//! death.
//!
//! Whatever kills a runner, the lane keeps everything: it halves the batch on out-of-memory, isolates the
//! item that was being computed on any other death, and goes on with what is not finished. Finished items are
//! never computed again, and only an item that was being computed is charged for what happened.

use crate::items::Items;
use crate::listen::{self, Stop};
use crate::process::{RunnerCommand, RunnerProcess};
use domain::{Bytes, EngineVersion, PhaseTimes, SpanTime, Stage};
use stage::{File, Input};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Starts of a runner that fail in a row before the batch gives up: nothing is known of its items then.
const FAILED_STARTS_MAX: u32 = 3;

/// What a lane says of one item.
#[derive(Clone, Debug)]
pub enum ItemSay {
    /// Its computation began.
    Started,
    /// It goes on.
    Progress {
        /// 0 to 1.
        fraction: f32,
        /// What it does now.
        phase: String,
    },
    /// How its time on the lane was spent; said right before its end.
    Spent(Spent),
    /// It is over.
    Ended(ItemEnd),
}

/// An item's time on its lane, and what its runner said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Load, wait and compute; each measured by its own scope.
    pub phases: PhaseTimes,
    /// Time in nested spans inside compute.
    pub spans: Vec<SpanTime>,
    /// By which code; empty if it did not come to an end there.
    pub engine: EngineVersion,
    /// In which numeric precision; empty likewise.
    pub precision: String,
    /// What a person should know of its result.
    pub notes: Vec<String>,
    /// When the lane was done with it: from then on it waits for whoever takes its result.
    pub ended: Option<tokio::time::Instant>,
}

/// How an item ended on its lane.
#[derive(Clone, Debug)]
pub enum ItemEnd {
    /// Its files.
    Files {
        /// What the stage function wrote.
        files: Vec<File>,
    },
    /// The job is to be rejected, for this reason.
    Rejected(String),
    /// It failed; the task is tried again.
    Failed(String),
    /// It does not fit the reservation even alone.
    OutOfMemory,
    /// It was cancelled before it ended.
    Cancelled,
    /// The lane became unusable before it was computed: nothing speaks against the item.
    NotRun,
}

/// How the batch went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// The runner's peak above its warm size; the reservation itself when it ran out of it.
    pub peak: Bytes,
    /// The runner's size before its last batch; zero when it did not come to an end.
    pub warm: Bytes,
    /// Out-of-memory deaths: the number of items that were with the runner at the first, finished or not.
    pub out_of_memory_at: Option<u32>,
    /// Other deaths.
    pub deaths: u32,
    /// Said by the runner, or by the device itself: it is broken.
    pub device_broken: bool,
    /// No runner could be started.
    pub no_runner: bool,
    /// Time spent starting runners.
    pub load: Duration,
}

impl LaneReport {
    /// Nothing may run here before a runner has started again.
    pub fn is_unusable(&self) -> bool {
        self.device_broken || self.no_runner
    }
}

/// A batch on its lane.
pub struct Work {
    /// The stage of all items.
    pub stage: Stage,
    /// What the batch may take.
    pub reservation: Bytes,
    /// The items.
    pub inputs: Vec<Input>,
    /// A runner that takes nothing and says nothing for this long is stalled.
    pub stall: Duration,
    /// Items cancelled so far, grown by the worker.
    pub cancelled: watch::Receiver<BTreeSet<usize>>,
    /// Why the device is broken, once it is: then the runner ends, and what is left is not run.
    pub broken: watch::Receiver<Option<String>>,
}

/// A place where one batch runs at a time.
pub struct Lane {
    command: RunnerCommand,
    runner: Option<RunnerProcess>,
    pid: Arc<Mutex<Option<u32>>>,
}

impl Lane {
    /// Without a runner yet.
    pub fn new(command: RunnerCommand) -> Lane {
        Lane { command, runner: None, pid: Arc::default() }
    }

    /// The runner's process id, if there is one.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.lock().expect("a plain number")
    }

    /// Starts the runner before it is needed.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time.
    pub async fn warm_up(&mut self) -> std::io::Result<()> {
        if self.runner.is_none() {
            let runner = RunnerProcess::start(&self.command).await?;
            self.set_pid(runner.pid());
            self.runner = Some(runner);
        }
        Ok(())
    }

    /// Where the runner's process id stands while the lane is in use elsewhere.
    pub(crate) fn pid_cell(&self) -> Arc<Mutex<Option<u32>>> {
        self.pid.clone()
    }

    /// Ends the runner and gives its memory back.
    pub async fn rest(&mut self) {
        if let Some(runner) = self.runner.take() {
            runner.kill().await;
        }
        self.set_pid(None);
    }

    /// Runs a batch to the end of every item, or until no runner may run here. `heard` gets each item's place
    /// and what became of it.
    pub async fn run(&mut self, mut work: Work, heard: &mpsc::Sender<(usize, ItemSay)>) -> LaneReport {
        let mut report = LaneReport::default();
        let mut items = Items::new(work.inputs.len(), heard);
        let (mut group_max, mut failed_starts) = (work.inputs.len().max(1), 0);
        loop {
            let cancelled = work.cancelled.borrow_and_update().clone();
            items.end_all(|item| cancelled.contains(&item), &ItemEnd::Cancelled).await;
            report.device_broken |= work.broken.borrow().is_some();
            if items.is_empty() || report.is_unusable() {
                break;
            }
            items.begin_group(group_max);
            let stop = self.run_group(&mut items, &mut work, &mut report).await;
            items.leave_group();
            failed_starts = if matches!(stop, Stop::NoRunner(_)) { failed_starts + 1 } else { 0 };
            report.no_runner = failed_starts >= FAILED_STARTS_MAX;
            group_max = judge(stop, &mut items, &work, &mut report).await.unwrap_or(group_max);
        }
        items.end_all(|_| true, &ItemEnd::NotRun).await;
        report
    }

    /// Sends a group to the runner and listens until it is done, dead, stalled, or one of its items is
    /// cancelled.
    async fn run_group(&mut self, items: &mut Items<'_>, work: &mut Work, report: &mut LaneReport) -> Stop {
        let since = Instant::now();
        let idle = self.runner.take();
        let was_idle = idle.is_some();
        let started = match idle {
            Some(runner) => Ok(runner),
            None => RunnerProcess::start(&self.command).await,
        };
        report.load += since.elapsed();
        let mut runner = match started {
            Ok(runner) => runner,
            Err(error) => return Stop::NoRunner(format!("start a runner: {error}")),
        };
        self.set_pid(runner.pid());
        let stop = match listen::send(&mut runner, items, work).await {
            Ok(()) => listen::listen(&mut runner, items, work, report).await,
            Err(stop) => stop,
        };
        let stop = match stop {
            Stop::Done => {
                self.runner = Some(runner);
                return Stop::Done;
            }
            Stop::Gone => Stop::of(runner.death().await),
            Stop::Garbled(error) => match Stop::of(runner.put_down().await) {
                Stop::Crash(end) => Stop::Crash(format!("{error}; {end}")),
                stop => stop,
            },
            stop => {
                runner.kill().await;
                stop
            }
        };
        self.set_pid(None);
        match stop {
            // It may have died while it was idle: that says nothing about this batch.
            Stop::Crash(_) if was_idle && !items.any_started() => Stop::Stale,
            stop => stop,
        }
    }

    fn set_pid(&self, pid: Option<u32>) {
        *self.pid.lock().expect("a plain number") = pid;
    }
}

/// Whom the end of a group is charged to. Gives the size of the next group if it changes.
async fn judge(stop: Stop, items: &mut Items<'_>, work: &Work, report: &mut LaneReport) -> Option<usize> {
    match stop {
        Stop::Done => {
            let silent = ItemEnd::Failed("its stage function never said what became of it".to_owned());
            items.end_group(&silent).await;
        }
        Stop::Cancel | Stop::Stale | Stop::Gone => {}
        Stop::Stall => {
            let secs = work.stall.as_secs_f32();
            return charge(items, format!("no progress for {secs} s; its runner was killed")).await;
        }
        Stop::OutOfMemory => {
            let left = items.left();
            report.out_of_memory_at.get_or_insert(items.group().len() as u32);
            report.peak = report.peak.max(work.reservation);
            if items.is_alone() {
                items.end(items.first(), ItemEnd::OutOfMemory).await;
            }
            return Some((left / 2).max(1));
        }
        Stop::Broken(why) => {
            report.device_broken = true;
            let text = format!("the device broke while it was computed: {why}");
            items.end(items.current(), ItemEnd::Failed(text)).await;
        }
        Stop::NoRunner(error) => tracing::warn!(%error, "no runner"),
        Stop::Crash(error) | Stop::Garbled(error) => {
            report.deaths += 1;
            return charge(items, error).await;
        }
    }
    None
}

/// Charges the item that was being computed. If none was, nobody knows which of the group it is: the next
/// group is half as large, until one item is alone with its runner.
async fn charge(items: &mut Items<'_>, error: String) -> Option<usize> {
    let alone = items.first().filter(|_| items.is_alone());
    let Some(item) = items.current().or(alone) else { return Some((items.left() / 2).max(1)) };
    items.end(Some(item), ItemEnd::Failed(error)).await;
    None
}
