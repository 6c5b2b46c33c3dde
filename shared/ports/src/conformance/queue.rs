//! The suite for `queue`.
