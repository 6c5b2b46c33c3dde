//! How long it takes to analyse 1,000,000 timings, everything included: breakdown, limit, predictions,
//! trends, recommendations, JSON; and beside it, learning for ETAs.

use anyhow::{Result, ensure};
use domain::{
    BatchId, Bytes, DeviceClass, EngineVersion, JobId, Life, PhaseTimes, SpanTime, Stage, TaskEnd, Timestamp,
    Timing,
};
use figures::{Bar, Report, percentile};
use profile::{Declared, EtaModel, Report as Analysis, Setup, Window};
use std::time::{Duration, Instant};

const TIMINGS: u64 = 1_000_000;
/// Timings that are made, taken in and forgotten together: all of them would fill the memory.
const AT_ONCE: u64 = 60_000;
const CLASSES: [&str; 3] = ["gpu-a", "gpu-b", "host-x"];
const SPANS: [&[&str]; 4] = [
    &["decode", "matting", "encode"],
    &["decode", "inflate", "decimate"],
    &["unwrap", "bake"],
    &["glb", "stl"],
];

pub(crate) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 1 } else { 5 };
    let (mut analysed, mut learned) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (analysing, learning) = analyse()?;
        analysed.push(analysing);
        learned.push(learning);
    }
    let seconds = |spans: &mut Vec<Duration>| percentile(spans, 0.5).as_secs_f64();
    let what = format!("{TIMINGS} timings analysed, p50 of {rounds}");
    report.add(what, seconds(&mut analysed), "s", Bar::AtMost(1.0));
    report.add(format!("{TIMINGS} timings learned for ETAs, p50"), seconds(&mut learned), "s", Bar::None);
    Ok(())
}

/// How long analysing took, and learning.
fn analyse() -> Result<(Duration, Duration)> {
    let (mut window, mut model) = (Window::new(), EtaModel::new());
    let (mut analysing, mut learning) = (Duration::ZERO, Duration::ZERO);
    for from in (0..TIMINGS).step_by(AT_ONCE as usize) {
        let timings: Vec<Timing> = (from..TIMINGS.min(from + AT_ONCE)).map(timing).collect();
        let began = Instant::now();
        timings.iter().for_each(|timing| window.add(timing));
        analysing += began.elapsed();
        let began = Instant::now();
        timings.iter().for_each(|timing| model.learn(timing, "standard-1024"));
        learning += began.elapsed();
    }
    let began = Instant::now();
    let analysis = Analysis::of(&window, &Setup::seen(&window), &Declared::default());
    let json = analysis.to_json();
    analysing += began.elapsed();
    ensure!(analysis.limit.is_some() && !json.is_empty(), "the analysis names no limit");
    Ok((analysing, learning))
}

/// A number from 0 to 999 that looks random.
fn chance(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33 & 1_023
}

fn id(n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id
}

fn timing(n: u64) -> Timing {
    // Batches of 1, 2, 4 and 8, of one stage each.
    let (block, place) = (n / 15, n % 15);
    let (first, items) =
        [(0, 1), (1, 2), (3, 4), (7, 8)].into_iter().rfind(|(at, _)| *at <= place).expect("one");
    let batch = block * 15 + first;
    let at = (chance(batch) % 4) as usize;
    let slower = if n > TIMINGS / 2 && at == 2 { 131 } else { 100 };
    let compute_us = (1_000 + chance(n)) * 100 * slower / 100;
    let phases = PhaseTimes {
        queued_us: 10_000 * chance(n + 1),
        planned_us: 500,
        fetch_us: 2_000 + chance(n + 2),
        load_us: if chance(batch + 3) < 50 { 400_000 } else { 300 },
        compute_us,
        store_us: 3_000 + chance(n + 4),
        commit_us: 5_000 + chance(n + 5),
        ..PhaseTimes::default()
    };
    let span = |name: &&str| SpanTime { name: (*name).to_owned(), us: compute_us / 4 };
    Timing {
        kind: String::new(),
        job: JobId(id(n)),
        life: Life(0),
        stage: Stage::ALL[at],
        end: TaskEnd::Committed,
        batch: BatchId(id(batch)),
        batch_items: items,
        delivery: 1,
        worker: format!("worker-{}", batch % 200).parse().expect("a name"),
        device_class: DeviceClass(CLASSES[(batch % 3) as usize].to_owned()),
        engine: EngineVersion { name: "plain".to_owned(), version: (1 + slower / 131).to_string() },
        precision: "f32".to_owned(),
        phases,
        wall_us: phases.sum().as_micros() as u64 + 50,
        unaccounted_us: 50,
        spans: SPANS[at].iter().map(span).collect(),
        peak_bytes: Bytes::mib(200),
        at: Timestamp(1_700_000_000_000 + n * 20),
    }
}
