//! Holds the rules that a compiler cannot: dependency table, sizes, banned names.
#![forbid(unsafe_code)]
