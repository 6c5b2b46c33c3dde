//! The boot probe: a store that does not keep its promises about conditional writes is refused before
//! anything rests on it.

use domain::Timestamp;
use ports::{Condition, PortError, PutOptions, Store, Stored, list_all};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Parallel creates of one key, of which exactly one may win.
const RACERS: usize = 32;
/// Rounds until an answer is clear.
const ROUNDS_MAX: usize = 3;
/// Where the probe writes.
const PREFIX: &str = "probe/";
/// What a probe writes.
const NAMES: [&str; 2] = ["row", "race"];
/// No probe takes so long: what is older was left by one that was killed.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

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

/// Whether a key is one of the probe's own: `probe/<32 hex digits>/row` or `…/race`. No friendly copy has
/// such a name: its last segment holds a dot.
pub fn is_probe_key(key: &str) -> bool {
    let Some((id, name)) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && NAMES.contains(&name)
}

/// Two creates in a row, then 32 at once, then `If-Match`: on random keys, deleted afterwards, together with
/// what probes that were killed have left.
///
/// # Errors
/// See [`ProbeError`].
pub async fn probe(store: &dyn Store, bucket: &str) -> Result<(), ProbeError> {
    let port = |error| ProbeError::Port { bucket: bucket.to_owned(), error };
    let mut unclear = None;
    for _ in 0..ROUNDS_MAX {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let [row, race] = NAMES.map(|name| format!("{PREFIX}{id}/{name}"));
        let probed = probe_keys(store, bucket, &row, &race).await;
        let deleted = store.delete(bucket, &[row, race]).await;
        match probed? {
            Round::Kept => {
                deleted.map_err(port)?;
                return clear(store, bucket).await.map_err(port);
            }
            Round::Unclear(error) => unclear = Some(error),
        }
    }
    unclear.map_or(Ok(()), Err)
}

/// What a round of the probe shows.
enum Round {
    /// The store keeps its promises.
    Kept,
    /// A write was refused that should have won. The client repeats a write whose answer is lost, and then
    /// meets its own object: only another round tells.
    Unclear(ProbeError),
}

/// Removes what probes that were killed have left.
async fn clear(store: &dyn Store, bucket: &str) -> Result<(), PortError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let left = list_all(store, bucket, PREFIX).await?;
    let left = left.into_iter().filter(|object| {
        is_probe_key(&object.key) && Timestamp(now).since(object.last_modified) > LEFT_AFTER
    });
    let keys: Vec<String> = left.map(|object| object.key).collect();
    if keys.is_empty() { Ok(()) } else { store.delete(bucket, &keys).await }
}

async fn probe_keys(store: &dyn Store, bucket: &str, row: &str, race: &str) -> Result<Round, ProbeError> {
    let port = |error: PortError| ProbeError::Port { bucket: bucket.to_owned(), error };
    let create = |key: String, content: String| async move {
        let options = PutOptions::of("text/plain", Condition::IfAbsent);
        store.put(bucket, &key, content.into(), &options).await
    };
    let not_exclusive =
        |winners, tried| ProbeError::NotExclusive { bucket: bucket.to_owned(), winners, tried };
    let first = create(row.to_owned(), "first".to_owned()).await.map_err(port)?;
    let Stored::Written(etag) = first else { return Ok(Round::Unclear(not_exclusive(0, 1))) };
    if create(row.to_owned(), "second".to_owned()).await.map_err(port)? != Stored::ConditionFailed {
        return Err(not_exclusive(2, 2));
    }
    let racers = (0..RACERS).map(|n| create(race.to_owned(), n.to_string()));
    let mut winners = 0;
    for raced in futures::future::join_all(racers).await {
        winners += usize::from(matches!(raced.map_err(port)?, Stored::Written(_)));
    }
    match winners {
        0 => return Ok(Round::Unclear(not_exclusive(0, RACERS))),
        1 => {}
        _ => return Err(not_exclusive(winners, RACERS)),
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
        Stored::Written(_) => Ok(Round::Kept),
        Stored::ConditionFailed => Ok(Round::Unclear(ProbeError::IfMatchIgnored(bucket.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use bytes::Bytes as Payload;
    use domain::Bytes;
    use ports::{GetOptions, Got, Listed, ObjectInfo, Page, PortResult};
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A good store, some of whose answers are lost: the client repeats the write, and meets its own object.
    #[derive(Default)]
    struct Lossy {
        objects: Mutex<BTreeMap<String, (String, u64)>>,
        lost: Mutex<u32>,
    }

    #[async_trait]
    impl Store for Lossy {
        async fn head(&self, _: &str, _: &str) -> PortResult<Option<ObjectInfo>> {
            Ok(None)
        }

        async fn get(&self, _: &str, _: &str, _: &GetOptions) -> PortResult<Got> {
            Ok(Got::Absent)
        }

        async fn put(&self, _: &str, key: &str, _: Payload, options: &PutOptions) -> PortResult<Stored> {
            let mut objects = self.objects.lock().unwrap();
            let present = objects.get(key).map(|(etag, _)| etag.clone());
            let allowed = match &options.condition {
                Condition::Always => true,
                Condition::IfAbsent => present.is_none(),
                Condition::IfMatch(etag) => present.as_ref() == Some(etag),
            };
            if !allowed {
                return Ok(Stored::ConditionFailed);
            }
            let etag = uuid::Uuid::new_v4().to_string();
            objects.insert(key.to_owned(), (etag.clone(), u64::MAX));
            let mut lost = self.lost.lock().unwrap();
            if *lost > 0 {
                *lost -= 1;
                return Ok(Stored::ConditionFailed);
            }
            Ok(Stored::Written(etag))
        }

        async fn list(&self, _: &str, prefix: &str, _: Option<String>) -> PortResult<Page> {
            let objects = self.objects.lock().unwrap();
            let objects = objects.iter().filter(|(key, _)| key.starts_with(prefix));
            let listed = |(key, (etag, at)): (&String, &(String, u64))| Listed {
                key: key.clone(),
                etag: etag.clone(),
                size: Bytes(1),
                last_modified: Timestamp(*at),
            };
            Ok(Page { objects: objects.map(listed).collect(), next: None })
        }

        async fn delete(&self, _: &str, keys: &[String]) -> PortResult<()> {
            self.objects.lock().unwrap().retain(|key, _| !keys.contains(key));
            Ok(())
        }

        async fn abort_uploads(&self, _: &str, _: Timestamp) -> PortResult<usize> {
            Ok(0)
        }
    }

    #[tokio::test]
    async fn a_lost_answer_refuses_no_store_and_what_was_left_is_removed() {
        let left = format!("probe/{}/race", "0a".repeat(16));
        for lost in [0, 1, 2] {
            let store = Lossy { lost: Mutex::new(lost), ..Lossy::default() };
            for (key, at) in [(left.as_str(), 1), ("probe/mug.png/mug.glb", 1)] {
                store.objects.lock().unwrap().insert(key.to_owned(), (String::new(), at));
            }
            assert_eq!(probe(&store, "b").await, Ok(()), "{lost} lost answers");
            let objects = store.objects.into_inner().unwrap();
            assert_eq!(objects.keys().collect::<Vec<_>>(), ["probe/mug.png/mug.glb"]);
        }
        let store = Lossy { lost: Mutex::new(u32::MAX), ..Lossy::default() };
        assert!(probe(&store, "b").await.is_err());
    }
}
