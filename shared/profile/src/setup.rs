//! Who could work on what: lanes by kind of device and the stages that they serve. From workers' offers, from
//! board `devices`, or guessed from timings alone. Read by `capacity`; it measures nothing.

use crate::Window;
use domain::{DeviceClass, DeviceEntry, Offer, Stage};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Lanes that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pool {
    /// On this kind of device.
    pub device_class: DeviceClass,
    /// For these stages.
    pub stages: BTreeSet<Stage>,
    /// Of so many workers.
    pub workers: u32,
    /// Lanes of all of them.
    pub lanes: u32,
}

/// All lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Setup {
    /// By kind of device and stages.
    pub pools: Vec<Pool>,
}

impl Setup {
    /// From the standing words of workers; one offer per worker.
    pub fn from_offers<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> Setup {
        let facts = |offer: &'a Offer| (&offer.device_class, stages(&offer.stages), offer.lanes);
        Setup::collect(offers.into_iter().map(facts))
    }

    /// From board `devices`. One that is not healthy has no lanes.
    pub fn from_devices<'a>(devices: impl IntoIterator<Item = &'a DeviceEntry>) -> Setup {
        let facts = |of: &'a DeviceEntry| (&of.device_class, stages(&of.stages), of.lanes);
        Setup::collect(devices.into_iter().filter(|of| of.health.is_healthy()).map(facts))
    }

    /// From timings alone: the workers that were seen, each with the stages that it ran and as many lanes as
    /// it was busy on average, at least one. A guess from below, for when nobody can say.
    pub fn seen(window: &Window) -> Setup {
        let window = window.closed();
        let span_us = window.span().as_micros().max(1) as f64;
        let facts = window.workers().map(|of| {
            // A worker that was busy 2.02 lanes' time had two: the window's edges are not sharp.
            let lanes = (of.busy_us as f64 / span_us - 0.05).ceil().max(1.0);
            (&of.device_class, of.stages.clone(), lanes as u32)
        });
        Setup::collect(facts)
    }

    fn collect<'a>(facts: impl Iterator<Item = (&'a DeviceClass, BTreeSet<Stage>, u32)>) -> Setup {
        let mut pools: BTreeMap<(&DeviceClass, BTreeSet<Stage>), (u32, u32)> = BTreeMap::new();
        for (class, stages, lanes) in facts.filter(|(_, stages, lanes)| !stages.is_empty() && *lanes > 0) {
            let (workers, all) = pools.entry((class, stages)).or_default();
            *workers = workers.saturating_add(1);
            *all = all.saturating_add(lanes);
        }
        let pool = |((class, stages), (workers, lanes)): ((&DeviceClass, _), _)| Pool {
            device_class: class.clone(),
            stages,
            workers,
            lanes,
        };
        Setup { pools: pools.into_iter().map(pool).collect() }
    }

    /// Lanes that serve a stage, alone or among others.
    pub fn lanes(&self, stage: Stage) -> u32 {
        let serving = self.pools.iter().filter(|pool| pool.stages.contains(&stage));
        serving.fold(0, |sum, pool| sum.saturating_add(pool.lanes))
    }

    /// The same and lanes for one stage besides.
    pub(crate) fn with(&self, stage: Stage, device_class: DeviceClass, lanes: u32) -> Setup {
        let mut setup = self.clone();
        setup.pools.push(Pool { device_class, stages: BTreeSet::from([stage]), workers: 1, lanes });
        setup
    }
}

fn stages(list: &[Stage]) -> BTreeSet<Stage> {
    list.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{timing, window};
    use domain::{Bytes, DeviceHealth, HealthState, Reading, Timing};

    fn entry(worker: &str, class: &str, lanes: u32, stages: &[Stage]) -> DeviceEntry {
        DeviceEntry {
            worker: worker.parse().expect("a name"),
            device: worker.parse().expect("a name"),
            device_class: DeviceClass(class.to_owned()),
            reading: Reading::default(),
            lanes,
            stages: stages.to_vec(),
            resident_bytes: Bytes::ZERO,
            running: Vec::new(),
            health: DeviceHealth::default(),
            activity: None,
        }
    }

    #[test]
    fn workers_that_are_alike_make_one_pool() {
        let health = DeviceHealth { state: HealthState::Dead, ..DeviceHealth::default() };
        let entries = [
            DeviceEntry { health, ..entry("e", "gpu", 1, &[Stage::Shape, Stage::Texture]) },
            entry("a", "gpu", 1, &[Stage::Shape, Stage::Texture]),
            entry("b", "gpu", 1, &[Stage::Texture, Stage::Shape]),
            entry("c", "host", 4, &[Stage::Export]),
            entry("d", "host", 0, &[Stage::Export]),
        ];
        let setup = Setup::from_devices(&entries);
        let brief: Vec<_> = setup.pools.iter().map(|of| (of.workers, of.lanes, of.stages.len())).collect();
        assert_eq!(brief, [(2, 2, 2), (1, 4, 1)]);
        assert_eq!((setup.lanes(Stage::Shape), setup.lanes(Stage::Preprocess)), (2, 0));
    }

    #[test]
    fn lanes_are_guessed_from_how_busy_workers_were() {
        let at = |n: u64, ms: u64| Timing { batch_items: 1, ..timing(n, Stage::Shape, ms) };
        let check = |timings: &[Timing], expect: u32| {
            assert_eq!(Setup::seen(&window(timings)).lanes(Stage::Shape), expect);
        };
        check(&[at(0, 1_000), at(1, 1_000), at(2, 1_000)], 1);
        check(&[at(0, 10), at(9, 10)], 1);
        let two: Vec<Timing> = (0..20).map(|n| at(n / 2, 1_000)).collect();
        check(&two, 2);
        check(&[], 0);
    }
}
