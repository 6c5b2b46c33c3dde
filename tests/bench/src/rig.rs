//! A planner and workers in this process, on a broker and a store of one's own: the form of `meshwright up`
//! without its gateway, with devices, rules and runners as a suite wants them. And all that is said while
//! jobs go through it: how each ended, how long each task took, how each batch went.

use crate::pipeline::AT_ONCE;
use crate::{LOADED_RUNNER, SERVE_RUNNER, servers};
use anyhow::{Context, Result, ensure};
use domain::{
    BatchEnd, BatchEnded, Bytes, ENDED_SUBJECT, Event, EventKind, JobId, Site, Stage, Task, TaskEnd, Times,
    Timing, task_subject,
};
use embedded::MemoryBroker;
use futures::{StreamExt, TryStreamExt, stream};
use planning::BatchRule;
use ports::{Message, PortResult, Ports, Store, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::RunnerCommand;

/// Nothing measured here is silent for longer, unless something is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// Timings follow the outcomes within moments.
const TIMINGS_MAX: Duration = Duration::from_secs(10);

/// Where planner and workers meet.
#[derive(Clone)]
pub(crate) enum Broker {
    /// In this process.
    Embedded(Arc<MemoryBroker>),
    /// The address of a nats-server whose streams are declared.
    Nats(String),
}

impl Broker {
    /// One of its own in this process.
    pub(crate) fn embedded() -> Broker {
        Broker::Embedded(MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock)))
    }

    async fn ports(&self, name: &str, store: Arc<dyn Store>) -> Result<Ports> {
        match self {
            Broker::Nats(url) => Ok(servers::ports(&servers::broker(url.clone(), name).await?, store)),
            Broker::Embedded(broker) => {
                let (queue, boards, wire) = (broker.queue(), broker.boards(), broker.wire());
                Ok(Ports { queue, boards, wire, store, clock: Arc::new(SystemClock) })
            }
        }
    }
}

/// A worker with its device, which is a part of this host's memory.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) stages: Vec<Stage>,
    pub(crate) lanes: usize,
    /// Most of the host's memory that it uses; all of it if nothing is said.
    pub(crate) memory_max: Option<Bytes>,
    pub(crate) runner: RunnerCommand,
}

/// Runners of this binary with null stages, under the synthetic loads that recipes ask for.
///
/// # Errors
/// The system does not say where this binary is.
pub(crate) fn loaded_runner() -> Result<RunnerCommand> {
    let program = std::env::current_exe().context("find this binary")?;
    Ok(RunnerCommand { program, args: vec![SERVE_RUNNER.into(), LOADED_RUNNER.into()] })
}

/// Runners of the `meshwright` binary: the real stages.
///
/// # Errors
/// It is not built.
pub(crate) fn real_runner() -> Result<RunnerCommand> {
    let mut args = vec!["runner".into()];
    if let Some(model) = std::env::var_os("MESHWRIGHT_MATTING_MODEL").filter(|model| !model.is_empty()) {
        args.extend(["--matting-model".into(), model]);
    }
    Ok(RunnerCommand { program: servers::meshwright()?, args })
}

/// What was said, by whom it is about.
#[derive(Default)]
struct Said {
    timings: BTreeMap<JobId, Vec<Timing>>,
    batches: Vec<(Instant, BatchEnded)>,
    starts: BTreeMap<(JobId, Stage), u32>,
    /// When each job ended, and whether it was done.
    ends: BTreeMap<JobId, (Instant, bool)>,
}

/// All of it, and a number that grows with it.
#[derive(Clone)]
struct Heard {
    said: Arc<Mutex<Said>>,
    grown: watch::Sender<u64>,
}

impl Heard {
    fn locked(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, message: &Message) {
        let (now, mut said) = (Instant::now(), self.locked());
        if message.subject == ENDED_SUBJECT {
            said.batches.extend(serde_json::from_slice(&message.payload).ok().map(|ended| (now, ended)));
        } else if message.subject.starts_with("timing.") {
            if let Ok(timing) = serde_json::from_slice::<Timing>(&message.payload) {
                said.timings.entry(timing.job).or_default().push(timing);
            }
        } else if let Ok(event) = serde_json::from_slice::<Event>(&message.payload) {
            match event.kind {
                EventKind::Started { stage } => *said.starts.entry((event.job, stage)).or_default() += 1,
                kind if kind.is_end() => {
                    said.ends.insert(event.job, (now, kind == EventKind::Finished));
                }
                _ => return,
            }
        }
        drop(said);
        self.grown.send_modify(|number| *number += 1);
    }

