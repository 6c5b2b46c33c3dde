//! Meshes, images and their algorithms, used by two stages or more. Pure.
#![forbid(unsafe_code)]

pub mod glb;
pub mod raster;
pub mod sample;

mod mesh;

pub use mesh::*;
