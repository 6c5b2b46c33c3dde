//! From the start of each process to its word `ready`, on running servers: configuration read, broker and
//! store reached, streams verified, the store's conditional writes probed.

use crate::servers::Servers;
use anyhow::Result;
use domain::Stage;
use figures::{Bar, Report, ms, percentile};
use harness::NatsConfig;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let servers = Servers::start(NatsConfig::durable(), true).await?;
    let rounds = if quick { 3 } else { 9 };
    let stages = Stage::ALL.map(Stage::as_str);
    let processes: [(&str, &[&str], Bar); 4] = [
        ("ingest", &["ingest"], Bar::AtMost(300.0)),
        ("planner", &["planner"], Bar::AtMost(300.0)),
        ("gateway", &["gateway"], Bar::AtMost(300.0)),
        ("worker of four stages", &stages, Bar::None),
    ];
    for (name, functions, bar) in processes {
        let mut spans = Vec::new();
        for _ in 0..rounds {
            let process = servers.process(functions).await?;
            spans.push(process.ready_after);
            process.kill().await?;
        }
        report.add(format!("{name}: start to ready, p50"), ms(percentile(&mut spans, 0.5)), "ms", bar);
        let slowest = ms(percentile(&mut spans, 1.0));
        report.add(format!("{name}: start to ready, slowest of {rounds}"), slowest, "ms", Bar::None);
    }
    Ok(())
}
