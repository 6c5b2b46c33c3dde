//! Why a task waits, or runs as it does: for a person who asks. Decides nothing and changes nothing.

use crate::core::Planner;
use crate::cut::Choice;
use crate::share::Lines;
use domain::{BatchId, Bytes, Class, Consumer, Stage, Task, Timestamp, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a task stands, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Whereabouts {
    /// It is not here: it was not drawn yet, is done, or is no task.
    NotDrawn {
        /// Tasks that wait at its consumer, as last seen. Those before it are among them.
        waiting: u64,
        /// Tasks that are drawn from its consumer and go before it.
        drawn_before: usize,
    },
    /// It was proposed and has not ended.
    InBatch {
        /// To whom.
        worker: WorkerId,
        /// The batch.
        batch: BatchId,
        /// Its tasks.
        items: usize,
        /// What is reserved for it.
        bytes: Bytes,
        /// Why it has this size and place.
        why: String,
    },
    /// No worker offers its stage.
    NoOffer {
        /// Workers that offer other stages.
        other_offers: usize,
    },
    /// Others go first.
    Turn {
        /// Tasks of its tenant and class before it.
        before_in_line: usize,
        /// Tasks of the stage in better classes.
        in_better_classes: usize,
        /// The class in which the stage's next task counts now.
        served: Option<Class>,
    },
    /// All lanes that run its stage are busy.
    NoLane {
        /// How many there are.
        lanes: usize,
    },
    /// It needs more than is there beside what runs.
    Memory {
        /// What one item of it needs where it would need the least.
        needed_bytes: Bytes,
        /// The most that any device of its stage can give now.
        there_bytes: Bytes,
        /// The most that any could give if nothing of ours ran there.
        idle_bytes: Bytes,
        /// Since when it has been passed over.
        passed_since: Option<Timestamp>,
    },
    /// It waits for neighbours or for a warm runner, since that is worth more.
    Neighbours {
        /// Until then at most.
        until: Timestamp,
    },
    /// It will be rejected or proposed with the next event.
    Next,
}

/// Why a task waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The stage that it waits for or runs at.
    pub stage: Stage,
    /// Where it stands.
    #[serde(flatten)]
    pub whereabouts: Whereabouts,
    /// The same in words.
    pub text: String,
}

impl Planner {
    /// Why this task waits or runs as it does. `now` is the driver's time, as for [`Planner::handle`].
    pub fn explain(&self, now: Timestamp, task: &Task) -> Explanation {
        let whereabouts = self.whereabouts(now, task);
        let text = words(task, &whereabouts, now);
        Explanation { stage: task.stage, whereabouts, text }
    }

    fn whereabouts(&self, now: Timestamp, task: &Task) -> Whereabouts {
        let line = self.lines.at(task.stage);
        let runs = line.pool.slot(task.job).and_then(|slot| self.live.of_slot(task.stage, slot));
        if let Some((batch, live)) = runs {
            let (worker, items, bytes) =
                (live.proposed.worker.clone(), live.proposed.slots.len(), live.proposed.bytes);
            return Whereabouts::InBatch { worker, batch, items, bytes, why: live.proposed.why.clone() };
        }
        let Some(slot) = line.slot(task.job) else {
            let waiting = self.backlogs.of(&Consumer::of_task(task));
            let drawn_before = line.len_of(task.class, &task.tenant);
            return Whereabouts::NotDrawn { waiting, drawn_before };
        };
        let hosts = || self.fleet.hosts(task.stage).map(|(_, place)| place);
        if hosts().next().is_none() {
            return Whereabouts::NoOffer { other_offers: self.fleet.len() };
        }
        let (head, passed) = (line.pool.head(slot), line.passed_since(task.job));
        let ask = self.ask(now, &head, passed);
        let memory = || {
            let (needed_bytes, there_bytes, idle_bytes) = ask.short_of(&self.fleet);
            Whereabouts::Memory { needed_bytes, there_bytes, idle_bytes, passed_since: passed }
        };
        if passed.is_some() {
            return memory();
        }
        let (before_in_line, in_better_classes) = line.before(slot);
        if before_in_line + in_better_classes > 0 {
            let served = line.best_class(now);
            return Whereabouts::Turn { before_in_line, in_better_classes, served };
        }
        match ask.choose(&self.fleet, |_| false) {
            Choice::Later(until) => Whereabouts::Neighbours { until },
            Choice::Wait => memory(),
            Choice::Busy => {
                Whereabouts::NoLane { lanes: hosts().map(|place| place.offer.lanes as usize).sum() }
            }
            Choice::Place(..) | Choice::Never(_) => Whereabouts::Next,
        }
    }

