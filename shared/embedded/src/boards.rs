//! Boards in memory: the latest value of each key, with revisions and ages.

use crate::MemoryBroker;
use crate::broker::locked;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::BoardSpec;
use ports::{Boards, Entry, Expect, PortError, PortResult, Write, check_key};
use std::collections::BTreeMap;
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct BoardsState {
    revision: u64,
    boards: BTreeMap<&'static str, BTreeMap<String, (Entry, Instant)>>,
}

impl BoardsState {
    /// The entries of a board, without those that are too old.
    fn fresh(&mut self, board: &BoardSpec) -> &mut BTreeMap<String, (Entry, Instant)> {
        let entries = self.boards.entry(board.name).or_default();
        if let Some(age_max) = board.age_max {
            entries.retain(|_, (_, written)| written.elapsed() < age_max);
        }
        entries
    }
}

#[async_trait]
impl Boards for MemoryBroker {
    async fn write(&self, board: &BoardSpec, key: &str, value: Payload, expect: Expect) -> PortResult<Write> {
        check_key(key)?;
        let (mut state, now) = (locked(&self.boards), self.clock.now());
        let entries = state.fresh(board);
        let found = entries.get(key).map(|(entry, _)| entry.revision);
        let allowed = match expect {
            Expect::Anything => true,
            Expect::Absent => found.is_none(),
            Expect::Revision(revision) => found == Some(revision),
        };
        if !allowed {
            return Ok(Write::Conflict);
        }
        let others = entries.iter().filter(|(of, _)| *of != key).map(|(_, (entry, _))| entry.value.len());
        if others.sum::<usize>() + value.len() > board.bytes_max.0 as usize {
            return Err(PortError::Unavailable(format!("board {} is full", board.name)));
        }
        state.revision += 1;
        let revision = state.revision;
        let entry = Entry { key: key.to_owned(), value, revision, written_at: now };
        state.fresh(board).insert(key.to_owned(), (entry, Instant::now()));
        Ok(Write::Written(revision))
    }

    async fn read(&self, board: &BoardSpec, key: &str) -> PortResult<Option<Entry>> {
        check_key(key)?;
        Ok(locked(&self.boards).fresh(board).get(key).map(|(entry, _)| entry.clone()))
    }

    async fn list(&self, board: &BoardSpec) -> PortResult<Vec<Entry>> {
        Ok(locked(&self.boards).fresh(board).values().map(|(entry, _)| entry.clone()).collect())
    }

    async fn remove(&self, board: &BoardSpec, key: &str) -> PortResult<()> {
        check_key(key)?;
        locked(&self.boards).fresh(board).remove(key);
        Ok(())
    }
}
