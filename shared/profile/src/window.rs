//! Many timings, folded into little memory as they come: what `breakdown`, `capacity`, `trend` and `advice`
//! read. Two windows merge into the window of both. It keeps no timing.
//!
//! Everything that a message could make grow has a limit; what is beyond is counted under `other` or left
//! out, never an error.

use crate::batches::{BatchSeen, Batches};
use crate::breakdown::Row;
use crate::severity::{Bottleneck, Spent, bottlenecks};
use crate::speed::{Speed, size_slot};
use crate::trend::Series;
use domain::{DeviceClass, Phase, Stage, TaskEnd, Timestamp, Timing, WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Kinds of devices that are told apart.
const CLASSES_MAX: usize = 64;
/// Precisions that are told apart per stage and kind of device.
const PRECISIONS_MAX: usize = 8;
/// Workers that are told apart.
const WORKERS_MAX: usize = 4_096;
/// Stands for kinds of devices beyond the limit.
const OTHER: &str = "other";

/// What was seen of one kind of device.
#[derive(Clone, Debug, Default)]
struct OfClass {
    rows: BTreeMap<(Stage, u32), Row>,
    speeds: BTreeMap<Stage, Vec<(String, Speed)>>,
    series: BTreeMap<Stage, Series>,
}

/// What was seen of a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSeen {
    pub(crate) device_class: DeviceClass,
    pub(crate) stages: BTreeSet<Stage>,
    /// Its lanes were held so long in all.
    pub(crate) busy_us: u64,
}

/// Many timings.
#[derive(Clone, Debug, Default)]
pub struct Window {
    classes: BTreeMap<DeviceClass, OfClass>,
    ends: BTreeMap<(Stage, TaskEnd), u64>,
    workers: BTreeMap<WorkerId, WorkerSeen>,
    batches: Batches,
    /// When the first accepted and the last acknowledged.
    during: Option<(Timestamp, Timestamp)>,
}

impl Window {
    /// Nothing yet.
    pub fn new() -> Window {
        Window::default()
    }

    /// Takes a timing in.
    pub fn add(&mut self, timing: &Timing) {
        let of_class = slot(&mut self.classes, &timing.device_class);
        of_class.rows.entry((timing.stage, size_slot(timing.batch_items))).or_default().add(timing);
        *self.ends.entry((timing.stage, timing.end)).or_default() += 1;
        let phases = &timing.phases;
        let waited = Duration::from_micros(phases.queued_us.saturating_add(phases.planned_us));
        let since = timing.at - Duration::from_micros(timing.wall_us).saturating_sub(waited);
        let (from, to) = self.during.unwrap_or((since, timing.at));
        self.during = Some((from.min(since), to.max(timing.at)));
        if let Some(seen) = self.batches.add(timing) {
            self.close(&seen);
        }
    }

