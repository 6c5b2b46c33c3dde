//! How long a lane stands still between two batches although tasks wait for it: the word that it is free, the
//! planner's proposal, and the worker's way to its acceptance. Read from a recording; `cluster` lets it pass
//! after each batch.

use domain::{BatchId, Timing, WorkerId};
use profile::BatchSeen;
use std::collections::BTreeMap;
use std::time::Duration;

/// A number of lanes counts as a worker's if so much of its time was spent with all of them held: moments are
/// known to a millisecond, so that two batches of one lane may seem to overlap.
const HELD_SHARE: f64 = 0.02;

/// A batch on its lane, in microseconds of the recording's clock.
struct Held {
    from_us: u64,
    to_us: u64,
    /// When the last of its tasks had come.
    there_us: u64,
}

/// The mean of all turns; none if nothing ever waited for a lane. A batch that waited to be fuller has its
/// last task later than that, and is no turn: what is left is the machine's, long ones included. `way` is
/// how long a task takes from its publication to its acceptance when nothing is in its way.
pub(crate) fn turn(
    batches: &BTreeMap<BatchId, BatchSeen>,
    by_batch: &BTreeMap<BatchId, Vec<&Timing>>,
    way: Duration,
) -> Duration {
    let mut workers: BTreeMap<&WorkerId, Vec<Held>> = BTreeMap::new();
    for (id, batch) in batches {
        let tasks = by_batch.get(id).map(Vec::as_slice).unwrap_or_default();
        let published_us = |task: &&Timing| (task.at.0 * 1000).saturating_sub(task.wall_us);
        let accepted_us =
            |task: &&Timing| published_us(task) + task.phases.queued_us + task.phases.planned_us;
        let Some(from_us) = tasks.iter().map(accepted_us).max() else { continue };
        let there_us = tasks.iter().map(published_us).max().unwrap_or(from_us) + way.as_micros() as u64;
        let held = Held { from_us, to_us: from_us + batch.hold_us(), there_us };
        workers.entry(&batch.worker).or_default().push(held);
    }
    let turns: Vec<u64> = workers.values().flat_map(|held| turns_of(held)).collect();
    Duration::from_micros(turns.iter().sum::<u64>() / turns.len().max(1) as u64)
}

/// The turns of a worker: when all its lanes were held, one became free, and the next batch's tasks were
/// there.
fn turns_of(held: &[Held]) -> Vec<u64> {
    // At one moment ends come first.
    let mut moments: Vec<(u64, bool, u64)> = Vec::new();
    for of in held {
        moments.extend([(of.from_us, true, of.there_us), (of.to_us, false, 0)]);
    }
    moments.sort_unstable();
    let lanes = lanes(&moments);
    let (mut busy, mut free_since, mut turns) = (0usize, None, Vec::new());
    for (at_us, begins, there_us) in moments {
        if begins {
            turns.extend(free_since.filter(|since| there_us <= *since).map(|since| at_us - since));
            (busy, free_since) = (busy + 1, None);
        } else {
            free_since = (busy == lanes).then_some(at_us);
            busy = busy.saturating_sub(1);
        }
    }
    turns
}

/// The most lanes that were held at a time, moments aside.
fn lanes(moments: &[(u64, bool, u64)]) -> usize {
    let (mut busy, mut spent_us) = (0usize, BTreeMap::<usize, u64>::new());
    for pair in moments.windows(2) {
        busy = if pair[0].1 { busy + 1 } else { busy.saturating_sub(1) };
        *spent_us.entry(busy).or_default() += pair[1].0 - pair[0].0;
    }
    let all_us: u64 = spent_us.values().sum();
    let long = |us: &u64| *us as f64 >= HELD_SHARE * all_us as f64;
    spent_us.iter().rev().find(|(_, us)| long(us)).map_or(1, |(busy, _)| (*busy).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(held: &[(u64, u64, u64)], lanes_seen: usize, expect: &[u64]) {
        let all = |(from_us, to_us, there_us): &(u64, u64, u64)| {
            let (from_us, to_us, there_us) = (*from_us, *to_us, *there_us);
            Held { from_us, to_us, there_us }
        };
        let held: Vec<Held> = held.iter().map(all).collect();
        let mut moments: Vec<(u64, bool, u64)> = Vec::new();
        for of in &held {
            moments.extend([(of.from_us, true, of.there_us), (of.to_us, false, 0)]);
        }
        moments.sort_unstable();
        assert_eq!((lanes(&moments), turns_of(&held).as_slice()), (lanes_seen, expect));
    }

    #[test]
    fn a_lane_stands_still_from_a_batchs_end_to_the_next_ones_acceptance_while_something_waits() {
        check(&[(0, 1_000, 0), (1_005, 2_000, 0), (2_010, 3_000, 500)], 1, &[5, 10]);
        // The second came when the lane was free: nothing waited.
        check(&[(0, 1_000, 0), (1_500, 2_000, 1_400)], 1, &[]);
    }

    #[test]
    fn of_several_lanes_only_turns_count_when_all_were_held() {
        check(&[(0, 1_000, 0), (0, 2_000, 0), (1_020, 3_000, 0), (2_030, 3_000, 0)], 2, &[20, 30]);
        // Two batches of one lane overlap for a moment, since clocks count in milliseconds.
        check(&[(0, 1_000, 0), (999, 2_000, 0), (2_008, 3_000, 0)], 1, &[8]);
    }
}
