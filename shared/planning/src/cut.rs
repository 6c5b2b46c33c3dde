//! Cuts one batch for one offer: the tasks whose turn it is, as many as fit and are worth it. Values in, a
//! batch out.

use crate::footprint::{Footprint, FootprintKey, prior};
use crate::share::StageLine;
use domain::{Batch, BatchId, BatchTask, Bytes, Epoch, Offer, Stage, Timestamp};
use std::collections::BTreeMap;

/// What cutting looks at.
pub(crate) struct Place<'a> {
    pub(crate) offer: &'a Offer,
    /// Bytes that proposals not yet answered were promised, besides the offer's own reservations.
    pub(crate) promised: Bytes,
    /// Recent growth of strangers on the device.
    pub(crate) drift: Bytes,
    /// Lanes that are free for this stage on all devices.
    pub(crate) lanes_free: usize,
    pub(crate) footprints: &'a BTreeMap<FootprintKey, Footprint>,
    pub(crate) batch_max: usize,
    pub(crate) now: Timestamp,
}

/// What came of it.
pub(crate) enum Cut {
    Batch(Batch),
    /// Nothing fits there now.
    TooLarge,
    /// One item alone needs more than the device could ever give.
    Never(BatchTask, String),
    /// Nothing waits.
    Nothing,
}

impl Place<'_> {
    /// What the device can give now.
    pub(crate) fn to_give(&self) -> Bytes {
        let Offer { reading, device_class, reserved_bytes, .. } = self.offer;
        reading.to_give(device_class, self.drift, *reserved_bytes + self.promised)
    }

    /// The batch for this place.
    pub(crate) fn cut(&self, stage: Stage, line: &mut StageLine, (id, epoch): (BatchId, Epoch)) -> Cut {
        let Some(first) = line.first(self.now).cloned() else { return Cut::Nothing };
        let class = &self.offer.device_class;
        let key = FootprintKey::of(&first.task, class);
        let unknown = Footprint::default();
        let footprint = self.footprints.get(&key).unwrap_or(&unknown);
        let prior = prior(&first.task);
        let give = self.to_give();
        let whole = self.offer.reading.budget(class, self.drift);
        if let Some(had) = footprint.needs_more_than(self.now).filter(|had| *had >= whole.scale(0.98)) {
            let reason = format!(
                "one item of {stage} needs more than {had}, and the device can give {whole} at most; \
                 use a smaller picture or texture, or a larger device"
            );
            let fits = |given: &BatchTask| given.ack_token == first.ack_token;
            return line
                .take(1, self.now, 0.001, fits)
                .pop()
                .map_or(Cut::Nothing, |task| Cut::Never(task, reason));
        }
        let (waiting, lanes) = (line.len(), self.lanes_free.max(1));
        let per_lane = waiting.div_ceil(lanes).min(self.batch_max).max(1) as u32;
        let allowed = per_lane.min(footprint.size_max(self.now));
        let fits_memory = |items: &u32| footprint.reservation(*items, prior, self.now) <= give;
        let Some(max_safe) = (1..=allowed).rev().find(fits_memory) else {
            return self.alone(stage, line, (id, epoch), footprint.is_measured());
        };
        let items = footprint.worthwhile(max_safe).clamp(1, max_safe);
        let bytes = footprint.reservation(items, prior, self.now);
        let fits = |given: &BatchTask| FootprintKey::of(&given.task, class) == key;
        let tasks = line.take(items as usize, self.now, footprint.item_seconds(items), fits);
        assert!(!tasks.is_empty() && tasks.len() <= items as usize, "a cut takes what it decided");
        assert!(bytes <= give, "property A: a batch is never promised more than there is");
        let known = if footprint.is_measured() { "measured" } else { "prior" };
        let why = format!(
            "{} of {waiting} waiting on {lanes} free lanes; {known} footprint, {bytes} of {give} to give; \
             at most {max_safe} fit, {items} are worth it",
            tasks.len()
        );
        Cut::Batch(Batch { id, epoch, stage, tasks, bytes, why })
    }

    /// A prior never rejects: what was never measured may run alone on an idle device, with all that it can
    /// give.
    fn alone(
        &self,
        stage: Stage,
        line: &mut StageLine,
        (id, epoch): (BatchId, Epoch),
        measured: bool,
    ) -> Cut {
        let idle = self.offer.lanes_free == self.offer.lanes && self.promised == Bytes::ZERO;
        let bytes = self.to_give();
        if !idle || bytes == Bytes::ZERO {
            return Cut::TooLarge;
        }
        let tasks = line.take(1, self.now, 1.0, |_| true);
        let known = if measured { "its measured need" } else { "its prior" };
        let why = format!("alone, since {known} is more than the {bytes} that the idle device can give");
        Cut::Batch(Batch { id, epoch, stage, tasks, bytes, why })
    }
}
