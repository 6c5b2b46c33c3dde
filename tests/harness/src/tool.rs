//! Where the pinned tools are. The table of them, and how each is installed, is `infra/tools.py`.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// The program of a tool named in `infra/tools.py`: `nats-server`, `minio`, `mc`, `aws`, `mesh-python`,
/// `gltf-validator`. One that is missing is installed first (minutes for MinIO, seconds for the others);
/// asking again costs nothing.
///
/// # Errors
/// The tool could not be installed; the message says what to do.
pub fn tool(name: &str) -> Result<PathBuf> {
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(program) = found.get(name) {
        return Ok(program.clone());
    }
    let script = infra("tools.py")?;
    let asked = Command::new("python3")
        .arg(script)
        .args(["path", name])
        .stdin(Stdio::null())
        .output()
        .context("start python3: install Python 3.11 or later, it runs infra/tools.py")?;
    let said = String::from_utf8_lossy(&asked.stderr);
    ensure!(asked.status.success(), "tool {name} is missing and was not installed: {}", said.trim());
    let program = PathBuf::from(String::from_utf8(asked.stdout).context("read the path of the tool")?.trim());
    found.insert(name.to_owned(), program.clone());
    Ok(program)
}

/// A file below `infra/` of the checkout that this runs in. Not of the one that it was built in: a target
/// folder may serve several.
///
/// # Errors
/// It does not run in a checkout.
pub fn infra(file: &str) -> Result<PathBuf> {
    let here = std::env::current_dir().context("read the current folder")?;
    let found = here.ancestors().map(|folder| folder.join("infra").join(file)).find(|file| file.is_file());
    found.with_context(|| format!("{} lies in no checkout: no infra/{file} is above it", here.display()))
}
