//! Timings for this crate's tests.

use domain::{
    BatchId, Bytes, DeviceClass, EngineVersion, JobId, Life, PhaseTimes, Stage, TaskEnd, Timestamp, Timing,
};

fn id(n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

/// A task of job `n` that shaped for 10 ms, alone in its batch.
pub(crate) fn timing(n: u64) -> Timing {
    Timing {
        kind: String::new(),
        job: JobId(id(n)),
        life: Life(0),
        stage: Stage::Shape,
        end: TaskEnd::Committed,
        batch: BatchId(id(n)),
        batch_items: 1,
        delivery: 1,
        worker: "w".parse().expect("a name"),
        device_class: DeviceClass("host".to_owned()),
        engine: EngineVersion { name: "plain".to_owned(), version: "1".to_owned() },
        precision: "f32".to_owned(),
        phases: PhaseTimes { compute_us: 10_000, ..PhaseTimes::default() },
        wall_us: 10_000,
        unaccounted_us: 0,
        spans: Vec::new(),
        peak_bytes: Bytes::ZERO,
        at: Timestamp(1_000_000 + 10 * n),
    }
}
