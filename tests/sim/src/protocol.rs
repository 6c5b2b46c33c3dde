//! One job's whole way through a world that forgets, repeats and dies: who may do what, when, and what must
//! hold in every state that they can bring about.
//!
//! `world` says how large and how hostile a world is, `state` what it consists of; `bucket` and `queue` are
//! the two services; `ingest`, `worker`, `sweep`, `collector` and `people` the actors; `model` puts them
//! together, `properties` judges.

pub mod bucket;
pub mod collector;
pub mod ingest;
pub mod model;
pub mod people;
pub mod properties;
pub mod queue;
pub mod state;
pub mod sweep;
pub mod worker;
pub mod world;
pub mod worlds;

/// Stages of a job: one whose artifacts are intermediates, and the last one, which also publishes.
pub const STAGES: usize = 2;
/// The stage that publishes.
pub const LAST: usize = STAGES - 1;
/// Lives that a job can have in a world: two redrives at most.
pub const LIVES: usize = 3;
/// Attempts before a task is set aside; five in production.
pub const ATTEMPTS_MAX: u8 = 2;
