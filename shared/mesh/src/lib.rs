//! Meshes, images and their algorithms, used by two stages or more. Pure.
#![forbid(unsafe_code)]

pub mod glb;

mod mesh;

pub use mesh::*;
