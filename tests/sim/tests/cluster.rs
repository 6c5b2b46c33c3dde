//! Simulated clusters in which everything goes wrong: the properties hold at each step of each seed, and what
//! is meant to go wrong did.
//!
//! A seed that failed once stands in `seeds.txt` and is run for ever; `SIM_SEEDS=200 SIM_FROM=1000` runs
//! more.

use sim::cluster::settings::Settings;
use sim::cluster::world::{Seen, World};
use std::collections::BTreeMap;

/// Situations that must occur in the seeds that are always run: else these show less than they say.
const MUST_OCCUR: [&str; 14] = [
    "a batch of an older term is refused",
    "a batch runs out of memory",
    "a burst of jobs",
    "a proposal reaches a dead worker",
    "a task is computed twice",
    "a task is rejected",
    "a worker dies",
    "a worker dies with a batch",
    "a worker refuses for memory",
    "halves of a batch run through",
    "strangers grew into a running batch",
    "tasks share a batch",
    "the lease is lost",
    "tokens of a running batch are lost",
];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run(seed: u64) -> Seen {
    println!("seed {seed}: if this fails, add it to tests/sim/seeds.txt");
    let settings = Settings::rough(seed);
    let (jobs, every) = (settings.jobs, settings.too_large_every);
    let seen = World::new(settings).run();
    let too_large = jobs.checked_div(every).unwrap_or(0);
    assert_eq!((seen.rejected.len() as u64, seen.done_at.len() as u64), (too_large, jobs - too_large));
    seen
}

#[test]
fn the_properties_hold_at_every_step_and_everything_that_must_go_wrong_did() {
    let mut situations: BTreeMap<&'static str, u64> = BTreeMap::new();
    let from = number("SIM_FROM", 1);
    for seed in from..from + number("SIM_SEEDS", 60) {
        for (situation, count) in run(seed).situations {
            *situations.entry(situation).or_default() += count;
        }
    }
    println!("{situations:#?}");
    let missing: Vec<_> = MUST_OCCUR.iter().filter(|must| !situations.contains_key(*must)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    let seeds = include_str!("../seeds.txt").lines().map(|line| line.split('#').next().unwrap_or("").trim());
    for seed in seeds.filter(|seed| !seed.is_empty()) {
        run(seed.parse().expect("a number, and what failed behind a #"));
    }
}

#[test]
fn one_seed_decides_all() {
    let [one, two] = [run(7), run(7)];
    assert_eq!((one.done_at, one.situations), (two.done_at, two.situations));
    assert_ne!(run(8).done_at, run(9).done_at);
}

#[test]
fn a_saturated_cluster_finishes_and_stays_below_the_bound() {
    let settings = Settings::saturated(5, 1_500);
    let bound = sim::cluster::yardstick::upper_bound(&settings.devices);
    let seen = World::new(settings).run();
    let first = seen.done_at[0];
    let done: Vec<f64> = seen.done_at.iter().map(|at| at.since(first).as_secs_f64()).collect();
    let rate = sim::cluster::yardstick::steady_rate(&done);
    assert!(rate <= bound && rate > 0.0, "{rate} of {bound} jobs/s");
}
