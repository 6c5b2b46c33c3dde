//! The optimizers of all devices, one for each stage that a device runs, fed by what the planner hears.

use crate::advice::OptimizerReport;
use crate::core::Planner;
use crate::footprint::Footprint;
use crate::key::{kind, prior_of, shape_of, usual};
use crate::optimizer::{BatchSizeRecommendation, Optimizer, PastBatch};
use domain::{BatchEnd, BatchEnded, BatchId, Bytes, DeviceClass, DeviceId, Offer, Recipe, Stage, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Devices and stages that are remembered, those of workers that are gone included.
const ADVISORS_MAX: usize = 4096;
/// Reports of one answer: one is at most 100 kB or so, and a message of the broker at most 1 MB.
const REPORTS_MAX: usize = 8;
/// Batch sizes of one answer, a few hundred bytes each.
const SIZES_MAX: usize = 1024;

/// All that is known of a device at a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceReport {
    /// The device.
    pub device: DeviceId,
    /// Its owner.
    pub worker: WorkerId,
    /// The stage.
    pub stage: Stage,
    /// What is known.
    #[serde(flatten)]
    pub report: OptimizerReport,
}

/// Some of the devices whose workers live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceReports {
    /// By device and stage.
    pub devices: Vec<DeviceReport>,
    /// What to go on with; none at the end.
    pub next: Option<String>,
}

/// The batch that would be cut on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceBatchSize {
    /// The device.
    pub device: DeviceId,
    /// Its owner.
    pub worker: WorkerId,
    /// The batch.
    #[serde(flatten)]
    pub batch: BatchSizeRecommendation,
}

/// The batches that would be cut on each device that runs a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceBatchSizes {
    /// The stage.
    pub stage: Stage,
    /// Side of the pictures in pixels.
    pub image_size: u32,
    /// Steps of inference.
    pub inference_steps: u32,
    /// How many wait.
    pub queue_size: u32,
    /// By device.
    pub sizes: Vec<DeviceBatchSize>,
}

/// Which pictures a batch is to be cut of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// Side in pixels.
    pub image_size: u32,
    /// Steps of inference.
    pub inference_steps: u32,
    /// How many wait; those that do, if none.
    pub queue_size: Option<u32>,
}

/// A device at a stage.
#[derive(Debug)]
struct Advisor {
    worker: WorkerId,
    optimizer: Optimizer,
    /// The latest task of each kind: its recipe, and the size of its upload.
    seen: BTreeMap<(u32, u32), (Recipe, Bytes)>,
}

impl Advisor {
    fn new(worker: &WorkerId, class: &DeviceClass) -> Advisor {
        let (optimizer, seen) = (Optimizer::new(class.clone()), BTreeMap::new());
        Advisor { worker: worker.clone(), optimizer, seen }
    }

    /// Tells the optimizer what the planner knows of a kind.
    fn learn(&mut self, planner: &Planner, stage: Stage, (side, steps): (u32, u32)) {
        let (recipe, size) = self.seen.get(&(side, steps)).cloned().unwrap_or_else(|| usual(stage, side));
        let of_here = (&self.worker, &self.optimizer.device_class);
        let (footprint, prior) = planner.known_of(stage, (&recipe, size), of_here);
        self.optimizer.learned(side, steps, footprint, prior);
    }
}

/// The optimizers of all devices.
#[derive(Debug, Default)]
pub struct Advisors(BTreeMap<(DeviceId, Stage), Advisor>);

impl Advisors {
    /// A worker has spoken.
    pub fn hear_offer(&mut self, planner: &Planner, offer: &Offer) {
        if offer.valid_for_ms == 0 {
            return;
        }
        if self.0.len() >= ADVISORS_MAX {
            self.0.retain(|_, advisor| planner.fleet.contains(&advisor.worker));
        }
        for stage in &offer.stages {
            let place = (offer.device.clone(), *stage);
            if self.0.len() >= ADVISORS_MAX && !self.0.contains_key(&place) {
                return;
            }
            let new = || Advisor::new(&offer.worker, &offer.device_class);
            let advisor = self.0.entry(place).or_insert_with(new);
            if advisor.optimizer.device_class != offer.device_class {
                *advisor = new();
            }
            advisor.worker = offer.worker.clone();
            advisor.optimizer.read(offer.reading, offer.reserved_bytes);
        }
    }

