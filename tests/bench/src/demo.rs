//! From the start of the built binary to its first model: `meshwright demo`, read as a script would read it.

use crate::servers;
use anyhow::{Context, Result, bail};
use domain::{Event, EventKind};
use figures::{Bar, Report};
use harness::Scratch;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The demonstration ends by itself long before.
const OVER_AFTER: Duration = Duration::from_secs(120);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("demo")?;
    let began = Instant::now();
    let mut demo = Command::new(servers::meshwright()?)
        .args(["--json", "demo", "--data"])
        .arg(scratch.path().join("data"))
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start meshwright demo")?;
    let mut lines = BufReader::new(demo.stdout.take().context("no pipe")?).lines();
    let listen = async {
        let (mut first, mut models) = (None, 0);
        while let Some(line) = lines.next_line().await? {
            let event = serde_json::from_str::<Event>(&line);
            if event.is_ok_and(|event| event.kind == EventKind::Finished) {
                first.get_or_insert_with(|| began.elapsed());
                models += 1;
            }
        }
        anyhow::Ok((first, models))
    };
    let (first, models) = tokio::time::timeout(OVER_AFTER, listen).await.context("wait for the demo")??;
    let whole = began.elapsed();
    let status = demo.wait().await.context("wait for the demo's end")?;
    let Some(first) = first.filter(|_| status.success()) else {
        bail!("the demo ended with {status} after {models} models");
    };
    report.add("demo: built binary to first model", first.as_secs_f64(), "s", Bar::AtMost(10.0));
    report.add(
        format!("demo: built binary to its end, {models} models"),
        whole.as_secs_f64(),
        "s",
        Bar::None,
    );
    Ok(())
}