    /// Until this is true of what was said.
    async fn until(&self, silence_max: Duration, holds: impl Fn(&Said) -> bool) -> Result<()> {
        let mut grown = self.grown.subscribe();
        while !holds(&self.locked()) {
            let more = tokio::time::timeout(silence_max, grown.changed()).await;
            more.with_context(|| format!("nothing was heard for {silence_max:?}"))??;
        }
        Ok(())
    }
}

/// Jobs that went through.
pub(crate) struct Run {
    /// From each job's publication to its end, of those that were done.
    pub(crate) latencies: BTreeMap<JobId, Duration>,
    /// From the first publication to the last end.
    pub(crate) span: Duration,
    /// Jobs that were not done.
    pub(crate) failed: usize,
    /// Of all their tasks, however those ended.
    pub(crate) timings: Vec<Timing>,
    /// All batches that ended meanwhile, and when.
    pub(crate) batches: Vec<(Instant, BatchEnded)>,
    /// How often the computation of each task was begun.
    pub(crate) starts: BTreeMap<(JobId, Stage), u32>,
}

impl Run {
    /// Jobs done in a second, of so many.
    pub(crate) fn jobs_per_s(&self) -> f64 {
        self.latencies.len() as f64 / self.span.as_secs_f64().max(1e-9)
    }

    /// Batches that ran out of memory.
    pub(crate) fn out_of_memory(&self) -> usize {
        let ran_out = |(_, ended): &&(Instant, BatchEnded)| matches!(ended.end, BatchEnd::OutOfMemory { .. });
        self.batches.iter().filter(ran_out).count()
    }

    /// Mean items of the batches of a stage.
    pub(crate) fn items_mean(&self, stage: Stage) -> f64 {
        let of_stage = self.batches.iter().filter(|(_, ended)| ended.stage == stage && ended.items > 0);
        let (items, count) =
            of_stage.fold((0, 0u32), |(items, count), (_, ended)| (items + ended.items, count + 1));
        f64::from(items) / f64::from(count.max(1))
    }
}

/// What works under which rule.
pub(crate) struct RigSettings {
    pub(crate) site: Site,
    pub(crate) rule: BatchRule,
    pub(crate) parts: Vec<Part>,
}

/// Planner and workers.
pub(crate) struct Rig {
    pub(crate) ports: Ports,
    pub(crate) site: Site,
    heard: Heard,
    shutdown: CancellationToken,
    tasks: JoinSet<PortResult<()>>,
}

impl Rig {
    /// Listens, and starts nothing yet: what is published waits.
    ///
    /// # Errors
    /// The broker cannot be reached.
    pub(crate) async fn connect(broker: &Broker, store: Arc<dyn Store>, site: Site) -> Result<Rig> {
        let ports = broker.ports("bench", store).await?;
        let (said, grown) = (Arc::default(), watch::channel(0).0);
        let heard = Heard { said, grown };
        let mut all = Vec::new();
        for filter in ["event.*.*", "timing.*", ENDED_SUBJECT] {
            all.push(ports.wire.subscribe(filter).await?);
        }
        let (listener, mut messages) = (heard.clone(), stream::select_all(all));
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let stop = shutdown.clone();
        tasks.spawn(async move {
            while let Some(Some(message)) = stop.run_until_cancelled(messages.next()).await {
                listener.hear(&message);
            }
            Ok(())
        });
        Ok(Rig { ports, site, heard, shutdown, tasks })
    }

    /// Starts planner and workers, each on a connection of its own.
    ///
    /// # Errors
    /// The broker cannot be reached, or a name is none.
    pub(crate) async fn begin(&mut self, broker: &Broker, rule: BatchRule, parts: &[Part]) -> Result<()> {
        let store = &self.ports.store;
        let settings = planner::Settings {
            times: Times::PRODUCTION,
            holder: "bench".to_owned(),
            shard: 0,
            site: self.site.clone(),
            batch_rule: rule,
            ready: Arc::default(),
        };
        let ports = broker.ports("planner", store.clone()).await?;
        self.tasks.spawn(planner::run(ports, settings, self.shutdown.clone()));
        for part in parts {
            let options = gpu::Options { cap: part.memory_max, ..gpu::Options::default() };
            let chosen = gpu::choose("host", &options).context("read this host's memory")?;
            let settings = worker::Settings {
                worker: part.name.parse()?,
                device_id: part.name.parse()?,
                device: chosen.device,
                stages: part.stages.clone(),
                lanes: part.lanes,
                fetches_ahead: true,
                runner: part.runner.clone(),
                site: self.site.clone(),
                times: Times::PRODUCTION,
                runner_idle: Duration::from_secs(600),
                drain_max: Duration::from_secs(10),
                xids: worker::XidTable::default(),
                ready: Arc::default(),
            };
            let ports = broker.ports(part.name, store.clone()).await?;
            self.tasks.spawn(worker::run(ports, settings, self.shutdown.clone()));
        }
        Ok(())
    }

