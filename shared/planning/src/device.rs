//! A worker with its word and what it was promised since: what its device can give now, and at best.

use crate::held::ShapeNo;
use crate::key::{FootprintKey, RESERVATION_MIN};
use domain::{BatchId, Bytes, Offer, Reading, Stage, Timestamp};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// The strangers' growth counts half after this long.
const DRIFT_HALVES: Duration = Duration::from_secs(30);
/// A reading older than the one that is known is out of date, unless it is older by more than this: then the
/// worker's clock was set back.
const CLOCK_SET_BACK: Duration = Duration::from_secs(2);
/// A worker that refused so often since its last word is asked again only after the next one.
const REFUSALS_MAX: u32 = 2;

/// A word stands no longer than this, whatever it says: a worker that is gone is not waited for.
const WORD_STANDS_MAX: Duration = Duration::from_secs(60);
/// No device has more places.
const LANES_MAX: u32 = 1024;

/// A worker's standing word.
pub(crate) struct Standing {
    pub(crate) offer: Offer,
    /// When the word expires.
    pub(crate) until: Timestamp,
    /// Batches that the word does not know of yet.
    promises: BTreeMap<BatchId, Bytes>,
    /// Recent growth of the strangers: the decayed maximum.
    drift: Bytes,
    read_at: Timestamp,
    refusals: u32,
    /// What the worker holds besides idle runners while nothing runs there.
    idle_own: Bytes,
    keys: RefCell<Keys>,
}

/// Keys of footprints, made once, with the version of the engines for which they hold.
#[derive(Default)]
struct Keys {
    version: u64,
    of: BTreeMap<(Stage, ShapeNo), FootprintKey>,
}

impl Standing {
    pub(crate) fn new(now: Timestamp, offer: Offer) -> Standing {
        let (until, offer) = (stands_until(now, &offer), believed(offer));
        let (promises, idle_own) = (BTreeMap::new(), idle_own(&offer).unwrap_or_default());
        let keys = RefCell::default();
        Standing { offer, until, promises, drift: Bytes::ZERO, read_at: now, refusals: 0, idle_own, keys }
    }

    /// A newer word.
    pub(crate) fn hear(&mut self, now: Timestamp, offer: Offer) {
        // One that was given before the last refusal and heard after it tells nothing new of the memory.
        if self.read(now, offer.reading) {
            self.refusals = 0;
        }
        let offer = believed(offer);
        self.until = stands_until(now, &offer);
        self.idle_own = idle_own(&offer).unwrap_or(self.idle_own);
        self.offer = Offer { reading: self.offer.reading, ..offer };
    }

    /// Takes a reading in, unless a newer one is known. True if it did.
    fn read(&mut self, now: Timestamp, reading: Reading) -> bool {
        let known_at = self.offer.reading.read_at;
        if reading.read_at < known_at && known_at.since(reading.read_at) < CLOCK_SET_BACK {
            return false;
        }
        let growth = reading.strangers().saturating_sub(self.offer.reading.strangers());
        let halvings = now.since(self.read_at).as_secs_f64() / DRIFT_HALVES.as_secs_f64();
        self.drift = growth.max(self.drift.scale(0.5f64.powf(halvings)));
        self.read_at = now;
        self.offer.reading = reading;
        true
    }

    /// What `look` finds by the key of a shape here, which `make` makes; `version` is that of the engines.
    pub(crate) fn with_key<R>(
        &self,
        shape: (Stage, ShapeNo),
        version: u64,
        make: impl FnOnce() -> FootprintKey,
        look: impl FnOnce(&FootprintKey) -> R,
    ) -> R {
        let mut keys = self.keys.borrow_mut();
        if keys.version != version {
            *keys = Keys { version, ..Keys::default() };
        }
        look(keys.of.entry(shape).or_insert_with(make))
    }

    /// What was promised that the word does not know of.
    pub(crate) fn keep_promises(&mut self, promises: BTreeMap<BatchId, Bytes>) {
        self.promises = promises;
    }

    /// A batch is promised bytes and a lane.
    pub(crate) fn promise(&mut self, batch: BatchId, bytes: Bytes) {
        self.promises.insert(batch, bytes);
    }

    /// The batch is over, or was never begun.
    pub(crate) fn forget(&mut self, batch: BatchId) {
        self.promises.remove(&batch);
    }

    /// It refused, and saw this. For lack of memory it may be asked again, for less.
    pub(crate) fn refused(&mut self, now: Timestamp, reading: Reading, for_memory: bool) {
        self.read(now, reading);
        self.refusals = if for_memory { self.refusals + 1 } else { REFUSALS_MAX };
    }

