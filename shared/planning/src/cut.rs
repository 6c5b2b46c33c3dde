//! How large a batch is and where it goes: values in, a choice out.

use crate::device::Standing;
use crate::footprint::{Footprint, FootprintKey, RESERVATION_MIN, prior};
use domain::{Bytes, Stage, Task, Timestamp, WorkerId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A task that ran out of memory alone is tried again where there is this much more.
const WORTH_ANOTHER_TRY: f64 = 1.1;

/// What is to be placed: the task whose turn it is, with what is known around it.
pub(crate) struct Ask<'a> {
    pub(crate) task: &'a Task,
    pub(crate) now: Timestamp,
    /// Tasks of the stage that wait.
    pub(crate) waiting: usize,
    /// With how much the task alone ran out of memory, if it did.
    pub(crate) ran_out: Option<Bytes>,
    /// It was passed over for so long that the devices and strangers of now count as there to stay.
    pub(crate) waited_long: bool,
    pub(crate) footprints: &'a BTreeMap<FootprintKey, Footprint>,
    pub(crate) batch_max: usize,
}

/// A batch's size and reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) items: u32,
    pub(crate) bytes: Bytes,
    /// What a person is told: what is left of the sentence is who waits and where it goes.
    pub(crate) why: String,
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Place(WorkerId, Size),
    /// One item alone needs more than any device could ever give.
    Never(String),
    /// Nowhere now, though there is a free lane.
    Wait,
    /// No lane is free.
    Busy,
}

type Offers = BTreeMap<WorkerId, Standing>;

