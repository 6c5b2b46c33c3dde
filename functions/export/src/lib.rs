//! Stage 4: textured mesh -> deliverable files.
#![forbid(unsafe_code)]
