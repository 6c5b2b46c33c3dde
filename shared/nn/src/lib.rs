//! Neural networks on tract: manifests, loading, a warm cache.
//!
//! The way through it: a [`Manifest`] pins a model's file and its shapes, [`Model::load`] checks the bytes
//! against it and optimises, [`Model::run`] computes on the CPU in f32, [`Cache`] keeps what was loaded.
//! Bytes come from the caller: this crate opens no file, and a model that asks for one is refused.
//!
//! One thread. Two pictures are served faster by two lanes than by one network on two threads or by a batch
//! of two (measured with U²-Net portable), so neither is offered.
#![forbid(unsafe_code)]

mod cache;
mod manifest;
mod model;

pub use cache::Cache;
pub use manifest::{Manifest, NnError, U2NETP};
pub use model::Model;
