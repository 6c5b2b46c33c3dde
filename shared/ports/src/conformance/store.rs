//! The suite for `store`.
