//! Holds the rules that a compiler cannot: who may depend on whom, sizes, names, words. The rules are in
//! `tests/`, as data; here is what they read the repository with, and how they complain.
#![forbid(unsafe_code)]

mod manifest;
mod source;

pub use manifest::{Manifest, crates};
pub use source::{Source, sources};

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_owned()
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
