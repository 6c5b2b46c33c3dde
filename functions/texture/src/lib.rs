//! Stage 3: mesh and cut-out -> textured mesh.
#![forbid(unsafe_code)]
