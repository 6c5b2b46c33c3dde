//! Which workers there are to be.

use crate::recording::Recording;
use domain::{Bytes, Stage};
use serde::Serialize;
use std::collections::BTreeSet;

/// Memory of a worker of which nothing is said: no batch is cut by it.
const PLENTY: Bytes = Bytes::gib(1024);
/// Most workers and most lanes: those of a thousand devices.
const MANY: u32 = 1_000;

/// Why a set-up cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetUp {
    /// A word that is none.
    #[error(
        "worker {0:?}: write STAGES:LANES[@MEMORY][xCOUNT], as all:2, shape+texture:1@24GiB or shape:1x3"
    )]
    Word(String),
    /// A stage that nobody runs.
    #[error("no worker runs {0}, which the recorded jobs went through; add one, as {0}:1")]
    NobodyRuns(Stage),
}

/// Workers that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerKind {
    /// What they run.
    pub stages: BTreeSet<Stage>,
    /// Lanes of each.
    pub lanes: u32,
    /// Memory of each device.
    pub memory: Bytes,
    /// How many there are.
    pub count: u32,
}

impl WorkerKind {
    /// One worker for these stages with so many lanes and plenty of memory.
    pub fn new(stages: impl IntoIterator<Item = Stage>, lanes: u32) -> WorkerKind {
        WorkerKind { stages: stages.into_iter().collect(), lanes, memory: PLENTY, count: 1 }
    }
}

impl std::str::FromStr for WorkerKind {
    type Err = BadSetUp;

    /// `STAGES:LANES[@MEMORY][xCOUNT]`.
    fn from_str(text: &str) -> Result<WorkerKind, BadSetUp> {
        let bad = || BadSetUp::Word(text.to_owned());
        let number = |word: &str| word.parse().ok().filter(|n| (1..=MANY).contains(n)).ok_or_else(bad);
        let (stages, rest) = text.split_once(':').ok_or_else(bad)?;
        let (rest, count) = match rest.rsplit_once('x') {
            Some((rest, count)) => (rest, number(count)?),
            None => (rest, 1),
        };
        let (lanes, memory) = match rest.split_once('@') {
            Some((lanes, memory)) => (lanes, Bytes::parse(memory).ok_or_else(bad)?),
            None => (rest, PLENTY),
        };
        let stages = match stages {
            "all" => Stage::ALL.into(),
            some => {
                some.split('+').map(|stage| stage.parse().map_err(|_| bad())).collect::<Result<_, _>>()?
            }
        };
        Ok(WorkerKind { stages, lanes: number(lanes)?, memory, count })
    }
}

/// A set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetUp {
    /// All workers.
    pub workers: Vec<WorkerKind>,
    /// The largest batch; the planner's own choice below it.
    pub batch_max: usize,
}

impl SetUp {
    /// Looks at whether every stage of the recording is run by somebody.
    ///
    /// # Errors
    /// One is not.
    pub fn checked(self, recording: &Recording) -> Result<SetUp, BadSetUp> {
        let runs = |stage: Stage| self.workers.iter().any(|kind| kind.stages.contains(&stage));
        match recording.stages().find(|stage| !runs(*stage)) {
            Some(stage) => Err(BadSetUp::NobodyRuns(stage)),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_written_in_one_word() {
        let check = |word: &str, stages: usize, lanes: u32, memory: Bytes, count: u32| {
            let kind: WorkerKind = word.parse().expect(word);
            assert_eq!(
                (kind.stages.len(), kind.lanes, kind.memory, kind.count),
                (stages, lanes, memory, count)
            );
        };
        check("all:2", 4, 2, PLENTY, 1);
        check("shape:1x3", 1, 1, PLENTY, 3);
        check("shape+texture:4@24GiB", 2, 4, Bytes::gib(24), 1);
        check("export:1@2GiBx2", 1, 1, Bytes::gib(2), 2);
        for bad in ["", "all", "all:", "all:0", "all:1001", "paint:1", "all:1@much", "all:1x0", "all:1@2GiBx"]
        {
            assert_eq!(bad.parse::<WorkerKind>(), Err(BadSetUp::Word(bad.to_owned())));
        }
    }
}
