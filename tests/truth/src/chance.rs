//! Numbers that look random and are the same each time: of a seed and what they are for, whatever was asked
//! before. So two runs that differ in one thing differ in nothing else.

/// A number from 0 to 1 (SplitMix64's finaliser over the words).
pub fn share(words: &[u64]) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for word in words {
        state = state.wrapping_add(*word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    (state >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal (Box and Muller).
pub fn normal(words: &[u64]) -> f64 {
    let (a, b) = (share(&[words, &[1]].concat()), share(&[words, &[2]].concat()));
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Between two positive numbers, evenly in the logarithm.
pub fn between(low: f64, high: f64, words: &[u64]) -> f64 {
    low * (high / low).powf(share(words))
}
