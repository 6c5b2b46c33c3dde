//! A store in this process's memory, so that the queue's own speed can be measured. It honours conditions and
//! gives etags; it knows no versions and no multipart uploads.

use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{Bytes, Timestamp};
use ports::{
    Clock, Condition, GetOptions, Got, Listed, Object, ObjectInfo, Page, PortResult, PutOptions, Store,
    Stored, SystemClock,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys in a page of a LIST, as S3 does it.
const PAGE: usize = 1000;

#[derive(Default)]
struct Content {
    objects: BTreeMap<(String, String), (Object, Timestamp)>,
    writes: u64,
}

/// The store.
#[derive(Default)]
pub(crate) struct MemoryStore {
    content: Mutex<Content>,
}

impl MemoryStore {
    fn locked(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(bucket: &str, key: &str) -> (String, String) {
    (bucket.to_owned(), key.to_owned())
}

#[async_trait]
impl Store for MemoryStore {
    async fn head(&self, bucket: &str, key: &str) -> PortResult<Option<ObjectInfo>> {
        Ok(self.locked().objects.get(&place(bucket, key)).map(|(object, _)| object.info.clone()))
    }

    async fn get(&self, bucket: &str, key: &str, options: &GetOptions) -> PortResult<Got> {
        let content = self.locked();
        let Some((object, _)) = content.objects.get(&place(bucket, key)) else { return Ok(Got::Absent) };
        if options.if_match.as_ref().is_some_and(|etag| *etag != object.info.etag) {
            return Ok(Got::Changed);
        }
        Ok(Got::Found(object.clone()))
    }

    async fn put(&self, bucket: &str, key: &str, body: Payload, options: &PutOptions) -> PortResult<Stored> {
        let mut content = self.locked();
        let there = content.objects.get(&place(bucket, key)).map(|(object, _)| &object.info.etag);
        let allowed = match &options.condition {
            Condition::Always => true,
            Condition::IfAbsent => there.is_none(),
            Condition::IfMatch(etag) => there == Some(etag),
        };
        if !allowed {
            return Ok(Stored::ConditionFailed);
        }
        content.writes += 1;
        let (etag, now) = (format!("{:032x}", content.writes), SystemClock.now());
        let info = ObjectInfo {
            etag: etag.clone(),
            size: Bytes(body.len() as u64),
            last_modified_s: now.0 / 1000,
            version_id: None,
            content_type: Some(options.content_type.clone()),
            metadata: options.metadata.clone(),
        };
        content.objects.insert(place(bucket, key), (Object { info, body }, now));
        Ok(Stored::Written(etag))
    }

    async fn list(&self, bucket: &str, prefix: &str, next: Option<String>) -> PortResult<Page> {
        let content = self.locked();
        let from = next.as_ref().map_or(prefix, |next| next.as_str());
        let behind = content.objects.range(place(bucket, from)..);
        let matching = behind
            .take_while(|((of, key), _)| of == bucket && key.starts_with(prefix))
            .filter(|((_, key), _)| next.as_ref() != Some(key));
        let listed = matching.map(|((_, key), (object, at))| Listed {
            key: key.clone(),
            etag: object.info.etag.clone(),
            size: object.info.size,
            last_modified: *at,
        });
        let objects: Vec<Listed> = listed.take(PAGE).collect();
        let next = (objects.len() == PAGE).then(|| objects[PAGE - 1].key.clone());
        Ok(Page { objects, next })
    }

    async fn delete(&self, bucket: &str, keys: &[String]) -> PortResult<()> {
        let mut content = self.locked();
        for key in keys {
            content.objects.remove(&place(bucket, key));
        }
        Ok(())
    }

    async fn abort_uploads(&self, _bucket: &str, _begun_before: Timestamp) -> PortResult<usize> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conditions_hold_and_lists_come_in_pages() {
        let store = MemoryStore::default();
        let once = PutOptions::json_if_absent();
        for n in 0..=PAGE {
            store.put("b", &format!("p/{n:05}"), Payload::new(), &once).await.unwrap();
        }
        let again = store.put("b", "p/00000", Payload::new(), &once).await.unwrap();
        assert_eq!(again, Stored::ConditionFailed);
        assert_eq!(ports::list_all(&store, "b", "p/").await.unwrap().len(), PAGE + 1);
        assert_eq!(ports::list_all(&store, "b", "q/").await.unwrap().len(), 0);
    }
}
