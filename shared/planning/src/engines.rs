//! Which code each worker runs, as its batches have told: what was learned of one version says nothing of
//! another.

use crate::key::{FootprintKey, shape_name};
use domain::{BatchEnded, DeviceClass, Stage, Task, WorkerId};
use std::collections::BTreeMap;

/// The code by stage and shape.
type ByShape = BTreeMap<Stage, BTreeMap<String, String>>;

/// All of it.
#[derive(Default)]
pub(crate) struct Engines {
    of_workers: BTreeMap<WorkerId, ByShape>,
    /// The latest that anybody told: what a worker is taken to run until it has told.
    latest: ByShape,
}

impl Engines {
    /// Before anybody has told, it is the last in order of what was learned of.
    pub(crate) fn of_footprints<'a>(keys: impl Iterator<Item = &'a FootprintKey>) -> Engines {
        let mut engines = Engines::default();
        for key in keys {
            let latest = engines.latest.entry(key.stage).or_default();
            latest.insert(key.shape.clone(), key.engine.clone());
        }
        engines
    }

    /// A batch that began with this task has told. Batches in which nothing was computed tell nothing.
    pub(crate) fn hear(&mut self, task: &Task, ended: &BatchEnded) {
        if ended.engine.name.is_empty() {
            return;
        }
        let engine = format!("{} {} {}", ended.engine.name, ended.engine.version, ended.precision);
        let shape = shape_name(task);
        let of_worker = self.of_workers.entry(ended.worker.clone()).or_default();
        for known in [of_worker, &mut self.latest] {
            known.entry(task.stage).or_default().insert(shape.clone(), engine.clone());
        }
    }

    /// A worker is gone; it may come back with other code.
    pub(crate) fn keep_only(&mut self, is_there: impl Fn(&WorkerId) -> bool) {
        self.of_workers.retain(|worker, _| is_there(worker));
    }

    /// Whether this is what is run now, as far as is known.
    pub(crate) fn is_latest(&self, key: &FootprintKey) -> bool {
        let latest = self.latest.get(&key.stage).and_then(|shapes| shapes.get(&key.shape));
        latest.is_none_or(|latest| *latest == key.engine)
    }

    /// The footprint's key of a task on a worker.
    pub(crate) fn key(&self, task: &Task, worker: &WorkerId, class: &DeviceClass) -> FootprintKey {
        let mut key = FootprintKey::of(task, "", class);
        let of = |known: &ByShape| known.get(&key.stage)?.get(&key.shape).cloned();
        let engine = self.of_workers.get(worker).and_then(of).or_else(|| of(&self.latest));
        key.engine = engine.unwrap_or_default();
        key
    }
}
