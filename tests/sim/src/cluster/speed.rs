//! How long the planner itself takes: offers and tasks in, decisions out, nothing around it. Figures, never
//! tests.

use super::truth::{TENANTS, number, task, tenant};
use domain::{
    AckToken, Batch, BatchEnd, BatchEnded, BatchTask, Bytes, Consumer, DeviceClass, EngineVersion, Epoch,
    Offer, Reading, Stage, Timestamp, WorkerId,
};
use planning::{BatchRule, Decision, Event, Limits, Planner};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What was measured.
pub struct Speed {
    /// How long each event of a batch took: its end, its worker's next word, the answer. Sorted. Tasks that
    /// are seen are not among them: they are many and cheap.
    pub decisions: Vec<Duration>,
    /// Tasks that went through in a second of one thread.
    pub tasks_per_s: f64,
    /// Resident memory that each task in the planner's hands takes, its text included.
    pub bytes_per_task: f64,
}

fn worker(n: usize) -> WorkerId {
    format!("worker-{n}").parse().expect("a name")
}

fn offer(n: usize, now: Timestamp, running: &[&Batch]) -> Offer {
    let gib = [8, 16, 24, 80, 141][n % 5];
    Offer {
        worker: worker(n),
        device: "device".parse().expect("a name"),
        device_class: DeviceClass(format!("gpu-{gib}g")),
        lanes_free: u32::from(running.is_empty()),
        lanes: 1,
        reading: Reading { total_bytes: Bytes::gib(gib), read_at: now, ..Reading::default() },
        reserved_bytes: running.iter().map(|batch| batch.bytes).sum(),
        stages: Stage::ALL.to_vec(),
        warm: Stage::ALL.to_vec(),
        valid_for_ms: 15_000,
        running: running.iter().map(|batch| batch.id).collect(),
        next_bytes: None,
    }
}

fn given(job: u64, now: Timestamp) -> BatchTask {
    let stage = Stage::ALL[(job % 4) as usize];
    let ack_token =
        AckToken(format!("$JS.ACK.TASKS.shape-normal-tenant-0.1.{job}.{job}.1764028800000000000.9"));
    BatchTask { task: task(job, stage), ack_token, delivery: 1, published_at: now, drawn_at: now }
}

fn ended(n: usize, batch: &Batch) -> BatchEnded {
    let items = batch.tasks.len() as u32;
    let kind = super::truth::Kind::of(&batch.tasks[0].task);
    BatchEnded {
        batch: batch.id,
        worker: worker(n),
        device_class: DeviceClass(format!("gpu-{}g", [8, 16, 24, 80, 141][n % 5])),
        stage: batch.stage,
        end: BatchEnd::Done,
        items,
        peak_bytes: kind.peak(items).min(batch.bytes),
        reserved_bytes: batch.bytes,
        lane_us: (kind.time_ms(items) * 1_000.0) as u64,
        ran_out: Vec::new(),
        engine: EngineVersion::default(),
        precision: String::new(),
        load_ms: 0,
    }
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Runs batches on so many devices while always so many tasks are in the planner's hands.
pub fn measure(devices: usize, waiting: u64, batches: usize) -> Speed {
    let limits = Limits {
        batch_max: 64,
        batch_rule: BatchRule::Learned,
        hold_max: Duration::from_secs(3_000),
        patience: Duration::from_secs(1_000),
        drain_target: Duration::from_secs(60),
        tenants: (0..TENANTS).map(tenant).collect(),
    };
    let mut planner = Planner::new(limits, Epoch(1), BTreeMap::new());
    let mut now = Timestamp(1_000_000);
    let (mut job, before) = (0, resident());
    while job < waiting {
        planner.handle(now, Event::TaskSeen(given(job, now)));
        job += 1;
    }
    let bytes_per_task = resident().saturating_sub(before) as f64 / waiting as f64;
    let (mut spans, mut spent, mut tasks) = (Vec::new(), Duration::ZERO, 0u64);
    let mut running: VecDeque<(usize, Batch)> = VecDeque::new();
    let mut timed = |planner: &mut Planner, now: Timestamp, event: Event| {
        let is_task = matches!(event, Event::TaskSeen(_));
        let begun = Instant::now();
        planner.handle(now, event);
        let span = begun.elapsed();
        let decisions: Vec<Decision> = std::iter::from_fn(|| planner.poll()).collect();
        if !is_task {
            spans.push(span);
        }
        spent += span;
        decisions
    };
    for n in 0..devices {
        take(timed(&mut planner, now, Event::OfferMade(offer(n, now, &[]))), &mut running);
    }
    for _ in 0..batches {
        let Some((n, batch)) = running.pop_front() else { break };
        now = now + Duration::from_millis(1);
        timed(&mut planner, now, Event::BatchAccepted(batch.id));
        tasks += batch.tasks.len() as u64;
        take(timed(&mut planner, now, Event::BatchEnded(ended(n, &batch))), &mut running);
        take(timed(&mut planner, now, Event::OfferMade(offer(n, now, &[]))), &mut running);
        // As many tasks come as went.
        for _ in 0..batch.tasks.len() {
            let next = given(job, now);
            let consumer = Consumer::of_task(&next.task);
            take(timed(&mut planner, now, Event::TaskSeen(next)), &mut running);
            if job.is_multiple_of(64) {
                take(timed(&mut planner, now, Event::DrawEnded(consumer)), &mut running);
            }
            job += 1;
        }
    }
    spans.sort_unstable();
    Speed { decisions: spans, tasks_per_s: tasks as f64 / spent.as_secs_f64().max(1e-9), bytes_per_task }
}

fn take(decisions: Vec<Decision>, running: &mut VecDeque<(usize, Batch)>) {
    for decision in decisions {
        if let Decision::Propose(worker, batch) = decision {
            let n = worker.as_str().trim_start_matches("worker-").parse().unwrap_or(0);
            debug_assert!(batch.tasks.iter().all(|given| number(given.task.job) < u64::MAX));
            running.push_back((n, batch));
        }
    }
}
