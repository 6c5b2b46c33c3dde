//! How large a batch is, where it goes, and whether it goes now: values in, a choice out.

use crate::device::Standing;
use crate::engines::Engines;
use crate::footprint::Footprint;
use crate::key::{FootprintKey, RESERVATION_MIN, prior};
use domain::{BatchTask, Bytes, Stage, Task, Timestamp, WorkerId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// A task that ran out of memory alone is tried again where there is this much more.
const WORTH_ANOTHER_TRY: f64 = 1.1;
/// Longest wait for a fuller batch or for a warm runner, whatever it would save.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is to be placed: the task whose turn it is, with what is known around it.
pub(crate) struct Ask<'a> {
    pub(crate) given: &'a BatchTask,
    pub(crate) now: Timestamp,
    /// Tasks of the stage that wait.
    pub(crate) waiting: usize,
    /// Tasks of the stage that arrive in a second.
    pub(crate) arrivals: f64,
    /// A batch of the stage runs: a warm runner will be free.
    pub(crate) runs: bool,
    /// With how much the task alone ran out of memory, if it did.
    pub(crate) ran_out: Option<Bytes>,
    /// It was passed over for so long that the devices and strangers of now count as there to stay.
    pub(crate) waited_long: bool,
    pub(crate) footprints: &'a BTreeMap<FootprintKey, Footprint>,
    pub(crate) engines: &'a Engines,
    /// The footprint of what nobody has measured.
    pub(crate) unknown: &'a Footprint,
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
    /// It is worth more to wait, at most until then.
    Later(Timestamp),
    /// One item alone needs more than any device could ever give.
    Never(String),
    /// Nowhere now, though there is a free lane.
    Wait,
    /// No lane is free.
    Busy,
}

/// What fits on a device.
#[derive(Clone, Copy)]
struct Fit {
    /// Items to run now.
    items: u32,
    /// The most that fit, are allowed, and are there.
    safe: u32,
    /// What would run if there were memory enough.
    wish: u32,
    /// What would run if there were tasks enough.
    full: u32,
    bytes: Bytes,
}

type Offers = BTreeMap<WorkerId, Standing>;