    fn promised(&self) -> Bytes {
        self.offer.reserved_bytes + self.promises.values().copied().sum()
    }

    pub(crate) fn hosts(&self, stage: Stage) -> bool {
        self.offer.stages.contains(&stage)
    }

    pub(crate) fn lanes_free(&self) -> usize {
        if self.refusals >= REFUSALS_MAX {
            return 0;
        }
        (self.offer.lanes_free as usize).saturating_sub(self.promises.len())
    }

    /// Nothing runs there and nothing is promised.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes_free() == self.offer.lanes as usize
    }

    /// What one more batch may take now.
    pub(crate) fn to_give(&self) -> Bytes {
        let Offer { reading, device_class, .. } = &self.offer;
        reading.to_give(device_class, self.drift, self.promised())
    }

    /// Whether one more batch may come for the lane that is free next. As long as a batch is under way of
    /// which its word knows nothing, it may not.
    pub(crate) fn takes_next(&self) -> bool {
        self.offer.next_bytes.is_some()
            && self.offer.lanes_free == 0
            && self.promises.is_empty()
            && self.refusals < REFUSALS_MAX
    }

    /// What the next batch may take: on a free lane, or on the one that is free next.
    pub(crate) fn next_gives(&self) -> Bytes {
        let Offer { reading, device_class, next_bytes, .. } = &self.offer;
        match next_bytes {
            Some(over) if self.takes_next() => {
                reading.to_give_after(device_class, self.drift, self.promised(), *over)
            }
            _ => self.to_give(),
        }
    }

    /// What a batch could take if it were alone there now.
    pub(crate) fn whole(&self) -> Bytes {
        let Offer { reading, device_class, .. } = &self.offer;
        let idle = Reading { own_bytes: reading.reclaimable_bytes, ..*reading };
        let strangers = Reading { used_bytes: reading.strangers() + idle.own_bytes, ..idle };
        strangers.to_give(device_class, self.drift, self.idle_own)
    }

    /// What the device could give if neither we nor strangers held anything.
    pub(crate) fn capacity(&self) -> Bytes {
        let Offer { reading, device_class, .. } = &self.offer;
        let empty = Reading { total_bytes: reading.total_bytes, ..Reading::default() };
        empty.budget(device_class, Bytes::ZERO)
    }

    /// Lanes on which a batch of the stage could ever run, as things are.
    pub(crate) fn lanes_for(&self, stage: Stage) -> usize {
        if self.hosts(stage) && self.whole() >= RESERVATION_MIN { self.offer.lanes as usize } else { 0 }
    }
}

fn stands_until(now: Timestamp, offer: &Offer) -> Timestamp {
    now + Duration::from_millis(offer.valid_for_ms).min(WORD_STANDS_MAX)
}

/// What of a word can be true.
fn believed(offer: Offer) -> Offer {
    let lanes = offer.lanes.min(LANES_MAX);
    Offer { lanes, lanes_free: offer.lanes_free.min(lanes), ..offer }
}

