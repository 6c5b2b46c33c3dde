//! What was learned survives restarts: footprints on their board.

use domain::FOOTPRINTS;
use planning::{Footprint, FootprintKey};
use ports::{Boards, Expect, PortResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Entry {
    key: FootprintKey,
    footprint: Footprint,
}

/// Pause after a board did not answer.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

/// All footprints; one that cannot be read is learned anew. An outage is waited out: a leader that begins
/// with nothing would soon write that over what is known.
///
/// # Errors
/// The broker denies it.
pub(crate) async fn load(boards: &dyn Boards) -> PortResult<BTreeMap<FootprintKey, Footprint>> {
    let entries = loop {
        match boards.list(&FOOTPRINTS).await {
            Ok(entries) => break entries,
            Err(error) if error.is_transient() => tracing::warn!(%error, "read the footprints; waiting"),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOAD_AGAIN).await;
    };
    let read = |entry: &ports::Entry| serde_json::from_slice::<Entry>(&entry.value).ok();
    Ok(entries.iter().filter_map(read).map(|entry| (entry.key, entry.footprint)).collect())
}

/// Keeps them, the latest of each key. Losing one costs a few small batches after a restart.
pub(crate) async fn keep(boards: Arc<dyn Boards>, learned: BTreeMap<FootprintKey, Footprint>) {
    for (key, footprint) in learned {
        let name = key.board_key();
        let Ok(value) = serde_json::to_vec(&Entry { key, footprint }) else { continue };
        if let Err(error) = boards.write(&FOOTPRINTS, &name, value.into(), Expect::Anything).await {
            tracing::debug!(%error, "keep a footprint");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes as Payload;
    use domain::{BoardSpec, Bytes, DeviceClass, Stage, Times};
    use embedded::MemoryBroker;
    use ports::{PortError, SystemClock, Write};
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    /// Boards that do not answer the first lists.
    struct Slow(Arc<MemoryBroker>, AtomicU32);

    #[async_trait::async_trait]
    impl Boards for Slow {
        async fn write(&self, of: &BoardSpec, key: &str, value: Payload, when: Expect) -> PortResult<Write> {
            self.0.write(of, key, value, when).await
        }
        async fn read(&self, of: &BoardSpec, key: &str) -> PortResult<Option<ports::Entry>> {
            self.0.read(of, key).await
        }
        async fn list(&self, of: &BoardSpec) -> PortResult<Vec<ports::Entry>> {
            if self.1.fetch_add(1, SeqCst) < 3 {
                return Err(PortError::Unavailable("an election".to_owned()));
            }
            self.0.list(of).await
        }
        async fn remove(&self, of: &BoardSpec, key: &str) -> PortResult<()> {
            self.0.remove(of, key).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learned_is_there_after_an_outage_at_the_takeover() {
        let broker = MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock));
        let boards = Arc::new(Slow(broker.clone(), AtomicU32::new(0)));
        let device_class = DeviceClass("host".to_owned());
        let (shape, engine) = ("any".to_owned(), "inflate 1 f32".to_owned());
        let key = FootprintKey { stage: Stage::Shape, shape, engine, device_class };
        let mut footprint = Footprint::default();
        footprint.observe(2, Bytes::mib(100), Duration::from_secs(1));
        let learned = BTreeMap::from([(key, footprint)]);
        keep(boards.clone(), learned.clone()).await;
        assert_eq!(load(&*boards).await, Ok(learned));
    }
}
