//! Timings, windows and the settings of property tests, for this crate's tests.

use crate::Window;
use domain::{
    BatchId, Bytes, DeviceClass, EngineVersion, JobId, Life, PhaseTimes, Stage, TaskEnd, Timestamp, Timing,
};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// The same cases each time.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_125), ..Default::default() }
}

pub(crate) fn id(n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    id
}

/// A committed task alone in its batch, that computed for so many milliseconds and ended `n` seconds after
/// the beginning.
pub(crate) fn timing(n: u64, stage: Stage, compute_ms: u64) -> Timing {
    let phases = PhaseTimes { compute_us: compute_ms * 1_000, ..PhaseTimes::default() };
    Timing {
        kind: String::new(),
        job: JobId(id(n)),
        life: Life(0),
        stage,
        end: TaskEnd::Committed,
        batch: BatchId(id(n << 8 | stage as u64)),
        batch_items: 1,
        delivery: 1,
        worker: format!("worker-{stage}").parse().expect("a name"),
        device_class: DeviceClass("gpu-a".to_owned()),
        engine: EngineVersion { name: "plain".to_owned(), version: "1".to_owned() },
        precision: "f32".to_owned(),
        phases,
        wall_us: phases.sum().as_micros() as u64,
        unaccounted_us: 0,
        spans: Vec::new(),
        peak_bytes: Bytes::ZERO,
        at: Timestamp(1_000_000 + n * 1_000),
    }
}

/// The tasks of one batch: each holds the lane for all of it.
pub(crate) fn batch(n: u64, stage: Stage, items: u32, compute_ms: u64) -> Vec<Timing> {
    let of = |place: u32| Timing {
        batch: BatchId(id(n << 8 | stage as u64)),
        batch_items: items,
        job: JobId(id(n * 1_000 + u64::from(place))),
        ..timing(n, stage, compute_ms)
    };
    (0..items).map(of).collect()
}

pub(crate) fn window<'a>(timings: impl IntoIterator<Item = &'a Timing>) -> Window {
    let mut window = Window::default();
    timings.into_iter().for_each(|timing| window.add(timing));
    window
}
