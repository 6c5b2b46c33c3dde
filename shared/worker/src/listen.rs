//! One group of items with its runner: handed over, then heard until it is over, one way or another.

use crate::frames::{Finish, Say};
use crate::items::Items;
use crate::lane::{ItemEnd, LaneReport, Spent, Work};
use crate::process::{Death, RunnerProcess};
use stage::{File, Input};
use std::io::ErrorKind;
use tokio::sync::watch;

/// Why a runner has the group no longer.
pub(crate) enum Stop {
    /// It is through with the group and waits for the next.
    Done,
    /// An item of the group was cancelled.
    Cancel,
    /// It took or said nothing for too long.
    Stall,
    /// Its end of the pipe is closed: it is dead or dies.
    Gone,
    /// It takes or says something that is none of our words, and may live.
    Garbled(String),
    /// A failed allocation ended it, or it said that there is too little memory.
    OutOfMemory,
    /// The device is broken, as the runner or the device itself says.
    Broken(String),
    /// It could not be started.
    NoRunner(String),
    /// It had died while it was idle.
    Stale,
    /// It died otherwise.
    Crash(String),
}

impl Stop {
    /// What the end of a runner means for its group.
    pub(crate) fn of(death: Death) -> Stop {
        match death {
            Death::OutOfMemory => Stop::OutOfMemory,
            Death::DeviceBroken => Stop::Broken("its runner said so".to_owned()),
            Death::Crashed(error) => Stop::Crash(error),
        }
    }
}

/// Hands the group over.
///
/// # Errors
/// Why it could not be: the runner must not be used any more, it may have half of the batch.
pub(crate) async fn send(runner: &mut RunnerProcess, items: &Items<'_>, work: &mut Work) -> Result<(), Stop> {
    let Work { stage, reservation, inputs, stall, cancelled, broken } = work;
    let inputs: Vec<&Input> = items.group().iter().map(|item| &inputs[*item]).collect();
    let sending = tokio::time::timeout(*stall, runner.send(*stage, *reservation, &inputs));
    let mut sending = std::pin::pin!(sending);
    loop {
        tokio::select! {
            sent = &mut sending => return match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Stop::Garbled(format!("hand the batch over: {error}"))),
                Err(_elapsed) => Err(Stop::Garbled(format!("it did not take its batch in {stall:?}"))),
            },
            Ok(()) = cancelled.changed() => {
                if items.has_any_of(&cancelled.borrow_and_update()) {
                    return Err(Stop::Cancel);
                }
            }
            why = broke(broken) => return Err(Stop::Broken(why)),
        }
    }
}

/// Waits until the device is said to be broken: for ever if nobody can say so any more.
async fn broke(broken: &mut watch::Receiver<Option<String>>) -> String {
    let said = broken.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    match said {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

/// Listens until the group is over, one way or another.
pub(crate) async fn listen(
    runner: &mut RunnerProcess,
    items: &mut Items<'_>,
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
                        if items.has_any_of(&work.cancelled.borrow_and_update()) {
                            return Stop::Cancel;
                        }
                    }
                    why = broke(&mut work.broken) => return Stop::Broken(why),
                }
            }
        };
        let (say, files) = match heard {
            Err(_elapsed) => return Stop::Stall,
            Ok(Ok(None)) => return Stop::Gone,
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => return Stop::Gone,
            Ok(Err(error)) => return Stop::Garbled(format!("hear the runner: {error}")),
            Ok(Ok(Some(heard))) => heard,
        };
        if let Say::BatchDone { peak, warm } = say {
            report.peak = report.peak.max(peak);
            report.warm = warm;
            return Stop::Done;
        }
        if let Some(stop) = take_word(items, say, files).await {
            return stop;
        }
    }
}

/// Passes on what the runner said of one item.
async fn take_word(items: &mut Items<'_>, say: Say, files: Vec<File>) -> Option<Stop> {
    match say {
        Say::Started { item } => items.started(item).await,
        Say::Progress { item, fraction, phase } => items.goes_on(item, fraction, phase).await,
        Say::Finished { item, result, spans, engine, precision, notes } => {
            let how = match result {
                Finish::Files { .. } => ItemEnd::Files { files },
                Finish::Rejected { reason } => ItemEnd::Rejected(reason),
                Finish::Failed { error } => ItemEnd::Failed(error),
                // Its neighbours may have taken what it lacks: it is asked again without them.
                Finish::OutOfMemory { .. } => return Some(Stop::OutOfMemory),
            };
            let spent = Spent { spans, engine, precision, notes, ..Spent::default() };
            items.finished(item, spent, how).await;
        }
        Say::Ready | Say::BatchDone { .. } | Say::Tested { .. } => {}
    }
    None
}
