//! A folder for one server or test: removed when it is dropped, kept when the test fails.

use anyhow::{Context, Result};
use std::path::Path;
use tempfile::TempDir;

/// A temporary folder that outlives a failed test.
#[derive(Debug)]
pub struct Scratch {
    // None only while it is dropped.
    folder: Option<TempDir>,
}

impl Scratch {
    /// A new, empty folder whose name begins with `name`.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn new(name: &str) -> Result<Scratch> {
        let folder = tempfile::Builder::new().prefix(&format!("meshwright-{name}-")).tempdir();
        Ok(Scratch { folder: Some(folder.context("create a temporary folder")?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().expect("the folder is there until drop").path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let asked_for = std::env::var_os("MESHWRIGHT_KEEP").is_some();
        if let Some(folder) = self.folder.take()
            && (asked_for || std::thread::panicking())
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}
