//! Starts functions on ports. The embedded and the distributed form differ only in which ports they hand
//! over.

use crate::cli::Function;
use crate::config::Config;
use crate::metrics_text::Metrics;
use crate::models::networks;
use crate::refusal::{Outcome, Refusal};
use crate::webhooks::listeners;
use domain::{Bytes, Reading, Stage};
use ports::Ports;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Functions that run in this process.
pub(crate) struct Pipeline {
    tasks: JoinSet<(&'static str, Result<(), Refusal>)>,
    shutdown: CancellationToken,
    /// What each function tells once it works.
    ready: Vec<Arc<Notify>>,
    /// What is in the way of work that no port tells.
    pub(crate) trouble: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Pipeline {
    pub(crate) fn new(shutdown: CancellationToken) -> Pipeline {
        Pipeline { tasks: JoinSet::new(), shutdown, ready: Vec::new(), trouble: Arc::new(|| None) }
    }

    /// Starts what ends with the others, and ends them if it ends before.
    pub(crate) fn spawn<E: Into<Refusal>>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await.map_err(Into::into)) });
    }

    fn until_ready(&mut self) -> Arc<Notify> {
        self.ready.push(Arc::default());
        self.ready[self.ready.len() - 1].clone()
    }

    /// Starts `ingest`.
    pub(crate) fn ingest(&mut self, ports: &Ports, config: &Config) -> Outcome<()> {
        let keep = config.ingest.keep()?;
        let days = config.ingest.keep_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
        let mut settings = ingest::Settings::new(config.site.clone(), config.times()).keeping(keep, days);
        settings.ready = self.until_ready();
        settings.collect.retention.uploads = config.ingest.keep_uploads == Some(false);
        if let Some(every_s) = config.ingest.collect_every_s {
            settings.collect.every = Duration::from_secs(every_s.max(1));
        }
        self.spawn("ingest", ingest::run(ports.clone(), settings, self.shutdown.clone()));
        Ok(())
    }

    /// Starts `planner`.
    pub(crate) fn planner(&mut self, ports: &Ports, config: &Config, holder: &str) {
        let settings = planner::Settings {
            times: config.times(),
            holder: holder.to_owned(),
            shard: 0,
            site: config.site.clone(),
            batch_rule: config.planner.batch_rule.clone(),
            ready: self.until_ready(),
        };
        self.spawn("planner", planner::run(ports.clone(), settings, self.shutdown.clone()));
    }

    /// Starts `gateway` on a bound listener.
    pub(crate) fn gateway(
        &mut self,
        ports: &Ports,
        config: &Config,
        listener: TcpListener,
        metrics: &Metrics,
    ) -> Outcome<()> {
        let render = metrics.clone();
        let settings = gateway::Settings {
            site: config.site.clone(),
            times: config.times(),
            token: config.gateway.token.as_ref().map(|token| gateway::Token::new(token.0.clone())),
            public_hosts: config.gateway.public_hosts.clone(),
            cors_origins: config.gateway.origins()?,
            listeners: listeners(&config.gateway.webhooks)?,
            networks: networks(&config.worker),
            has_matting: config.worker.matting_model().is_some(),
            limits: gateway::Limits {
                jobs_per_minute: config.gateway.jobs_per_minute,
                ..gateway::Limits::default()
            },
            trouble: self.trouble.clone(),
            metrics: Arc::new(move || render.text()),
            sample: Arc::new(|span| Box::pin(crate::sampler::sample(span))),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.spawn("gateway", gateway::serve(listener, ports.clone(), settings, self.shutdown.clone()));
        Ok(())
    }

    /// Starts `/metrics`, `/livez` and `/readyz` of a process without a gateway.
    pub(crate) fn health(
        &mut self,
        ports: &Ports,
        config: &Config,
        listener: TcpListener,
        metrics: &Metrics,
    ) {
        let (ports, bucket, metrics) = (ports.clone(), config.site.state.clone(), metrics.clone());
        let serving = crate::health::serve(listener, ports, bucket, metrics, self.shutdown.clone());
        self.spawn("health", serving);
    }

    /// Starts a worker for some stages on one device.
    pub(crate) fn worker(
        &mut self,
        ports: &Ports,
        config: &Config,
        stages: &BTreeSet<Stage>,
        (name, chosen): (&str, gpu::Choice),
    ) -> Outcome<()> {
        let (runner_idle, drain_max) = config.worker.spans();
        let program = std::env::current_exe().map_err(|e| Refusal::Io(format!("find this binary: {e}")))?;
        let bad_name = |e: domain::BadId| Refusal::Config(format!("worker.name {name:?}: {e}"));
        let mut args: Vec<OsString> = vec!["runner".into()];
        args.extend(config.site.synthetic.then(|| "--synthetic".into()));
        args.extend(config.site.also_takes.contains(&domain::ExtraPicture::Exr).then(|| "--exr".into()));
        if let Some(model) = config.worker.matting_model() {
            args.extend(["--matting-model".into(), model.into()]);
        }
        if let Some(gpu) = &chosen.id {
            args.extend(["--gpu".into(), gpu.into()]);
        }
        let device_id = chosen.id.as_deref().unwrap_or(name).parse().map_err(bad_name)?;
        if chosen.id.is_some() {
            tracing::warn!(
                device = chosen.device.name(),
                "batches are cut by this GPU's memory, but no stage computes on it yet: runners use \
                 the host's"
            );
        }
        let settings = worker::Settings {
            worker: name.parse().map_err(bad_name)?,
            device_id,
            device: chosen.device,
            stages: stages.iter().copied().collect(),
            lanes: config.worker.lanes(chosen.lanes),
            fetches_ahead: config.worker.fetch_ahead,
            runner: worker::RunnerCommand { program, args },
            site: config.site.clone(),
            times: config.times(),
            runner_idle,
            drain_max,
            xids: config.worker.xids()?,
            ready: self.until_ready(),
        };
        self.spawn("worker", worker::run(ports.clone(), settings, self.shutdown.clone()));
        Ok(())
    }

    /// Waits until everything has ended, and tells once when all of it works. The first function that ends by
    /// an error ends all of them.
    pub(crate) async fn wait(mut self, tell_ready: impl FnOnce()) -> Outcome<()> {
        let ready = std::mem::take(&mut self.ready);
        let all = futures::future::join_all(ready.iter().map(|ready| ready.notified()));
        let (mut all, mut tell_ready, mut first) = (std::pin::pin!(all), Some(tell_ready), None);
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next() => ended,
                _ = &mut all, if tell_ready.is_some() => {
                    tell_ready.take().into_iter().for_each(|tell| tell());
                    continue;
                }
            };
            let Some(ended) = ended else { return first.map_or(Ok(()), Err) };
            let problem = match ended {
                Ok((_, Ok(()))) if self.shutdown.is_cancelled() => None,
                Ok((name, Ok(()))) => Some(Refusal::Io(format!("{name} ended by itself"))),
                Ok((name, Err(refusal))) => Some(refusal.of(name)),
                Err(error) => Some(Refusal::Io(error.to_string())),
            };
            if let Some(problem) = problem {
                tracing::error!("{problem}");
                first.get_or_insert(problem);
                self.shutdown.cancel();
            }
        }
    }
}