impl Ask<'_> {
    fn stage(&self) -> Stage {
        self.task.stage
    }

    fn known(&self, place: &Standing) -> Option<&Footprint> {
        let key = FootprintKey::of(self.task, &place.offer.device_class);
        self.footprints.get(&key).filter(|footprint| footprint.is_measured())
    }

    fn footprint(&self, place: &Standing) -> Footprint {
        let key = FootprintKey::of(self.task, &place.offer.device_class);
        self.footprints.get(&key).cloned().unwrap_or_default()
    }

    /// The place for a batch that begins with this task. `withheld` places are kept free for another.
    pub(crate) fn choose(&self, offers: &Offers, withheld: impl Fn(&WorkerId) -> bool) -> Choice {
        let hosts: Vec<(&WorkerId, &Standing)> =
            offers.iter().filter(|(_, place)| place.hosts(self.stage())).collect();
        if let Some(reason) = self.never(&hosts) {
            return Choice::Never(reason);
        }
        let mut open: Vec<(bool, Bytes, &WorkerId, &Standing)> = hosts
            .iter()
            .filter(|(worker, place)| place.lanes_free() > 0 && !withheld(worker))
            .map(|(worker, place)| {
                (!place.offer.warm.contains(&self.stage()), place.to_give(), *worker, *place)
            })
            .collect();
        if open.is_empty() {
            return Choice::Busy;
        }
        // Warm ones first, then the tightest.
        open.sort_by_key(|(cold, give, worker, _)| (*cold, *give, *worker));
        let lanes_free = open.iter().map(|(.., place)| place.lanes_free()).sum::<usize>().max(1);
        if self.ran_out.is_none() {
            for (_, give, worker, place) in &open {
                if let Some(size) = self.size(place, *give, lanes_free) {
                    return Choice::Place((*worker).clone(), size);
                }
            }
        }
        // What fits nowhere may have the largest idle device to itself.
        open.sort_by_key(|(_, give, worker, _)| (Reverse(*give), *worker));
        let mut idle = open.iter().filter(|(.., place)| place.is_idle());
        match idle.find(|(_, give, _, place)| self.may_run_alone(place, *give, &hosts)) {
            Some((_, give, worker, place)) => Choice::Place((*worker).clone(), self.alone(place, *give)),
            None => Choice::Wait,
        }
    }

    /// The largest batch that fits and is worth it, beside what runs there.
    pub(crate) fn size(&self, place: &Standing, give: Bytes, lanes_free: usize) -> Option<Size> {
        let footprint = self.footprint(place);
        let prior = prior(self.task);
        let per_lane = self.waiting.div_ceil(lanes_free).min(self.batch_max).max(1) as u32;
        let allowed = per_lane.min(footprint.size_max(self.now));
        let fits = |items: &u32| footprint.reservation(*items, prior, self.now) <= give;
        let max_safe = largest(allowed, fits)?;
        let items = footprint.worthwhile(max_safe).clamp(1, max_safe);
        let bytes = footprint.reservation(items, prior, self.now);
        assert!(bytes <= give, "property A: a batch is never promised more than there is");
        let known = if footprint.is_measured() { "measured" } else { "prior" };
        let why = format!(
            "of {} waiting on {lanes_free} free lanes; {known} footprint, {bytes} of {give} to give; \
             at most {max_safe} fit, {items} are worth it",
            self.waiting
        );
        Some(Size { items, bytes, why })
    }

    /// A prior never rejects, and neither does an estimate that no device meets: such a task may run alone,
    /// with all that an idle device can give, if that is more than it ran out of.
    fn may_run_alone(&self, place: &Standing, give: Bytes, hosts: &[(&WorkerId, &Standing)]) -> bool {
        if give < RESERVATION_MIN {
            return false;
        }
        match (self.ran_out, self.known(place)) {
            (Some(had), _) => give > had.scale(WORTH_ANOTHER_TRY),
            (None, None) => true,
            (None, Some(known)) => {
                let need = known.reservation(1, Bytes::ZERO, self.now);
                hosts.iter().all(|(_, host)| host.capacity() < need)
            }
        }
    }

    fn alone(&self, place: &Standing, give: Bytes) -> Size {
        let cause = match (self.ran_out, self.known(place)) {
            (Some(had), _) => format!("it ran out of {had}"),
            (None, None) => format!("its prior of {} does not fit beside others", prior(self.task)),
            (None, Some(_)) => "its measured need is more than any device has".to_owned(),
        };
        let why = format!("alone with all {give} that the idle device can give, since {cause}");
        Size { items: 1, bytes: give, why }
    }

    /// Why the task can never run: it ran out alone of about as much as any device could give, and has waited
    /// long enough for a larger one to come back.
    fn never(&self, hosts: &[(&WorkerId, &Standing)]) -> Option<String> {
        let had = self.ran_out.filter(|_| self.waited_long)?;
        // Strangers may go, so that what they hold speaks against nobody for good.
        let best = hosts.iter().map(|(_, place)| place.capacity()).max()?;
        (best <= had.scale(WORTH_ANOTHER_TRY)).then(|| {
            format!(
                "one item of {} needs more than {had}, and the largest device can give {best}; \
                 use a smaller picture or texture, or a larger device",
                self.stage()
            )
        })
    }

    /// The device that should be kept free for a task that was passed over for too long.
    pub(crate) fn claim<'a>(
        &self,
        offers: &'a Offers,
        taken: impl Fn(&WorkerId) -> bool,
    ) -> Option<&'a WorkerId> {
        let hosts: Vec<(&WorkerId, &Standing)> =
            offers.iter().filter(|(_, place)| place.hosts(self.stage())).collect();
        let usable = |worker: &WorkerId, place: &Standing| {
            let whole = place.whole();
            let fits = self.ran_out.is_none() && self.size(place, whole, 1).is_some();
            !taken(worker) && (fits || self.may_run_alone(place, whole, &hosts))
        };
        offers
            .iter()
            .filter(|(worker, place)| place.hosts(self.stage()) && usable(worker, place))
            .max_by_key(|(worker, place)| (place.whole(), Reverse(*worker)))
            .map(|(worker, _)| worker)
    }
}

/// The largest size from 1 to `max` that fits, by halving the range: a larger batch never needs less.
fn largest(max: u32, fits: impl Fn(&u32) -> bool) -> Option<u32> {
    if !fits(&1) {
        return None;
    }
    let (mut low, mut high) = (1, max.max(1));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(&middle) { low = middle } else { high = middle - 1 }
    }
    Some(low)
}
