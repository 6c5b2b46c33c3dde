//! The self-test after which a drained device is used again: the smallest thing that a runner can do and that
//! a worker can check. A fresh runner fills memory with numbers of a seed, reads them back and says their
//! sum, which the worker knows; where its program knows more of the device, it tries that as well.

use crate::process::{RunnerCommand, RunnerProcess};
use domain::Bytes;
use std::hint::black_box;
use std::time::Duration;

/// Memory that is touched: more than any cache holds, and less than any batch takes.
const TOUCHED: Bytes = Bytes::mib(64);
/// What the runner may take for it: the numbers, and what the allocator adds.
pub(crate) const RESERVATION: Bytes = Bytes::mib(128);
/// Longest test of a runner that has started. A device that hangs is not used.
const TEST_MAX: Duration = Duration::from_secs(60);
/// Any number: the sum is checked, not guessed.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers of a seed: Marsaglia's xorshift64 ("Xorshift RNGs", 2003, shifts 13, 7, 17).
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed | 1), |last| {
        let mut next = *last;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    })
    .take(TOUCHED.0 as usize / size_of::<u64>())
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, |sum: u64, number| sum.rotate_left(1).wrapping_add(number))
}

/// The runner's part: the sum of the numbers, as its memory gives them back.
pub(crate) fn compute(seed: u64) -> u64 {
    let mut memory: Vec<u64> = Vec::with_capacity(TOUCHED.0 as usize / size_of::<u64>());
    memory.extend(numbers(seed));
    sum(black_box(memory).into_iter())
}

/// Starts a fresh runner, tests with it, and ends it.
///
/// # Errors
/// Why the device must not be used, for a person.
pub(crate) async fn pass(command: &RunnerCommand) -> Result<(), String> {
    let started = RunnerProcess::start(command).await;
    let mut runner = started.map_err(|error| format!("no runner starts: {error}"))?;
    let said = tokio::time::timeout(TEST_MAX, runner.test(SEED)).await;
    match said {
        Ok(Ok(said)) => {
            runner.kill().await;
            let said = said?;
            let expected = sum(numbers(SEED));
            let wrong = || format!("its memory gives {said:016x} where {expected:016x} was written");
            if said == expected { Ok(()) } else { Err(wrong()) }
        }
        Ok(Err(error)) => Err(format!("the runner was lost: {error}; {:?}", runner.put_down().await)),
        Err(_elapsed) => {
            runner.kill().await;
            Err(format!("the runner did not answer in {TEST_MAX:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_gives_back_what_was_written() {
        assert_eq!(compute(SEED), sum(numbers(SEED)));
        assert_ne!(compute(1), compute(2));
        assert_ne!(sum([1, 2].into_iter()), sum([2, 1].into_iter()), "a swap is seen");
    }
}
