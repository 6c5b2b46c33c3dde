//! Where the time went: per stage, phase, batch size and device class, with percentiles. Read from a
//! [`Window`]; it judges nothing.
//!
//! The law of every row, exactly, in microseconds: `sum of phases + unaccounted - overlap = wall`.

use crate::Window;
use crate::sketch::{Percentiles, Sketch, percent};
use domain::{Bytes, DeviceClass, Phase, SpanTime, Stage, TaskEnd, Timing};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names of spans that are told apart in one row; the rest is put together as [`OTHER_SPANS`].
const SPANS_MAX: usize = 64;
/// Stands for spans beyond the limit.
pub(crate) const OTHER_SPANS: &str = "(other)";

/// By what rows are told apart, besides the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// By the kind of device.
    pub device_class: bool,
    /// By the number of items in the batch.
    pub batch_items: bool,
}

/// Time in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PhaseRow {
    /// Which.
    pub phase: Phase,
    /// All tasks together.
    pub us: u64,
    /// Of the row's wall time, in percent.
    pub share_percent: f64,
    /// Per task.
    pub times: Percentiles,
}

/// Tasks of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BreakdownRow {
    /// Their stage.
    pub stage: Stage,
    /// Their kind of device, if rows are told apart by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_class: Option<DeviceClass>,
    /// Items of their batches, if rows are told apart by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_items: Option<u32>,
    /// How many.
    pub tasks: u64,
    /// From publication to acknowledgement, all together.
    pub wall_us: u64,
    /// From publication to acknowledgement, per task.
    pub wall: Percentiles,
    /// In their order; all of them.
    pub phases: Vec<PhaseRow>,
    /// Wall time that no phase accounts for.
    pub unaccounted_us: u64,
    /// Time that phases account for twice, as clocks of two machines do that disagree.
    pub overlap_us: u64,
    /// Spans inside compute, the longest first.
    pub spans: Vec<SpanTime>,
    /// Largest peak of a batch.
    pub peak_bytes: Bytes,
}

/// Where the time went.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Breakdown {
    /// All rows together.
    pub tasks: u64,
    /// All rows together.
    pub wall_us: u64,
    /// All rows together, in percent of the wall time; above 1 the phases do not tell the whole story.
    pub unaccounted_percent: f64,
    /// In the order of stage, device class, batch size.
    pub rows: Vec<BreakdownRow>,
    /// How tasks ended, by stage.
    pub ends: Vec<(Stage, TaskEnd, u64)>,
}

impl Breakdown {
    /// Keeps one stage's rows.
    pub(crate) fn retain(&mut self, stage: Stage) {
        self.rows.retain(|row| row.stage == stage);
        self.ends.retain(|(of, ..)| *of == stage);
        let sum = |of: fn(&BreakdownRow) -> u64| self.rows.iter().map(of).fold(0u64, u64::saturating_add);
        (self.tasks, self.wall_us) = (sum(|row| row.tasks), sum(|row| row.wall_us));
        self.unaccounted_percent = percent(sum(|row| row.unaccounted_us), self.wall_us);
    }
}

/// The sums behind a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) tasks: u64,
    pub(crate) wall_us: u64,
    wall: Sketch,
    phases_us: [u64; Phase::ALL.len()],
    phases: [Sketch; Phase::ALL.len()],
    pub(crate) unaccounted_us: u64,
    overlap_us: u64,
    pub(crate) spans: BTreeMap<String, u64>,
    peak: Bytes,
}

impl Row {
    pub(crate) fn add(&mut self, timing: &Timing) {
        let mut sum = 0u64;
        let slots = self.phases_us.iter_mut().zip(&mut self.phases);
        for (us, (total, sketch)) in phases_us(timing).into_iter().zip(slots) {
            sum = sum.saturating_add(us);
            *total = total.saturating_add(us);
            sketch.add_us(us);
        }
        self.tasks += 1;
        self.wall_us = self.wall_us.saturating_add(timing.wall_us);
        self.wall.add_us(timing.wall_us);
        self.unaccounted_us = self.unaccounted_us.saturating_add(timing.wall_us.saturating_sub(sum));
        self.overlap_us = self.overlap_us.saturating_add(sum.saturating_sub(timing.wall_us));
        timing.spans.iter().for_each(|span| self.add_span(&span.name, span.us));
        self.peak = self.peak.max(timing.peak_bytes);
    }

