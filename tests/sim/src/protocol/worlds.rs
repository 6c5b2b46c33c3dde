//! The worlds that are visited, each as small as what it shows allows.

use super::LAST;
use super::world::{Begins, Budget, World};

const NONE: Budget = Budget {
    events_lost: 0,
    events_repeated: 0,
    worker_deaths: 0,
    queue_losses: 0,
    cancels: 0,
    redrives: 0,
    uploads_gone: 0,
    answers_lost: 0,
};

/// The way of one upload: its event lost or repeated, the queue lost once, workers, ingest and sweeps dying.
pub fn upload() -> World {
    World {
        workers: 1,
        begins: Begins::Uploaded,
        budget: Budget { events_lost: 1, events_repeated: 1, worker_deaths: 1, queue_losses: 1, ..NONE },
        ..World::new("one upload")
    }
}

/// Two workers at the same tasks.
pub fn race() -> World {
    World {
        budget: Budget { worker_deaths: 2, queue_losses: 1, ..NONE },
        ..World::new("two workers, one job")
    }
}

/// Two workers whose commits are stored and not answered.
pub fn lost_answers() -> World {
    World {
        sweep: false,
        budget: Budget { worker_deaths: 1, answers_lost: 1, ..NONE },
        ..World::new("answers to commits are lost")
    }
}

/// Two uploads that share two workers.
pub fn two_uploads() -> World {
    World { uploads: 2, sweep: false, ..World::new("two uploads, the queue alone") }
}

/// The queue alone finishes what it has been given, whatever dies.
pub fn queue_alone() -> World {
    World {
        begins: Begins::Uploaded,
        sweep: false,
        budget: Budget { events_repeated: 1, worker_deaths: 2, ..NONE },
        ..World::new("the queue alone")
    }
}

/// An upload that is not acceptable.
pub fn rejected() -> World {
    World { name: "an unacceptable upload", rejected: true, ..upload() }
}

/// An upload that is removed or replaced at any time.
pub fn superseded() -> World {
    World {
        name: "an upload that goes away",
        budget: Budget { uploads_gone: 1, events_repeated: 0, ..upload().budget },
        ..upload()
    }
}

/// Somebody cancels and redrives at any time, and may die between two steps.
pub fn cancel_and_redrive() -> World {
    World {
        workers: 1,
        budget: Budget { worker_deaths: 1, cancels: 1, redrives: 1, ..NONE },
        ..World::new("cancel and redrive")
    }
}

/// The same with two workers at the last stage.
pub fn cancel_and_redrive_at_last_stage() -> World {
    World {
        name: "cancel and redrive at the last stage",
        workers: 2,
        begins: Begins::AtLastStage,
        ..cancel_and_redrive()
    }
}

/// A redrive whose gateway lives needs no sweep.
pub fn redrive_without_sweep() -> World {
    World {
        sweep: false,
        gateway_dies: false,
        budget: Budget { worker_deaths: 1, cancels: 1, redrives: 1, ..NONE },
        ..World::new("redrive without a sweep")
    }
}

/// A task that kills every attempt, redriven twice.
pub fn poison() -> World {
    World {
        poison: Some(0),
        budget: Budget { worker_deaths: 1, cancels: 1, redrives: 2, ..NONE },
        ..World::new("poison")
    }
}

/// The same at the last stage, cured before it is redriven.
pub fn poison_cured() -> World {
    World {
        name: "poison at the last stage, cured",
        begins: Begins::AtLastStage,
        poison: Some(LAST),
        cured: true,
        ..poison()
    }
}

/// Attempts die, grow old and are collected.
pub fn collect() -> World {
    World {
        sweep: false,
        collect: true,
        budget: Budget { worker_deaths: 1, ..NONE },
        ..World::new("collect")
    }
}

/// The same while somebody sweeps.
pub fn collect_and_sweep() -> World {
    World { name: "collect and sweep", workers: 1, sweep: true, ..collect() }
}

/// Markers and intermediates of a job that dies and lives again are collected.
pub fn collect_after_life() -> World {
    World {
        begins: Begins::AtLastStage,
        poison: Some(LAST),
        collect: true,
        expire: true,
        sweep: false,
        gateway_dies: false,
        budget: Budget { redrives: 1, ..NONE },
        ..World::new("collect markers and intermediates")
    }
}

/// All of them, as they ought to be.
pub fn all() -> Vec<World> {
    vec![
        upload(),
        race(),
        lost_answers(),
        two_uploads(),
        queue_alone(),
        rejected(),
        superseded(),
        cancel_and_redrive(),
        cancel_and_redrive_at_last_stage(),
        redrive_without_sweep(),
        poison(),
        poison_cured(),
        collect(),
        collect_and_sweep(),
        collect_after_life(),
    ]
}

/// The same with more of everything; each takes minutes.
pub fn large() -> Vec<World> {
    let two = |world: World| World { workers: 2, ..world };
    let larger = |world: World, name: &'static str, budget: Budget| World { name, budget, ..world };
    let deaths = |world: World, worker_deaths: u8| Budget { worker_deaths, ..world.budget };
    vec![
        World { name: "one upload, two workers", ..two(upload()) },
        World { name: "an upload that goes away, two workers", ..two(superseded()) },
        World { name: "cancel and redrive, two workers", ..two(cancel_and_redrive()) },
        larger(
            cancel_and_redrive_at_last_stage(),
            "cancel and redrive twice at the last stage",
            Budget { worker_deaths: 1, cancels: 2, redrives: 2, ..NONE },
        ),
        larger(
            redrive_without_sweep(),
            "redrive without a sweep, two deaths",
            deaths(redrive_without_sweep(), 2),
        ),
        World { name: "two workers collect, sweep", sweep: true, ..collect() },
        World { name: "three workers, one job", workers: 3, ..race() },
    ]
}
