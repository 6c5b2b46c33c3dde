//! Chance from a seed. Of our own, so that a seed means the same scene whatever version a library has.

use std::cell::Cell;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    /// A stream of its own for each number under a seed.
    pub(crate) fn new(seed: u64, number: u64) -> Rng {
        let rng = Rng(Cell::new(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        rng.next();
        Rng(Cell::new(rng.next() ^ number))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly between two numbers.
    pub(crate) fn within(&self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// One of the first whole numbers.
    pub(crate) fn below(&self, count: usize) -> usize {
        (self.next() >> 33) as usize % count.max(1)
    }

    /// A whole number, both ends included.
    pub(crate) fn count(&self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(crate) fn chance(&self, share: f32) -> bool {
        self.within(0.0, 1.0) < share
    }

    pub(crate) fn sign(&self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }

    /// About normal: of mean zero and deviation one.
    pub(crate) fn normal(&self) -> f32 {
        (0..4).map(|_| self.within(-1.0, 1.0)).sum::<f32>() * 0.866
    }

    /// A place in a cuboid around the origin.
    pub(crate) fn place(&self, half: [f32; 3]) -> [f32; 3] {
        half.map(|side| self.within(-side, side))
    }
}
