//! Boards on JetStream key-value buckets. Ages are the bucket's own: an entry's age limit dies with its first
//! update.

use crate::Broker;
use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{BoardSpec, Timestamp};
use futures::StreamExt;
use ports::{Boards, Entry, Expect, PortResult, Write, check_key};
use std::sync::PoisonError;

impl Broker {
    async fn board(&self, board: &BoardSpec) -> PortResult<Store> {
        if let Some(known) = self.boards.lock().unwrap_or_else(PoisonError::into_inner).get(board.name) {
            return Ok(known.clone());
        }
        match self.jetstream.get_key_value(board.name).await {
            Ok(store) => {
                self.boards.lock().unwrap_or_else(PoisonError::into_inner).insert(board.name, store.clone());
                Ok(store)
            }
            Err(error) => {
                self.declare_again().await;
                Err(self.unanswered(&format!("open board {}", board.name), board.name, &error))
            }
        }
    }

    /// Forgets a board that failed: it may have gone with its store.
    fn failed_board(&self, board: &BoardSpec, what: &str, error: &dyn std::fmt::Display) -> ports::PortError {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner).remove(board.name);
        self.unanswered(&format!("{what} board {}", board.name), board.name, error)
    }
}

fn entry(found: async_nats::jetstream::kv::Entry) -> Option<Entry> {
    let millis = found.created.unix_timestamp_nanos() / 1_000_000;
    let written_at = Timestamp(u64::try_from(millis).unwrap_or(0));
    let live = found.operation == Operation::Put;
    live.then_some(Entry { key: found.key, value: found.value, revision: found.revision, written_at })
}

#[async_trait]
impl Boards for Broker {
    async fn write(&self, board: &BoardSpec, key: &str, value: Payload, expect: Expect) -> PortResult<Write> {
        check_key(key)?;
        let store = self.board(board).await?;
        match expect {
            Expect::Anything => {
                let put = store.put(key, value).await;
                put.map(Write::Written).map_err(|error| self.failed_board(board, "write on", &error))
            }
            Expect::Absent => match store.create(key, value).await {
                Ok(revision) => Ok(Write::Written(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(Write::Conflict),
                Err(error) => Err(self.failed_board(board, "write on", &error)),
            },
            Expect::Revision(revision) => match store.update(key, value, revision).await {
                Ok(revision) => Ok(Write::Written(revision)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Write::Conflict),
                Err(error) => Err(self.failed_board(board, "write on", &error)),
            },
        }
    }

    async fn read(&self, board: &BoardSpec, key: &str) -> PortResult<Option<Entry>> {
        check_key(key)?;
        let found = self.board(board).await?.entry(key).await;
        found.map(|found| found.and_then(entry)).map_err(|error| self.failed_board(board, "read", &error))
    }

    async fn list(&self, board: &BoardSpec) -> PortResult<Vec<Entry>> {
        let store = self.board(board).await?;
        let mut keys = store.keys().await.map_err(|error| self.failed_board(board, "list", &error))?;
        let mut names = Vec::new();
        while let Some(key) = keys.next().await {
            names.push(key.map_err(|error| self.failed_board(board, "list", &error))?);
        }
        names.sort();
        let mut entries = Vec::new();
        for name in names {
            let found = store.entry(name).await.map_err(|error| self.failed_board(board, "read", &error))?;
            entries.extend(found.and_then(entry));
        }
        Ok(entries)
    }

    async fn remove(&self, board: &BoardSpec, key: &str) -> PortResult<()> {
        check_key(key)?;
        let removed = self.board(board).await?.delete(key).await;
        removed.map_err(|error| self.failed_board(board, "remove from", &error))
    }
}