    /// Both.
    ///
    /// # Errors
    /// As of both.
    pub(crate) async fn start(
        broker: &Broker,
        store: Arc<dyn Store>,
        RigSettings { site, rule, parts }: RigSettings,
    ) -> Result<Rig> {
        let mut rig = Rig::connect(broker, store, site).await?;
        rig.begin(broker, rule, &parts).await?;
        Ok(rig)
    }

    /// Publishes all tasks at once and waits until their jobs are over.
    ///
    /// # Errors
    /// Something is stuck.
    pub(crate) async fn burst(&self, tasks: Vec<Task>) -> Result<Run> {
        self.run(tasks.into_iter().map(|task| (Duration::ZERO, task)).collect()).await
    }

    /// Publishes each task so long after the first and waits until their jobs are over.
    ///
    /// # Errors
    /// Something is stuck.
    pub(crate) async fn run(&self, tasks: Vec<(Duration, Task)>) -> Result<Run> {
        let began = Instant::now();
        let jobs: BTreeSet<JobId> = tasks.iter().map(|(_, task)| task.job).collect();
        let published = self.publish(tasks).await?;
        self.over(began, &jobs, published).await
    }

    /// Publishes each task so long after this call; when that was.
    ///
    /// # Errors
    /// The broker refuses.
    pub(crate) async fn publish(&self, tasks: Vec<(Duration, Task)>) -> Result<BTreeMap<JobId, Instant>> {
        let began = tokio::time::Instant::now();
        let publish = stream::iter(tasks).map(|(after, task)| {
            let queue = self.ports.queue.clone();
            async move {
                tokio::time::sleep_until(began + after).await;
                let at = Instant::now();
                queue.put_if_absent(&task_subject(&task), serde_json::to_vec(&task)?.into()).await?;
                anyhow::Ok((task.job, at))
            }
        });
        publish.buffered(AT_ONCE).try_collect().await
    }

    /// Waits until so many of these jobs are over.
    ///
    /// # Errors
    /// Something is stuck.
    pub(crate) async fn until_over(&self, jobs: &BTreeSet<JobId>, count: usize) -> Result<()> {
        let over = |said: &Said| jobs.iter().filter(|job| said.ends.contains_key(job)).count() >= count;
        self.heard.until(STUCK_AFTER, over).await.with_context(|| format!("{count} jobs are not over"))
    }

    /// Waits until all these jobs are over; how it went since they began.
    ///
    /// # Errors
    /// Something is stuck.
    pub(crate) async fn over(
        &self,
        began: Instant,
        jobs: &BTreeSet<JobId>,
        published: BTreeMap<JobId, Instant>,
    ) -> Result<Run> {
        self.until_over(jobs, jobs.len()).await?;
        // The last ones are told by tasks that their outcome does not wait for.
        let told = |said: &Said| {
            let whole = |job: &JobId| {
                let told = said.timings.get(job).map(Vec::as_slice).unwrap_or_default();
                let committed = told.iter().filter(|timing| timing.end == TaskEnd::Committed).count();
                committed == Stage::ALL.len() || said.ends.get(job).is_some_and(|(_, done)| !done)
            };
            jobs.iter().all(whole)
        };
        self.heard.until(TIMINGS_MAX, told).await.context("wait for the timings of jobs that are over")?;
        let said = self.heard.locked();
        let ended = |job: &JobId| said.ends.get(job).copied();
        let latency = |(job, at): (&JobId, &Instant)| {
            let (ended, done) = ended(job)?;
            done.then_some((*job, ended.duration_since(*at)))
        };
        let latencies: BTreeMap<JobId, Duration> = published.iter().filter_map(latency).collect();
        let last = jobs.iter().filter_map(|job| Some(ended(job)?.0)).max().unwrap_or(began);
        let first = published.values().copied().min().unwrap_or(began);
        let of_ours = said.starts.iter().filter(|((job, _), _)| jobs.contains(job));
        Ok(Run {
            failed: jobs.len() - latencies.len(),
            latencies,
            span: last.duration_since(first),
            timings: jobs.iter().filter_map(|job| said.timings.get(job)).flatten().cloned().collect(),
            batches: said.batches.iter().filter(|(at, _)| *at >= began).cloned().collect(),
            starts: of_ours.map(|(place, count)| (*place, *count)).collect(),
        })
    }

    /// Drains the workers, ends the planner.
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

/// Refuses to go on where a run is no measurement.
///
/// # Errors
/// Jobs were not done.
pub(crate) fn all_done(run: &Run) -> Result<()> {
    ensure!(run.failed == 0, "{} jobs were not done", run.failed);
    Ok(())
}
