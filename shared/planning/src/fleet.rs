//! The workers whose words stand, and what is asked of all of them at once: where a batch may go, how many
//! lanes a stage has, who is warm for it, which word expires next. Kept in step with every change, so that no
//! event walks through the devices.

use crate::device::Standing;
use domain::{Stage, Timestamp, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// What a worker adds to the sums.
#[derive(Clone, Copy, Default)]
struct Share {
    until: Timestamp,
    is_open: bool,
    /// By stage.
    lanes: [usize; Stage::ALL.len()],
    warm: [bool; Stage::ALL.len()],
}

/// All of them.
#[derive(Default)]
pub(crate) struct Fleet {
    workers: BTreeMap<WorkerId, (Standing, Share)>,
    /// Workers with a free lane, or one for which a batch may come already.
    open: BTreeSet<WorkerId>,
    expiries: BTreeSet<(Timestamp, WorkerId)>,
    lanes: [usize; Stage::ALL.len()],
    warm: [usize; Stage::ALL.len()],
}

impl Fleet {
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn contains(&self, worker: &WorkerId) -> bool {
        self.workers.contains_key(worker)
    }

    pub(crate) fn of(&self, worker: &WorkerId) -> Option<&Standing> {
        self.workers.get(worker).map(|(standing, _)| standing)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&WorkerId, &Standing)> {
        self.workers.iter().map(|(worker, (standing, _))| (worker, standing))
    }

    /// Those that host a stage.
    pub(crate) fn hosts(&self, stage: Stage) -> impl Iterator<Item = (&WorkerId, &Standing)> {
        self.all().filter(move |(_, standing)| standing.hosts(stage))
    }

    /// Those with a free lane, or with one for which a batch may come already.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&WorkerId, &Standing)> {
        self.open.iter().filter_map(|worker| Some((worker, self.of(worker)?)))
    }

    pub(crate) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Lanes on which a batch of the stage could ever run, as things are.
    pub(crate) fn lanes(&self, stage: Stage) -> usize {
        self.lanes[stage as usize]
    }

    /// Workers with a loaded runner of the stage.
    pub(crate) fn warm(&self, stage: Stage) -> usize {
        self.warm[stage as usize]
    }

    /// When the next word expires.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(until, _)| *until)
    }

    /// A worker that was not there is.
    pub(crate) fn add(&mut self, worker: WorkerId, standing: Standing) {
        self.expiries.insert((Timestamp::default(), worker.clone()));
        self.workers.insert(worker.clone(), (standing, Share::default()));
        self.change(&worker, |_| {});
    }

    /// Changes what is known of a worker, if it is there.
    pub(crate) fn change<R>(
        &mut self,
        worker: &WorkerId,
        change: impl FnOnce(&mut Standing) -> R,
    ) -> Option<R> {
        let (standing, before) = self.workers.get_mut(worker)?;
        let result = change(standing);
        let after = Share::of(standing);
        let old = std::mem::replace(before, after);
        self.count(worker, old, Some(after));
        Some(result)
    }

    /// A worker is gone.
    pub(crate) fn remove(&mut self, worker: &WorkerId) -> bool {
        let Some((_, share)) = self.workers.remove(worker) else { return false };
        self.count(worker, share, None);
        true
    }

    /// Takes out the workers whose words have expired.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<WorkerId> {
        let mut gone = Vec::new();
        while let Some((_, worker)) = self.expiries.first().filter(|(until, _)| *until <= now) {
            let worker = worker.clone();
            self.remove(&worker);
            gone.push(worker);
        }
        gone
    }

    fn count(&mut self, worker: &WorkerId, old: Share, new: Option<Share>) {
        let now = new.unwrap_or_default();
        if new.is_none() || old.until != now.until {
            self.expiries.remove(&(old.until, worker.clone()));
            if new.is_some() {
                self.expiries.insert((now.until, worker.clone()));
            }
        }
        match (old.is_open, now.is_open) {
            (false, true) => drop(self.open.insert(worker.clone())),
            (true, false) => drop(self.open.remove(worker)),
            _ => {}
        }
        for n in 0..Stage::ALL.len() {
            self.lanes[n] = self.lanes[n] + now.lanes[n] - old.lanes[n];
            self.warm[n] = self.warm[n] + usize::from(now.warm[n]) - usize::from(old.warm[n]);
        }
    }
}

impl Share {
    fn of(standing: &Standing) -> Share {
        Share {
            until: standing.until,
            is_open: standing.lanes_free() > 0 || standing.takes_next(),
            lanes: Stage::ALL.map(|stage| standing.lanes_for(stage)),
            warm: Stage::ALL.map(|stage| standing.hosts(stage) && standing.offer.warm.contains(&stage)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::offer;
    use domain::{BatchId, Bytes, Offer};
    use std::time::Duration;

    /// The sums as a walk through all workers gives them.
    fn check(fleet: &Fleet) {
        for stage in Stage::ALL {
            let lanes: usize = fleet.all().map(|(_, standing)| standing.lanes_for(stage)).sum();
            let warm =
                fleet.hosts(stage).filter(|(_, standing)| standing.offer.warm.contains(&stage)).count();
            assert_eq!((fleet.lanes(stage), fleet.warm(stage)), (lanes, warm), "{stage}");
        }
        let is_open = |standing: &Standing| standing.lanes_free() > 0 || standing.takes_next();
        let open = fleet.all().filter(|(_, standing)| is_open(standing)).map(|(worker, _)| worker);
        assert!(open.eq(fleet.open().map(|(worker, _)| worker)));
        assert_eq!(fleet.next_expiry(), fleet.all().map(|(_, standing)| standing.until).min());
        assert_eq!(fleet.expiries.len(), fleet.len());
    }

    #[test]
    fn the_sums_are_those_of_a_walk_after_every_change() {
        let mut fleet = Fleet::default();
        let put = |fleet: &mut Fleet, at: u64, of: Offer| {
            let (now, worker) = (Timestamp(at), of.worker.clone());
            if fleet.change(&worker, |standing| standing.hear(now, of.clone())).is_none() {
                fleet.add(worker, Standing::new(now, of));
            }
            check(fleet);
        };
        put(&mut fleet, 1_000, offer("a", 16, 1));
        put(&mut fleet, 2_000, Offer { warm: vec![Stage::Shape], ..offer("b", 8, 4) });
        put(&mut fleet, 3_000, Offer { warm: vec![Stage::Texture], ..offer("a", 16, 2) });
        let [a, b] = ["a", "b"].map(|name| name.parse::<WorkerId>().expect("a name"));
        for n in 0..2 {
            fleet.change(&a, |standing| standing.promise(BatchId([n; 16]), Bytes::gib(1)));
            check(&fleet);
        }
        assert_eq!(fleet.open().map(|(worker, _)| worker).collect::<Vec<_>>(), [&b]);
        put(&mut fleet, 2_000, Offer { lanes_free: 0, next_bytes: Some(Bytes::ZERO), ..offer("b", 8, 4) });
        assert!(fleet.any_open());
        assert_eq!(fleet.expire(Timestamp(2_000) + Duration::from_secs(15)), std::slice::from_ref(&b));
        check(&fleet);
        assert!(fleet.remove(&a) && !fleet.remove(&b) && !fleet.contains(&a));
        check(&fleet);
        assert_eq!((fleet.any_open(), fleet.next_expiry()), (false, None));
    }
}
