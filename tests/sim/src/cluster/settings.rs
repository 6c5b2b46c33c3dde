//! How large and how hostile a world is.

use super::dice::Dice;
use std::time::Duration;

/// A world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides all.
    pub seed: u64,
    /// The memory of each device, in GiB.
    pub devices: Vec<u64>,
    /// Jobs, each with four stages.
    pub jobs: u64,
    /// They come in bursts over this long; zero: all are there at the beginning.
    pub arrive_over: Duration,
    /// Workers that are killed, and come back.
    pub crashes: u32,
    /// Leases that are lost.
    pub leases_lost: u32,
    /// How often another program takes much of a device at once, and how often the tokens of a running batch
    /// are lost: by turns.
    pub interference: u32,
    /// One job in so many needs more than any device has; zero: none.
    pub too_large_every: u64,
    /// Whether what strangers hold moves; else they hold the mean.
    pub strangers_move: bool,
    /// Whether events are kept, and replayed at the end.
    pub replay: bool,
}

impl Settings {
    /// A small world in which everything goes wrong, from a seed.
    pub fn rough(seed: u64) -> Settings {
        let mut dice = Dice::new(seed);
        let sizes = [8, 16, 24, 80, 141];
        let mut devices: Vec<u64> = (0..2 + dice.below(4)).map(|_| sizes[dice.below(5)]).collect();
        // Every kind has a home.
        devices.push(80);
        Settings {
            seed,
            devices,
            jobs: 60 + dice.below(200) as u64,
            arrive_over: Duration::from_secs(20 + dice.below(200) as u64),
            crashes: dice.below(4) as u32,
            leases_lost: dice.below(3) as u32,
            too_large_every: if dice.below(2) == 0 { 0 } else { 40 },
            interference: dice.below(13) as u32,
            strangers_move: true,
            replay: true,
        }
    }

    /// The cluster of the figures: ten devices, all jobs there at once, nothing dies.
    pub fn saturated(seed: u64, jobs: u64) -> Settings {
        Settings {
            seed,
            devices: vec![8, 8, 16, 16, 24, 24, 80, 80, 141, 141],
            jobs,
            arrive_over: Duration::ZERO,
            crashes: 0,
            leases_lost: 0,
            interference: 0,
            too_large_every: 0,
            strangers_move: true,
            replay: false,
        }
    }
}
