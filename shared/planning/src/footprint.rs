//! Footprints: the memory and time that a batch needs, as far as it is known.
//!
//! First form: a prior until something was measured, then an upper bound of what was measured. It learns no
//! regression yet; what it says is never below what was seen.

use domain::{Bytes, DeviceClass, Recipe, Stage, Task, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Share that a measured peak is raised by: what the next picture may need more than those seen.
const HEADROOM: f64 = 1.25;
/// Least reservation: a runner's stacks, buffers and decoder tables before the first item.
const RESERVATION_MIN: Bytes = Bytes::mib(128);
/// What address space needs beyond resident memory (guard pages, alignment, arenas), measured on the four
/// stages: below this.
const ADDRESS_SPACE: Bytes = Bytes::mib(64);
/// How long a size that ran out of memory stays forbidden.
const OOM_REMEMBERED: Duration = Duration::from_secs(600);
/// A larger batch must bring at least this share more than the best smaller one is away from the best of all.
const GOOD_ENOUGH: f64 = 0.97;

/// What shares a footprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FootprintKey {
    /// The stage.
    pub stage: Stage,
    /// Engine and everything of the recipe and the input that changes memory or time.
    pub shape: String,
    /// The kind of device.
    pub device_class: DeviceClass,
}

impl FootprintKey {
    /// The key of a task on a kind of device.
    pub fn of(task: &Task, device_class: &DeviceClass) -> FootprintKey {
        let Recipe { quality, texture_px, .. } = &task.recipe;
        let engine = match task.recipe.engine {
            domain::Engine::Inflate => "inflate",
        };
        let quality = match quality {
            domain::Quality::Draft => "draft",
            domain::Quality::Standard => "standard",
            domain::Quality::Fine => "fine",
        };
        let shape = match task.stage {
            // Files of one power of two together: nothing else is known of a picture before it is decoded.
            Stage::Preprocess => format!("b{}", task.size_bytes.0.max(1).ilog2()),
            Stage::Shape => format!("{engine}-{quality}"),
            Stage::Texture | Stage::Export => format!("{quality}-{texture_px}"),
        };
        FootprintKey { stage: task.stage, shape, device_class: device_class.clone() }
    }

    /// As a board's key.
    pub fn board_key(&self) -> String {
        format!("{}.{}.{}", self.stage, self.shape, self.device_class.0)
    }
}

/// The seed's formula `2 GiB x (pixels / 512^2) x (steps / 50)`, scaled by what the CPU stages are known to
/// be: a prior orders and caps, it never rejects.
pub fn prior(task: &Task) -> Bytes {
    const SEED: Bytes = Bytes::gib(2);
    let texels = f64::from(task.recipe.texture_px).powi(2) / (512.0 * 512.0);
    let share = match task.stage {
        // A compressed byte is rarely more than 20 pixels of 4 bytes, and decoding holds them about three
        // times.
        Stage::Preprocess => 0.1 + task.size_bytes.0 as f64 * 240.0 / SEED.0 as f64,
        Stage::Shape => 0.125,
        Stage::Texture => 0.125 * texels.max(1.0),
        Stage::Export => 0.125 * texels.max(1.0),
    };
    SEED.scale(share.min(0.5)).max(RESERVATION_MIN)
}

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Largest batch that ran through.
    proven: u32,
    /// Largest peak per item.
    item_peak: Bytes,
    /// Largest peak of all.
    peak: Bytes,
    /// Size that ran out of memory, what one item had then, and until when that counts.
    out_of_memory: Option<(u32, Bytes, Timestamp)>,
    /// Milliseconds of a batch by its size: smoothed.
    times_ms: BTreeMap<u32, f64>,
}

impl Footprint {
    /// A batch ran through.
    pub fn observe(&mut self, items: u32, peak: Bytes, time: Duration) {
        if items == 0 {
            return;
        }
        self.proven = self.proven.max(items);
        self.peak = self.peak.max(peak);
        self.item_peak = self.item_peak.max(Bytes(peak.0.div_ceil(u64::from(items))));
        let time_ms = time.as_secs_f64() * 1000.0;
        let smoothed = self.times_ms.entry(items).or_insert(time_ms);
        *smoothed += 0.2 * (time_ms - *smoothed);
    }

    /// A batch of this size ran out of this reservation.
    pub fn ran_out(&mut self, items: u32, reservation: Bytes, now: Timestamp) {
        let each = Bytes(reservation.0 / u64::from(items.max(1)));
        self.out_of_memory = Some((items.max(1), each, now + OOM_REMEMBERED));
    }

    /// Whether anything was measured.
    pub fn is_measured(&self) -> bool {
        self.proven > 0
    }

    /// What to reserve for `items`.
    pub fn reservation(&self, items: u32, prior: Bytes, now: Timestamp) -> Bytes {
        let each = if self.is_measured() { self.item_peak.scale(HEADROOM) } else { prior };
        let each = match self.out_of_memory {
            // What ran out with this much gets twice as much: recovery in as many steps as there are
            // doublings.
            Some((_, had, until)) if now < until => each.max(had + had),
            _ => each,
        };
        let all = Bytes(each.0.saturating_mul(u64::from(items)));
        (all.max(self.peak.scale(HEADROOM).min(all)) + ADDRESS_SPACE).max(RESERVATION_MIN)
    }

