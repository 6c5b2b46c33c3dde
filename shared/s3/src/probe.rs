//! The boot probe: a store that does not keep its promises about conditional writes is refused before
//! anything rests on it.

use ports::{Condition, PortError, PutOptions, Store, Stored};

/// Parallel creates of one key, of which exactly one may win.
const RACERS: usize = 32;

/// Why a store is refused: one sentence with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It lets two writers create the same object.
    #[error(
        "bucket {bucket:?}: the store let {winners} of {tried} writers create the same object; it does not \
         honour `If-None-Match: *` atomically, use one that does (AWS S3, MinIO, RustFS 1.0 or newer)"
    )]
    NotExclusive {
        /// Where.
        bucket: String,
        /// How many won.
        winners: usize,
        /// How many tried.
        tried: usize,
    },
    /// It overwrites although the etag is another one.
    #[error(
        "bucket {0:?}: the store does not honour `If-Match` on PUT; use one that does (AWS S3, MinIO, RustFS)"
    )]
    IfMatchIgnored(String),
    /// It cannot be asked.
    #[error("bucket {bucket:?} cannot be written: {error}")]
    Port {
        /// Where.
        bucket: String,
        /// Why.
        error: PortError,
    },
}

/// Two creates in a row, then 32 at once, then `If-Match`: on random keys, deleted afterwards.
///
/// # Errors
/// See [`ProbeError`].
pub async fn probe(store: &dyn Store, bucket: &str) -> Result<(), ProbeError> {
    let key = |name: &str| format!("probe/{}/{name}", uuid::Uuid::new_v4().simple());
    let (row, race) = (key("row"), key("race"));
    let probed = probe_keys(store, bucket, &row, &race).await;
    let deleted = store.delete(bucket, &[row, race]).await;
    probed?;
    deleted.map_err(|error| ProbeError::Port { bucket: bucket.to_owned(), error })
}

async fn probe_keys(store: &dyn Store, bucket: &str, row: &str, race: &str) -> Result<(), ProbeError> {
    let port = |error: PortError| ProbeError::Port { bucket: bucket.to_owned(), error };
    let create = |key: String, content: String| async move {
        let options = PutOptions::of("text/plain", Condition::IfAbsent);
        store.put(bucket, &key, content.into(), &options).await
    };
    let not_exclusive =
        |winners, tried| Err(ProbeError::NotExclusive { bucket: bucket.to_owned(), winners, tried });
    let first = create(row.to_owned(), "first".to_owned()).await.map_err(port)?;
    let Stored::Written(etag) = first else { return not_exclusive(0, 1) };
    if create(row.to_owned(), "second".to_owned()).await.map_err(port)? != Stored::ConditionFailed {
        return not_exclusive(2, 2);
    }
    let racers = (0..RACERS).map(|n| create(race.to_owned(), n.to_string()));
    let mut winners = 0;
    for raced in futures::future::join_all(racers).await {
        winners += usize::from(matches!(raced.map_err(port)?, Stored::Written(_)));
    }
    if winners != 1 {
        return not_exclusive(winners, RACERS);
    }
    let replace = |etag: String| async move {
        let options = PutOptions::of("text/plain", Condition::IfMatch(etag));
        store.put(bucket, row, "third".into(), &options).await
    };
    if replace("00000000000000000000000000000000".to_owned()).await.map_err(port)? != Stored::ConditionFailed
    {
        return Err(ProbeError::IfMatchIgnored(bucket.to_owned()));
    }
    match replace(etag).await.map_err(port)? {
        Stored::Written(_) => Ok(()),
        Stored::ConditionFailed => Err(ProbeError::IfMatchIgnored(bucket.to_owned())),
    }
}
