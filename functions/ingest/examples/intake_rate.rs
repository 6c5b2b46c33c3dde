//! How many events a second become queued jobs, against a real MinIO on loopback and the queue in memory:
//! `cargo run --release -p ingest --example intake_rate`. Beside it what MinIO alone answers in the same run.

use anyhow::{Context, Result};
use bytes::Bytes;
use domain::{Class, Consumer, Site, Stage, Times, uploads_subject};
use futures::{StreamExt, TryStreamExt, stream};
use harness::{Minio, MinioConfig};
use ingest::Settings;
use ports::{Condition, Ports, PutOptions, Store, SystemClock};
use std::sync::Arc;
use std::time::Instant;
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
    let alone = minio_alone(&*store, &site).await?;
    println!("MinIO alone, HEAD and conditional PUT: {alone:.0} pairs/s");
    let rate = intake(store, site).await?;
    println!("events to queued jobs: {rate:.0}/s, {:.0} % of that (bars: 600/s, 80 %)", 100.0 * rate / alone);
    Ok(())
}

/// The uploads, and how many pairs of HEAD and conditional PUT a second the store answers.
async fn minio_alone(store: &dyn Store, site: &Site) -> Result<f64> {
    let bucket = &site.inputs[0].bucket;
    each(async |n| {
        let options = PutOptions::of("image/png", Condition::Always);
        store.put(bucket, &format!("{n}.png"), Bytes::from(format!("picture {n}")), &options).await?;
        Ok(())
    })
    .await?;
    let begun = Instant::now();
    each(async |n| {
        store.head(bucket, &format!("{n}.png")).await?.context("the upload")?;
        let body = Bytes::from(vec![b' '; 700]);
        store.put(&site.state, &format!("baseline/{n}.json"), body, &PutOptions::json_if_absent()).await?;
        Ok(())
    })
    .await?;
    Ok(UPLOADS as f64 / begun.elapsed().as_secs_f64())
}

async fn each(call: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
    stream::iter(0..UPLOADS).map(|n| call(n)).buffer_unordered(AT_ONCE).try_collect().await
}

async fn intake(store: Arc<dyn Store>, site: Site) -> Result<f64> {
    let times = Times::PRODUCTION;
    let broker = embedded::MemoryBroker::new(times, Arc::new(SystemClock));
    let ports = Ports {
        queue: broker.queue(),
        boards: broker.boards(),
        wire: broker.wire(),
        store,
        clock: Arc::new(SystemClock),
    };
    let subject = uploads_subject(&site.store);
    let event = include_str!("../tests/golden/minio.json").replace("d+ir%2Fa+b%2B%C3%BC.png", "KEY");
    // Without etag and size the object that stands there is taken.
    let event = event.replace("\"eTag\"", "\"x\"").replace("\"size\"", "\"y\"");
    for n in 0..UPLOADS {
        let body = event.replace("KEY", &format!("{n}.png"));
        ports.queue.put_if_absent(&subject, body.into()).await?;
    }
    let tasks = Consumer::Tasks(Stage::Preprocess, Class::Normal, site.inputs[0].tenant.clone());
    let shutdown = CancellationToken::new();
    let settings = Settings { sweep: false, ..Settings::new(site, times) };
    let begun = Instant::now();
    let running = tokio::spawn(ingest::run(ports.clone(), settings, shutdown.clone()));
    while ports.queue.backlog(&tasks).await?.waiting < UPLOADS as u64 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let rate = UPLOADS as f64 / begun.elapsed().as_secs_f64();
    shutdown.cancel();
    running.await??;
    Ok(rate)
}
