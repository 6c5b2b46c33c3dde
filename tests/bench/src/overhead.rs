//! What metrics and timings cost: jobs through four null stages, alternately with all of them and with none,
//! on the same running planner and worker. Nothing is computed and no object leaves the memory, so that what
//! is left is dear in comparison. Off means that no metric is counted and no timing is published; that
//! moments are taken remains.
//!
//! Each pair is one run with and one without, the next pair in the other order: what the machine does
//! meanwhile falls on both. The interval is that of the mean of all pairs.

use crate::memory::processor_ticks;
use crate::memory_store::MemoryStore;
use crate::pipeline::Pipeline;
use crate::servers;
use anyhow::{Context, Result};
use domain::metrics::{METRICS, MetricKind};
use figures::{Bar, Report};
use harness::{NatsConfig, NatsServer};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Jobs that warm everything up.
const WARM_UP: usize = 300;
/// Jobs of one run: about a second.
const JOBS: usize = 400;
/// Standard errors on each side of a mean between which the truth lies in 95 of 100 cases.
const SIDE: f64 = 1.96;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let pairs = if quick { 10 } else { 80 };
    let switch = Switch::install()?;
    let server = NatsServer::start(NatsConfig::default()).await?;
    servers::broker(server.url(), "bench").await?.ensure().await?;
    let mut pipeline = Pipeline::start(server.url(), Arc::new(MemoryStore::default())).await?;
    run(&mut pipeline, &switch, ("warm", WARM_UP)).await?;
    let (mut rates, mut works) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (mut rate, mut work) = ([0.0; 2], [0.0; 2]);
        for on in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            switch.turn(on);
            pipeline.notes.drop_timings(!on);
            let folder = format!("{pair}/{on}");
            (rate[usize::from(on)], work[usize::from(on)]) =
                run(&mut pipeline, &switch, (&folder, JOBS)).await?;
        }
        rates.push(rate);
        works.push(work);
    }
    switch.turn(false);
    pipeline.stop().await?;
    let what = "metrics and timings: share of throughput";
    add(report, what, rates.iter().map(|[off, on]| 1.0 - on / off), Bar::AtMost(1.0));
    let what = "metrics and timings: more processor time of planner and worker";
    add(report, what, works.iter().map(|[off, on]| on / off - 1.0), Bar::None);
    let on = rates.iter().map(|[_, on]| on).sum::<f64>() / rates.len() as f64;
    report.add("four null stages with metrics and timings", on, "jobs/s", Bar::None);
    Ok(())
}

/// The mean of all pairs, and the interval in which it is.
fn add(report: &mut Report, what: &str, shares: impl Iterator<Item = f64>, bar: Bar) {
    let percents: Vec<f64> = shares.map(|share| 100.0 * share).collect();
    let count = percents.len() as f64;
    let mean = percents.iter().sum::<f64>() / count;
    let variance = percents.iter().map(|of| (of - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let side = SIDE * (variance / count).sqrt();
    report.add(format!("{what}, mean of {count} pairs"), mean, "%", bar);
    report.add(format!("{what}, 95 % interval from"), mean - side, "%", Bar::None);
    report.add(format!("{what}, 95 % interval to"), mean + side, "%", Bar::None);
}

/// Jobs through it: how many a second, and the processor time of this process, where planner and worker are.
async fn run(pipeline: &mut Pipeline, switch: &Switch, (folder, count): (&str, usize)) -> Result<(f64, f64)> {
    let jobs = pipeline.make_jobs(folder, count).await?;
    // What was noted of earlier runs is of no use here.
    pipeline.notes.take_hops();
    pipeline.notes.take_batches();
    let (began, ticks) = (Instant::now(), processor_ticks(std::process::id())?);
    pipeline.publish(jobs).await?;
    pipeline.wait_finished(count).await?;
    switch.keep_up();
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let ticks = processor_ticks(std::process::id())?.saturating_sub(ticks);
    // A run of no tick at all would be no divisor.
    Ok((rate, ticks.max(1) as f64))
}

/// The recorder of every process, which may be turned off. Whoever counts asks for the metric each time.
struct Switched {
    inner: PrometheusRecorder,
    on: Arc<AtomicBool>,
}

/// Turns metrics on and off.
struct Switch {
    on: Arc<AtomicBool>,
    handle: PrometheusHandle,
}

impl Switch {
    fn install() -> Result<Switch> {
        let on = Arc::new(AtomicBool::new(false));
        let inner = builder().context("make the recorder")?.build_recorder();
        let switch = Switch { on: on.clone(), handle: inner.handle() };
        let switched = Switched { inner, on };
        metrics::set_global_recorder(switched).ok().context("a recorder is there already")?;
        Ok(switch)
    }

    /// What was measured goes into its buckets: processes do that every few seconds.
    fn keep_up(&self) {
        if self.on.load(Ordering::Relaxed) {
            self.handle.run_upkeep();
        }
    }

    fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }
}

/// Every histogram in its buckets, as processes have it.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    METRICS.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        MetricKind::Histogram(bounds) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
        }
        MetricKind::Counter | MetricKind::Gauge => Ok(builder),
    })
}

impl Switched {
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }
}

impl Recorder for Switched {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        if self.is_on() { self.inner.register_counter(key, metadata) } else { Counter::noop() }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if self.is_on() { self.inner.register_gauge(key, metadata) } else { Gauge::noop() }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        if self.is_on() { self.inner.register_histogram(key, metadata) } else { Histogram::noop() }
    }
}
