//! How large a batch is, where it goes, and whether it goes now: values in, a choice out.

use crate::device::Standing;
use crate::engines::Engines;
use crate::fleet::Fleet;
use crate::footprint::Footprint;
use crate::held::Head;
use crate::key::{FootprintKey, RESERVATION_MIN, prior_of};
use crate::rule::BatchRule;
use domain::{Bytes, Stage, Timestamp, WorkerId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// A task that ran out of memory alone is tried again where there is this much more.
const WORTH_ANOTHER_TRY: f64 = 1.1;
/// Longest wait for a fuller batch or for a warm runner, whatever it would save.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A batch that is not full waits so long while its lane does other work: the wait costs the task, not the
/// lane.
const WAIT_BESIDE_WORK: Duration = Duration::from_secs(10);
/// A runner is started although the device has other work when what waits for each warm runner of the stage
/// takes so many times as long as the start: then the start costs a twentieth of what it is made for.
const SWAP_PAYS: f64 = 20.0;

/// A device that takes this share of the mean time of an item, or less, suits it as well as any.
const AS_GOOD: f64 = 0.9;
/// By how much of the mean more it takes for each step by which it suits less.
const WORSE_BY: f64 = 0.2;
/// Longest that a shape is passed over for that.
const MISFIT_WAITS: Duration = Duration::from_secs(60);

/// What is to be placed: the task whose turn it is, with what is known around it.
pub(crate) struct Ask<'a> {
    pub(crate) head: &'a Head,
    /// The name of its shape.
    pub(crate) shape: &'a str,
    pub(crate) now: Timestamp,
    /// Tasks of its shape that wait.
    pub(crate) waiting: usize,
    /// Tasks of its shape that arrive in a second.
    pub(crate) arrivals: f64,
    /// A batch of the stage runs: a warm runner will be free.
    pub(crate) runs: bool,
    /// Seconds of work that wait for each runner of the stage that is loaded or being started; without end
    /// if there is none.
    pub(crate) queued_s: f64,
    /// The next stage has more than enough to do.
    pub(crate) ahead: bool,
    /// How long the start of a runner of the stage takes.
    pub(crate) load: Duration,
    /// With how much the task alone ran out of memory, if it did.
    pub(crate) ran_out: Option<Bytes>,
    /// Since when it waits for a batch: drawn, and none of its shape was cut.
    pub(crate) since: Timestamp,
    /// It was passed over for so long that the devices and strangers of now count as there to stay.
    pub(crate) waited_long: bool,
    pub(crate) footprints: &'a BTreeMap<FootprintKey, Footprint>,
    pub(crate) engines: &'a Engines,
    /// The footprint of what nobody has measured.
    pub(crate) unknown: &'a Footprint,
    pub(crate) batch_max: usize,
    pub(crate) rule: &'a BatchRule,
}

/// A batch's size and reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) items: u32,
    pub(crate) bytes: Bytes,
    /// What a person is told: what is left of the sentence is who waits and where it goes.
    pub(crate) why: String,
}

/// How good it is to begin a batch now: the best are begun before all others of their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Merit {
    /// It is full, or has waited long enough to be; its runner is loaded, or worth its start. The lower, the
    /// better it suits the device.
    Ready(u8),
    /// A fuller batch would be worth more, but the lane would idle.
    Partial,
    /// Full, but what comes after it has more than enough to do already.
    Ahead,
    /// The lane would idle, and a runner has to be started for it.
    Cold,
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Place(Merit, Place),
    /// It is worth more to wait, at most until then.
    Later(Timestamp),
    /// One item alone needs more than any device could ever give.
    Never(String),
    /// Nowhere now, though there is a free lane.
    Wait,
    /// No lane is free.
    Busy,
}

/// A batch with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) worker: WorkerId,
    pub(crate) size: Size,
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

/// A device with a free lane, or with one that is free soon.
#[derive(Clone, Copy)]
struct Open<'a> {
    cold: bool,
    /// The lane is not free yet.
    next: bool,
    give: Bytes,
    worker: &'a WorkerId,
    place: &'a Standing,
}

impl<'a> Ask<'a> {
    fn stage(&self) -> Stage {
        self.head.stage
    }

