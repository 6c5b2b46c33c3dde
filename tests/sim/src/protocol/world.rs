//! How large a world is, what may go wrong in it, and what is wrong with its protocol.

/// A fault of the protocol that the properties must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// S7 before S6: the task is acknowledged before its successor is stored.
    AckFirst,
    /// S5 without `If-None-Match`.
    UnconditionalManifest,
    /// Nobody sweeps.
    NoSweep,
    /// The collector takes attempts of any age.
    CollectWithoutGrace,
    /// The sweep does not look at outcomes.
    SweepBlindToOutcomes,
    /// A redrive is content when a message is there already.
    RedriveTakesAlreadyThere,
    /// Outcome `done` before the friendly copies.
    OutcomeBeforeCopies,
    /// The markers of all lives are counted.
    MarkersAcrossLives,
    /// The collector lists `m/` before `a/`.
    ManifestsListedFirst,
    /// A rejected upload's record is written before its outcome.
    RecordBeforeRejection,
    /// The sweep queues nothing for a job whose manifests are all there.
    SweepForgetsCommitted,
    /// A worker that hears of a cancellation acknowledges without looking again.
    CancelAcksUnseen,
    /// A redrive takes its stage from a LIST that is older than the life it begins.
    RedriveReadsStageEarly,
    /// A worker whose own commit is there already, since only the answer was lost, takes it for another's.
    OwnCommitTakenForAnothers,
}

/// Where a job stands when the world begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// The upload is there and its event on its way.
    Uploaded,
    /// The record is there and the first task queued.
    Accepted,
    /// Everything but the last stage is committed, and that is queued.
    AtLastStage,
}

/// How often each thing may go wrong, or be wished. Spent as a world goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Events that the store never sends.
    pub events_lost: u8,
    /// Events that the store sends once more.
    pub events_repeated: u8,
    /// Times that a worker dies in the middle of something, or a port fails it.
    pub worker_deaths: u8,
    /// Times that the queue and its messages are lost altogether.
    pub queue_losses: u8,
    /// Cancellations.
    pub cancels: u8,
    /// Redrives.
    pub redrives: u8,
    /// Uploads that are removed or replaced before they were read.
    pub uploads_gone: u8,
    /// Commits that the store took, or refused, without a word: a 409, a timeout, a 5xx.
    pub answers_lost: u8,
}

/// A world.
#[derive(Clone, Debug)]
pub struct World {
    /// What it shows.
    pub name: &'static str,
    /// Uploads.
    pub uploads: usize,
    /// Workers with a lane each.
    pub workers: usize,
    /// Where its jobs stand at the beginning.
    pub begins: Begins,
    /// What may go wrong or be wished.
    pub budget: Budget,
    /// The stage that no attempt survives.
    pub poison: Option<usize>,
    /// Whether that is mended by the time that a job is redriven.
    pub cured: bool,
    /// Whether the uploads are unacceptable.
    pub rejected: bool,
    /// Whether somebody sweeps.
    pub sweep: bool,
    /// Whether somebody collects, and attempts grow older than the grace.
    pub collect: bool,
    /// Whether the intermediates of ended jobs expire.
    pub expire: bool,
    /// Whether a gateway may die between two steps of a wish.
    pub gateway_dies: bool,
    /// What is wrong with the protocol.
    pub mutant: Option<Mutant>,
}

impl World {
    /// One upload, two workers, one death, a sweep; everything else is well.
    pub fn new(name: &'static str) -> World {
        World {
            name,
            uploads: 1,
            workers: 2,
            begins: Begins::Accepted,
            budget: Budget { worker_deaths: 1, ..Budget::default() },
            poison: None,
            cured: false,
            rejected: false,
            sweep: true,
            collect: false,
            expire: false,
            gateway_dies: true,
            mutant: None,
        }
    }

    /// With this fault in its protocol.
    #[must_use]
    pub fn with(mut self, mutant: Mutant) -> World {
        self.mutant = Some(mutant);
        self
    }

    /// Whether its protocol has this fault.
    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether no attempt at this stage survives in this life.
    pub fn kills(&self, stage: u8, life: u8) -> bool {
        self.poison == Some(usize::from(stage)) && !(self.cured && life > 0)
    }

    /// Whether anybody sweeps.
    pub fn sweeps(&self) -> bool {
        self.sweep && !self.has(Mutant::NoSweep)
    }
}
