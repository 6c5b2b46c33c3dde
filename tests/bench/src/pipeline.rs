//! The real planner and the real worker in this process, on a real broker, with null stages in real runners;
//! and the jobs to put through them.

use crate::SERVE_RUNNER;
use crate::servers;
use crate::watched::{Notes, WatchedQueue, WatchedWire};
use anyhow::{Context, Result};
use bytes::Bytes as Payload;
use domain::{InputBucket, JobRecord, Site, Stage, Task, Times, Timestamp, Upload, task_subject};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use ports::{Condition, Ledger, Message, Ports, PutOptions, Store, list_all};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Calls at once when many objects or messages are written.
pub(crate) const AT_ONCE: usize = 32;
/// Nothing measured here takes longer, unless something is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Planner and worker, running.
pub(crate) struct Pipeline {
    /// The bench's own ports; what it publishes is noted.
    pub(crate) ports: Ports,
    pub(crate) notes: Notes,
    site: Site,
    finished: BoxStream<'static, Message>,
    shutdown: CancellationToken,
    tasks: JoinSet<ports::PortResult<()>>,
}

impl Pipeline {
    /// Starts both, each on a connection of its own.
    ///
    /// # Errors
    /// The broker cannot be reached.
    pub(crate) async fn start(url: String, store: Arc<dyn Store>) -> Result<Pipeline> {
        let (notes, site, shutdown) = (Notes::default(), servers::site(), CancellationToken::new());
        let mut ports = servers::ports(&servers::broker(url.clone(), "bench").await?, store.clone());
        ports.queue = Arc::new(WatchedQueue { inner: ports.queue, notes: notes.clone() });
        let finished = ports.wire.subscribe("event.*.finished").await?;
        let mut tasks = JoinSet::new();
        let of_planner = servers::ports(&servers::broker(url.clone(), "planner").await?, store.clone());
        let settings = planner::Settings {
            times: Times::PRODUCTION,
            holder: "bench".to_owned(),
            shard: 0,
            site: site.clone(),
            batch_rule: planning::BatchRule::Learned,
            ready: Arc::default(),
        };
        tasks.spawn(planner::run(of_planner, settings, shutdown.clone()));
        let mut of_worker = servers::ports(&servers::broker(url, "worker").await?, store);
        of_worker.queue = Arc::new(WatchedQueue { inner: of_worker.queue, notes: notes.clone() });
        of_worker.wire = Arc::new(WatchedWire { inner: of_worker.wire, notes: notes.clone() });
        tasks.spawn(worker::run(of_worker, worker_settings(&site)?, shutdown.clone()));
        Ok(Pipeline { ports, notes, site, finished, shutdown, tasks })
    }

    /// Jobs of the site's first input bucket: see [`make_jobs`].
    ///
    /// # Errors
    /// The store refuses.
    pub(crate) async fn make_jobs(&self, folder: &str, count: usize) -> Result<Vec<Task>> {
        let picture = |n: usize| Payload::from(format!("picture {n}"));
        make_jobs((&self.ports, &self.site, &self.site.inputs[0]), (folder, count), picture).await
    }

    /// Publishes the tasks.
    ///
    /// # Errors
    /// The broker refuses.
    pub(crate) async fn publish(&self, tasks: Vec<Task>) -> Result<()> {
        each(tasks, |task| {
            let queue = self.ports.queue.clone();
            async move {
                queue.put_if_absent(&task_subject(&task), serde_json::to_vec(&task)?.into()).await?;
                Ok(())
            }
        })
        .await
    }

    /// Waits until so many more jobs are finished.
    ///
    /// # Errors
    /// Something is stuck.
    pub(crate) async fn wait_finished(&mut self, count: usize) -> Result<()> {
        let waiting = self.finished.by_ref().take(count).count();
        let seen = tokio::time::timeout(STUCK_AFTER, waiting).await;
        seen.map(drop).with_context(|| format!("{count} jobs are not finished after {STUCK_AFTER:?}"))
    }

    /// Drains the worker, ends the planner.
    ///
    /// # Errors
    /// One of them failed.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a function panicked")??;
        }
        Ok(())
    }
}

/// Uploads of an input bucket with their records, and the first task of each job.
///
/// # Errors
/// The store refuses.
pub(crate) async fn make_jobs(
    (ports, site, input): (&Ports, &Site, &InputBucket),
    (folder, count): (&str, usize),
    picture: impl Fn(usize) -> Payload,
) -> Result<Vec<Task>> {
    let store = ports.store.clone();
    each(0..count, |n| {
        let (store, bucket, key) = (store.clone(), input.bucket.clone(), format!("{folder}/{n:05}.png"));
        let picture = picture(n);
        async move {
            let options = PutOptions::of("image/png", Condition::Always);
            store.put(&bucket, &key, picture, &options).await?;
            Ok(())
        }
    })
    .await?;
    let listed = list_all(&*store, &input.bucket, &format!("{folder}/")).await?;
    let records = listed.into_iter().map(|object| JobRecord {
        upload: Upload {
            store: site.store.clone(),
            bucket: input.bucket.clone(),
            key: object.key,
            version_id: None,
            etag: object.etag,
            size_bytes: object.size,
            last_modified_s: object.last_modified.0 / 1000,
        },
        tenant: input.tenant.clone(),
        class: input.class,
        recipe: input.recipe.clone(),
        accepted_at: Timestamp(object.last_modified.0),
        secondary: false,
        traceparent: None,
    });
    let records: Vec<JobRecord> = records.collect();
    let ledger = Ledger::new(store, &site.state);
    let tasks = records.iter().map(|record| record.task(Stage::Preprocess)).collect();
    each(records, |record| {
        let ledger = ledger.clone();
        async move {
            ledger.put_record(&record).await?;
            Ok(())
        }
    })
    .await?;
    Ok(tasks)
}

fn worker_settings(site: &Site) -> Result<worker::Settings> {
    let chosen = gpu::choose("host", &gpu::Options::default()).context("read this host's memory")?;
    let program = std::env::current_exe().context("find this binary")?;
    Ok(worker::Settings {
        worker: "bench".parse()?,
        device_id: "bench".parse()?,
        device: chosen.device,
        stages: Stage::ALL.into(),
        lanes: std::thread::available_parallelism().map_or(1, usize::from),
        fetches_ahead: true,
        runner: worker::RunnerCommand { program, args: vec![SERVE_RUNNER.into()] },
        site: site.clone(),
        times: Times::PRODUCTION,
        runner_idle: Duration::from_secs(60),
        drain_max: Duration::from_secs(10),
        xids: worker::XidTable::default(),
        ready: Arc::default(),
    })
}

/// Calls once for each, spread over the cores, [`AT_ONCE`] at a time.
///
/// # Errors
/// The first of the calls that fails.
pub(crate) async fn each<T, F>(of: impl IntoIterator<Item = T>, call: impl Fn(T) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let calls = stream::iter(of).map(|one| tokio::spawn(call(one))).buffer_unordered(AT_ONCE);
    calls.map(|ended| ended.context("a call panicked")?).try_collect().await
}
