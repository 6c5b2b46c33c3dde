//! Stage 2: cut-out -> watertight mesh.
#![forbid(unsafe_code)]
