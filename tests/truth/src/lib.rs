//! What `profile` says, held against what is true in a simulation that uses none of it: the bottleneck, what
//! another lane brings, how long a job still takes. The same lines each time; none of them was looked at
//! while the rules were made.
//!
//! `line` is the simulation and knows only `domain`; `bottleneck` and `eta` ask `profile` and compare. Its
//! tests hold the bars, `tests/bench` prints the figures.
#![forbid(unsafe_code)]

pub mod bottleneck;
mod chance;
pub mod eta;
pub mod line;

/// The value below which this share of the values lies. They are sorted by it; there must be one.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}
