//! The planner itself before simulated workers: time jumps from event to event. Every lane is as fast as the
//! recorded ones, whatever else runs on its machine.

use crate::outcome::{Outcome, Sum};
use crate::recording::Recording;
use crate::set_up::SetUp;
use domain::{
    AckToken, Batch, BatchEnd, BatchEnded, BatchId, BatchTask, Bytes, Class, Consumer, DeviceClass,
    EngineVersion, Epoch, JobId, Offer, Reading, Recipe, RefusedReason, Stage, Task, TenantId, Timestamp,
    UploadId, WorkerId,
};
use planning::{BatchRule, Decision, Event, FootprintKey, Limits, Planner};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// When simulated time begins: any moment.
const BEGIN: Timestamp = Timestamp(1_000_000_000_000);
/// Workers repeat their words.
const OFFER_EVERY: Duration = Duration::from_secs(5);
/// And the planner looks at the time.
const TICK_EVERY: Duration = Duration::from_secs(3);
/// An answer of a worker is heard after this long, as between two processes of a host.
const HOP: Duration = Duration::from_micros(200);
/// The code that every worker runs.
const ENGINE: [&str; 3] = ["recorded", "1", "f32"];

/// What happens next.
enum Next {
    /// A job's task enters its queue.
    Put(usize, Stage),
    /// A worker speaks, and speaks again later.
    Offer(usize, bool),
    /// A worker's answer to a proposal.
    Answer(Box<Event>),
    /// A batch is over.
    Over(usize, BatchId),
    /// Its lane takes the next one.
    Free(usize, usize),
    Tick,
    Look,
}

/// A lane, and the stages that it has loaded.
#[derive(Clone, Default)]
struct Lane {
    loaded: BTreeSet<Stage>,
    last: Option<Stage>,
    busy: bool,
}

struct Worker {
    id: WorkerId,
    stages: Vec<Stage>,
    memory: Bytes,
    lanes: Vec<Lane>,
    running: BTreeMap<BatchId, (usize, Batch, Duration, Duration)>,
}

impl Worker {
    fn offer(&self, at: Timestamp) -> Offer {
        let free = || self.lanes.iter().filter(|lane| !lane.busy);
        let warm: BTreeSet<Stage> = free().filter_map(|lane| lane.last).collect();
        Offer {
            worker: self.id.clone(),
            device: self.id.as_str().parse().expect("a worker's name is a device's"),
            device_class: class(),
            lanes_free: free().count() as u32,
            lanes: self.lanes.len() as u32,
            reading: Reading { total_bytes: self.memory, read_at: at, ..Reading::default() },
            reserved_bytes: self.running.values().map(|(_, batch, ..)| batch.bytes).sum(),
            stages: self.stages.clone(),
            warm: warm.into_iter().collect(),
            valid_for_ms: 3 * OFFER_EVERY.as_millis() as u64,
            running: self.running.keys().copied().collect(),
            next_bytes: None,
        }
    }
}

fn class() -> DeviceClass {
    DeviceClass("replayed".to_owned())
}

/// A queue of jobs' tasks, and whether the planner waits for the first that comes.
#[derive(Default)]
struct Line {
    waiting: VecDeque<(usize, Timestamp)>,
    asked: usize,
}

struct Cluster<'a> {
    recording: &'a Recording,
    now: Duration,
    agenda: BTreeMap<(Duration, u64), Next>,
    number: u64,
    planner: Planner,
    tenant: TenantId,
    workers: Vec<Worker>,
    lines: BTreeMap<Stage, Line>,
    places: BTreeMap<JobId, usize>,
    open: usize,
    sum: Sum,
}

/// Runs the recorded jobs again under this set-up, each arriving when it did.
pub fn replay(recording: &Recording, set_up: &SetUp) -> Outcome {
    let mut cluster = Cluster::new(recording, set_up);
    while cluster.open > 0 {
        cluster.step();
    }
    cluster.sum.outcome()
}

