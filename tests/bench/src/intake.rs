//! How many events a second become jobs: HEAD, job record, first task, acknowledgement; on a real MinIO and a
//! real nats-server. Beside it, in the same run: what MinIO alone answers for the same requests from the same
//! client, and parsing alone.

use crate::pipeline::each;
use crate::servers;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use domain::{Class, Consumer, Site, Stage, Times, Timestamp, uploads_subject};
use figures::{Bar, Report};
use harness::{Minio, MinioConfig, NatsConfig, NatsServer, until};
use ingest::{Parsed, Settings, parse};
use ports::{Clock, Condition, Ports, PutOptions, Store, SystemClock};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const MINIO_EVENT: &str = include_str!("../../../functions/ingest/tests/golden/minio.json");
const SQS_EVENT: &[u8] = include_bytes!("../../../functions/ingest/tests/golden/sqs_lambda_sns.json");
const STUCK_AFTER: Duration = Duration::from_secs(60);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 50_000 } else { 200_000 };
    let rate = parsing(MINIO_EVENT.as_bytes(), rounds)?;
    report.add("parsing MinIO's events, one core", rate, "events/s", Bar::AtLeast(100_000.0));
    let rate = parsing(SQS_EVENT, rounds / 4)?;
    report.add("parsing SQS around SNS around two records, one core", rate, "events/s", Bar::None);

    let count = if quick { 1500 } else { 6000 };
    let minio = Minio::start(MinioConfig::default()).await?;
    let site = servers::site();
    servers::create_buckets(&minio, &site).await?;
    let store = servers::store(minio.endpoint());
    put_uploads(&store, &site, ("alone", count)).await?;
    let heads = heads_alone(&store, &site, count).await?;
    report.add("MinIO alone: HEAD", heads, "requests/s", Bar::None);
    let before = pairs_alone(&store, &site, ("alone", count)).await?;
    report.add("MinIO alone: HEAD and conditional PUT, before", before, "pairs/s", Bar::None);
    let nats = NatsServer::start(NatsConfig::durable()).await?;
    let broker = servers::broker(nats.url(), "ingest").await?;
    broker.ensure().await?;
    let ports = servers::ports(&broker, store.clone());
    let durable = intake(&ports, &site, ("durable", count, Duration::from_secs(60))).await?;
    let memory = embedded::MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock));
    let ports = Ports {
        queue: memory.queue(),
        boards: memory.boards(),
        wire: memory.wire(),
        store: store.clone(),
        ..ports
    };
    let come = intake(&ports, &site, ("come", count, Duration::from_secs(60))).await?;
    let listed = intake(&ports, &site, ("listed", count, Duration::ZERO)).await?;
    put_uploads(&store, &site, ("after", count)).await?;
    let after = pairs_alone(&store, &site, ("after", count)).await?;
    report.add("MinIO alone: HEAD and conditional PUT, after", after, "pairs/s", Bar::None);
    // The machine may be another's meanwhile: the mean of before and after is what it is held against.
    let pairs = (before + after) / 2.0;
    put_uploads(&store, &site, ("triple", count)).await?;
    let triples = alone(&store, &site, ("triple", count, true)).await?;
    report.add("MinIO alone: HEAD, LIST and conditional PUT", triples, "triples/s", Bar::None);
    for (what, rate, alone) in [
        ("ingest on nats-server at sync always", durable, pairs),
        ("ingest, queue in memory", come, pairs),
        ("ingest just restarted (records are listed first), queue in memory", listed, triples),
    ] {
        report.add(what, rate, "events/s", Bar::AtLeast(600.0));
        report.add(format!("{what}: share of MinIO alone"), 100.0 * rate / alone, "%", Bar::AtLeast(80.0));
    }
    Ok(())
}

