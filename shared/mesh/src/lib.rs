//! Meshes, images and their algorithms, used by two stages or more. Pure.
#![forbid(unsafe_code)]

pub mod check;
pub mod compare;
pub mod components;
pub mod cutout;
pub mod decimate;
pub mod geometry;
pub mod glb;
pub mod provenance;
pub mod raster;
pub mod repair;
pub mod sample;
pub mod smooth;
pub mod tangent;
pub mod weld;

mod holes;
mod mesh;
mod quadric;

pub use cutout::{Cutout, CutoutFault, CutoutFrame};
pub use mesh::*;