    /// A task of this job that is here, if there is one: of its latest stage.
    pub fn find(&self, job: domain::JobId) -> Option<Task> {
        let here = |stage: Stage| {
            let pool = &self.lines.at(stage).pool;
            Some(pool.open(pool.slot(job)?).task)
        };
        Lines::stages().find_map(here)
    }
}

fn words(task: &Task, whereabouts: &Whereabouts, now: Timestamp) -> String {
    let Task { stage, class, tenant, .. } = task;
    match whereabouts {
        Whereabouts::NotDrawn { waiting, drawn_before } => format!(
            "not drawn yet: {waiting} tasks wait at {stage} for {tenant} in class {class}, it is among them \
             if it is queued, and {drawn_before} more are drawn and go before it"
        ),
        Whereabouts::InBatch { worker, items, bytes, why, .. } => {
            format!("in a batch of {items} on {worker} with {bytes} reserved: {why}")
        }
        Whereabouts::NoOffer { other_offers } => {
            format!("no worker offers {stage}; {other_offers} offer other stages")
        }
        Whereabouts::Turn { before_in_line, in_better_classes, .. } => format!(
            "{before_in_line} tasks of {tenant} in class {class} go before it, and {in_better_classes} \
             of better classes"
        ),
        Whereabouts::NoLane { lanes } => format!("all {lanes} lanes of {stage} are busy or refused lately"),
        Whereabouts::Memory { needed_bytes, there_bytes, idle_bytes, passed_since } => {
            let passed = passed_since.map_or(String::new(), |since| {
                format!("; passed over for {:.0} s", now.since(since).as_secs_f64())
            });
            format!(
                "one item needs {needed_bytes}, {there_bytes} are there to give; {idle_bytes} would be if \
                 nothing of ours ran{passed}"
            )
        }
        Whereabouts::Neighbours { until } => format!(
            "it waits for more tasks of its kind or for a warm runner, for {:.1} s at most",
            until.since(now).as_secs_f64()
        ),
        Whereabouts::Next => "its turn is next".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use crate::samples::{given, limits, offer, task};
    use domain::{Epoch, Offer, Reading};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn planner() -> Planner {
        Planner::new(limits(1), Epoch(3), BTreeMap::new())
    }

    fn see(planner: &mut Planner, n: u64, class: Class) {
        let given = given(n, 0, class, NOW);
        let consumer = Consumer::of_task(&given.task);
        planner.handle(NOW, Event::TaskSeen(given));
        planner.handle(NOW, Event::DrawEnded(consumer));
        while planner.poll().is_some() {}
    }

    fn of(planner: &Planner, n: u64) -> Explanation {
        planner.explain(NOW + Duration::from_secs(2), &task(n))
    }

    #[test]
    fn a_task_that_is_not_here_is_said_to_be_among_those_that_wait() {
        let mut planner = planner();
        planner.handle(NOW, Event::BacklogSeen(Consumer::of_task(&task(1)), 17));
        let why = of(&planner, 1);
        assert_eq!(why.whereabouts, Whereabouts::NotDrawn { waiting: 17, drawn_before: 0 });
        assert!(why.text.starts_with("not drawn yet: 17 tasks wait at shape for tenant-0"), "{}", why.text);
        assert_eq!(planner.find(task(1).job), None);
    }

    #[test]
    fn a_stage_that_nobody_offers_and_a_batch_that_runs_are_told_apart() {
        let mut planner = planner();
        see(&mut planner, 1, Class::Normal);
        let elsewhere = Offer { stages: vec![Stage::Export], ..offer("a", 16, 1) };
        planner.handle(NOW, Event::OfferMade(elsewhere));
        assert_eq!(of(&planner, 1).whereabouts, Whereabouts::NoOffer { other_offers: 1 });
        planner.handle(NOW, Event::OfferMade(offer("b", 16, 1)));
        let why = of(&planner, 1);
        assert!(matches!(&why.whereabouts, Whereabouts::InBatch { items: 1, .. }), "{why:?}");
        assert!(
            why.text.contains("in a batch of 1 on b with 320.0 MiB reserved: 1 of 1 waiting"),
            "{}",
            why.text
        );
        assert_eq!(planner.find(task(1).job), Some(task(1)));
        see(&mut planner, 2, Class::Normal);
        assert_eq!(of(&planner, 2).whereabouts, Whereabouts::NoLane { lanes: 1 });
        see(&mut planner, 3, Class::Normal);
        see(&mut planner, 4, Class::High);
        let turn = Whereabouts::Turn { before_in_line: 1, in_better_classes: 1, served: Some(Class::High) };
        let why = of(&planner, 3);
        assert_eq!(why.whereabouts, turn);
        assert!(why.text.contains("1 tasks of tenant-0 in class normal go before it"), "{}", why.text);
    }

    #[test]
    fn what_needs_more_than_is_there_is_told_both_numbers() {
        let mut planner = planner();
        see(&mut planner, 1, Class::Normal);
        let reading =
            Reading { total_bytes: Bytes::gib(4), used_bytes: Bytes::mib(3_800), ..Reading::default() };
        planner.handle(NOW, Event::OfferMade(Offer { reading, ..offer("a", 4, 1) }));
        let why = of(&planner, 1);
        let there = reading.to_give(&offer("a", 4, 1).device_class, Bytes::ZERO, Bytes::ZERO);
        let expect = Whereabouts::Memory {
            needed_bytes: Bytes::mib(256 + 64),
            there_bytes: there,
            idle_bytes: there,
            passed_since: Some(NOW),
        };
        assert_eq!(why.whereabouts, expect);
        assert!(
            why.text.contains("one item needs 320.0 MiB") && why.text.contains("for 2 s"),
            "{}",
            why.text
        );
        let json = serde_json::to_value(&why).expect("JSON");
        assert_eq!((json["state"].as_str(), json["stage"].as_str()), (Some("memory"), Some("shape")));
    }

    #[test]
    fn who_waits_for_neighbours_is_told_until_when() {
        let mut planner = planner();
        let mut known = crate::Footprint::default();
        for (items, ms) in [(1, 2_100), (2, 2_200), (4, 2_400)] {
            known.observe(items, Bytes::mib(100), Duration::from_millis(ms));
        }
        let key = crate::FootprintKey::of(&task(1), "", &offer("a", 16, 1).device_class);
        planner.footprints.insert(key, known);
        for n in 10..40 {
            see(&mut planner, n, Class::Normal);
        }
        for n in 10..40 {
            let given = given(n, 0, Class::Normal, NOW);
            planner.handle(NOW, Event::TaskGone(Stage::Shape, given.task.job, given.ack_token));
        }
        planner.handle(NOW, Event::OfferMade(offer("a", 16, 1)));
        see(&mut planner, 1, Class::Normal);
        let why = planner.explain(NOW, &task(1));
        assert_eq!(why.whereabouts, Whereabouts::Neighbours { until: NOW + Duration::from_secs(2) });
        assert!(why.text.ends_with("for 2.0 s at most"), "{}", why.text);
    }
}