/// The device of a word: refused before anything is connected or bound.
pub(crate) fn device(config: &Config, wanted: &str) -> Outcome<gpu::Choice> {
    let options =
        gpu::Options { cap: config.worker.memory_max()?, nvml_library: config.worker.nvml_library.clone() };
    gpu::choose(wanted, &options).map_err(|error| Refusal::Config(error.to_string()))
}

/// Whether a batch could ever run on the device, whatever else is on it.
pub(crate) async fn has_room(chosen: &gpu::Choice) -> Outcome<()> {
    let (device, class) = (&chosen.device, chosen.device.class());
    let total_bytes = device.reading(&[]).await.map_err(Refusal::from)?.total_bytes;
    let empty = Reading { total_bytes, ..Reading::default() };
    if empty.budget(&class, Bytes::ZERO) > Bytes::ZERO {
        return Ok(());
    }
    let (name, margin) = (device.name(), class.margin(total_bytes));
    Err(Refusal::Config(format!(
        "{name} has {total_bytes} for us, of which {margin} and 15 % are never promised, so no \
         batch ever fits; use a larger device or a larger worker.memory_max"
    )))
}

/// What a self-test allocates and fills on a GPU: more than its caches hold.
const PROBED: Bytes = Bytes::mib(256);

/// A runner's part of a self-test on a GPU: what is broken there. Without CUDA, or where it does not see the
/// device (a slice that others were given), NVML's word must do, and memory that others hold is no fault.
pub(crate) fn probe(uuid: Option<&str>) -> Result<(), String> {
    let Some(uuid) = uuid else { return Ok(()) };
    match gpu::probe(uuid, PROBED) {
        Ok(()) => Ok(()),
        Err(
            error @ (gpu::CudaError::NoDriver
            | gpu::CudaError::Hidden(_)
            | gpu::CudaError::OutOfMemory { .. }),
        ) => {
            note!("runner: the GPU is not tried by CUDA: {error}");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The stages among the functions.
pub(crate) fn stages_of(functions: &[Function]) -> BTreeSet<Stage> {
    let stage = |function: &Function| match function {
        Function::Preprocess => Some(Stage::Preprocess),
        Function::Shape => Some(Stage::Shape),
        Function::Texture => Some(Stage::Texture),
        Function::Export => Some(Stage::Export),
        Function::Ingest | Function::Planner | Function::Gateway => None,
    };
    functions.iter().filter_map(stage).collect()
}