/// What a worker holds besides idle runners, told by a word that names no batch.
fn idle_own(Offer { reading, running, reserved_bytes, .. }: &Offer) -> Option<Bytes> {
    let own = reading.own_bytes.min(reading.used_bytes).saturating_sub(reading.reclaimable_bytes);
    running.is_empty().then_some(own.max(*reserved_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::offer;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn standing(gib: u64) -> Standing {
        Standing::new(NOW, offer("worker", gib, 2))
    }

    fn strangers(gib: u64, used: u64) -> Reading {
        Reading { total_bytes: Bytes::gib(gib), used_bytes: Bytes::gib(used), ..Reading::default() }
    }

    #[test]
    fn the_target_is_85_percent_less_the_margin_and_less_what_is_promised() {
        let mut standing = standing(100);
        let margin = Bytes::gib(100).scale(0.05);
        let budget = Bytes::gib(100).scale(0.85).saturating_sub(margin);
        assert_eq!(standing.to_give(), budget);
        assert_eq!((standing.whole(), standing.capacity()), (budget, budget));
        standing.promise(BatchId([1; 16]), Bytes::gib(30));
        assert_eq!(standing.to_give(), budget.saturating_sub(Bytes::gib(30)));
        assert_eq!((standing.whole(), standing.lanes_free(), standing.is_idle()), (budget, 1, false));
        standing.forget(BatchId([1; 16]));
        assert!(standing.is_idle());
    }

    #[test]
    fn the_growth_of_strangers_is_expected_again_and_halves_in_time() {
        let mut standing = standing(100);
        standing.hear(NOW, Offer { reading: strangers(100, 40), ..offer("worker", 100, 2) });
        let margin = Bytes::gib(5);
        assert_eq!(standing.to_give(), Bytes::gib(100 - 40 - 40).saturating_sub(margin));
        let later = NOW + DRIFT_HALVES;
        standing.hear(later, Offer { reading: strangers(100, 40), ..offer("worker", 100, 2) });
        assert_eq!(standing.to_give(), Bytes::gib(100 - 40 - 20).saturating_sub(margin));
        assert_eq!(standing.capacity(), Bytes::gib(80));
    }

    #[test]
    fn who_refuses_for_memory_is_asked_once_more_and_then_after_its_next_word() {
        let mut standing = standing(100);
        standing.refused(NOW, strangers(100, 50), true);
        assert_eq!(standing.lanes_free(), 2);
        standing.refused(NOW, strangers(100, 50), true);
        assert_eq!(standing.lanes_free(), 0);
        standing.hear(NOW, offer("worker", 100, 2));
        assert_eq!(standing.lanes_free(), 2);
        standing.refused(NOW, strangers(100, 50), false);
        assert_eq!(standing.lanes_free(), 0);
    }

    #[test]
    fn a_reading_that_was_overtaken_by_a_newer_one_is_ignored_unless_the_clock_was_set_back() {
        let at = |used: u64, ms: u64| Reading { read_at: Timestamp(ms), ..strangers(100, used) };
        let mut standing = standing(100);
        standing.refused(NOW, at(50, 10_000), true);
        standing.hear(NOW, Offer { reading: at(0, 9_900), ..offer("worker", 100, 2) });
        assert_eq!(standing.offer.reading, at(50, 10_000), "given before the refusal, heard after it");
        standing.refused(NOW, at(60, 9_950), true);
        assert_eq!((standing.offer.reading, standing.lanes_free()), (at(50, 10_000), 0));
        standing.hear(NOW, Offer { reading: at(20, 3_000), ..offer("worker", 100, 2) });
        assert_eq!((standing.offer.reading, standing.lanes_free()), (at(20, 3_000), 2));
    }

    #[test]
    fn what_the_worker_itself_holds_is_not_there_for_a_batch_that_is_alone() {
        let mut standing = standing(100);
        let reading = |own: u64| Reading { own_bytes: Bytes::gib(own), ..strangers(100, own) };
        standing.hear(NOW, Offer { reading: reading(1), ..offer("worker", 100, 2) });
        assert_eq!((standing.whole(), standing.to_give()), (Bytes::gib(79), Bytes::gib(79)));
        let running = vec![BatchId([1; 16])];
        let word = Offer { reading: reading(31), running, ..offer("worker", 100, 2) };
        standing.hear(NOW, word);
        assert_eq!((standing.whole(), standing.to_give()), (Bytes::gib(79), Bytes::gib(49)));
    }

    #[test]
    fn a_batch_may_come_for_the_lane_that_is_free_next_with_what_is_given_back_there() {
        let mut standing = standing(100);
        let whole = standing.to_give();
        let busy = |next: Option<Bytes>| Offer {
            lanes_free: 0,
            reserved_bytes: Bytes::gib(70),
            running: vec![BatchId([1; 16]), BatchId([2; 16])],
            next_bytes: next,
            ..offer("worker", 100, 2)
        };
        standing.hear(NOW, busy(None));
        assert!(!standing.takes_next() && standing.lanes_free() == 0);
        standing.hear(NOW, busy(Some(Bytes::gib(30))));
        assert!(standing.takes_next() && standing.lanes_free() == 0);
        assert_eq!(standing.next_gives(), whole.saturating_sub(Bytes::gib(40)));
        standing.promise(BatchId([3; 16]), Bytes::gib(5));
        assert!(!standing.takes_next(), "one at a time");
        standing.forget(BatchId([3; 16]));
        assert!(standing.takes_next());
        standing.refused(NOW, standing.offer.reading, false);
        assert!(!standing.takes_next());
        standing.hear(NOW, Offer { lanes_free: 1, ..busy(Some(Bytes::gib(30))) });
        assert!(!standing.takes_next() && standing.lanes_free() == 1, "a free lane comes first");
    }

    #[test]
    fn a_device_full_of_strangers_has_no_lanes_for_anybody() {
        let mut standing = standing(8);
        assert_eq!((standing.lanes_for(Stage::Shape), standing.lanes_for(Stage::Export)), (2, 0));
        standing.hear(NOW, Offer { reading: strangers(8, 8), ..offer("worker", 8, 2) });
        assert_eq!(standing.lanes_for(Stage::Shape), 0);
    }
}
