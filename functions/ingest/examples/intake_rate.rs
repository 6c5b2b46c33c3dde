//! How many events a second become queued jobs, against a real MinIO on loopback and the queue in memory:
//! `cargo run --release -p ingest --example intake_rate`. Beside it what MinIO alone answers in the same run.

use anyhow::{Context, Result};
use bytes::Bytes;
use domain::{Class, Consumer, Site, Stage, Times, Timestamp, uploads_subject};
use futures::{StreamExt, TryStreamExt, stream};
use harness::{Minio, MinioConfig};
use ingest::Settings;
use ports::{Clock, Condition, Ports, PutOptions, Store, SystemClock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const UPLOADS: usize = 6000;
/// As many calls at once as ingest has events.
const AT_ONCE: usize = 32;

#[tokio::main]
async fn main() -> Result<()> {
    let minio = Minio::start(MinioConfig::default()).await?;
    let site = Site::simple("minio".parse()?);
    for bucket in site.buckets() {
        minio.create_bucket(bucket).await?;
    }
    let endpoint = minio.endpoint();
    let store = s3::connect(s3::Config {
        endpoint: Some(endpoint.url),
        region: "us-east-1".to_owned(),
        access_key: endpoint.access_key,
        secret_key: s3::Secret::new(endpoint.secret_key),
        session_token: None,
        path_style: true,
    });
    let alone = minio_alone(&store, &site).await?;
    println!("MinIO alone, HEAD and conditional PUT: {alone:.0} pairs/s");
    let report = |what: &str, rate: f64| {
        let share = 100.0 * rate / alone;
        println!("{what}: {rate:.0} events/s, {share:.0} % of that (bars: 600/s, 80 %)");
    };
    // Seen from a process that began before the uploads came, and from one that began after them.
    report("uploads as they come", intake(&store, &site, "new", Duration::from_secs(60)).await?);
    report("after a restart (records are listed first)", intake(&store, &site, "old", Duration::ZERO).await?);
    Ok(())
}

async fn put_uploads(store: &Arc<dyn Store>, bucket: &str, folder: &str) -> Result<()> {
    each(|n| {
        let (store, bucket, key) = (store.clone(), bucket.to_owned(), format!("{folder}/{n}.png"));
        async move {
            let options = PutOptions::of("image/png", Condition::Always);
            store.put(&bucket, &key, Bytes::from(format!("picture {n}")), &options).await?;
            Ok(())
        }
    })
    .await
}

/// How many pairs of HEAD and conditional PUT a second the store answers.
async fn minio_alone(store: &Arc<dyn Store>, site: &Site) -> Result<f64> {
    let bucket = &site.inputs[0].bucket;
    put_uploads(store, bucket, "alone").await?;
    let begun = Instant::now();
    each(|n| {
        let (store, bucket, state) = (store.clone(), bucket.clone(), site.state.clone());
        async move {
            store.head(&bucket, &format!("alone/{n}.png")).await?.context("the upload")?;
            let (key, body) = (format!("alone/{n}.json"), Bytes::from(vec![b' '; 700]));
            store.put(&state, &key, body, &PutOptions::json_if_absent()).await?;
            Ok(())
        }
    })
    .await?;
    Ok(UPLOADS as f64 / begun.elapsed().as_secs_f64())
}

/// Calls once per upload, spread over the cores as ingest does it.
async fn each<F>(call: impl Fn(usize) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let calls = stream::iter(0..UPLOADS).map(|n| tokio::spawn(call(n))).buffer_unordered(AT_ONCE);
    calls.map(|ended| ended.context("a call panicked")?).try_collect().await
}

/// A clock that is behind, so that a process seems to have begun earlier.
struct Behind(Duration);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        SystemClock.now() - self.0
    }
}

async fn intake(store: &Arc<dyn Store>, site: &Site, folder: &str, behind: Duration) -> Result<f64> {
    put_uploads(store, &site.inputs[0].bucket, folder).await?;
    let times = Times::PRODUCTION;
    let broker = embedded::MemoryBroker::new(times, Arc::new(SystemClock));
    let ports = Ports {
        queue: broker.queue(),
        boards: broker.boards(),
        wire: broker.wire(),
        store: store.clone(),
        clock: Arc::new(Behind(behind)),
    };
    let event = include_str!("../tests/golden/minio.json").replace("d+ir%2Fa+b%2B%C3%BC.png", "KEY");
    // Without etag and size the object that stands there is taken.
    let event = event.replace("\"eTag\"", "\"x\"").replace("\"size\"", "\"y\"");
    for n in 0..UPLOADS {
        let body = event.replace("KEY", &format!("{folder}/{n}.png"));
        ports.queue.put_if_absent(&uploads_subject(&site.store), body.into()).await?;
    }
    let tasks = Consumer::Tasks(Stage::Preprocess, Class::Normal, site.inputs[0].tenant.clone());
    let shutdown = CancellationToken::new();
    let settings = Settings { sweep: false, ..Settings::new(site.clone(), times) };
    let begun = Instant::now();
    let running = tokio::spawn(ingest::run(ports.clone(), settings, shutdown.clone()));
    while ports.queue.backlog(&tasks).await?.waiting < UPLOADS as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = UPLOADS as f64 / begun.elapsed().as_secs_f64();
    shutdown.cancel();
    running.await??;
    Ok(rate)
}