    /// A batch has ended; to be told before the planner is, which still knows its tasks.
    pub fn hear_end(&mut self, planner: &Planner, ended: &BatchEnded) {
        let (items, out_of_memory) = match ended.end {
            BatchEnd::Done if ended.items > 0 => (ended.items, false),
            BatchEnd::OutOfMemory { at_items } => (at_items, true),
            _ => return,
        };
        let Some((device, recipe, size)) = planner.head_of(ended.batch) else { return };
        let Some(advisor) = self.0.get_mut(&(device, ended.stage)) else { return };
        let (image_size, inference_steps) = kind(ended.stage, &recipe, size);
        advisor.seen.insert((image_size, inference_steps), (recipe, size));
        while advisor.seen.len() > crate::optimizer::KINDS_MAX {
            advisor.seen.pop_first();
        }
        advisor.optimizer.batch_ended(PastBatch {
            at: advisor.optimizer.now(),
            image_size,
            inference_steps,
            items,
            reserved_bytes: ended.reserved_bytes,
            peak_bytes: ended.peak_bytes,
            compute_ms: ended.lane_us / 1000,
            out_of_memory,
        });
    }

    /// What is known of these devices. `after` is the `next` of the answer before.
    pub fn reports(
        &mut self,
        planner: &Planner,
        (device, stage): (Option<&DeviceId>, Option<Stage>),
        after: Option<&str>,
    ) -> DeviceReports {
        let after = after.and_then(|after| {
            let (device, stage) = after.split_once('/')?;
            Some((device.parse().ok()?, stage.parse().ok()?))
        });
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = DeviceReports::default();
        for ((of, at), advisor) in self.0.range_mut((from, Bound::Unbounded)) {
            let is_asked = device.is_none_or(|device| device == of) && stage.is_none_or(|stage| stage == *at);
            if !is_asked || !planner.fleet.contains(&advisor.worker) {
                continue;
            }
            if found.devices.len() == REPORTS_MAX {
                found.next = found.devices.last().map(|last| format!("{}/{}", last.device, last.stage));
                break;
            }
            for kind in advisor.seen.keys().copied().collect::<Vec<_>>() {
                advisor.learn(planner, *at, kind);
            }
            let (device, worker, report) = (of.clone(), advisor.worker.clone(), advisor.optimizer.report());
            found.devices.push(DeviceReport { device, worker, stage: *at, report });
        }
        found
    }

    /// The batch that would be cut of such pictures on each device that runs the stage.
    pub fn batch_sizes(
        &mut self,
        planner: &Planner,
        (device, stage): (Option<&DeviceId>, Stage),
        pictures: Pictures,
    ) -> DeviceBatchSizes {
        let Pictures { image_size, inference_steps, queue_size } = pictures;
        let waiting = u32::try_from(planner.waiting(stage)).unwrap_or(u32::MAX);
        let queue_size = queue_size.unwrap_or(waiting);
        let asked = self.0.iter_mut().filter(|((of, at), advisor)| {
            *at == stage
                && device.is_none_or(|device| device == of)
                && planner.fleet.contains(&advisor.worker)
        });
        let size = |((device, _), advisor): (&(DeviceId, Stage), &mut Advisor)| {
            advisor.learn(planner, stage, (image_size, inference_steps));
            let optimizer = &advisor.optimizer;
            let batch =
                optimizer.calculate_optimal_batch_size(image_size, inference_steps, queue_size as usize);
            DeviceBatchSize { device: device.clone(), worker: advisor.worker.clone(), batch }
        };
        let sizes = asked.take(SIZES_MAX).map(size).collect();
        DeviceBatchSizes { stage, image_size, inference_steps, queue_size, sizes }
    }
}