fn parsing(body: &[u8], rounds: u32) -> Result<f64> {
    ensure!(matches!(parse(body), Parsed::Objects { .. }), "the event is not read");
    let begun = Instant::now();
    for _ in 0..rounds {
        black_box(parse(black_box(body)));
    }
    Ok(f64::from(rounds) / begun.elapsed().as_secs_f64())
}

async fn put_uploads(store: &Arc<dyn Store>, site: &Site, (folder, count): (&str, usize)) -> Result<()> {
    let bucket = &site.inputs[0].bucket;
    each(0..count, |n| {
        let (store, bucket, key) = (store.clone(), bucket.clone(), format!("{folder}/{n}.png"));
        async move {
            let options = PutOptions::of("image/png", Condition::Always);
            store.put(&bucket, &key, Bytes::from(format!("picture {n}")), &options).await?;
            Ok(())
        }
    })
    .await
}

async fn heads_alone(store: &Arc<dyn Store>, site: &Site, count: usize) -> Result<f64> {
    let begun = Instant::now();
    each(0..count, |n| {
        let (store, bucket) = (store.clone(), site.inputs[0].bucket.clone());
        async move { store.head(&bucket, &format!("alone/{n}.png")).await?.context("the upload").map(drop) }
    })
    .await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

async fn pairs_alone(store: &Arc<dyn Store>, site: &Site, (folder, count): (&str, usize)) -> Result<f64> {
    alone(store, site, (folder, count, false)).await
}

/// What ingest asks of the store for each upload, and nothing else.
async fn alone(
    store: &Arc<dyn Store>,
    site: &Site,
    (folder, count, listed): (&str, usize, bool),
) -> Result<f64> {
    let begun = Instant::now();
    each(0..count, |n| {
        let (store, bucket, state) = (store.clone(), site.inputs[0].bucket.clone(), site.state.clone());
        let folder = folder.to_owned();
        async move {
            store.head(&bucket, &format!("{folder}/{n}.png")).await?.context("the upload")?;
            let (key, body) = (format!("{folder}/{n}.json"), Bytes::from(vec![b' '; 700]));
            if listed {
                store.list(&state, &format!("{folder}/{n}/"), None).await?;
            }
            store.put(&state, &key, body, &PutOptions::json_if_absent()).await?;
            Ok(())
        }
    })
    .await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// A clock that is behind, so that a process seems to have begun before the uploads came.
struct Behind(Duration);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        SystemClock.now() - self.0
    }
}

async fn intake(ports: &Ports, site: &Site, (folder, count, behind): (&str, usize, Duration)) -> Result<f64> {
    put_uploads(&ports.store, site, (folder, count)).await?;
    let ports = Ports { clock: Arc::new(Behind(behind)), ..ports.clone() };
    let event = MINIO_EVENT.replace("d+ir%2Fa+b%2B%C3%BC.png", "KEY");
    // Without etag and size the object that stands there is taken.
    let event = event.replace("\"eTag\"", "\"x\"").replace("\"size\"", "\"y\"");
    each(0..count, |n| {
        let (queue, subject) = (ports.queue.clone(), uploads_subject(&site.store));
        let body = event.replace("KEY", &format!("{folder}/{n}.png"));
        async move {
            queue.put_if_absent(&subject, body.into()).await?;
            Ok(())
        }
    })
    .await?;
    let tasks = Consumer::Tasks(Stage::Preprocess, Class::Normal, site.inputs[0].tenant.clone());
    let waiting = ports.queue.backlog(&tasks).await?.waiting + count as u64;
    let shutdown = CancellationToken::new();
    let settings = Settings { sweep: false, ..Settings::new(site.clone(), Times::PRODUCTION) };
    let begun = Instant::now();
    let running = tokio::spawn(ingest::run(ports.clone(), settings, shutdown.clone()));
    until("all events to be jobs", STUCK_AFTER, async || {
        Ok((ports.queue.backlog(&tasks).await?.waiting >= waiting).then_some(()))
    })
    .await?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    shutdown.cancel();
    running.await.context("ingest panicked")??;
    Ok(rate)
}
