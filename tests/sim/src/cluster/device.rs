//! A device with its worker: memory, strangers, and what runs there.

use super::dice::Dice;
use domain::{
    Batch, BatchId, Bytes, DeviceClass, Epoch, Offer, Reading, RefusedReason, Stage, Timestamp, WorkerId,
};
use std::collections::BTreeMap;

/// Most of a device that strangers hold, and the mean is half of it: 15 % give or take 15 %.
pub const STRANGERS_MAX: f64 = 0.30;
/// Most by which that moves in a second, as a share of the device.
const STEP: f64 = 0.02;
/// How long a worker's word stands.
pub const WORD_MS: u64 = 15_000;

/// Starting a runner.
pub const LOAD_MS: u64 = 2_000;
/// Runners of different stages that a device keeps loaded.
const LOADED_MAX: usize = 2;

/// A batch of this stage ran: its runner is loaded from now on, and the one used longest ago may not be any
/// more. True if it had to be started for that.
pub fn load(warm: &mut Vec<Stage>, stage: Stage) -> bool {
    let cold = !warm.contains(&stage);
    warm.retain(|of| *of != stage);
    warm.insert(0, stage);
    warm.truncate(LOADED_MAX);
    cold
}

/// A worker with its device.
pub struct Device {
    /// Its name.
    pub id: WorkerId,
    /// Its memory.
    pub gib: u64,
    /// Whether it lives.
    pub alive: bool,
    /// When it died last.
    pub died_at: Option<Timestamp>,
    /// Share that strangers hold.
    pub strangers: f64,
    /// Share that another program took at once, for a while.
    pub surge: f64,
    /// The highest term that it has seen.
    pub epoch: Epoch,
    /// What runs.
    pub running: BTreeMap<BatchId, Batch>,
    /// Stages whose runner is loaded.
    pub warm: Vec<Stage>,
}

impl Device {
    /// The n-th, idle.
    pub fn new(n: usize, gib: u64) -> Device {
        Device {
            id: format!("worker-{n}").parse().expect("a name"),
            gib,
            alive: true,
            died_at: None,
            strangers: STRANGERS_MAX / 2.0,
            surge: 0.0,
            epoch: Epoch(0),
            running: BTreeMap::new(),
            warm: Vec::new(),
        }
    }

    /// Devices of one size share footprints.
    pub fn class(&self) -> DeviceClass {
        DeviceClass(format!("gpu-{}g", self.gib))
    }

    /// A second passes for the strangers.
    pub fn move_strangers(&mut self, dice: &mut Dice) {
        self.strangers = (self.strangers + dice.between(-STEP, STEP)).clamp(0.0, STRANGERS_MAX);
    }

    /// What strangers leave at this moment.
    pub fn really_free(&self) -> Bytes {
        let total = Bytes::gib(self.gib);
        total.saturating_sub(total.scale(self.strangers + self.surge))
    }

    fn reserved(&self) -> Bytes {
        self.running.values().map(|batch| batch.bytes).sum()
    }

    fn reading(&self, now: Timestamp) -> Reading {
        let total_bytes = Bytes::gib(self.gib);
        let used_bytes = total_bytes.scale(self.strangers + self.surge);
        Reading { total_bytes, used_bytes, read_at: now, ..Reading::default() }
    }

    /// Its word.
    pub fn offer(&self, now: Timestamp) -> Offer {
        Offer {
            worker: self.id.clone(),
            device: "device".parse().expect("a name"),
            device_class: self.class(),
            lanes_free: u32::from(self.running.is_empty()),
            lanes: 1,
            reading: self.reading(now),
            reserved_bytes: self.reserved(),
            stages: Stage::ALL.to_vec(),
            warm: self.warm.clone(),
            valid_for_ms: WORD_MS,
            running: self.running.keys().copied().collect(),
            next_bytes: None,
        }
    }

    /// Its answer to a batch, by its memory of this moment. Property A is asserted where it accepts, H where
    /// it would.
    pub fn answer(&mut self, now: Timestamp, batch: &Batch) -> Result<(), (Reading, RefusedReason)> {
        let reading = self.reading(now);
        if batch.epoch < self.epoch {
            return Err((reading, RefusedReason::Epoch));
        }
        self.epoch = batch.epoch;
        if !self.running.is_empty() {
            return Err((reading, RefusedReason::NoLane));
        }
        if batch.bytes > reading.to_give(&self.class(), Bytes::ZERO, self.reserved()) {
            return Err((reading, RefusedReason::Memory));
        }
        self.running.insert(batch.id, batch.clone());
        let budget = reading.budget(&self.class(), Bytes::ZERO);
        assert!(self.reserved() <= budget, "property A: {} reserved of {budget}", self.reserved());
        let newest = self.running.values().all(|running| running.epoch <= self.epoch);
        assert!(newest && batch.epoch == self.epoch, "property H: a batch of an older term");
        Ok(())
    }
}
