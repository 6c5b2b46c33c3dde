//! Clusters simulated from one seed: the real planning code against devices whose truth it has to find out.
//!
//! `truth` is what batches really need and take, `world` the devices, queues and faults around the planner,
//! with what must hold asserted at every step (`acts`: what workers do; `hands`: what the planner holds);
//! `settings` says how large and how hostile a world is, `yardstick` what could be reached at all and what
//! fixed caps reach, without any code of the planner; `speed` times the planner alone, `figures` puts it all
//! into a table.

pub mod acts;
pub mod device;
pub mod dice;
pub mod figures;
pub mod hands;
pub mod settings;
pub mod speed;
pub mod truth;
pub mod world;
pub mod yardstick;
