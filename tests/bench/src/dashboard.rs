//! The first paint of the dashboard in a real Chromium, and what is loaded until then: the page of a real
//! `meshwright up`, looked at by the script that the browser test uses too.

use crate::servers;
use anyhow::{Context, Result};
use figures::{Bar, Report};
use harness::{Child, Scratch, Spec, infra, output, tool};
use serde::Deserialize;
use std::time::Duration;
use tokio::process::Command;

const SERVED_WITHIN: Duration = Duration::from_secs(60);
const LOOKED_WITHIN: Duration = Duration::from_secs(120);
/// What `up` says before the address of its page.
const PAGE: &str = "Page and HTTP API";

/// What the script says.
#[derive(Deserialize)]
struct Said {
    first_paint_ms: f64,
    first_load_bytes: f64,
}

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("dashboard")?;
    let up = Spec::new("up", servers::meshwright()?)
        .args(["up", "--s3", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--data"])
        .arg(scratch.path().join("data"))
        .folder(scratch.path());
    let mut child = Child::spawn(up)?;
    let line = child.wait_for_line("its page", SERVED_WITHIN, |line: &str| line.starts_with(PAGE)).await?;
    let page = line.trim_start_matches(PAGE).trim();
    let checkout = infra("tools.py")?;
    let checkout = checkout.ancestors().nth(2).context("tools.py lies in no checkout")?;
    let mut browser = Command::new(tool("browser")?);
    browser.arg(checkout.join("tests/e2e/browser/paint.mjs")).arg(page);
    let said = output(browser, LOOKED_WITHIN).await.context("look at the page")?;
    let said: Said = serde_json::from_str(said.trim()).context("read what the browser says")?;
    report.add("dashboard: first paint, soonest of 5", said.first_paint_ms, "ms", Bar::AtMost(1000.0));
    let kilobytes = said.first_load_bytes / 1000.0;
    report.add("dashboard: loaded before the viewer", kilobytes, "kB", Bar::AtMost(400.0));
    Ok(())
}
