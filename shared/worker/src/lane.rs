//! A lane: the place where one batch runs at a time. It owns a runner, starts it on demand and survives its
//! death.
//!
//! Whatever kills a runner, the lane keeps everything: it halves the batch on out-of-memory, isolates the
//! item that was being
//! computed on any other death, and goes on with what is not finished. Finished items are never computed
//! again.

use crate::frames::{Finish, Say};
use crate::process::{Death, RunnerCommand, RunnerProcess};
use domain::{Bytes, EngineVersion, SpanTime, Stage};
use stage::{File, Input};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Starts of a runner that dies before it begins an item, in a row, before the batch gives up.
const FRUITLESS_STARTS_MAX: u32 = 3;

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
    /// It is over.
    Ended(ItemEnd),
}

/// How an item ended on its lane.
#[derive(Clone, Debug)]
pub enum ItemEnd {
    /// Its files.
    Files {
        /// What the stage function wrote.
        files: Vec<File>,
        /// Time in nested spans.
        spans: Vec<SpanTime>,
        /// By which code.
        engine: EngineVersion,
        /// When its computation began and ended.
        computed: (Instant, Instant),
    },
    /// The job is to be rejected, for this reason.
    Rejected(String),
    /// It failed; the task is tried again.
    Failed(String),
    /// It does not fit the reservation even alone.
    OutOfMemory,
    /// It was cancelled before it ended.
    Cancelled,
}

/// How the batch went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// The runner's peak above its warm size; the reservation itself when it ran out of it.
    pub peak: Bytes,
    /// Out-of-memory deaths: the number of unfinished items at the first.
    pub out_of_memory_at: Option<u32>,
    /// Other deaths.
    pub deaths: u32,
    /// Said by the runner: the device is broken.
    pub device_broken: bool,
    /// Time spent starting runners.
    pub load: Duration,
}

/// A batch on its lane.
pub struct Work {
    /// The stage of all items.
    pub stage: Stage,
    /// What the batch may take.
    pub reservation: Bytes,
    /// The items.
    pub inputs: Vec<Input>,
    /// Compute without a word for this long is a stall.
    pub stall: Duration,
    /// Items cancelled so far, grown by the worker.
    pub cancelled: watch::Receiver<BTreeSet<usize>>,
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

    /// Runs a batch to the end of every item, or until the device breaks. `heard` gets each item's place and
    /// what became of it.
    pub async fn run(&mut self, mut work: Work, heard: &mpsc::Sender<(usize, ItemSay)>) -> LaneReport {
        let mut report = LaneReport::default();
        let mut open: Vec<usize> = (0..work.inputs.len()).collect();
        let (mut group_max, mut fruitless) = (open.len().max(1), 0);
        while !open.is_empty() && !report.device_broken {
            drop_cancelled(&mut open, &work, heard).await;
            let group: Vec<usize> = open.iter().copied().take(group_max).collect();
            let mut run = Group::new(group, heard);
            let stop = self.run_group(&mut run, &mut work, &mut report).await;
            match stop {
                Stop::Done | Stop::Cancel => fruitless = 0,
                Stop::Stall => {
                    let secs = work.stall.as_secs_f32();
                    let text = format!("no progress for {secs} s; its runner was killed");
                    run.end(run.current.or(run.first_open()), ItemEnd::Failed(text)).await;
                }
                Stop::Death(Death::OutOfMemory) => {
                    let left = run.open().count();
                    report.out_of_memory_at.get_or_insert(left as u32);
                    report.peak = report.peak.max(work.reservation);
                    if left == 1 {
                        run.end(run.first_open(), ItemEnd::OutOfMemory).await;
                    }
                    group_max = (left / 2).max(1);
                }
                Stop::Death(Death::DeviceBroken) => report.device_broken = true,
                Stop::Death(Death::Crashed(error)) => {
                    report.deaths += 1;
                    fruitless = if run.current.is_some() { 0 } else { fruitless + 1 };
                    let guilty: Vec<usize> = if fruitless < FRUITLESS_STARTS_MAX {
                        run.current.into_iter().collect()
                    } else {
                        run.open().collect()
                    };
                    for item in guilty {
                        run.end(Some(item), ItemEnd::Failed(error.clone())).await;
                    }
                }
            }
            open.retain(|item| !run.ended.contains(item));
        }
        let mut rest = Group::new(open.clone(), heard);
        for item in open {
            rest.end(Some(item), ItemEnd::Failed("the device is broken".to_owned())).await;
        }
        report
    }

    /// Sends a group to the runner and listens until it is done, dead, stalled, or one of its items is
    /// cancelled.
    async fn run_group(&mut self, run: &mut Group<'_>, work: &mut Work, report: &mut LaneReport) -> Stop {
        if run.items.is_empty() {
            return Stop::Done;
        }
        let since = Instant::now();
        let started = match self.runner.take() {
            Some(runner) => Ok(runner),
            None => RunnerProcess::start(&self.command).await,
        };
        report.load += since.elapsed();
        let mut runner = match started {
            Ok(runner) => runner,
            Err(error) => return Stop::Death(Death::Crashed(format!("start a runner: {error}"))),
        };
        self.set_pid(runner.pid());
        let inputs: Vec<&Input> = run.items.iter().map(|item| &work.inputs[*item]).collect();
        let stop = match runner.send(work.stage, work.reservation, &inputs).await {
            Ok(()) => listen(&mut runner, run, work, report).await,
            Err(error) => Stop::Death(Death::Crashed(error.to_string())),
        };
        let stop = match stop {
            Stop::Done => {
                self.runner = Some(runner);
                return Stop::Done;
            }
            Stop::Death(_) => Stop::Death(runner.death().await),
            stop => {
                runner.kill().await;
                stop
            }
        };
        self.set_pid(None);
        stop
    }