    /// Largest batch that is allowed at all: growth at most doubles over what is proven, and stays below what
    /// ran out.
    pub fn size_max(&self, now: Timestamp) -> u32 {
        let grown = self.proven.saturating_mul(2).max(1);
        match self.out_of_memory {
            Some((items, _, until)) if now < until => grown.min((items / 2).max(1)),
            _ => grown,
        }
    }

    /// The smallest size up to `max` whose throughput is within 3 % of the best that is known, or `max` if
    /// larger ones than those known are still worth a try.
    pub fn worthwhile(&self, max: u32) -> u32 {
        let rate = |(items, ms): (&u32, &f64)| (*items, f64::from(*items) / ms.max(0.001));
        let known: Vec<(u32, f64)> = self.times_ms.range(..=max).map(rate).collect();
        let Some(best) = known.iter().map(|(_, rate)| *rate).reduce(f64::max) else { return max };
        let smallest =
            known.iter().find(|(_, rate)| *rate >= GOOD_ENOUGH * best).map_or(max, |(items, _)| *items);
        let largest_known = known.last().map_or(0, |(items, _)| *items);
        // The last doubling was worth it: try the next one.
        if smallest == largest_known && (known.len() < 2 || largest_known > 1) {
            return max.min(largest_known.saturating_mul(2));
        }
        smallest
    }

    /// Seconds of device time that one item takes in a batch of this size; one second while nothing is known.
    pub fn item_seconds(&self, items: u32) -> f64 {
        let nearest = self.times_ms.range(..=items).next_back().or_else(|| self.times_ms.iter().next());
        nearest.map_or(1.0, |(size, ms)| (ms / 1000.0 / f64::from(*size)).max(0.001))
    }

    /// What one item is known to need at least, from a batch of one that ran out.
    pub fn needs_more_than(&self, now: Timestamp) -> Option<Bytes> {
        self.out_of_memory.filter(|(items, _, until)| *items == 1 && now < *until).map(|(_, had, _)| had)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn observed(list: &[(u32, u64, u64)]) -> Footprint {
        let mut footprint = Footprint::default();
        for (items, mib, ms) in list {
            footprint.observe(*items, Bytes::mib(*mib), Duration::from_millis(*ms));
        }
        footprint
    }

    #[test]
    fn a_measured_peak_replaces_the_prior_and_is_never_undercut() {
        let nothing = Footprint::default();
        assert_eq!(nothing.reservation(2, Bytes::mib(256), NOW), Bytes::mib(512 + 64));
        let some = observed(&[(1, 40, 10), (2, 100, 20)]);
        assert_eq!(some.reservation(1, Bytes::gib(9), NOW), Bytes::mib(128));
        assert_eq!(some.reservation(4, Bytes::gib(9), NOW), Bytes::mib(250 + 64));
    }

    #[test]
    fn growth_doubles_at_most_and_what_ran_out_is_halved_until_forgotten() {
        let mut footprint = observed(&[(4, 100, 10)]);
        assert_eq!(footprint.size_max(NOW), 8);
        footprint.ran_out(8, Bytes::mib(800), NOW);
        assert_eq!(footprint.size_max(NOW), 4);
        assert_eq!(footprint.reservation(1, Bytes::ZERO, NOW), Bytes::mib(200 + 64));
        assert_eq!(footprint.size_max(NOW + OOM_REMEMBERED), 8);
    }

    #[test]
    fn a_batch_is_no_larger_than_it_is_worth() {
        let check = |list: &[(u32, u64, u64)], max: u32, expect: u32| {
            assert_eq!(observed(list).worthwhile(max), expect, "{list:?}");
        };
        check(&[], 4, 4);
        check(&[(1, 1, 100)], 2, 2);
        check(&[(1, 1, 100), (2, 1, 200)], 4, 1);
        check(&[(1, 1, 100), (2, 1, 110)], 4, 4);
        check(&[(1, 1, 100), (2, 1, 110), (4, 1, 216)], 8, 2);
    }

    #[test]
    fn published_gpu_curves_give_small_batches() {
        let curve = |rates: &[(u32, f64)]| {
            let mut footprint = Footprint::default();
            for (items, rate) in rates {
                footprint.observe(*items, Bytes::mib(1), Duration::from_secs_f64(f64::from(*items) / rate));
            }
            footprint
        };
        let at_512 = curve(&[(1, 6.0), (2, 10.9), (3, 16.1), (4, 16.6), (8, 18.8), (16, 19.2)]);
        assert!((3..=8).contains(&at_512.worthwhile(16)), "{}", at_512.worthwhile(16));
        let at_1024 = curve(&[(1, 4.11), (2, 4.22), (3, 4.22)]);
        assert!(at_1024.worthwhile(16) <= 2);
    }
}
