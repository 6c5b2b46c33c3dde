//! Footprints: the memory and time that a batch needs, as far as it is known.
//!
//! First form: a prior until something was measured, then an upper bound of what was measured. It learns no
//! regression yet; what it says is never below what was seen.

use domain::{Bytes, DeviceClass, Engine, Quality, Recipe, Stage, Synthetic, Task, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Share that a measured peak is raised by: what the next picture may need more than those seen.
const HEADROOM: f64 = 1.25;
/// Least reservation: a runner's stacks, buffers and decoder tables before the first item.
pub(crate) const RESERVATION_MIN: Bytes = Bytes::mib(128);
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
        let (_, load, size, quality) = shape(task);
        let quality = match quality {
            Quality::Draft => "draft",
            Quality::Standard => "standard",
            Quality::Fine => "fine",
        };
        let real = match (task.stage, task.recipe.engine) {
            (Stage::Preprocess, _) => format!("b{size}"),
            (Stage::Shape, Engine::Inflate) => format!("inflate-{quality}"),
            (Stage::Texture | Stage::Export, _) => format!("{quality}-{size}"),
        };
        let shape = match load {
            Some(Synthetic { fixed, per_item, start_ms, item_ms, .. }) => {
                format!("{real}-synthetic-{}-{}-{start_ms}-{item_ms}", fixed.0, per_item.0)
            }
            None => real,
        };
        FootprintKey { stage: task.stage, shape, device_class: device_class.clone() }
    }

    /// As a board's key.
    pub fn board_key(&self) -> String {
        format!("{}.{}.{}", self.stage, self.shape, self.device_class.0)
    }
}

/// What changes memory or time at a stage. Tasks of one shape share a footprint, and only they share a batch.
fn shape(task: &Task) -> (Stage, Option<&Synthetic>, u32, Quality) {
    let Recipe { quality, texture_px, synthetic, .. } = &task.recipe;
    let load = synthetic.as_ref().filter(|load| load.stage == task.stage);
    let (size, quality) = match task.stage {
        // Files of one power of two together: nothing else is known of a picture before it is decoded.
        Stage::Preprocess => (task.size_bytes.0.max(1).ilog2(), Quality::default()),
        Stage::Shape => (0, *quality),
        Stage::Texture | Stage::Export => (*texture_px, *quality),
    };
    (task.stage, load, size, quality)
}

/// Whether two tasks may share a batch.
pub(crate) fn alike(a: &Task, b: &Task) -> bool {
    shape(a) == shape(b) && a.recipe.engine == b.recipe.engine
}

/// The seed's formula for a diffusion model: `2 GiB x (pixels / 512^2) x (steps / 50)`.
pub fn seed_formula(pixels: u64, steps: u32) -> Bytes {
    Bytes::gib(2).scale(pixels as f64 / (512.0 * 512.0)).scale(f64::from(steps) / 50.0)
}

