//! What is kept of a footprint: the latest measurements of each of the latest sizes, and how often what was
//! predicted held. All else follows from it.
//!
//! It comes back from a board that others can write, so that what cannot be is dropped when it is read.

use domain::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Measurements kept of one size: the latest.
pub(crate) const SEEN_MAX: usize = 16;
/// Sizes of which measurements are kept: the latest seen.
pub(crate) const SIZES_MAX: usize = 16;
/// A judgement of a prediction counts half after about 70 more.
const JUDGED_DECAY: f64 = 0.99;
/// No device has more.
const PEAK_MAX: Bytes = Bytes::gib(16 * 1024);
/// No batch takes longer than a day: its runner is killed long before.
const MS_MAX: f64 = 24.0 * 3_600_000.0;

/// A measured batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) peak: Bytes,
    pub(crate) ms: f64,
}

impl Seen {
    /// Whether a real batch could have been measured so.
    pub(crate) fn is_possible(&self) -> bool {
        self.peak <= PEAK_MAX && (0.0..=MS_MAX).contains(&self.ms)
    }
}

/// What was measured of one size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OfSize {
    pub(crate) seen: VecDeque<Seen>,
    /// The number of the last measurement.
    last: u64,
}

/// Predictions that a measurement was held against, and those of them that held; both fade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    judged: f64,
    held: f64,
}

impl Judged {
    fn add(&mut self, holds: bool) {
        self.judged = self.judged * JUDGED_DECAY + 1.0;
        self.held = self.held * JUDGED_DECAY + f64::from(u8::from(holds));
    }

    /// The share that held; one half while there were none.
    pub(crate) fn share(&self) -> f64 {
        (self.held + 1.0) / (self.judged + 2.0)
    }

    /// Itself if it can be true, else none at all.
    fn possible(self) -> Judged {
        let most = 1.0 / (1.0 - JUDGED_DECAY) + 1.0;
        let can_be = (0.0..=most).contains(&self.judged) && (0.0..=self.judged).contains(&self.held);
        if can_be { self } else { Judged::default() }
    }
}

/// What is kept of a footprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Largest batch that ran through.
    pub(crate) proven: u32,
    /// Size that ran out of memory, what one item had then, and until when that counts.
    pub(crate) out_of_memory: Option<(u32, Bytes, Timestamp)>,
    pub(crate) sizes: BTreeMap<u32, OfSize>,
    pub(crate) count: u64,
    /// Of sizes up to the largest that had been measured by then.
    #[serde(default)]
    pub(crate) within: Judged,
    /// Of sizes above it.
    #[serde(default)]
    pub(crate) beyond: Judged,
    /// Milliseconds that starting a runner took: smoothed.
    pub(crate) load_ms: f64,
}

impl Kept {
    /// The largest size of which a measurement is kept.
    pub(crate) fn largest(&self) -> u32 {
        self.sizes.last_key_value().map_or(0, |(items, _)| *items)
    }

    /// A prediction for this size held, or did not.
    pub(crate) fn judge(&mut self, items: u32, holds: bool) {
        if items > self.largest() { self.beyond.add(holds) } else { self.within.add(holds) }
    }

    /// Takes a measurement in.
    pub(crate) fn see(&mut self, items: u32, seen: Seen) {
        self.proven = self.proven.max(items);
        // One item alone that ran out was the exception, not the rule.
        self.out_of_memory = self.out_of_memory.filter(|(ran_out, ..)| *ran_out > 1);
        self.count = self.count.saturating_add(1);
        let of_size = self.sizes.entry(items).or_default();
        of_size.last = self.count;
        of_size.seen.push_back(seen);
        self.forget();
    }

    fn forget(&mut self) {
        for of_size in self.sizes.values_mut() {
            while of_size.seen.len() > SEEN_MAX {
                of_size.seen.pop_front();
            }
        }
        while self.sizes.len() > SIZES_MAX {
            let oldest = self.sizes.iter().min_by_key(|(_, of_size)| of_size.last).map(|(items, _)| *items);
            oldest.and_then(|items| self.sizes.remove(&items));
        }
    }

    /// Without what cannot be: a board's entry is only as good as its writer.
    pub(crate) fn possible(mut self) -> Kept {
        self.sizes.remove(&0);
        for of_size in self.sizes.values_mut() {
            of_size.seen.retain(Seen::is_possible);
        }
        self.sizes.retain(|_, of_size| !of_size.seen.is_empty());
        self.forget();
        // What no measurement is left of is not proven, but for what was forgotten since.
        if self.sizes.is_empty() {
            self.proven = 0;
        }
        (self.within, self.beyond) = (self.within.possible(), self.beyond.possible());
        if !(0.0..=MS_MAX).contains(&self.load_ms) {
            self.load_ms = 0.0;
        }
        self
    }
}
