//! Store: objects in buckets. The bucket is the truth, and conditional writes decide who won.

use crate::PortResult;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{Bytes, Timestamp};
use std::collections::BTreeMap;

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Without quotes.
    pub etag: String,
    /// Size of the whole object.
    pub size: Bytes,
    /// Truncated to whole seconds by the adapter, since a HEAD and a LIST must agree.
    pub last_modified_s: u64,
    /// None for buckets without versions.
    pub version_id: Option<String>,
    /// MIME type as stored.
    pub content_type: Option<String>,
    /// User metadata without `x-amz-meta-`, names in lower case.
    pub metadata: BTreeMap<String, String>,
}

/// An object with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What a HEAD would tell.
    pub info: ObjectInfo,
    /// The content, or the range that was asked for.
    pub body: Payload,
}

/// What to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// This version only.
    pub version_id: Option<String>,
    /// Only if the object still has this etag.
    pub if_match: Option<String>,
    /// First and last byte, both included.
    pub range: Option<(u64, u64)>,
    /// Refuse objects larger than this with `PortError::Invalid`; 0 is no limit.
    pub size_max: Bytes,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The object.
    Found(Object),
    /// No such object (or version).
    Absent,
    /// It exists and has another etag.
    Changed,
}

/// When a write is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// `If-None-Match: *`.
    IfAbsent,
    /// `If-Match: <etag>`.
    IfMatch(String),
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is written, with this etag.
    Written(String),
    /// The condition did not hold. After a lost answer this may be the caller's own write: look.
    ConditionFailed,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOptions {
    /// When it is allowed.
    pub condition: Condition,
    /// MIME type.
    pub content_type: String,
    /// User metadata without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

impl PutOptions {
    /// JSON, written once.
    pub fn json_if_absent() -> PutOptions {
        PutOptions::of("application/json", Condition::IfAbsent)
    }

    /// This type under this condition, without metadata.
    pub fn of(content_type: &str, condition: Condition) -> PutOptions {
        PutOptions { condition, content_type: content_type.to_owned(), metadata: BTreeMap::new() }
    }
}

/// What a LIST tells of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Without quotes.
    pub etag: String,
    /// Its size.
    pub size: Bytes,
    /// In milliseconds, as the store tells.
    pub last_modified: Timestamp,
}

/// Part of a LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of keys.
    pub objects: Vec<Listed>,
    /// Hand it to the next call; none at the end.
    pub next: Option<String>,
}

/// One object store.
#[async_trait]
pub trait Store: Send + Sync {
    /// What the object is; none if there is none.
    async fn head(&self, bucket: &str, key: &str) -> PortResult<Option<ObjectInfo>>;

    /// The object.
    async fn get(&self, bucket: &str, key: &str, options: &GetOptions) -> PortResult<Got>;

    /// Writes an object, retrying what may be retried (a conflict 409 too).
    async fn put(&self, bucket: &str, key: &str, body: Payload, options: &PutOptions) -> PortResult<Stored>;

    /// One page of the keys that begin with `prefix`, from `next` of the page before.
    async fn list(&self, bucket: &str, prefix: &str, next: Option<String>) -> PortResult<Page>;

    /// Removes objects; those that do not exist count as removed.
    async fn delete(&self, bucket: &str, keys: &[String]) -> PortResult<()>;

    /// Ends multipart uploads begun before this time; returns how many.
    async fn abort_uploads(&self, bucket: &str, begun_before: Timestamp) -> PortResult<usize>;
}

/// All keys that begin with `prefix`.
///
/// # Errors
/// As [`Store::list`].
pub async fn list_all(store: &dyn Store, bucket: &str, prefix: &str) -> PortResult<Vec<Listed>> {
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let page = store.list(bucket, prefix, next).await?;
        all.extend(page.objects);
        next = page.next;
        if next.is_none() {
            return Ok(all);
        }
    }
}