impl Planner {
    /// Where a batch runs, and the recipe and size of upload of its first task.
    fn head_of(&self, batch: BatchId) -> Option<(DeviceId, Recipe, Bytes)> {
        let proposed = &self.live.get(batch)?.proposed;
        let device = self.fleet.of(&proposed.worker)?.offer.device.clone();
        let task = self.lines.at(proposed.stage).pool.open(*proposed.slots.first()?).task;
        Some((device, task.recipe, task.size_bytes))
    }

    /// What was learned of a shape on a worker, and what one item is taken to need if that is nothing.
    fn known_of(
        &self,
        stage: Stage,
        (recipe, size): (&Recipe, Bytes),
        of_here: (&WorkerId, &DeviceClass),
    ) -> (Footprint, Bytes) {
        let shape = shape_of(stage, recipe, size).name();
        let known = self.footprints.get(&self.engines.key(stage, &shape, of_here));
        let elsewhere = self.engines.measured(&self.footprints, stage, &shape);
        let prior = elsewhere.map(|known| known.peak(1)).max();
        let prior = prior.unwrap_or_else(|| prior_of(stage, recipe.texture_px, size));
        (known.cloned().unwrap_or_default(), prior)
    }

    /// Tasks that wait at a stage, drawn or not.
    fn waiting(&self, stage: Stage) -> u64 {
        self.lines.at(stage).len() as u64 + self.backlogs.tasks(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{given, limits, offer, tell};
    use crate::{Decision, Event};
    use domain::{Batch, Class, Consumer, EngineVersion, Epoch, Reading, Timestamp};
    use std::time::Duration;

    struct Bench {
        planner: Planner,
        advisors: Advisors,
        now: Timestamp,
    }

    impl Bench {
        fn new() -> Bench {
            let planner = Planner::new(limits(1), Epoch(1), BTreeMap::new());
            Bench { planner, advisors: Advisors::default(), now: Timestamp(1_000_000) }
        }

        fn offer(&mut self, worker: &str, used: Bytes) {
            let reading = Reading { used_bytes: used, read_at: self.now, ..offer(worker, 16, 1).reading };
            let offer = Offer { reading, ..offer(worker, 16, 1) };
            self.advisors.hear_offer(&self.planner, &offer);
            tell(&mut self.planner, self.now, Event::OfferMade(offer));
            self.now = self.now + Duration::from_secs(12);
        }

        /// Runs a task of the shape stage on worker `a`.
        fn run(&mut self, n: u64, out_of_memory: bool) -> Batch {
            let given = given(n, 0, Class::Normal, self.now);
            let consumer = Consumer::of_task(&given.task);
            tell(&mut self.planner, self.now, Event::TaskSeen(given));
            let decisions = tell(&mut self.planner, self.now, Event::DrawEnded(consumer));
            let proposed = decisions.into_iter().find_map(|decision| match decision {
                Decision::Propose(_, batch) => Some(batch),
                _ => None,
            });
            let batch = proposed.expect("a proposal");
            tell(&mut self.planner, self.now, Event::BatchAccepted(batch.id));
            let ended = BatchEnded {
                batch: batch.id,
                worker: "a".parse().expect("a name"),
                device_class: DeviceClass("host".to_owned()),
                stage: Stage::Shape,
                end: match out_of_memory {
                    true => BatchEnd::OutOfMemory { at_items: 1 },
                    false => BatchEnd::Done,
                },
                items: u32::from(!out_of_memory),
                peak_bytes: Bytes::mib(100),
                reserved_bytes: batch.bytes,
                lane_us: 500_000,
                ran_out: vec![],
                engine: EngineVersion { name: "inflate".to_owned(), version: "1".to_owned() },
                precision: "f32".to_owned(),
                load_ms: 0,
            };
            self.advisors.hear_end(&self.planner, &ended);
            tell(&mut self.planner, self.now, Event::BatchEnded(ended));
            batch
        }

        fn sizes(&mut self, stage: Stage, image_size: u32, queue_size: Option<u32>) -> DeviceBatchSizes {
            let pictures = Pictures { image_size, inference_steps: 50, queue_size };
            self.advisors.batch_sizes(&self.planner, (None, stage), pictures)
        }
    }

    #[test]
    fn what_is_recommended_is_what_the_planner_would_reserve() {
        let mut bench = Bench::new();
        bench.offer("a", Bytes::ZERO);
        let unknown = bench.sizes(Stage::Shape, 512, Some(10));
        let batch = bench.run(1, false);
        assert_eq!(unknown.sizes[0].batch.estimated_vram_per_image, batch.bytes, "{unknown:?}");
        for n in 2..20 {
            bench.offer("a", Bytes::ZERO);
            bench.run(n, false);
        }
        bench.offer("a", Bytes::ZERO);
        let known = bench.sizes(Stage::Shape, 512, Some(1)).sizes.remove(0).batch;
        let batch = bench.run(100, false);
        assert_eq!((known.recommended_size, known.estimated_vram_per_image), (1, batch.bytes));
        assert!(known.reasoning.contains("19 batches measured"), "{}", known.reasoning);
        bench.planner.handle(bench.now, Event::BacklogSeen(Consumer::of_task(&batch.tasks[0].task), 7));
        assert_eq!(bench.sizes(Stage::Shape, 512, None).queue_size, 7);
        assert_eq!(bench.sizes(Stage::Export, 512, None).sizes, vec![], "nobody offers it");
    }

    #[test]
    fn each_stage_of_a_device_has_a_report_and_one_that_ran_out_says_so() {
        let mut bench = Bench::new();
        bench.offer("a", Bytes::gib(1));
        bench.run(1, false);
        bench.offer("a", Bytes::gib(2));
        bench.run(2, true);
        let reports = bench.advisors.reports(&bench.planner, (None, None), None);
        let stages: Vec<Stage> = reports.devices.iter().map(|of| of.stage).collect();
        assert_eq!(stages, [Stage::Shape, Stage::Texture]);
        let DeviceReport { device, report, .. } = &reports.devices[0];
        assert_eq!((device.as_str(), report.memory.map(|memory| memory.used_mb)), ("a", Some(2_048)));
        assert_eq!(report.history[0].out_of_memory, 1);
        assert!(!report.recommendations.is_empty());
        assert_eq!(reports.devices[1].report.history, vec![]);
        let json = serde_json::to_string(&reports).expect("JSON");
        assert_eq!(serde_json::from_str::<DeviceReports>(&json).expect("the same"), reports);
        let one = bench.advisors.reports(&bench.planner, (None, Some(Stage::Texture)), None);
        assert_eq!(one.devices.len(), 1);
        let nobody = "b".parse().expect("a name");
        assert_eq!(bench.advisors.reports(&bench.planner, (Some(&nobody), None), None).devices, vec![]);
    }

    #[test]
    fn many_devices_come_in_pages_and_those_that_are_gone_not_at_all() {
        let mut bench = Bench::new();
        let mut all: Vec<String> = (0..20).map(|n| format!("w-{n:02}")).collect();
        bench.now = Timestamp(1_000_000);
        for worker in &all {
            bench.offer(worker, Bytes::ZERO);
            bench.now = Timestamp(1_000_000);
        }
        tell(&mut bench.planner, bench.now, Event::OfferWithdrawn("w-07".parse().expect("a name")));
        all.remove(7);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = bench.advisors.reports(&bench.planner, (None, Some(Stage::Shape)), after.as_deref());
            seen.extend(page.devices.into_iter().map(|of| of.device.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }
}