    fn add_span(&mut self, name: &str, us: u64) {
        let names = self.spans.len() - usize::from(self.spans.contains_key(OTHER_SPANS));
        let room = names < SPANS_MAX || self.spans.contains_key(name);
        let name = if room { name } else { OTHER_SPANS };
        match self.spans.get_mut(name) {
            Some(total) => *total = total.saturating_add(us),
            None => drop(self.spans.insert(name.to_owned(), us)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Row) {
        self.tasks += other.tasks;
        self.wall_us = self.wall_us.saturating_add(other.wall_us);
        self.wall.merge(&other.wall);
        for n in 0..Phase::ALL.len() {
            self.phases_us[n] = self.phases_us[n].saturating_add(other.phases_us[n]);
            self.phases[n].merge(&other.phases[n]);
        }
        self.unaccounted_us = self.unaccounted_us.saturating_add(other.unaccounted_us);
        self.overlap_us = self.overlap_us.saturating_add(other.overlap_us);
        other.spans.iter().for_each(|(name, us)| self.add_span(name, *us));
        self.peak = self.peak.max(other.peak);
    }

    /// Time in a phase, all tasks together.
    pub(crate) fn phase_us(&self, phase: Phase) -> u64 {
        self.phases_us[phase as usize]
    }

    /// Time in a phase, per task.
    pub(crate) fn phase(&self, phase: Phase) -> &Sketch {
        &self.phases[phase as usize]
    }

    fn told(
        &self,
        stage: Stage,
        device_class: Option<DeviceClass>,
        items: Option<u32>,
    ) -> Option<BreakdownRow> {
        let phase = |phase: Phase| {
            let us = self.phase_us(phase);
            let share_percent = percent(us, self.wall_us);
            Some(PhaseRow { phase, us, share_percent, times: self.phase(phase).percentiles()? })
        };
        let mut spans: Vec<SpanTime> =
            self.spans.iter().map(|(name, us)| SpanTime { name: name.clone(), us: *us }).collect();
        spans.sort_by(|a, b| b.us.cmp(&a.us).then_with(|| a.name.cmp(&b.name)));
        Some(BreakdownRow {
            stage,
            device_class,
            batch_items: items,
            tasks: self.tasks,
            wall_us: self.wall_us,
            wall: self.wall.percentiles()?,
            phases: Phase::ALL.into_iter().filter_map(phase).collect(),
            unaccounted_us: self.unaccounted_us,
            overlap_us: self.overlap_us,
            spans,
            peak_bytes: self.peak,
        })
    }
}

fn phases_us(timing: &Timing) -> [u64; Phase::ALL.len()] {
    Phase::ALL.map(|phase| timing.phases.of(phase).as_micros() as u64)
}

impl Window {
    /// Where the time of all tasks went.
    pub fn breakdown(&self, by: Grouping) -> Breakdown {
        let mut rows: BTreeMap<(Stage, Option<&DeviceClass>, Option<u32>), Row> = BTreeMap::new();
        for (stage, class, items, row) in self.rows() {
            let key = (stage, by.device_class.then_some(class), by.batch_items.then_some(items));
            rows.entry(key).or_default().merge(row);
        }
        let told = |((stage, class, items), row): (&(Stage, Option<&DeviceClass>, _), &Row)| {
            row.told(*stage, class.cloned(), *items)
        };
        let sum = |of: fn(&Row) -> u64| rows.values().map(of).fold(0u64, u64::saturating_add);
        let wall_us = sum(|row| row.wall_us);
        Breakdown {
            tasks: sum(|row| row.tasks),
            wall_us,
            unaccounted_percent: percent(sum(|row| row.unaccounted_us), wall_us),
            ends: self.ends().collect(),
            rows: rows.iter().filter_map(told).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{config, timing, window};
    use domain::PhaseTimes;
    use proptest::prelude::*;

    const BOTH: Grouping = Grouping { device_class: true, batch_items: true };

    #[test]
    fn rows_are_told_apart_by_what_is_asked() {
        let host = DeviceClass("host".to_owned());
        let mut timings = vec![timing(0, Stage::Shape, 5), timing(1, Stage::Shape, 7)];
        timings.push(Timing { device_class: host, ..timing(2, Stage::Shape, 9) });
        timings.push(Timing { batch_items: 4, ..timing(3, Stage::Texture, 9) });
        let check = |by: Grouping, expect: &[(Stage, Option<&str>, Option<u32>, u64)]| {
            let found = window(&timings).breakdown(by);
            let brief = |row: &BreakdownRow| {
                (row.stage, row.device_class.clone().map(|of| of.0), row.batch_items, row.tasks)
            };
            let expect: Vec<_> =
                expect.iter().map(|(s, class, b, n)| (*s, class.map(str::to_owned), *b, *n)).collect();
            assert_eq!(found.rows.iter().map(brief).collect::<Vec<_>>(), expect);
            assert_eq!(found.tasks, 4);
        };
        check(Grouping::default(), &[(Stage::Shape, None, None, 3), (Stage::Texture, None, None, 1)]);
        check(
            BOTH,
            &[
                (Stage::Shape, Some("gpu-a"), Some(1), 2),
                (Stage::Shape, Some("host"), Some(1), 1),
                (Stage::Texture, Some("gpu-a"), Some(4), 1),
            ],
        );
    }

    #[test]
    fn time_between_two_phases_is_shown_and_not_hidden() {
        let late = Timing { wall_us: 205_000, ..timing(0, Stage::Shape, 5) };
        let found = window([&late]).breakdown(Grouping::default());
        assert_eq!(found.rows[0].unaccounted_us, 200_000);
        assert!((found.unaccounted_percent - 97.56).abs() < 0.01);
    }

    #[test]
    fn too_many_names_of_spans_are_put_together() {
        let spans = (0..100).map(|n| SpanTime { name: format!("s{n}"), us: 1 }).collect();
        let found = window([&Timing { spans, ..timing(0, Stage::Shape, 5) }]).breakdown(Grouping::default());
        let spans = &found.rows[0].spans;
        assert_eq!((spans.len(), spans[0].name.as_str(), spans[0].us), (SPANS_MAX + 1, OTHER_SPANS, 36));
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn every_row_sums_to_its_wall(
            tasks in prop::collection::vec(
                (prop::array::uniform8(0u64..1_000_000), 0u64..2_000_000, 0usize..4),
                1..40,
            ),
        ) {
            let told = |(n, (phases, extra, stage)): (usize, &([u64; 8], u64, usize))| {
                let mut times = PhaseTimes::default();
                let each = Phase::ALL.into_iter().zip(phases);
                each.for_each(|(phase, us)| times.add(phase, std::time::Duration::from_micros(*us)));
                let wall_us = (phases.iter().sum::<u64>() + extra).saturating_sub(1_000_000);
                Timing { phases: times, wall_us, ..timing(n as u64, Stage::ALL[*stage], 0) }
            };
            let timings: Vec<Timing> = tasks.iter().enumerate().map(told).collect();
            let found = window(&timings).breakdown(BOTH);
            for row in &found.rows {
                let phases: u64 = row.phases.iter().map(|of| of.us).sum();
                prop_assert_eq!(phases + row.unaccounted_us - row.overlap_us, row.wall_us);
            }
            prop_assert_eq!(found.wall_us, timings.iter().map(|of| of.wall_us).sum::<u64>());
        }
    }
}
