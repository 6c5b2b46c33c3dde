//! What one span of a stage function costs, opened and closed in a real runner, measured there.

use crate::null_stage::SPANS;
use crate::runner::{batch, null_lane};
use anyhow::{Context, Result, ensure};
use figures::{Bar, Report};
use stage::File;

/// Items of a batch; each gives one measurement.
const ITEMS: usize = 16;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 4 } else { 20 };
    let mut lane = null_lane().await?;
    for (what, depth, bar) in
        [("one span", 1_u8, Bar::AtMost(200.0)), ("one span, four within each other", 4, Bar::AtMost(200.0))]
    {
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let ask = || File { name: SPANS.to_owned(), content_type: String::new(), bytes: vec![depth] };
            let (_, answers) = batch(&mut lane, std::iter::repeat_with(ask).take(ITEMS)).await?;
            ensure!(answers.len() == ITEMS, "{} of {ITEMS} items were answered", answers.len());
            for answer in answers {
                let bytes = answer.bytes.try_into().ok().context("an answer is no number")?;
                costs.push(f64::from_le_bytes(bytes));
            }
        }
        costs.sort_by(f64::total_cmp);
        report.add(format!("{what}, p50"), costs[costs.len() / 2], "ns", bar);
        report.add(format!("{what}, p99"), costs[costs.len() * 99 / 100], "ns", Bar::None);
    }
    lane.rest().await;
    Ok(())
}
