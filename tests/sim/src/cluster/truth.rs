//! What batches really need and take. The planner never sees this; the yardsticks see nothing else.

use super::dice::Dice;
use domain::{Bytes, Class, Engine, JobId, Quality, Recipe, Stage, Task, TenantId, Timestamp, UploadId};

/// Shapes of a job: small, middle, large.
pub const SHAPES: usize = 3;
/// Share by which a measured peak or time is off, at most.
pub const NOISE: f64 = 0.10;
/// Tenants of a world.
pub const TENANTS: u8 = 3;

/// A stage with a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The stage.
    pub stage: Stage,
    /// Which shape, below [`SHAPES`].
    pub shape: usize,
}

/// Fixed and per item, in MiB and milliseconds, of the smallest shape of each stage.
const SMALLEST: [(f64, f64, f64, f64); 4] = [
    (300.0, 120.0, 30.0, 15.0),
    (2_000.0, 1_000.0, 400.0, 250.0),
    (1_500.0, 800.0, 300.0, 180.0),
    (200.0, 150.0, 40.0, 30.0),
];
/// How many times as much memory an item of each shape takes.
const MEMORY: [f64; SHAPES] = [1.0, 2.5, 6.0];
/// How many times as much time.
const TIME: [f64; SHAPES] = [1.0, 2.0, 4.0];

impl Kind {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Kind> {
        Stage::ALL.into_iter().flat_map(|stage| (0..SHAPES).map(move |shape| Kind { stage, shape }))
    }

    fn smallest(self) -> (f64, f64, f64, f64) {
        SMALLEST[Stage::ALL.iter().position(|stage| *stage == self.stage).unwrap_or(0)]
    }

    /// The mean peak of a batch.
    pub fn peak(self, items: u32) -> Bytes {
        let (fixed, each, ..) = self.smallest();
        Bytes::mib(1).scale(fixed + each * MEMORY[self.shape] * f64::from(items))
    }

    /// The mean time of a batch, in milliseconds.
    pub fn time_ms(self, items: u32) -> f64 {
        let (.., start, each) = self.smallest();
        start + each * TIME[self.shape] * f64::from(items)
    }

    /// The shape and stage of a task.
    pub fn of(task: &Task) -> Kind {
        Kind { stage: task.stage, shape: shape_of(number(task.job)) }
    }
}

/// The shape of a job: half are small, three in ten middle.
pub fn shape_of(job: u64) -> usize {
    match Dice::new(job ^ 0xabcd).below(10) {
        0..5 => 0,
        5..8 => 1,
        _ => 2,
    }
}

/// The share of jobs of each shape.
pub const MIX: [f64; SHAPES] = [0.5, 0.3, 0.2];

/// The number of a job.
pub fn number(job: JobId) -> u64 {
    u64::from_be_bytes(job.0[8..].try_into().expect("eight bytes"))
}

/// A tenant by its number.
pub fn tenant(n: u8) -> TenantId {
    format!("tenant-{n}").parse().expect("a name")
}

/// A job's task at a stage.
pub fn task(job: u64, stage: Stage) -> Task {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&job.to_be_bytes());
    let shape = shape_of(job);
    let recipe = Recipe {
        engine: Engine::Inflate,
        quality: Quality::ALL[shape],
        texture_px: [512, 1024, 2048][shape],
        ..Recipe::default()
    };
    Task {
        job: JobId(id),
        upload: UploadId(id),
        stage,
        class: Class::ALL[(job % 7 % 3) as usize],
        tenant: tenant((job % u64::from(TENANTS)) as u8),
        recipe,
        size_bytes: Bytes::kib([100, 400, 1_600][shape]),
        accepted_at: Timestamp(0),
        deadline: None,
    }
}