    /// Takes all of another window in.
    pub fn merge(&mut self, other: &Window) {
        for (class, theirs) in &other.classes {
            let ours = slot(&mut self.classes, class);
            for (key, row) in &theirs.rows {
                ours.rows.entry(*key).or_default().merge(row);
            }
            for (stage, speeds) in &theirs.speeds {
                for (precision, speed) in speeds {
                    if let Some(of) = speed_slot(ours.speeds.entry(*stage).or_default(), precision) {
                        of.merge(speed);
                    }
                }
            }
            for (stage, series) in &theirs.series {
                ours.series.entry(*stage).or_default().merge(series);
            }
        }
        for (end, count) in &other.ends {
            *self.ends.entry(*end).or_default() += count;
        }
        for (id, theirs) in &other.workers {
            if let Some(ours) = worker_slot(&mut self.workers, id, &theirs.device_class) {
                ours.busy_us = ours.busy_us.saturating_add(theirs.busy_us);
                ours.stages.extend(&theirs.stages);
            }
        }
        self.during = match (self.during, other.during) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (ours, theirs) => ours.or(theirs),
        };
        for seen in self.batches.merge(&other.batches) {
            self.close(&seen);
        }
    }

    /// A batch is over.
    fn close(&mut self, seen: &BatchSeen) {
        let of_class = slot(&mut self.classes, &seen.device_class);
        if let Some(speed) = speed_slot(of_class.speeds.entry(seen.stage).or_default(), &seen.precision) {
            speed.add(seen);
        }
        of_class.series.entry(seen.stage).or_default().add(seen);
        if let Some(worker) = worker_slot(&mut self.workers, &seen.worker, &seen.device_class) {
            worker.busy_us = worker.busy_us.saturating_add(seen.hold_us());
            worker.stages.insert(seen.stage);
        }
    }

    /// As it would be if every batch were over.
    pub(crate) fn closed(&self) -> Window {
        let mut copy = self.clone();
        for seen in std::mem::take(&mut copy.batches).unfinished() {
            copy.close(&seen);
        }
        copy
    }

    /// When the first task was accepted and the last acknowledged; none of nothing.
    pub fn during(&self) -> Option<(Timestamp, Timestamp)> {
        self.during
    }

    /// How long that was.
    pub fn span(&self) -> Duration {
        self.during.map_or(Duration::ZERO, |(from, to)| to.since(from))
    }

    /// Tasks that ended so.
    pub fn count(&self, stage: Stage, end: TaskEnd) -> u64 {
        self.ends.get(&(stage, end)).copied().unwrap_or(0)
    }

    /// Stages whose tasks took at least `threshold_percent` of all tasks' wall time, the largest first.
    pub fn identify_bottlenecks(&self, threshold_percent: f64) -> Vec<Bottleneck> {
        let stages = self.by_stage();
        let whole = stages.values().map(|row| row.wall_us).fold(0u64, u64::saturating_add);
        let spent = |(stage, row): (&Stage, &Row)| {
            let parts = Phase::ALL.into_iter().map(|phase| (phase.as_str(), row.phase_us(phase)));
            Spent { stage: stage.as_str(), us: row.wall_us, parts: parts.collect() }
        };
        bottlenecks(whole, &stages.iter().map(spent).collect::<Vec<_>>(), threshold_percent)
    }

    /// All rows of each stage together.
    pub(crate) fn by_stage(&self) -> BTreeMap<Stage, Row> {
        let mut stages: BTreeMap<Stage, Row> = BTreeMap::new();
        self.rows().for_each(|(stage, _, _, row)| stages.entry(stage).or_default().merge(row));
        stages
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Stage, &DeviceClass, u32, &Row)> {
        self.classes.iter().flat_map(|(class, of)| {
            of.rows.iter().map(move |((stage, items), row)| (*stage, class, *items, row))
        })
    }

    pub(crate) fn ends(&self) -> impl Iterator<Item = (Stage, TaskEnd, u64)> {
        self.ends.iter().map(|((stage, end), count)| (*stage, *end, *count))
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &WorkerSeen> {
        self.workers.values()
    }

    /// Stage, kind of device and precision, with the batches that ran so and were over.
    pub(crate) fn speeds(&self) -> impl Iterator<Item = (Stage, &DeviceClass, &str, &Speed)> {
        self.classes.iter().flat_map(|(class, of)| {
            of.speeds.iter().flat_map(move |(stage, list)| {
                list.iter().map(move |(precision, speed)| (*stage, class, precision.as_str(), speed))
            })
        })
    }

    pub(crate) fn series(&self) -> impl Iterator<Item = (Stage, &DeviceClass, &Series)> {
        self.classes
            .iter()
            .flat_map(|(class, of)| of.series.iter().map(move |(stage, series)| (*stage, class, series)))
    }
}

fn slot<'a>(classes: &'a mut BTreeMap<DeviceClass, OfClass>, class: &DeviceClass) -> &'a mut OfClass {
    let known = classes.contains_key(class);
    if known || classes.len() < CLASSES_MAX {
        if !known {
            classes.insert(class.clone(), OfClass::default());
        }
        return classes.get_mut(class).expect("it is there, or was just put there");
    }
    classes.entry(DeviceClass(OTHER.to_owned())).or_default()
}

