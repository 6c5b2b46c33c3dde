//! The store of a test: a real MinIO, with faults on request.

use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{Site, Timestamp};
use harness::{Minio, MinioConfig};
use ports::{GetOptions, Got, ObjectInfo, Page, PortError, PortResult, PutOptions, Store, Stored};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;

/// A store that fails when told to.
pub struct Faults {
    inner: Arc<dyn Store>,
    heads_to_fail: AtomicUsize,
    cursed: Mutex<Option<(String, PortError)>>,
    refused: Mutex<Option<String>>,
}

/// One server for all tests of this process; it ends with the process.
static MINIO: OnceCell<Minio> = OnceCell::const_new();
/// Each test has its own buckets.
static WORLDS: AtomicUsize = AtomicUsize::new(0);

/// A store with buckets for the site, under names that no other test has.
pub async fn new_store(site: &mut Site) -> Arc<Faults> {
    let minio = MINIO.get_or_init(async || {
        Minio::start(MinioConfig::default()).await.expect("MinIO starts (the harness says why not)")
    });
    let minio = minio.await;
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    site.inputs[0].bucket = format!("uploads-{number}");
    site.state = format!("state-{number}");
    site.models = format!("models-{number}");
    let targets: Vec<String> = site.buckets().iter().map(|bucket| format!("local/{bucket}")).collect();
    let make = ["mb"].into_iter().chain(targets.iter().map(String::as_str));
    minio.mc(make).await.expect("buckets");
    let endpoint = minio.endpoint();
    let inner = s3::connect(s3::Config {
        endpoint: Some(endpoint.url),
        region: "us-east-1".to_owned(),
        access_key: endpoint.access_key,
        secret_key: s3::Secret::new(endpoint.secret_key),
        session_token: None,
        path_style: true,
    });
    Arc::new(Faults {
        inner,
        heads_to_fail: AtomicUsize::new(0),
        cursed: Mutex::default(),
        refused: Mutex::default(),
    })
}

fn away<T>() -> PortResult<T> {
    Err(PortError::Unavailable("a fault of the test".to_owned()))
}

impl Faults {
    /// The next HEADs fail.
    pub fn fail_heads(&self, many: usize) {
        self.heads_to_fail.store(many, Ordering::Relaxed);
    }

    /// HEADs that are still to fail.
    pub fn heads_to_fail(&self) -> usize {
        self.heads_to_fail.load(Ordering::Relaxed)
    }

    /// From now on HEADs of keys that begin so fail thus.
    pub fn fail_heads_of(&self, prefix: &str, error: PortError) {
        *self.cursed.lock().expect("no test panics with it") = Some((prefix.to_owned(), error));
    }

    /// From now on PUTs of keys that begin so fail; none do with `None`.
    pub fn fail_puts_of(&self, prefix: Option<&str>) {
        *self.refused.lock().expect("no test panics with it") = prefix.map(str::to_owned);
    }
}

#[async_trait]
impl Store for Faults {
    async fn head(&self, bucket: &str, key: &str) -> PortResult<Option<ObjectInfo>> {
        let left = |left: usize| left.checked_sub(1);
        if self.heads_to_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return away();
        }
        let cursed = self.cursed.lock().expect("no test panics with it").clone();
        if let Some((_, error)) = cursed.filter(|(prefix, _)| key.starts_with(prefix)) {
            return Err(error);
        }
        self.inner.head(bucket, key).await
    }

    async fn get(&self, bucket: &str, key: &str, options: &GetOptions) -> PortResult<Got> {
        self.inner.get(bucket, key, options).await
    }

    async fn put(&self, bucket: &str, key: &str, body: Payload, options: &PutOptions) -> PortResult<Stored> {
        let refused = self.refused.lock().expect("no test panics with it").clone();
        if refused.is_some_and(|prefix| key.starts_with(&prefix)) {
            return away();
        }
        self.inner.put(bucket, key, body, options).await
    }

    async fn list(&self, bucket: &str, prefix: &str, next: Option<String>) -> PortResult<Page> {
        self.inner.list(bucket, prefix, next).await
    }

    async fn delete(&self, bucket: &str, keys: &[String]) -> PortResult<()> {
        self.inner.delete(bucket, keys).await
    }

    async fn abort_uploads(&self, bucket: &str, begun_before: Timestamp) -> PortResult<usize> {
        self.inner.abort_uploads(bucket, begun_before).await
    }
}
