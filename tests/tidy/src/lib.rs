//! Holds the rules that a compiler cannot: who may depend on whom, sizes, names, words. The rules are in
//! `tests/`, as data; here is what they read the repository with, and how they complain.
#![forbid(unsafe_code)]

mod manifest;
mod source;

pub use manifest::{Manifest, crates};
pub use source::{Source, sources};

use std::path::PathBuf;

/// Crates whose result depends on nothing but their arguments: no IO, clock or scheduler. `stage` and what
/// is built on it compute, and nothing else.
pub const PURE: &[&str] = &[
    "domain",
    "stage",
    "planning",
    "profile",
    "replay",
    "mesh",
    "nn",
    "preprocess",
    "shape",
    "texture",
    "export",
];

/// The root of the repository that this runs in. Not of the one that it was built in: a target folder may
/// serve several checkouts.
///
/// # Panics
/// It does not run in a checkout.
pub fn root() -> PathBuf {
    let here = std::env::current_dir().expect("a current folder");
    let root = here.ancestors().find(|folder| folder.join("rust-toolchain.toml").is_file());
    root.expect("tests run in their crate's folder").to_owned()
}

/// A place where a rule is broken, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path from the root.
    pub file: String,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// What is wrong, and what to do.
    pub advice: String,
}

impl Finding {
    /// In a line of a file.
    pub fn new(file: &str, line: usize, advice: impl Into<String>) -> Finding {
        Finding { file: file.to_owned(), line, advice: advice.into() }
    }
}

/// Fails the test if there are findings, and prints each as `file:line: advice`.
///
/// # Panics
/// There are findings.
pub fn report(findings: impl IntoIterator<Item = Finding>) {
    let lines: Vec<String> =
        findings.into_iter().map(|f| format!("{}:{}: {}", f.file, f.line, f.advice)).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}
