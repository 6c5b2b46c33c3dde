//! The suite for `wire`.
