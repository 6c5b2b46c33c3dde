//! The state bucket: what it holds of one job, and the few ways to change it. A conditional create is one
//! step here (assumption A1 of the protocol); everything that an actor does between two requests is another.

use super::{ATTEMPTS_MAX, LIVES, STAGES};

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// With a result.
    Done,
    /// As unacceptable.
    Rejected,
    /// Set aside for a person.
    Dead,
    /// By a person, or because the upload is gone.
    Cancelled,
}

/// The manifest of a stage. Attempts are not numbered: what matters of one is whether a manifest names it, a
/// worker holds it, or nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manifest {
    /// Not committed.
    Absent,
    /// Committed, and the artifacts that it names exist.
    Whole,
    /// Committed, and the artifacts have expired or were deleted.
    Hollow,
}

/// What `m/`, `j/` and `a/` hold of one job, and the `DEAD` stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// `j/<upload>/<job>.json`.
    pub record: bool,
    /// `m/<job>/<stage>.json`.
    pub manifests: [Manifest; STAGES],
    /// Artifacts below `a/` that no manifest names and no attempt still works on.
    pub litter: [bool; STAGES],
    /// Attempt markers by the life that they name; more than the limit count as the limit.
    pub markers: [[u8; LIVES]; STAGES],
    /// The highest life begun.
    pub life: u8,
    /// `m/<job>/outcome.<life>.json`.
    pub outcomes: [Option<Ending>; LIVES],
    /// Whether the friendly copies were made.
    pub copied: bool,
    /// Dead letters by the life that they name.
    pub letters: [bool; LIVES],
}

/// What one LIST of `m/<job>/` tells: `ports::JobState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobState {
    /// The current life.
    pub life: u8,
    /// Whether it has an outcome.
    pub ended: bool,
    /// The stages with a manifest, as bits.
    pub committed: u8,
}

impl JobState {
    /// Whether the stage has a manifest.
    pub fn is_committed(self, stage: usize) -> bool {
        self.committed >> stage & 1 == 1
    }

    /// The first uncommitted stage, or the last one if all are committed.
    pub fn next_stage(self) -> usize {
        (0..STAGES).find(|stage| !self.is_committed(*stage)).unwrap_or(STAGES - 1)
    }
}

impl Bucket {
    /// Of an upload that nobody has accepted yet.
    pub fn new() -> Bucket {
        Bucket {
            record: false,
            manifests: [Manifest::Absent; STAGES],
            litter: [false; STAGES],
            markers: [[0; LIVES]; STAGES],
            life: 0,
            outcomes: [None; LIVES],
            copied: false,
            letters: [false; LIVES],
        }
    }

    /// One LIST of `m/<job>/`.
    pub fn state(&self) -> JobState {
        let bit = |stage: usize| u8::from(self.manifests[stage] != Manifest::Absent) << stage;
        JobState { life: self.life, ended: self.outcome().is_some(), committed: (0..STAGES).map(bit).sum() }
    }

    /// The outcome of the current life.
    pub fn outcome(&self) -> Option<Ending> {
        self.outcomes[usize::from(self.life)]
    }

    /// Creates the outcome of a life. True if this call did.
    pub fn decide(&mut self, life: u8, ending: Ending) -> bool {
        let outcome = &mut self.outcomes[usize::from(life)];
        let mine = outcome.is_none();
        outcome.get_or_insert(ending);
        mine
    }

    /// Creates the record of the life after this one. True if this call did.
    pub fn start_life(&mut self, after: u8) -> bool {
        let mine = self.life == after && usize::from(after) + 1 < LIVES;
        self.life += u8::from(mine);
        mine
    }

    /// PUTs an attempt marker.
    pub fn mark(&mut self, stage: usize, life: u8) {
        let markers = &mut self.markers[stage][usize::from(life)];
        *markers = (*markers + 1).min(ATTEMPTS_MAX);
    }

    /// Attempt markers of a stage: of this life, or of all lives where that fault is looked for.
    pub fn marked(&self, stage: usize, life: u8, across_lives: bool) -> u8 {
        let markers = &self.markers[stage];
        if across_lives { markers.iter().sum() } else { markers[usize::from(life)] }
    }

    /// Whether what a stage reads is there.
    pub fn has_input(&self, stage: usize) -> bool {
        stage == 0 || self.manifests[stage - 1] == Manifest::Whole
    }
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket::new()
    }
}
