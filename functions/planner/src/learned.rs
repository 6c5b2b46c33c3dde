//! What was learned survives restarts: footprints, and which tasks ran out of memory alone, on one board.

use domain::{Bytes, FOOTPRINTS, JobId, Stage};
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

/// What earlier terms have learned.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Learned {
    pub(crate) footprints: BTreeMap<FootprintKey, Footprint>,
    pub(crate) strained: Vec<(Stage, JobId, Bytes)>,
}

/// All of it; what cannot be read is learned anew. An outage is waited out: a leader that begins
/// with nothing would soon write that over what is known.
///
/// # Errors
/// The broker denies it.
pub(crate) async fn load(boards: &dyn Boards) -> PortResult<Learned> {
    let entries = loop {
        match boards.list(&FOOTPRINTS).await {
            Ok(entries) => break entries,
            Err(error) if error.is_transient() => tracing::warn!(%error, "read the footprints; waiting"),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOAD_AGAIN).await;
    };
    let mut learned = Learned::default();
    for entry in &entries {
        if let Ok(Entry { key, footprint }) = serde_json::from_slice(&entry.value) {
            learned.footprints.insert(key, footprint);
        } else if let Ok(Strained { stage, job, had_bytes }) = serde_json::from_slice(&entry.value) {
            learned.strained.push((stage, job, had_bytes));
        }
    }
    Ok(learned)
}

/// What is kept of a task that ran out of memory alone.
#[derive(Serialize, Deserialize)]
struct Strained {
    stage: Stage,
    job: JobId,
    had_bytes: Bytes,
}

/// Where it is kept.
fn strained_key(stage: Stage, job: JobId) -> String {
    format!("strained.{stage}.{job}")
}

/// Keeps in mind that a task ran out of so much memory alone; forgets it for none. Losing it costs the task
/// one more attempt.
pub(crate) async fn keep_strained(boards: Arc<dyn Boards>, stage: Stage, job: JobId, had: Option<Bytes>) {
    let key = strained_key(stage, job);
    let kept = match had.map(|had_bytes| serde_json::to_vec(&Strained { stage, job, had_bytes })) {
        Some(Ok(value)) => boards.write(&FOOTPRINTS, &key, value.into(), Expect::Anything).await.map(drop),
        Some(Err(_)) => return,
        None => boards.remove(&FOOTPRINTS, &key).await,
    };
    if let Err(error) = kept {
        tracing::debug!(%job, %stage, %error, "keep what ran out of memory");
    }
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
    use domain::{BoardSpec, DeviceClass, Times};
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
        let footprints = BTreeMap::from([(key, footprint)]);
        keep(boards.clone(), footprints.clone()).await;
        let (ran_out, forgotten) = (JobId([1; 16]), JobId([2; 16]));
        for job in [ran_out, forgotten] {
            keep_strained(boards.clone(), Stage::Shape, job, Some(Bytes::mib(300))).await;
        }
        keep_strained(boards.clone(), Stage::Shape, forgotten, None).await;
        let strained = vec![(Stage::Shape, ran_out, Bytes::mib(300))];
        assert_eq!(load(&*boards).await, Ok(Learned { footprints, strained }));
    }
}
