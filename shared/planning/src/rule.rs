//! By which rule the size of a batch is chosen. The planner's own is [`BatchRule::Learned`]; the others are
//! for measuring, so that it can be compared with what people do without it.
//!
//! A rule forces sizes alone: whose turn it is, when a batch begins, where it goes, and what becomes of those
//! that run out of memory is the same under all of them.

use crate::footprint::Footprint;
use domain::{Bytes, Stage, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchRule {
    /// The smallest batch that fits the memory as measured and is within 3 % of the best throughput.
    #[default]
    Learned,
    /// For measuring: one task at a time. As [`BatchRule::Fixed`] with nothing set.
    One,
    /// For measuring: as many as somebody has set for the stage, and one where nothing is set, whatever was
    /// measured. Each batch may take an equal share of what its device can give to its free lanes.
    Fixed(BTreeMap<Stage, NonZeroU32>),
    /// For measuring: as many as fit the memory as measured, whether they are worth it or not.
    Fill,
}

impl BatchRule {
    /// The size that is forced at a stage; none where it is chosen.
    pub(crate) fn size(&self, stage: Stage) -> Option<u32> {
        match self {
            BatchRule::Learned | BatchRule::Fill => None,
            BatchRule::One => Some(1),
            BatchRule::Fixed(sizes) => Some(sizes.get(&stage).map_or(1, |size| size.get())),
        }
    }

    /// Of so many that fit, those that are taken. Never fewer for a larger `max`.
    pub(crate) fn worth(&self, footprint: &Footprint, max: u32) -> u32 {
        match self {
            BatchRule::Fill => max,
            _ => footprint.worthwhile(max).clamp(1, max),
        }
    }

    /// The largest batch of a stage that would be cut of this key, were there memory and tasks enough.
    pub(crate) fn wanted(&self, stage: Stage, footprint: &Footprint, max: usize, now: Timestamp) -> u32 {
        let max = max as u32;
        match self.size(stage) {
            Some(size) => size.min(max),
            None => self.worth(footprint, footprint.size_max(now).min(max).max(1)),
        }
    }

    /// What a person is told of a size: `safe` fit `give`, `items` are taken and may use `bytes`.
    pub(crate) fn why(&self, (items, safe): (u32, u32), bytes: Bytes, give: Bytes, known: &str) -> String {
        match self {
            BatchRule::Learned => format!(
                "{known} footprint, {bytes} of {give} to give; at most {safe} fit, {items} are worth it"
            ),
            BatchRule::Fill => {
                format!("{known} footprint, {bytes} of {give} to give; rule fill: all {safe} that fit")
            }
            BatchRule::One => format!("rule one: one at a time, {bytes} of {give} to give"),
            BatchRule::Fixed(_) => {
                format!("rule fixed: {items} whatever they need, {bytes} of {give} to give")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{given, limits, offer, tell};
    use crate::{Decision, Event, FootprintKey, Planner};
    use domain::{Batch, Class, Consumer, DeviceClass, Epoch};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn fixed(size: u32) -> BatchRule {
        BatchRule::Fixed(NonZeroU32::new(size).map(|size| (Stage::Shape, size)).into_iter().collect())
    }

    /// Batches gain nothing, and 50 MiB hold one more.
    fn footprints() -> BTreeMap<FootprintKey, Footprint> {
        let mut footprint = Footprint::default();
        for items in [1, 2, 4, 8].repeat(8) {
            let (peak, time) = (Bytes::mib(50 * u64::from(items)), Duration::from_secs(u64::from(items)));
            footprint.observe(items, peak, time);
        }
        let key = FootprintKey::of(&given(0, 0, Class::Normal, NOW).task, "", &DeviceClass("host".into()));
        BTreeMap::from([(key, footprint)])
    }

    /// The first batch out of eight tasks on an idle device of 16 GiB with so many lanes.
    fn first(rule: BatchRule, lanes: u32, known: BTreeMap<FootprintKey, Footprint>) -> Batch {
        let limits = crate::Limits { batch_rule: rule, ..limits(1) };
        let mut planner = Planner::new(limits, Epoch(1), known);
        let tasks: Vec<_> = (0..8).map(|n| given(n, 0, Class::Normal, NOW)).collect();
        let consumer = Consumer::of_task(&tasks[0].task);
        for task in tasks {
            tell(&mut planner, NOW, Event::TaskSeen(task));
        }
        let mut decisions = tell(&mut planner, NOW, Event::DrawEnded(consumer));
        decisions.extend(tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, lanes))));
        let proposed = decisions.into_iter().find_map(|decision| match decision {
            Decision::Propose(_, batch) => Some(batch),
            _ => None,
        });
        proposed.expect("a free lane and a task")
    }

    #[test]
    fn a_rule_forces_the_size_and_the_batch_says_which_rule_it_was() {
        let check = |rule: BatchRule, items: usize, why: &str| {
            let batch = first(rule, 1, footprints());
            assert_eq!(batch.tasks.len(), items, "{}", batch.why);
            assert!(batch.why.contains(why), "{}", batch.why);
        };
        check(BatchRule::Learned, 1, "at most 8 fit, 1 are worth it");
        check(BatchRule::One, 1, "rule one: one at a time, 12.80 GiB of 12.80 GiB to give");
        check(fixed(4), 4, "rule fixed: 4 whatever they need");
        check(BatchRule::Fixed(BTreeMap::new()), 1, "rule fixed: 1 whatever");
        check(BatchRule::Fill, 8, "rule fill: all 8 that fit");
    }

    #[test]
    fn a_forced_size_needs_no_measurement_and_takes_an_equal_share_of_the_free_lanes() {
        let batch = first(fixed(4), 2, BTreeMap::new());
        let give = Bytes::gib(16).scale(0.85).saturating_sub(Bytes::gib(16).scale(0.05));
        assert_eq!((batch.tasks.len(), batch.bytes), (4, Bytes(give.0 / 2)));
        let batch = first(fixed(6), 2, BTreeMap::new());
        assert_eq!(batch.tasks.len(), 4, "what waits is divided among the lanes under every rule");
    }

    #[test]
    fn rules_are_written_in_one_word_or_as_a_table() {
        let check = |json: &str, rule: BatchRule| {
            assert_eq!(serde_json::from_str::<BatchRule>(json).expect(json), rule);
            assert_eq!(serde_json::to_string(&rule).expect("JSON"), json);
        };
        check(r#""learned""#, BatchRule::Learned);
        check(r#""one""#, BatchRule::One);
        check(r#""fill""#, BatchRule::Fill);
        check(r#"{"fixed":{"shape":4}}"#, fixed(4));
        assert!(serde_json::from_str::<BatchRule>(r#"{"fixed":{"shape":0}}"#).is_err());
    }
}