    fn set_pid(&self, pid: Option<u32>) {
        *self.pid.lock().expect("a plain number") = pid;
    }
}

/// Takes items out whose jobs were cancelled before their turn.
async fn drop_cancelled(open: &mut Vec<usize>, work: &Work, heard: &mpsc::Sender<(usize, ItemSay)>) {
    let cancelled = work.cancelled.borrow().clone();
    let mut run = Group::new(open.clone(), heard);
    for item in open.iter().copied().filter(|item| cancelled.contains(item)) {
        run.end(Some(item), ItemEnd::Cancelled).await;
    }
    open.retain(|item| !cancelled.contains(item));
}

/// Why listening to a runner stopped.
enum Stop {
    Done,
    Cancel,
    Stall,
    Death(Death),
}

/// Items that are with a runner together.
struct Group<'a> {
    items: Vec<usize>,
    ended: BTreeSet<usize>,
    /// The item being computed, and since when.
    current: Option<usize>,
    since: Instant,
    heard: &'a mpsc::Sender<(usize, ItemSay)>,
}

impl<'a> Group<'a> {
    fn new(items: Vec<usize>, heard: &'a mpsc::Sender<(usize, ItemSay)>) -> Group<'a> {
        Group { items, ended: BTreeSet::new(), current: None, since: Instant::now(), heard }
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        self.items.iter().copied().filter(|item| !self.ended.contains(item))
    }

    fn first_open(&self) -> Option<usize> {
        self.open().next()
    }

    async fn say(&self, item: usize, say: ItemSay) {
        // The listener outlives the lane; if it is gone nobody waits for the item.
        let _nobody_listens = self.heard.send((item, say)).await;
    }

    async fn end(&mut self, item: Option<usize>, how: ItemEnd) {
        if let Some(item) = item.filter(|item| !self.ended.contains(item)) {
            self.ended.insert(item);
            self.say(item, ItemSay::Ended(how)).await;
        }
    }
}

/// Listens to a runner until its batch is over, one way or another.
async fn listen(
    runner: &mut RunnerProcess,
    run: &mut Group<'_>,
    work: &mut Work,
    report: &mut LaneReport,
) -> Stop {
    loop {
        let heard = {
            // Not cancel-safe: once begun, a frame is heard to its end.
            let mut hear = std::pin::pin!(tokio::time::timeout(work.stall, runner.hear()));
            loop {
                tokio::select! {
                    heard = &mut hear => break heard,
                    Ok(()) = work.cancelled.changed() => {
                        let cancelled = work.cancelled.borrow_and_update();
                        if run.open().any(|item| cancelled.contains(&item)) {
                            return Stop::Cancel;
                        }
                    }
                }
            }
        };
        match heard {
            Err(_elapsed) => return Stop::Stall,
            Ok(Ok(None)) => return Stop::Death(Death::Crashed("its pipe closed".to_owned())),
            Ok(Err(error)) => return Stop::Death(Death::Crashed(error.to_string())),
            Ok(Ok(Some((Say::BatchDone { peak, .. }, _)))) => {
                report.peak = report.peak.max(peak);
                return Stop::Done;
            }
            Ok(Ok(Some((say, files)))) => take_word(run, say, files, report).await,
        }
    }
}

/// Passes on what the runner said of one item. A place that the group does not have is ignored.
async fn take_word(run: &mut Group<'_>, say: Say, files: Vec<File>, report: &mut LaneReport) {
    match say {
        Say::Started { item } => {
            run.current = run.items.get(item).copied();
            run.since = Instant::now();
            if let Some(item) = run.current {
                run.say(item, ItemSay::Started).await;
            }
        }
        Say::Progress { item, fraction, phase } => {
            if let Some(item) = run.items.get(item).copied() {
                run.say(item, ItemSay::Progress { fraction, phase }).await;
            }
        }
        Say::Finished { item, result, spans, engine } => {
            let computed = (run.since, Instant::now());
            let how = match result {
                Finish::Files { .. } => ItemEnd::Files { files, spans, engine, computed },
                Finish::Rejected { reason } => ItemEnd::Rejected(reason),
                Finish::Failed { error } => ItemEnd::Failed(error),
                Finish::OutOfMemory { .. } => {
                    report.out_of_memory_at.get_or_insert(run.open().count() as u32);
                    ItemEnd::OutOfMemory
                }
            };
            run.current = None;
            let item = run.items.get(item).copied();
            run.end(item, how).await;
        }
        Say::Ready | Say::BatchDone { .. } => {}
    }
}
