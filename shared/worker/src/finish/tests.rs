//! What is logged about a task that fails.

use super::*;
use crate::stall::Stalls;
use crate::steps::Steps;
use crate::timing::Moment;
use domain::{
    AckToken, Batch, BatchId, Bytes, Class, DeviceClass, Epoch, JobId, Recipe, Site, Stage, Task, Times,
    Timestamp, UploadId,
};
use ports::{Ledger, Ports, SystemClock};
use serde_json::Value;
use std::io;
use std::sync::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("plain bytes").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Lines of this crate.
    fn ours(&self) -> Vec<Value> {
        let bytes = self.0.lock().expect("plain bytes").clone();
        let text = String::from_utf8(bytes).expect("a text");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["target"].as_str().is_some_and(|of| of.starts_with("worker"))).collect()
    }
}

/// A batch of one task, its first delivery, on a broker that knows nothing of it and a store that nobody
/// asks.
fn run() -> Arc<BatchRun> {
    let times = Times::PRODUCTION;
    let site = Site::simple("memory".parse().expect("a store name"));
    let broker = embedded::MemoryBroker::new(times, Arc::new(SystemClock));
    let store = s3::connect(s3::Config {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        region: "us-east-1".to_owned(),
        access_key: "test".to_owned(),
        secret_key: s3::Secret::new("test-secret".to_owned()),
        session_token: None,
        path_style: true,
    });
    let ledger = Ledger::new(store.clone(), &site.state);
    let (queue, boards, wire) = (broker.queue(), broker.boards(), broker.wire());
    let ports = Ports { queue, boards, wire, store, clock: Arc::new(SystemClock) };
    let task = Task {
        job: JobId([1; 16]),
        upload: UploadId([2; 16]),
        stage: Stage::Shape,
        class: Class::Normal,
        tenant: "shop".parse().expect("a name"),
        recipe: Recipe::default(),
        size_bytes: Bytes::ZERO,
        accepted_at: Timestamp(0),
        deadline: None,
    };
    let (ack_token, published_at) = (AckToken("none".to_owned()), Timestamp(1));
    let given = BatchTask { task, ack_token, delivery: 1, published_at, drawn_at: published_at };
    let batch = Batch {
        id: BatchId([3; 16]),
        epoch: Epoch(1),
        stage: Stage::Shape,
        tasks: vec![given],
        bytes: Bytes::mib(256),
        why: String::new(),
        held_ms: None,
        expected_ms: None,
    };
    Arc::new(BatchRun {
        steps: Steps { ports, ledger, site, times, worker: "box-1".to_owned() },
        batch,
        worker: "box-1".parse().expect("a name"),
        device_class: DeviceClass("host".to_owned()),
        accepted: Moment { at: Timestamp(2), instant: Instant::now() },
        stalls: Arc::new(Mutex::new(Stalls::new(times.stall_min))),
        peak: watch::channel(None).0,
        measured: Mutex::default(),
    })
}

#[tokio::test]
async fn every_line_about_a_task_that_fails_names_it_and_its_error_is_told_once() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let run = run();
    let item = Item::take(&run, &run.batch.tasks[0]);
    let expect = [
        ("job", item.given.task.job.to_string()),
        ("batch", run.batch.id.to_string()),
        ("stage", "shape".to_owned()),
        ("attempt", item.attempt.to_string()),
    ];
    finish(run.clone(), item, ItemEnd::Failed("the mesh has no faces".to_owned())).await;
    let lines = lines.ours();
    for line in &lines {
        for (field, value) in &expect {
            assert_eq!(line["span"][field], **value, "{line}");
        }
    }
    let tells = |line: &&Value| line.to_string().contains("the mesh has no faces");
    assert_eq!(lines.iter().filter(tells).count(), 1, "{lines:?}");
}
