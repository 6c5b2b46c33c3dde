//! Boards: the latest value of each key, with revisions. Used for devices, the lease, and footprints.

use crate::{PortError, PortResult};
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{BoardSpec, Timestamp};

/// A value on a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The value.
    pub value: Payload,
    /// Rises with every write to the board.
    pub revision: u64,
    /// When it was written, by the server's clock: never compare it with a node's.
    pub written_at: Timestamp,
}

/// What a conditional write found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is written, with this revision.
    Written(u64),
    /// Somebody else wrote in between, or the key exists.
    Conflict,
}

/// When a write is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Always.
    Anything,
    /// Only if the key has no entry.
    Absent,
    /// Only if the entry still has this revision.
    Revision(u64),
}

/// All boards of one broker.
#[async_trait]
pub trait Boards: Send + Sync {
    /// Writes an entry if `expect` holds.
    async fn write(&self, board: &BoardSpec, key: &str, value: Payload, expect: Expect) -> PortResult<Write>;

    /// The entry, unless it is too old.
    async fn read(&self, board: &BoardSpec, key: &str) -> PortResult<Option<Entry>>;

    /// All entries that are not too old, by key.
    async fn list(&self, board: &BoardSpec) -> PortResult<Vec<Entry>>;

    /// Removes the entry, if there is one.
    async fn remove(&self, board: &BoardSpec, key: &str) -> PortResult<()>;
}

/// Whether a key may stand on a board: letters, digits and `-_/=.`, no empty part between two dots.
///
/// # Errors
/// It may not: the call is invalid, and is never shown to a broker.
pub fn check_key(key: &str) -> PortResult<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/=.".contains(&byte);
    if key.bytes().all(fine) && key.split('.').all(|part| !part.is_empty()) {
        return Ok(());
    }
    Err(PortError::Invalid(format!("{key:?} is no key of a board")))
}