impl Ask<'_> {
    fn task(&self) -> &Task {
        &self.given.task
    }

    fn stage(&self) -> Stage {
        self.given.task.stage
    }

    fn footprint(&self, place: &Standing) -> &Footprint {
        let Standing { offer, .. } = place;
        let key = self.engines.key(self.task(), &offer.worker, &offer.device_class);
        self.footprints.get(&key).unwrap_or(self.unknown)
    }

    fn known(&self, place: &Standing) -> Option<&Footprint> {
        Some(self.footprint(place)).filter(|footprint| footprint.is_measured())
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
        if self.ran_out.is_none()
            && let Some((cold, give, place, fit)) = self.best(&open, lanes_free)
        {
            return match self.better_later(place, cold, fit, lanes_free) {
                Some(until) => Choice::Later(until),
                None => Choice::Place(place.offer.worker.clone(), self.sized(place, give, fit, lanes_free)),
            };
        }
        // What fits nowhere may have the largest idle device to itself.
        open.sort_by_key(|(_, give, worker, _)| (Reverse(*give), *worker));
        let mut idle = open.iter().filter(|(.., place)| place.is_idle());
        match idle.find(|(_, give, _, place)| self.may_run_alone(place, *give, &hosts)) {
            Some((_, give, worker, place)) => Choice::Place((*worker).clone(), self.alone(place, *give)),
            None => Choice::Wait,
        }
    }

    /// The first place in this order that has memory for the batch that is worth it; if none has, the one
    /// that has memory for most of it. A warm place goes before all cold ones.
    fn best<'a>(
        &self,
        open: &[(bool, Bytes, &WorkerId, &'a Standing)],
        lanes_free: usize,
    ) -> Option<(bool, Bytes, &'a Standing, Fit)> {
        let mut best: Option<(bool, Bytes, &Standing, Fit)> = None;
        for (cold, give, _, place) in open {
            if best.is_some_and(|(best_cold, ..)| best_cold != *cold) {
                break;
            }
            let Some(fit) = self.fit(place, *give, lanes_free) else { continue };
            if best.is_none_or(|(.., best)| best.items < fit.items) {
                best = Some((*cold, *give, place, fit));
            }
            if fit.items >= fit.wish {
                break;
            }
        }
        best
    }

    /// The largest batch that fits and is worth it, beside what runs there.
    fn fit(&self, place: &Standing, give: Bytes, lanes_free: usize) -> Option<Fit> {
        let (footprint, prior) = (self.footprint(place), prior(self.task()));
        let allowed = footprint.size_max(self.now).min(self.batch_max as u32).max(1);
        let there = self.waiting.div_ceil(lanes_free).max(1).min(allowed as usize) as u32;
        let fits = |items: &u32| footprint.reservation(*items, prior, self.now) <= give;
        let most = largest(allowed, fits)?;
        let safe = there.min(most);
        let worth = |max: u32| footprint.worthwhile(max).clamp(1, max);
        let (items, wish, full) = (worth(safe), worth(there), worth(most));
        let bytes = footprint.reservation(items, prior, self.now);
        assert!(bytes <= give, "property A: a batch is never promised more than there is");
        Some(Fit { items, safe, wish, full, bytes })
    }

    fn sized(&self, place: &Standing, give: Bytes, fit: Fit, lanes_free: usize) -> Size {
        let Fit { items, safe, bytes, .. } = fit;
        let known = if self.known(place).is_some() { "measured" } else { "prior" };
        let why = format!(
            "of {} waiting on {lanes_free} free lanes; {known} footprint, {bytes} of {give} to give; \
             at most {safe} fit, {items} are worth it",
            self.waiting
        );
        Size { items, bytes, why }
    }

    /// Until when waiting is worth more than beginning now. A fuller batch saves what every batch takes
    /// however small it is; the lane that waits for the next task loses the time until it comes. A cold place
    /// costs the start of a runner; one that is warm and busy costs no more than that if it is not waited for
    /// any longer. Either way nobody waits for longer than what would be saved, nor beyond a deadline.
    fn better_later(&self, place: &Standing, cold: bool, fit: Fit, lanes_free: usize) -> Option<Timestamp> {
        let footprint = self.footprint(place);
        let saved = footprint.saved().min(WAIT_MAX);
        let comes_soon = self.arrivals * saved.as_secs_f64() > lanes_free as f64;
        let fuller = if fit.items < fit.full && comes_soon { saved } else { Duration::ZERO };
        let swap = if cold && self.runs { footprint.load_time().min(WAIT_MAX) } else { Duration::ZERO };
        let until = self.given.drawn_at + fuller.max(swap);
        let slack = self.task().deadline.map(|deadline| deadline - footprint.time_late(fit.items));
        let until = slack.map_or(until, |slack| until.min(slack));
        (self.now < until).then_some(until)
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
            (None, None) => format!("its prior of {} does not fit beside others", prior(self.task())),
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

    /// What one item needs where it needs the least, the most that any device of its stage can give now, and
    /// the most that any could if nothing of ours ran there.
    pub(crate) fn short_of(&self, offers: &Offers) -> (Bytes, Bytes, Bytes) {
        let hosts = || offers.values().filter(|place| place.hosts(self.stage()));
        let prior = prior(self.task());
        let need = |place: &Standing| self.footprint(place).reservation(1, prior, self.now);
        // What ran out alone needs more than it had, wherever that was.
        let least = hosts().map(need).min().unwrap_or_default().max(self.ran_out.unwrap_or_default());
        let most = |of: fn(&Standing) -> Bytes| hosts().map(of).max().unwrap_or_default();
        (least, most(Standing::to_give), most(Standing::whole))
    }

    /// Why the task would be late wherever it ran now.
    pub(crate) fn late(&self, offers: &Offers) -> Option<String> {
        let deadline = self.task().deadline?;
        let hosts = offers.values().filter(|place| place.hosts(self.stage()));
        let soonest = hosts.map(|place| self.footprint(place).time(1)).min()?;
        (self.now + soonest > deadline).then_some(())?;
        let over = (self.now + soonest).since(deadline).as_secs_f64();
        Some(format!(
            "its deadline cannot be met: {} takes {:.1} s, and {over:.1} s are missing",
            self.stage(),
            soonest.as_secs_f64()
        ))
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
            let fits = self.ran_out.is_none() && self.fit(place, whole, 1).is_some();
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