impl<'a> Cluster<'a> {
    fn new(recording: &'a Recording, set_up: &SetUp) -> Cluster<'a> {
        let tenant: TenantId = "replay".parse().expect("a constant that matches the pattern");
        let limits = Limits {
            batch_max: set_up.batch_max.max(1),
            batch_rule: BatchRule::Learned,
            hold_max: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            drain_target: Duration::from_secs(60),
            tenants: vec![tenant.clone()],
        };
        let known = recording.facts.iter().map(|(stage, facts)| {
            let task = task(JobId([0; 16]), *stage, &tenant, BEGIN);
            (FootprintKey::of(&task, &ENGINE.join(" "), &class()), facts.footprint.clone())
        });
        let planner = Planner::new(limits, Epoch(1), known.collect());
        let places = recording.jobs.iter().enumerate().map(|(n, job)| (job.id, n)).collect();
        let mut cluster = Cluster {
            recording,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            number: 0,
            planner,
            tenant,
            workers: workers(recording, set_up),
            lines: BTreeMap::new(),
            places,
            open: recording.jobs.len(),
            sum: Sum::default(),
        };
        for (n, job) in recording.jobs.iter().enumerate() {
            match cluster.next_stage(n, None) {
                Some(stage) => cluster.at(job.arrives + recording.way, Next::Put(n, stage)),
                None => cluster.open -= 1,
            }
        }
        for n in 0..cluster.workers.len() {
            cluster.at(Duration::ZERO, Next::Offer(n, true));
        }
        cluster.at(Duration::ZERO, Next::Tick);
        cluster.at(Duration::ZERO, Next::Look);
        cluster
    }

    /// The stage after this one that the job went through.
    fn next_stage(&self, job: usize, after: Option<Stage>) -> Option<Stage> {
        let own = &self.recording.jobs[job].own;
        own.keys().copied().find(|stage| after.is_none_or(|after| *stage > after))
    }

    fn at(&mut self, at: Duration, next: Next) {
        self.number += 1;
        self.agenda.insert((at, self.number), next);
    }

    fn after(&mut self, wait: Duration, next: Next) {
        self.at(self.now + wait, next);
    }

    fn clock(&self) -> Timestamp {
        BEGIN + self.now
    }

    fn step(&mut self) {
        let ((at, number), next) = self.agenda.pop_first().expect("ticks go on");
        let due = self.planner.next_deadline().map(|due| due.since(BEGIN)).filter(|due| *due < at);
        if let Some(due) = due {
            // By the planner's clock, which has milliseconds, the moment has come.
            self.now = self.now.max(due);
            self.agenda.insert((at.max(self.now), number), next);
            return self.tell(Event::Tick);
        }
        self.now = at;
        match next {
            Next::Put(job, stage) => self.put(job, stage),
            Next::Offer(worker, again) => {
                let offer = self.workers[worker].offer(self.clock());
                self.tell(Event::OfferMade(offer));
                if again {
                    self.after(OFFER_EVERY, Next::Offer(worker, true));
                }
            }
            Next::Answer(answer) => self.tell(*answer),
            Next::Over(worker, batch) => self.over(worker, batch),
            Next::Free(worker, place) => {
                self.workers[worker].lanes[place].busy = false;
                let offer = self.workers[worker].offer(self.clock());
                self.tell(Event::OfferMade(offer));
            }
            Next::Tick => {
                self.tell(Event::Tick);
                self.after(TICK_EVERY, Next::Tick);
            }
            Next::Look => {
                let waiting = |(stage, line): (&Stage, &Line)| (*stage, line.waiting.len() as u64);
                for (stage, waiting) in self.lines.iter().map(waiting).collect::<Vec<_>>() {
                    let consumer = Consumer::Tasks(stage, Class::Normal, self.tenant.clone());
                    self.tell(Event::BacklogSeen(consumer, waiting));
                }
                self.after(OFFER_EVERY, Next::Look);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.planner.handle(self.clock(), event);
        while let Some(decision) = self.planner.poll() {
            match decision {
                Decision::Draw(Consumer::Tasks(stage, ..), count) => self.draw(stage, count),
                Decision::Propose(worker, batch) => self.start(&worker, batch),
                Decision::GiveBack(given) => {
                    let place = (self.places[&given.task.job], given.published_at);
                    self.lines.entry(given.task.stage).or_default().waiting.push_front(place);
                }
                // It fits nowhere: a person reads that from the number of jobs.
                Decision::Reject(..) => self.open -= 1,
                Decision::Draw(..) | Decision::Learned(..) | Decision::Strained(..) => {}
                Decision::Desire { .. } => {}
            }
        }
    }

    fn put(&mut self, job: usize, stage: Stage) {
        let at = self.clock();
        let line = self.lines.entry(stage).or_default();
        line.waiting.push_back((job, at));
        if line.asked > 0 {
            line.asked = 0;
            self.draw(stage, 1);
        }
    }

    /// A draw brings what is there; in an empty queue it waits for the first.
    fn draw(&mut self, stage: Stage, count: usize) {
        let line = self.lines.entry(stage).or_default();
        if line.waiting.is_empty() {
            line.asked = count;
            return;
        }
        let taken: Vec<(usize, Timestamp)> = line.waiting.drain(..count.min(line.waiting.len())).collect();
        let now = self.clock();
        for (job, published_at) in taken {
            let id = self.recording.jobs[job].id;
            let task = task(id, stage, &self.tenant, published_at);
            let ack_token = AckToken(format!("{stage}-{job}"));
            let given = BatchTask { task, ack_token, delivery: 1, published_at, drawn_at: now };
            self.tell(Event::TaskSeen(given));
        }
        self.tell(Event::DrawEnded(Consumer::Tasks(stage, Class::Normal, self.tenant.clone())));
    }

    fn start(&mut self, to: &WorkerId, batch: Batch) {
        let n = self.workers.iter().position(|worker| worker.id == *to).expect("a worker that offered");
        let (id, stage) = (batch.id, batch.stage);
        let facts = &self.recording.facts[&stage];
        let factors = batch.tasks.iter().map(|given| {
            self.recording.jobs[self.places[&given.task.job]].own.get(&stage).map_or(1.0, |own| own.factor)
        });
        let factor = factors.sum::<f64>() / batch.tasks.len() as f64;
        let held = facts.footprint.time(batch.tasks.len() as u32).mul_f64(factor);
        let start = facts.footprint.load_time();
        let lanes = &mut self.workers[n].lanes;
        let is_free = |lane: &Lane| !lane.busy;
        let warm = lanes.iter().position(|lane| is_free(lane) && lane.loaded.contains(&stage));
        let Some(place) = warm.or_else(|| lanes.iter().position(is_free)) else {
            let reading = self.workers[n].offer(self.clock()).reading;
            let refused = Event::BatchRefused(id, Some((reading, RefusedReason::NoLane)));
            return self.after(HOP, Next::Answer(Box::new(refused)));
        };
        let load = if lanes[place].loaded.insert(stage) { start } else { Duration::ZERO };
        (lanes[place].busy, lanes[place].last) = (true, Some(stage));
        self.sum.batch(stage, batch.tasks.len(), held + load);
        self.workers[n].running.insert(id, (place, batch, held, load));
        self.after(HOP, Next::Answer(Box::new(Event::BatchAccepted(id))));
        self.after(HOP, Next::Offer(n, false));
        // Nobody hears of an end before the acceptance.
        self.after(HOP + held + load, Next::Over(n, id));
    }

    /// The batch's tasks are stored and committed beside the next batch of its lane.
    fn over(&mut self, n: usize, id: BatchId) {
        let (place, batch, held, load) = self.workers[n].running.remove(&id).expect("it runs");
        let items = batch.tasks.len() as u32;
        let peak_bytes = self.recording.facts[&batch.stage].peak(items).min(batch.bytes);
        let [name, version, precision] = ENGINE.map(str::to_owned);
        self.tell(Event::BatchEnded(BatchEnded {
            batch: id,
            worker: self.workers[n].id.clone(),
            device_class: class(),
            stage: batch.stage,
            end: BatchEnd::Done,
            items,
            peak_bytes,
            reserved_bytes: batch.bytes,
            lane_us: held.as_micros() as u64,
            ran_out: Vec::new(),
            engine: EngineVersion { name, version },
            precision,
            load_ms: load.as_millis() as u64,
        }));
        self.after(self.recording.turn.saturating_sub(HOP).max(HOP), Next::Free(n, place));
        for given in &batch.tasks {
            let job = self.places[&given.task.job];
            let after =
                self.recording.jobs[job].own.get(&batch.stage).map_or(Duration::ZERO, |own| own.after);
            match self.next_stage(job, Some(batch.stage)) {
                Some(next) => self.after(after + self.recording.way, Next::Put(job, next)),
                None => {
                    self.sum.done(self.recording.jobs[job].arrives, self.now + after);
                    self.open -= 1;
                }
            }
        }
    }
}

/// Stages whose runners were never started while it was recorded are loaded from the beginning.
fn workers(recording: &Recording, set_up: &SetUp) -> Vec<Worker> {
    let is_loaded =
        |stage: &Stage| recording.facts.get(stage).is_some_and(|facts| facts.footprint.load_time().is_zero());
    let lane = |n: u32, stages: &BTreeSet<Stage>| {
        let loaded: BTreeSet<Stage> = stages.iter().copied().filter(is_loaded).collect();
        let last = loaded.iter().nth(n as usize % loaded.len().max(1)).copied();
        Lane { loaded, last, busy: false }
    };
    let kinds = set_up.workers.iter().flat_map(|kind| (0..kind.count).map(move |_| kind));
    let worker = |(n, kind): (usize, &crate::WorkerKind)| Worker {
        id: format!("w-{n}").parse().expect("a name"),
        stages: kind.stages.iter().copied().collect(),
        memory: kind.memory,
        lanes: (0..kind.lanes).map(|n| lane(n, &kind.stages)).collect(),
        running: BTreeMap::new(),
    };
    kinds.enumerate().map(worker).collect()
}

fn task(job: JobId, stage: Stage, tenant: &TenantId, accepted_at: Timestamp) -> Task {
    Task {
        job,
        upload: UploadId(job.0),
        stage,
        class: Class::Normal,
        tenant: tenant.clone(),
        recipe: Recipe::default(),
        size_bytes: Bytes::mib(1),
        accepted_at,
        deadline: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BadRecording, WorkerKind};
    use domain::{Life, PhaseTimes, TaskEnd, Timing};

    /// Jobs that come every so many milliseconds and went through a cluster with one lane for each stage; the
    /// stage shape takes 400 ms and 100 more for each item, the others 50.
    fn timings(jobs: u64, every_ms: u64) -> Vec<Timing> {
        timings_with(jobs, every_ms, 0)
    }

    /// The same where a lane takes the next batch only after so many milliseconds.
    fn timings_with(jobs: u64, every_ms: u64, turn_ms: u64) -> Vec<Timing> {
        let mut free_ms = [0u64; 4];
        let mut all = Vec::new();
        for n in 0..jobs {
            let mut at_ms = n * every_ms;
            for stage in Stage::ALL {
                let takes = if stage == Stage::Shape { 500 } else { 50 };
                let begins = at_ms.max(free_ms[stage as usize]);
                let mut id = [stage as u8; 16];
                id[..8].copy_from_slice(&n.to_be_bytes());
                let mut job = [0; 16];
                job[..8].copy_from_slice(&n.to_be_bytes());
                let phases = PhaseTimes {
                    queued_us: 1000 * (begins - at_ms),
                    compute_us: 1000 * takes,
                    ..PhaseTimes::default()
                };
                all.push(Timing {
                    kind: String::new(),
                    job: JobId(job),
                    life: Life(0),
                    stage,
                    end: TaskEnd::Committed,
                    batch: BatchId(id),
                    batch_items: 1,
                    delivery: 1,
                    worker: format!("w-{stage}").parse().expect("a name"),
                    device_class: DeviceClass("host".to_owned()),
                    engine: EngineVersion { name: "plain".to_owned(), version: "1".to_owned() },
                    precision: "f32".to_owned(),
                    phases,
                    wall_us: 1000 * (begins + takes - at_ms),
                    unaccounted_us: 0,
                    spans: Vec::new(),
                    peak_bytes: Bytes::mib(100),
                    at: Timestamp(1_700_000_000_000 + begins + takes),
                });
                at_ms = begins + takes;
                free_ms[stage as usize] = at_ms + turn_ms;
            }
        }
        all
    }

    fn set_up(workers: &[&str], batch_max: usize) -> SetUp {
        let workers = workers.iter().map(|word| word.parse::<WorkerKind>().expect("a worker")).collect();
        SetUp { workers, batch_max }
    }

    const ONE_EACH: [&str; 4] = ["preprocess:1", "shape:1", "texture:1", "export:1"];

    fn close(found: f64, expect: f64, share: f64) {
        assert!((found - expect).abs() <= share * expect, "{found} instead of {expect}");
    }

    #[test]
    fn the_recorded_set_up_gives_what_was_recorded() {
        let recording = Recording::of(&timings(40, 100)).expect("a recording");
        let again = replay(&recording, &set_up(&ONE_EACH, 1));
        assert_eq!(again.jobs, 40);
        close(again.jobs_per_hour, recording.outcome().jobs_per_hour, 0.01);
        close(again.latency_p50_s, recording.outcome().latency_p50_s, 0.03);
        assert_eq!(again, replay(&recording, &set_up(&ONE_EACH, 1)), "the same again");
    }

    #[test]
    fn a_lane_that_stood_still_between_batches_does_so_again() {
        let recording = Recording::of(&timings_with(40, 10, 100)).expect("a recording");
        let again = replay(&recording, &set_up(&ONE_EACH, 1)).jobs_per_hour;
        close(recording.outcome().jobs_per_hour, 6_000.0, 0.05);
        close(again, recording.outcome().jobs_per_hour, 0.01);
    }

    #[test]
    fn another_lane_for_the_stage_that_bounds_doubles_the_throughput_and_one_for_another_gives_nothing() {
        let recording = Recording::of(&timings(40, 10)).expect("a recording");
        let one = replay(&recording, &set_up(&ONE_EACH, 1)).jobs_per_hour;
        close(one, 7_200.0, 0.05);
        let two = replay(&recording, &set_up(&["preprocess:1", "shape:2", "texture:1", "export:1"], 1));
        close(two.jobs_per_hour, 2.0 * one, 0.06);
        let by_worker =
            replay(&recording, &set_up(&["preprocess:1", "shape:1x2", "texture:1", "export:1"], 1));
        close(by_worker.jobs_per_hour, two.jobs_per_hour, 0.01);
        let elsewhere = replay(&recording, &set_up(&["preprocess:1", "shape:1", "texture:1", "export:3"], 1));
        close(elsewhere.jobs_per_hour, one, 0.01);
    }

    #[test]
    fn memory_cuts_batches_and_what_never_fits_is_no_job_that_was_done() {
        // Batches of four were recorded: 400 ms and 25 more for each item.
        let mut recorded = timings(40, 10);
        for (n, timing) in recorded.iter_mut().filter(|timing| timing.stage == Stage::Shape).enumerate() {
            let items = 1 + (n / 4 % 4) as u32;
            timing.batch_items = items;
            timing.phases.compute_us = 400_000 + 25_000 * u64::from(items);
            timing.peak_bytes = Bytes::mib(100 * u64::from(items));
        }
        let recording = Recording::of(&recorded).expect("a recording");
        let mean = |word: &str| {
            let done = replay(&recording, &set_up(&["preprocess:1", word, "texture:1", "export:1"], 64));
            assert_eq!(done.jobs, 40, "{word}");
            done.stages.iter().find(|of| of.stage == Stage::Shape).expect("its batches").items_mean
        };
        let (plenty, little) = (mean("shape:1"), mean("shape:1@1GiB"));
        assert!(plenty > 3.0 && little < plenty, "{plenty} {little}");
    }

    #[test]
    fn a_recording_that_cannot_be_replayed_says_why() {
        assert_eq!(Recording::of(&[]).err(), Some(BadRecording::Empty));
        let line = serde_json::to_string(&timings(1, 1)[0]).expect("JSON");
        let read = Recording::read([line.as_str(), "", "{}"]);
        assert!(matches!(&read, Err(BadRecording::Line(3, _))), "{read:?}");
        assert_eq!(Recording::read([line.as_str()]).err(), Some(BadRecording::Empty), "no job was done");
        let recording = Recording::of(&timings(2, 1)).expect("a recording");
        let lacks = set_up(&["preprocess+texture+export:1"], 1).checked(&recording);
        assert!(lacks.expect_err("nobody").to_string().contains("no worker runs shape"));
    }
}