/// The seed's formula scaled by what an engine declares. A prior orders and caps, it never rejects.
///
/// The CPU engines declare an eighth of it and 50 steps: they hold a few float images where the model that
/// the formula was made for holds activations. The working side is 512 up to the texture, and the texture's
/// from there on. What they need is bounded by the texture that can be asked for, so the prior is capped
/// at 1 GiB.
pub fn prior(task: &Task) -> Bytes {
    const STEPS: u32 = 50;
    const CAP: Bytes = Bytes::gib(1);
    /// Bytes per byte of a compressed picture: rarely more than 20 pixels of 4 bytes, and decoding holds
    /// them about three times.
    const DECODING: u64 = 240;
    let side = match task.stage {
        Stage::Preprocess | Stage::Shape => 512,
        Stage::Texture | Stage::Export => u64::from(task.recipe.texture_px.max(512)),
    };
    let decoding = match task.stage {
        Stage::Preprocess => Bytes(task.size_bytes.0.saturating_mul(DECODING)),
        _ => Bytes::ZERO,
    };
    let engine = seed_formula(side * side, STEPS).scale(0.125);
    (engine + decoding).min(CAP).max(RESERVATION_MIN)
}

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Largest batch that ran through.
    proven: u32,
    /// Largest peak per item.
    item_peak: Bytes,
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
        // One item alone that ran out was the exception, not the rule.
        self.out_of_memory = self.out_of_memory.filter(|(ran_out, ..)| *ran_out > 1);
        self.item_peak = self.item_peak.max(Bytes(peak.0.div_ceil(u64::from(items))));
        let time_ms = time.as_secs_f64() * 1000.0;
        let smoothed = self.times_ms.entry(items).or_insert(time_ms);
        *smoothed += 0.2 * (time_ms - *smoothed);
    }

    /// A batch of this size ran out of this reservation. One item alone that needs more than others of its
    /// key were measured at says nothing about them.
    pub fn ran_out(&mut self, items: u32, reservation: Bytes, now: Timestamp) {
        if items <= 1 && self.is_measured() {
            return;
        }
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
            // Half as many items in as much memory: twice as much for each.
            Some((_, had, until)) if now < until => each.max(had + had),
            _ => each,
        };
        let all = Bytes(each.0.saturating_mul(u64::from(items)));
        (all + ADDRESS_SPACE).max(RESERVATION_MIN)
    }

    /// Largest batch that is allowed at all: growth at most doubles over what is proven, and what ran out is
    /// halved.
    pub fn size_max(&self, now: Timestamp) -> u32 {
        let grown = self.proven.saturating_mul(2).max(1);
        match self.out_of_memory {
            Some((items, _, until)) if now < until => grown.min((items / 2).max(1)),
            _ => grown,
        }
    }

    /// The smallest size up to `max` whose throughput is within 3 % of the best that is known. Where the
    /// largest known size is the one, twice that is worth a try. Never smaller for a larger `max`.
    pub fn worthwhile(&self, max: u32) -> u32 {
        let rate = |(items, ms): (&u32, &f64)| (*items, f64::from(*items) / ms.max(0.001));
        let known: Vec<(u32, f64)> = self.times_ms.range(..=max).map(rate).collect();
        let Some(best) = known.iter().map(|(_, rate)| *rate).reduce(f64::max) else { return max };
        let enough = known.iter().find(|(_, rate)| *rate >= GOOD_ENOUGH * best);
        let smallest = enough.map_or(max, |(items, _)| *items);
        let largest_known = self.times_ms.keys().next_back().copied().unwrap_or(max);
        if smallest == largest_known {
            return max.min(largest_known.saturating_mul(2));
        }
        smallest
    }

    /// The largest batch that this key would be cut to if there were memory and tasks enough.
    pub(crate) fn wanted(&self, batch_max: usize, now: Timestamp) -> u32 {
        self.worthwhile(self.size_max(now).min(batch_max as u32).max(1))
    }

    /// Seconds of device time that one item takes in a batch of this size; one second while nothing is known.
    pub fn item_seconds(&self, items: u32) -> f64 {
        let nearest = self.times_ms.range(..=items).next_back().or_else(|| self.times_ms.iter().next());
        nearest.map_or(1.0, |(size, ms)| (ms / 1000.0 / f64::from(*size)).max(0.001))
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
    fn one_that_ran_out_alone_says_little_of_its_key_once_others_ran_through() {
        let mut footprint = observed(&[(1, 100, 10)]);
        footprint.ran_out(1, Bytes::gib(4), NOW);
        assert_eq!(footprint, observed(&[(1, 100, 10)]));
        let mut footprint = Footprint::default();
        footprint.ran_out(1, Bytes::gib(4), NOW);
        assert_eq!(footprint.reservation(1, Bytes::gib(1), NOW), Bytes::gib(8) + ADDRESS_SPACE);
        footprint.observe(1, Bytes::mib(100), Duration::from_millis(10));
        assert_eq!(footprint, observed(&[(1, 100, 10)]));
    }

    #[test]
    fn recovery_from_running_out_takes_as_many_steps_as_there_are_halvings() {
        let mut footprint = observed(&[(64, 100, 10)]);
        let mut steps = 0;
        while footprint.size_max(NOW) > 1 {
            footprint.ran_out(footprint.size_max(NOW), Bytes::gib(8), NOW);
            steps += 1;
        }
        assert_eq!(steps, 7, "128, 64, .. 2");
    }

    #[test]
    fn the_prior_is_the_seeds_formula_scaled_by_what_the_engine_declares() {
        assert_eq!(seed_formula(512 * 512, 50), Bytes::gib(2));
        assert_eq!(seed_formula(1024 * 1024, 25), Bytes::gib(4));
        let check = |stage: Stage, texture_px: u32, kib: u64, expect: Bytes| {
            let mut task = crate::samples::task(0).at_stage(stage);
            task.recipe.texture_px = texture_px;
            task.size_bytes = Bytes::kib(kib);
            assert_eq!(prior(&task), expect, "{stage} {texture_px} {kib}");
        };
        check(Stage::Shape, 4096, 0, Bytes::mib(256));
        check(Stage::Texture, 256, 0, Bytes::mib(256));
        check(Stage::Texture, 1024, 0, Bytes::gib(1));
        check(Stage::Export, 4096, 0, Bytes::gib(1));
        check(Stage::Preprocess, 1024, 1024, Bytes::mib(256 + 240));
        check(Stage::Preprocess, 1024, u64::MAX >> 10, Bytes::gib(1));
    }

    #[test]
    fn only_tasks_of_one_shape_are_alike_and_a_synthetic_load_has_a_footprint_of_its_own() {
        let class = DeviceClass("host".to_owned());
        let plain = crate::samples::task(0);
        let mut loaded = crate::samples::task(1);
        assert!(alike(&plain, &loaded));
        loaded.recipe.synthetic = Synthetic::parse("stage=shape,fixed=1MiB").ok();
        assert!(!alike(&plain, &loaded));
        assert_ne!(FootprintKey::of(&plain, &class), FootprintKey::of(&loaded, &class));
        assert!(alike(&plain.at_stage(Stage::Texture), &loaded.at_stage(Stage::Texture)));
        let name = FootprintKey::of(&loaded, &class).board_key();
        assert!(name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)), "{name}");
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
        check(&[(1, 1, 100), (2, 1, 110), (4, 1, 216)], 3, 2);
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
