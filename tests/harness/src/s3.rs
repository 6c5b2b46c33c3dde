//! Other people's S3 clients, `aws` and `mc`, set up for one endpoint and for nothing else on the machine.

use crate::tool;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

/// A store to speak to, and as whom.
#[derive(Clone, Debug)]
pub struct S3Endpoint {
    /// As `http://127.0.0.1:20020`.
    pub url: String,
    /// The access key id.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// Where the clients may keep their own files: never the user's.
    pub folder: PathBuf,
}

impl S3Endpoint {
    /// `aws` with credentials and endpoint in its environment; add `["s3", "cp", …]`.
    ///
    /// # Errors
    /// The tool is missing.
    pub fn aws(&self) -> Result<Command> {
        let mut command = self.client("aws")?;
        command
            .env("AWS_ACCESS_KEY_ID", &self.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret_key)
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", self.folder.join("aws-config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.folder.join("aws-credentials"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "");
        Ok(command)
    }

    /// `mc`, to which this store is `local`; add `["cp", "a.png", "local/uploads/"]`.
    ///
    /// # Errors
    /// The tool is missing, or the endpoint is not an http URL.
    pub fn mc(&self) -> Result<Command> {
        let host = self.url.strip_prefix("http://").context("mc is set up for http:// endpoints")?;
        let mut command = self.client("mc")?;
        command
            .env("MC_HOST_local", format!("http://{}:{}@{host}", self.access_key, self.secret_key))
            .env("MC_CONFIG_DIR", self.folder.join("mc"))
            .env("MC_DISABLE_PAGER", "1")
            .env("MC_NO_COLOR", "1");
        Ok(command)
    }

    fn client(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(tool(name)?);
        for (key, _) in std::env::vars_os() {
            let own = |prefix: &str| key.to_string_lossy().starts_with(prefix);
            if own("AWS_") || own("MC_") {
                command.env_remove(&key);
            }
        }
        command.env("HOME", &self.folder).current_dir(&self.folder).kill_on_drop(true);
        Ok(command)
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// It cannot be started, fails, or takes longer than `limit`; the message has what it printed.
pub async fn output(mut command: Command, limit: Duration) -> Result<String> {
    let shown = format!("{:?}", command.as_std().get_program());
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(limit, command.output())
        .await
        .with_context(|| format!("{shown} took longer than {} s", limit.as_secs()))?
        .with_context(|| format!("start {shown}"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{shown} ended with {}: {}\n{printed}", done.status, said.trim());
    Ok(printed)
}
