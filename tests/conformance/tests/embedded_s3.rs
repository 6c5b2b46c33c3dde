//! The loopback S3 server, spoken to by the adapter that speaks to all stores.

use anyhow::Result;
use domain::Timestamp;
use embedded::s3_server::{RunningS3, S3ServerConfig, start};
use harness::Scratch;
use ports::Store;
use ports::conformance::{keys, store};
use std::sync::Arc;

/// A server with its folder, and a client of it.
struct Served {
    store: Arc<dyn Store>,
    server: RunningS3,
    scratch: Scratch,
}

async fn served(buckets: &[&str]) -> Result<Served> {
    let scratch = Scratch::new("embedded-s3")?;
    let config = S3ServerConfig {
        data_dir: scratch.path().join("data"),
        access_key: "conform".to_owned(),
        secret_key: "conform-secret".to_owned(),
        buckets: buckets.iter().map(|bucket| (*bucket).to_owned()).collect(),
        ..S3ServerConfig::default()
    };
    let server = start(config).await?;
    let store = conformance::client(&server.endpoint, "conform", "conform-secret");
    Ok(Served { store, server, scratch })
}

#[tokio::test]
async fn the_store_conforms() -> Result<()> {
    let served = served(&["bucket", "other"]).await?;
    store::conforms(store::Subject { store: &*served.store, bucket: "bucket", other: "other" }).await;
    let future = Timestamp(u64::MAX);
    assert_eq!(served.store.abort_uploads("bucket", future).await?, 0, "no upload is left behind");
    Ok(())
}

#[tokio::test]
async fn the_store_keeps_its_keys_to_itself() -> Result<()> {
    let served = served(&["bucket", "other"]).await?;
    keys::conforms(store::Subject { store: &*served.store, bucket: "bucket", other: "other" }).await;
    served.server.shutdown().await;
    let names = |folder: &std::path::Path| -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    assert_eq!(names(served.scratch.path())?, ["data"], "no file has left the data folder");
    assert_eq!(names(&served.scratch.path().join("data"))?, ["bucket", "other"]);
    Ok(())
}

#[tokio::test]
async fn abandoned_uploads_are_ended() -> Result<()> {
    let served = served(&["bucket"]).await?;
    let client = conformance::foreign_client(&served.server.endpoint, "conform", "conform-secret");
    conformance::abandon_uploads(&client, "bucket", 3).await?;
    store::ends_abandoned_uploads(&*served.store, "bucket", 3).await;
    Ok(())
}
