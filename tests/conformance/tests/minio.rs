//! A real MinIO, spoken to by the adapter that speaks to all stores.

use anyhow::Result;
use domain::Timestamp;
use harness::{Minio, MinioConfig};
use ports::Store;
use ports::conformance::{keys, store};
use std::sync::Arc;

async fn served(buckets: &[&str]) -> Result<(Minio, Arc<dyn Store>)> {
    let minio = Minio::start(MinioConfig::default()).await?;
    for bucket in buckets {
        minio.create_bucket(bucket).await?;
    }
    let endpoint = minio.endpoint();
    let store = conformance::client(&endpoint.url, &endpoint.access_key, &endpoint.secret_key);
    Ok((minio, store))
}

#[tokio::test]
async fn the_store_conforms() -> Result<()> {
    let (_minio, store) = served(&["bucket", "other"]).await?;
    store::conforms(store::Subject { store: &*store, bucket: "bucket", other: "other" }).await;
    let future = Timestamp(u64::MAX);
    assert_eq!(store.abort_uploads("bucket", future).await?, 0, "no upload is left behind");
    Ok(())
}

#[tokio::test]
async fn the_store_keeps_its_keys_to_itself() -> Result<()> {
    let (_minio, store) = served(&["bucket", "other"]).await?;
    keys::conforms(store::Subject { store: &*store, bucket: "bucket", other: "other" }).await;
    Ok(())
}

#[tokio::test]
async fn versions_are_kept() -> Result<()> {
    let (minio, store) = served(&["bucket"]).await?;
    minio.mc(["version", "enable", "local/bucket"]).await?;
    store::keeps_versions(&*store, "bucket").await;
    Ok(())
}

#[tokio::test]
async fn abandoned_uploads_are_ended() -> Result<()> {
    let (minio, store) = served(&["bucket"]).await?;
    let endpoint = minio.endpoint();
    let client = conformance::foreign_client(&endpoint.url, &endpoint.access_key, &endpoint.secret_key);
    conformance::abandon_uploads(&client, "bucket", 3).await?;
    store::ends_abandoned_uploads(&*store, "bucket", 3).await;
    Ok(())
}
