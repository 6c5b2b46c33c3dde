//! What was learned survives restarts: footprints on their board.

use domain::FOOTPRINTS;
use planning::{Footprint, FootprintKey};
use ports::{Expect, PortResult, Ports};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
struct Entry {
    key: FootprintKey,
    footprint: Footprint,
}

/// All footprints; one that cannot be read is learned anew.
pub(crate) async fn load(ports: &Ports) -> PortResult<BTreeMap<FootprintKey, Footprint>> {
    let entries = ports.boards.list(&FOOTPRINTS).await?;
    let read = |entry: &ports::Entry| serde_json::from_slice::<Entry>(&entry.value).ok();
    Ok(entries.iter().filter_map(read).map(|entry| (entry.key, entry.footprint)).collect())
}

/// Keeps one. Losing it costs a few small batches after a restart.
pub(crate) async fn keep(ports: Ports, key: FootprintKey, footprint: Footprint) {
    let name = key.board_key();
    let Ok(value) = serde_json::to_vec(&Entry { key, footprint }) else { return };
    if let Err(error) = ports.boards.write(&FOOTPRINTS, &name, value.into(), Expect::Anything).await {
        tracing::debug!(%error, "keep a footprint");
    }
}