    fn footprint(&self, place: &Standing) -> &'a Footprint {
        let of_here = (&place.offer.worker, &place.offer.device_class);
        let make = || self.engines.key(self.stage(), self.shape, of_here);
        let shape = (self.stage(), self.head.shape);
        let known = place.with_key(shape, self.engines.version(), make, |key| self.footprints.get(key));
        known.unwrap_or(self.unknown)
    }

    fn known(&self, place: &Standing) -> Option<&'a Footprint> {
        Some(self.footprint(place)).filter(|footprint| footprint.is_measured())
    }

    /// What was measured of the shape on other kinds of device: what memory it needs hardly depends on them.
    fn elsewhere(&self) -> impl Iterator<Item = &'a Footprint> {
        self.engines.measured(self.footprints, self.stage(), self.shape)
    }

    /// What one item is taken to need where nobody has measured it: the most that it needs on any other kind
    /// of device; where nobody has measured it at all, the prior of its stage. With whether it was measured.
    fn prior(&self) -> (Bytes, bool) {
        match self.elsewhere().map(|known| known.peak(1)).max() {
            Some(peak) => (peak, true),
            None => (prior_of(self.stage(), self.head.texture_px, self.head.size), false),
        }
    }

    /// What each size is to reserve on a device.
    fn need(&self, footprint: &'a Footprint) -> impl Fn(u32) -> Bytes {
        let prior = if footprint.is_measured() { Bytes::ZERO } else { self.prior().0 };
        // Beyond what was measured here, who has measured more elsewhere knows better how it grows.
        let reach = footprint.proven();
        let grows = if reach == 0 || reach >= self.batch_max as u32 {
            None
        } else {
            self.elsewhere().max_by_key(|known| known.proven()).filter(|known| known.proven() > reach)
        };
        let now = self.now;
        move |items: u32| {
            let need = footprint.reservation(items, prior, now);
            match grows {
                // Never less than what fewer items need here.
                Some(known) if items > reach => {
                    let least = footprint.reservation(reach, prior, now);
                    need.min(footprint.reservation_like(items, known, now)).max(least)
                }
                _ => need,
            }
        }
    }

    /// The place for a batch that begins with this task. `withheld` places are kept free for another.
    pub(crate) fn choose(&self, fleet: &Fleet, withheld: impl Fn(&WorkerId) -> bool) -> Choice {
        if let Some(reason) = self.never(fleet) {
            return Choice::Never(reason);
        }
        let open = fleet.open().filter(|(worker, place)| place.hosts(self.stage()) && !withheld(worker));
        let open = open.map(|(worker, place)| {
            let (cold, next) = (!place.offer.warm.contains(&self.stage()), place.lanes_free() == 0);
            Open { cold, next, give: place.next_gives(), worker, place }
        });
        // Nobody waits for a lane that has another runner.
        let mut open: Vec<Open> = open.filter(|open| !(open.next && open.cold)).collect();
        // Warm ones first, of these free ones, then the tightest.
        open.sort_by_key(|open| (open.cold, open.next, open.give, open.worker));
        let lanes_free = open.iter().map(|open| open.place.lanes_free()).sum::<usize>().max(1);
        // A lane that is not free yet costs nothing: what is not ready for one may still grow.
        for with_next in [true, false] {
            open.retain(|open| with_next || !open.next);
            if self.ran_out.is_none()
                && let Some((place, fit)) = self.best(&open, lanes_free)
            {
                let choice = self.when(place, fit, lanes_free);
                if !place.next || matches!(choice, Choice::Place(Merit::Ready(_), _)) {
                    return choice;
                }
            }
        }
        if open.is_empty() {
            return Choice::Busy;
        }
        // What fits nowhere may have the largest idle device to itself.
        open.sort_by_key(|open| (Reverse(open.give), open.worker));
        let mut idle = open.iter().filter(|open| open.place.is_idle());
        match idle.find(|open| self.may_run_alone(open.place, open.give, fleet)) {
            Some(open) => {
                let size = self.alone(open.place, open.give);
                Choice::Place(Merit::Ready(0), Place { worker: open.worker.clone(), size })
            }
            None => Choice::Wait,
        }
    }

    /// The first place in this order that has memory for the batch that is worth it; if none has, the one
    /// that has memory for most of it. A warm place goes before all cold ones, a free one before those that
    /// are free soon.
    fn best<'b>(&self, open: &[Open<'b>], lanes_free: usize) -> Option<(Open<'b>, Fit)> {
        let mut best: Option<(Open, Fit)> = None;
        for open in open {
            if best.is_some_and(|(best, _)| (best.cold, best.next) != (open.cold, open.next)) {
                break;
            }
            let Some(fit) = self.fit(open.place, open.give, lanes_free) else { continue };
            if best.is_none_or(|(_, best)| best.items < fit.items) {
                best = Some((*open, fit));
            }
            if fit.items >= fit.wish {
                break;
            }
        }
        best
    }

    /// The largest batch that fits and is worth it, beside what runs there.
    fn fit(&self, place: &Standing, give: Bytes, lanes_free: usize) -> Option<Fit> {
        if let Some(size) = self.rule.size(self.stage()) {
            return self.forced(size, place, give, lanes_free);
        }
        let footprint = self.footprint(place);
        let allowed = footprint.size_max(self.now).min(self.batch_max as u32).max(1);
        let there = self.waiting.div_ceil(lanes_free).max(1).min(allowed as usize) as u32;
        let need = self.need(footprint);
        let most = largest(allowed, |items| need(*items) <= give)?;
        let safe = there.min(most);
        let worth = |max: u32| self.rule.worth(footprint, max);
        let (items, wish, full) = (worth(safe), worth(there), worth(most));
        let bytes = need(items);
        assert!(bytes <= give, "property A: a batch is never promised more than there is");
        Some(Fit { items, safe, wish, full, bytes })
    }

    /// A batch of this size, whatever it needs, in an equal share of what there is for the device's free
    /// lanes.
    fn forced(&self, size: u32, place: &Standing, give: Bytes, lanes_free: usize) -> Option<Fit> {
        let full = size.min(self.batch_max as u32).max(1);
        let items = self.waiting.div_ceil(lanes_free).clamp(1, full as usize) as u32;
        let bytes = Bytes(give.0 / place.lanes_free().max(1) as u64);
        (bytes >= RESERVATION_MIN).then_some(Fit { items, safe: items, wish: items, full, bytes })
    }

    fn sized(&self, place: &Standing, give: Bytes, fit: Fit, lanes_free: usize) -> Size {
        let Fit { items, safe, bytes, .. } = fit;
        let known = if self.known(place).is_some() { "measured" } else { "prior" };
        let why = self.rule.why((items, safe), bytes, give, known);
        let why = format!("of {} waiting on {lanes_free} free lanes; {why}", self.waiting);
        Size { items, bytes, why }
    }

    /// Whether the batch begins now, and what that is worth. A fuller batch saves what every batch takes
    /// however small it is; a lane that idles for it loses the time until the next task comes, one that has
    /// other work meanwhile loses nothing. A cold place costs the start of a runner, which pays where more
    /// work waits than the loaded ones do soon; else one that is warm and busy costs no more than the start
    /// if it is not waited for any longer. Nobody waits beyond a deadline.
    fn when(&self, open: Open, fit: Fit, lanes_free: usize) -> Choice {
        let footprint = self.footprint(open.place);
        let saved = footprint.saved().min(WAIT_MAX);
        let slack = self.head.deadline.map(|deadline| deadline - footprint.time_late(fit.items));
        let waits = |span: Duration| {
            let until = self.since + span;
            let until = slack.map_or(until, |slack| until.min(slack));
            (self.now < until).then_some(until)
        };
        let is_full = fit.items >= fit.full || waits(WAIT_BESIDE_WORK).is_none();
        let pays = !open.cold || self.queued_s >= SWAP_PAYS * self.load.as_secs_f64();
        let merit = match (is_full, pays) {
            (true, true) if self.ahead => Merit::Ahead,
            (true, true) => Merit::Ready(self.misfit(footprint, fit.full, open.cold)),
            (_, false) => Merit::Cold,
            (false, true) => Merit::Partial,
        };
        let comes_soon = self.arrivals * saved.as_secs_f64() > lanes_free as f64;
        let fuller = if fit.items < fit.full && comes_soon { saved } else { Duration::ZERO };
        let busy = open.cold && self.runs;
        let swap = if busy { self.load.min(WAIT_MAX) } else { Duration::ZERO };
        match waits(fuller.max(swap)).filter(|_| !(is_full && pays)) {
            Some(until) => Choice::Later(until),
            None => {
                let size = self.sized(open.place, open.give, fit, lanes_free);
                Choice::Place(merit, Place { worker: open.worker.clone(), size })
            }
        }
    }

    /// How badly a batch suits a device: how much longer an item takes there, with its share of the start of
    /// a runner, than on the kinds of devices in the mean. Each device so does what it is better at than
    /// others are, though others may be better at all. What has waited long suits every device.
    fn misfit(&self, footprint: &Footprint, items: u32, cold: bool) -> u8 {
        if !footprint.is_measured() || self.now.since(self.since) >= MISFIT_WAITS {
            return 0;
        }
        let rates = self.elsewhere().map(|known| 1.0 / known.least_item_seconds());
        let (count, sum) = rates.fold((0u32, 0.0), |(count, sum), rate| (count + 1, sum + rate));
        let start = if cold { self.load.as_secs_f64() / f64::from(items) } else { 0.0 };
        let mean = sum / f64::from(count.max(1));
        let ratio = (footprint.item_seconds(items) + start) * mean;
        ((ratio - AS_GOOD) / WORSE_BY).clamp(0.0, f64::from(u8::MAX)) as u8
    }

    /// A prior never rejects, and neither does an estimate that no device meets: such a task may run alone,
    /// with all that an idle device can give, if that is more than it ran out of. But while there is a device
    /// that could take it as far as is known, it waits for that one.
    fn may_run_alone(&self, place: &Standing, give: Bytes, fleet: &Fleet) -> bool {
        if give < RESERVATION_MIN {
            return false;
        }
        let (_, measured) = self.prior();
        let hopeless = || {
            let mut hosts = fleet.hosts(self.stage());
            hosts.all(|(_, host)| host.capacity() < self.need(self.footprint(host))(1))
        };
        match (self.ran_out, self.known(place)) {
            (Some(had), _) => give > had.scale(WORTH_ANOTHER_TRY),
            (None, None) if !measured && self.footprint(place).ran_out_of(self.now).is_none() => true,
            (None, _) => hopeless(),
        }
    }

    fn alone(&self, place: &Standing, give: Bytes) -> Size {
        let cause = match (self.ran_out, self.known(place)) {
            (Some(had), _) => format!("it ran out of {had}"),
            (None, None) => format!("its prior of {} does not fit beside others", self.prior().0),
            (None, Some(_)) => "its measured need is more than any device has".to_owned(),
        };
        let why = format!("alone with all {give} that the idle device can give, since {cause}");
        Size { items: 1, bytes: give, why }
    }

    /// Why the task can never run: it ran out alone of about as much as any device could give, and has waited
    /// long enough for a larger one to come back.
    fn never(&self, fleet: &Fleet) -> Option<String> {
        let had = self.ran_out.filter(|_| self.waited_long)?;
        // Strangers may go, so that what they hold speaks against nobody for good.
        let best = fleet.hosts(self.stage()).map(|(_, place)| place.capacity()).max()?;
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
    pub(crate) fn short_of(&self, fleet: &Fleet) -> (Bytes, Bytes, Bytes) {
        let hosts = || fleet.hosts(self.stage()).map(|(_, place)| place);
        let need = |place: &Standing| self.need(self.footprint(place))(1);
        // What ran out alone needs more than it had, wherever that was.
        let least = hosts().map(need).min().unwrap_or_default().max(self.ran_out.unwrap_or_default());
        let most = |of: fn(&Standing) -> Bytes| hosts().map(of).max().unwrap_or_default();
        (least, most(Standing::to_give), most(Standing::whole))
    }

    /// Why the task would be late wherever it ran now.
    pub(crate) fn late(&self, fleet: &Fleet) -> Option<String> {
        let deadline = self.head.deadline?;
        let soonest = fleet.hosts(self.stage()).map(|(_, place)| self.footprint(place).time(1)).min()?;
        (self.now + soonest > deadline).then_some(())?;
        let over = (self.now + soonest).since(deadline).as_secs_f64();
        Some(format!(
            "its deadline cannot be met: {} takes {:.1} s, and {over:.1} s are missing",
            self.stage(),
            soonest.as_secs_f64()
        ))
    }

    /// The device that should be kept free for a task that was passed over for too long.
    pub(crate) fn claim<'b>(
        &self,
        fleet: &'b Fleet,
        taken: impl Fn(&WorkerId) -> bool,
    ) -> Option<&'b WorkerId> {
        let usable = |worker: &WorkerId, place: &Standing| {
            let whole = place.whole();
            let fits = self.ran_out.is_none() && self.fit(place, whole, 1).is_some();
            !taken(worker) && (fits || self.may_run_alone(place, whole, fleet))
        };
        fleet
            .hosts(self.stage())
            .filter(|(worker, place)| usable(worker, place))
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
