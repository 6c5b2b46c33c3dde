//! The loopback S3 server, spoken to by the adapter that speaks to all stores.

use anyhow::Result;
use domain::Timestamp;
use embedded::s3_server::{Notify, RunningS3, S3ServerConfig, start};
use harness::Scratch;
use ingest::{ObjectEvent, Parsed, parse};
use ports::conformance::{keys, store};
use ports::{Condition, PutOptions, Store, Stored};
use std::sync::{Arc, mpsc};

/// A server with its folder, and a client of it.
struct Served {
    store: Arc<dyn Store>,
    server: RunningS3,
    scratch: Scratch,
}

async fn served(buckets: &[&str]) -> Result<Served> {
    served_and_told(buckets, None).await
}

async fn served_and_told(buckets: &[&str], notify: Option<Notify>) -> Result<Served> {
    let scratch = Scratch::new("embedded-s3")?;
    let config = S3ServerConfig {
        data_dir: scratch.path().join("data"),
        access_key: "conform".to_owned(),
        secret_key: "conform-secret".to_owned(),
        buckets: buckets.iter().map(|bucket| (*bucket).to_owned()).collect(),
        notify,
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

/// What ingest reads out of the events that were told so far.
fn told(events: &mpsc::Receiver<(String, bytes::Bytes)>) -> Vec<ObjectEvent> {
    let read = |(bucket, event): (String, bytes::Bytes)| match parse(&event) {
        Parsed::Objects { objects, unreadable: 0 } => {
            assert!(objects.iter().all(|object| object.bucket == bucket), "{bucket}: {objects:?}");
            objects
        }
        other => panic!("{other:?}"),
    };
    events.try_iter().flat_map(read).collect()
}

#[tokio::test]
async fn each_object_that_is_created_is_told_once_before_its_writer_hears_of_it() -> Result<()> {
    let (tell, events) = mpsc::channel();
    let notify: Notify = Arc::new(move |bucket, event| tell.send((bucket, event)).expect("a listener"));
    let served = served_and_told(&["bucket", "other"], Some(notify)).await?;
    let put = async |bucket: &str, key: &str, bytes: usize, condition: Condition| {
        let options = PutOptions::of("image/png", condition);
        served.store.put(bucket, key, vec![7; bytes].into(), &options).await
    };
    // The last one is sent in parts.
    let objects = [("bucket", "d ir/a b+ü%.png", 3), ("other", "empty.png", 0), ("bucket", "l", 20 << 20)];
    for (bucket, key, bytes) in objects {
        let Stored::Written(etag) = put(bucket, key, bytes, Condition::Always).await? else {
            panic!("{key}: there is no condition")
        };
        let told = told(&events);
        assert_eq!(told.len(), 1, "{key}: {told:?}");
        assert!(told[0].bucket == bucket && told[0].key_candidates.iter().any(|k| k == key), "{told:?}");
        assert_eq!(told[0].etag.as_deref(), Some(etag.as_str()), "{key}");
        assert_eq!(told[0].size.unwrap_or_default().0, bytes as u64, "{key}");
    }
    // What creates nothing is not told.
    assert_eq!(put("other", "empty.png", 1, Condition::IfAbsent).await?, Stored::ConditionFailed);
    served.store.head("bucket", "l").await?;
    served.store.delete("bucket", &["l".to_owned()]).await?;
    assert_eq!(told(&events), Vec::new());
    // An object that another client copies is a new one.
    let client = conformance::foreign_client(&served.server.endpoint, "conform", "conform-secret");
    client.copy_object().bucket("bucket").key("copy.png").copy_source("other/empty.png").send().await?;
    let told = told(&events);
    assert!(told.len() == 1 && told[0].key_candidates == ["copy.png"], "{told:?}");
    Ok(())
}