fn speed_slot<'a>(speeds: &'a mut Vec<(String, Speed)>, precision: &str) -> Option<&'a mut Speed> {
    let at = speeds.iter().position(|(name, _)| name == precision).unwrap_or_else(|| {
        if speeds.len() < PRECISIONS_MAX {
            speeds.push((precision.to_owned(), Speed::default()));
            speeds.len() - 1
        } else {
            PRECISIONS_MAX
        }
    });
    speeds.get_mut(at).map(|(_, speed)| speed)
}

fn worker_slot<'a>(
    workers: &'a mut BTreeMap<WorkerId, WorkerSeen>,
    id: &WorkerId,
    class: &DeviceClass,
) -> Option<&'a mut WorkerSeen> {
    if !workers.contains_key(id) && workers.len() < WORKERS_MAX {
        let seen = WorkerSeen { device_class: class.clone(), stages: BTreeSet::new(), busy_us: 0 };
        workers.insert(id.clone(), seen);
    }
    workers.get_mut(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{batch, config, timing, window};
    use crate::{Grouping, Severity, THRESHOLD_PERCENT};
    use proptest::prelude::*;

    #[test]
    fn stages_of_a_window_are_judged_by_their_share_of_all_tasks() {
        let timings =
            [timing(0, Stage::Shape, 50), timing(1, Stage::Shape, 10), timing(2, Stage::Texture, 40)];
        let found = window(&timings).identify_bottlenecks(THRESHOLD_PERCENT);
        let brief: Vec<_> = found.iter().map(|of| (of.stage.as_str(), of.severity)).collect();
        assert_eq!(brief, [("shape", Severity::Critical), ("texture", Severity::High)]);
    }

    #[test]
    fn a_window_lasts_from_the_first_acceptance_to_the_last_acknowledgement() {
        let mut first = timing(1, Stage::Shape, 500);
        first.phases.queued_us = 5_000_000;
        first.wall_us += 5_000_000;
        let window = window([&first, &timing(3, Stage::Shape, 1)]);
        assert_eq!(window.span(), Duration::from_millis(2_500));
        assert_eq!(Window::new().span(), Duration::ZERO);
        assert_eq!(window.count(Stage::Shape, TaskEnd::Committed), 2);
    }

    #[test]
    fn what_a_message_could_make_grow_has_a_limit() {
        let mut window = Window::new();
        for n in 0..5_000u64 {
            let mut timing = timing(n, Stage::Shape, 1);
            timing.device_class = DeviceClass(format!("class-{n}"));
            timing.precision = format!("p{n}");
            timing.worker = format!("w{n}").parse().expect("a name");
            timing.wall_us = u64::MAX;
            window.add(&timing);
        }
        assert_eq!(window.classes.len(), CLASSES_MAX + 1);
        assert_eq!(window.workers.len(), WORKERS_MAX);
        assert_eq!(window.breakdown(Grouping::default()).tasks, 5_000);
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_merge_of_windows_is_the_window_of_all(
            batches in prop::collection::vec((0usize..4, 1u32..5, 1u64..2_000), 1..30),
            cut in 0usize..60,
        ) {
            let timings: Vec<Timing> = batches.iter().enumerate()
                .flat_map(|(n, (stage, items, ms))| batch(n as u64, Stage::ALL[*stage], *items, *ms))
                .collect();
            let (left, right) = timings.split_at(cut.min(timings.len()));
            let mut merged = window(left);
            merged.merge(&window(right));
            let all = window(&timings);
            let both = Grouping { device_class: true, batch_items: true };
            let (found, expect) = (merged.breakdown(both), all.breakdown(both));
            prop_assert_eq!(found.rows.len(), expect.rows.len());
            for (found, expect) in found.rows.iter().zip(&expect.rows) {
                prop_assert_eq!((found.tasks, found.wall_us), (expect.tasks, expect.wall_us));
                prop_assert_eq!(found.wall.p90_ms, expect.wall.p90_ms);
            }
            let speeds = |of: &Window| {
                of.closed().speeds().map(|(stage, _, _, speed)| (stage, speed.total())).collect::<Vec<_>>()
            };
            prop_assert_eq!(speeds(&merged), speeds(&all));
            prop_assert_eq!(merged.during(), all.during());
        }
    }
}
