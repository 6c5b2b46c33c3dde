//! Which code each worker runs, as its batches have told: what was learned of one version says nothing of
//! another.

use crate::footprint::Footprint;
use crate::key::FootprintKey;
use domain::{BatchEnded, DeviceClass, Stage, WorkerId};
use std::collections::BTreeMap;

/// The code by stage and shape.
type ByShape = BTreeMap<Stage, BTreeMap<String, String>>;

/// All of it.
#[derive(Default)]
pub(crate) struct Engines {
    of_workers: BTreeMap<WorkerId, ByShape>,
    /// The latest that anybody told: what a worker is taken to run until it has told.
    latest: ByShape,
    /// Grows when a key may have changed.
    version: u64,
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

    /// A batch of this shape has told. Batches in which nothing was computed tell nothing.
    pub(crate) fn hear(&mut self, stage: Stage, shape: &str, ended: &BatchEnded) {
        if ended.engine.name.is_empty() {
            return;
        }
        let engine = format!("{} {} {}", ended.engine.name, ended.engine.version, ended.precision);
        let of_worker = self.of_workers.entry(ended.worker.clone()).or_default();
        for known in [of_worker, &mut self.latest] {
            let known = known.entry(stage).or_default();
            if known.get(shape) != Some(&engine) {
                known.insert(shape.to_owned(), engine.clone());
                self.version += 1;
            }
        }
    }

    /// A worker is gone; it may come back with other code.
    pub(crate) fn forget(&mut self, worker: &WorkerId) {
        self.of_workers.remove(worker);
    }

    /// Keys that were made at another version may be out of date.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether this is what is run now, as far as is known.
    pub(crate) fn is_latest(&self, key: &FootprintKey) -> bool {
        let latest = self.latest.get(&key.stage).and_then(|shapes| shapes.get(&key.shape));
        latest.is_none_or(|latest| *latest == key.engine)
    }

    /// What was measured of a shape with the code that runs now, on any kind of device.
    pub(crate) fn measured<'a>(
        &'a self,
        footprints: &'a BTreeMap<FootprintKey, Footprint>,
        stage: Stage,
        shape: &str,
    ) -> impl Iterator<Item = &'a Footprint> {
        let key = FootprintKey { shape: shape.to_owned(), ..FootprintKey::first_of(stage) };
        let all = footprints.range(&key..);
        let same = all.take_while(move |(of, _)| of.stage == key.stage && of.shape == key.shape);
        let measured = same.filter(|(of, known)| known.is_measured() && self.is_latest(of));
        measured.map(|(_, known)| known)
    }

    /// The footprint's key of a shape on a worker.
    pub(crate) fn key(
        &self,
        stage: Stage,
        shape: &str,
        (worker, class): (&WorkerId, &DeviceClass),
    ) -> FootprintKey {
        let of = |known: &ByShape| known.get(&stage)?.get(shape).cloned();
        let engine = self.of_workers.get(worker).and_then(of).or_else(|| of(&self.latest));
        let engine = engine.unwrap_or_default();
        FootprintKey { stage, shape: shape.to_owned(), engine, device_class: class.clone() }
    }
}
