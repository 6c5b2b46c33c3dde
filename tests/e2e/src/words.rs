//! The program as it is typed by a person or by a script: words in, what it says and its exit code out.

use anyhow::{Context, Result};
use harness::{Child, Spec, meshwright};
use serde_json::Value;
use std::time::Duration;

/// How long a command may take.
const WITHIN: Duration = Duration::from_secs(90);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Runs a process to its end.
    ///
    /// # Errors
    /// It does not start, or does not end in time.
    pub async fn of(spec: Spec) -> Result<Said> {
        let mut child = Child::spawn(spec)?;
        let status = child.wait(WITHIN).await?;
        Ok(Said { code: status.code(), out: child.stdout(), err: child.stderr() })
    }

    /// The results, one object per line and nothing else.
    ///
    /// # Errors
    /// A line is no object.
    pub fn objects(&self) -> Result<Vec<Value>> {
        let object = |line: &str| {
            let value = serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
            value.with_context(|| format!("{line:?} is no JSON object"))
        };
        self.out.lines().map(object).collect()
    }
}

/// The program with these words, and the gateway that it is to speak to.
///
/// # Errors
/// As [`Said::of`].
pub async fn say(server: &str, words: &[&str]) -> Result<Said> {
    let words = words.iter().copied().chain(["--server", server]);
    Said::of(meshwright("words", words.map(str::to_owned).collect::<Vec<_>>())?).await
}
