//! The suite for `boards`.
