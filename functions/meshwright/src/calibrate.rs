//! One setting measured: the whole service, started with it, turns pictures into models, and tells how fast
//! and what came out. `optimize` compares settings by it.

use crate::folder;
use crate::refusal::{Outcome, Refusal};
use crate::service::{Service, ServiceOptions};
use domain::{EVENTS, Ending, Event, JobId, Recipe, Stage, TIMINGS, Timing};
use futures::StreamExt;
use futures::stream::BoxStream;
use mesh::TexturedMesh;
use ports::{GetOptions, Got, Ledger, Logged, PortResult, Ports};
use profile::{Bottleneck, Declared, Report, Setup, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A setting is measured for so long at least, and by so many rounds of all pictures.
const MEASURED_FOR: Duration = Duration::from_secs(8);
const ROUNDS_MIN: usize = 2;
/// A round that is not over by then never will be.
const ROUND_MAX: Duration = Duration::from_secs(600);
/// Timings follow the outcomes within moments.
const TIMINGS_MAX: Duration = Duration::from_secs(5);
/// What a scratch service may keep.
const KEEP: &str = "20GB";

/// What can be set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) recipe: Recipe,
    pub(crate) lanes: usize,
}

/// What it brought.
pub(crate) struct Measured {
    pub(crate) jobs_per_hour: f64,
    pub(crate) rounds: usize,
    pub(crate) report: Report,
    /// The three stages that take most of the time.
    pub(crate) largest: Vec<Bottleneck>,
    /// Mean items of a batch at each stage.
    pub(crate) batches: BTreeMap<Stage, f64>,
    /// The models by picture.
    pub(crate) models: BTreeMap<String, TexturedMesh>,
}

/// Measures a setting on these pictures.
pub(crate) async fn measure(
    setting: &Setting,
    pictures: &BTreeMap<String, Vec<u8>>,
    shutdown: &CancellationToken,
) -> Outcome<Measured> {
    let data = tempfile::tempdir().map_err(|e| Refusal::Io(format!("make a folder: {e}")))?;
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let options = ServiceOptions {
        data: data.path().to_owned(),
        s3: any,
        listen: any,
        keep: (KEEP.to_owned(), 30),
        webhooks: Vec::new(),
        recipe: setting.recipe.clone(),
        lanes: Some(setting.lanes),
    };
    let stop = shutdown.child_token();
    let service = Service::start(options, stop.clone()).await?;
    let (ports, site) = (service.ports.clone(), service.config.site.clone());
    let running = tokio::spawn(service.wait());
    let bench = Bench { ports, site, pictures };
    let measured = tokio::select! {
        measured = bench.measure(setting) => measured,
        // By a person, or since one of its functions failed: that is told below.
        () = stop.cancelled() => Err(Refusal::Stopped),
    };
    stop.cancel();
    running.await.map_err(|error| Refusal::Io(error.to_string())).flatten()?;
    measured
}

struct Bench<'a> {
    ports: Ports,
    site: domain::Site,
    pictures: &'a BTreeMap<String, Vec<u8>>,
}

impl Bench<'_> {
    async fn measure(&self, setting: &Setting) -> Outcome<Measured> {
        // The first round starts runners, and lets the planner learn.
        self.round(0).await?;
        let from = self.ports.wire.range(&TIMINGS).await?.last + 1;
        let (began, mut rounds, mut ended, mut last) = (Instant::now(), 0, 0, BTreeMap::new());
        while rounds < ROUNDS_MIN || began.elapsed() < MEASURED_FOR {
            rounds += 1;
            last = self.round(rounds).await?;
            ended += last.len();
        }
        let jobs_per_hour = ended as f64 * 3_600.0 / began.elapsed().as_secs_f64();
        let timings = self.timings(from, ended * Stage::ALL.len()).await?;
        let window = timings.iter().fold(Window::new(), |mut window, timing| {
            window.add(timing);
            window
        });
        let mut setup = Setup::seen(&window);
        setup.pools.iter_mut().for_each(|pool| pool.lanes = pool.lanes.max(setting.lanes as u32));
        let report = Report::of(&window, &setup, &Declared::default());
        let mut largest = window.identify_bottlenecks(0.0);
        largest.truncate(3);
        let models = self.models(&last).await?;
        let batches = batches(&timings);
        Ok(Measured { jobs_per_hour, rounds, report, largest, batches, models })
    }

    /// Puts all pictures in and waits for their ends; those that became models.
    async fn round(&self, round: usize) -> Outcome<BTreeMap<JobId, String>> {
        let wire = &self.ports.wire;
        let from = wire.range(&EVENTS).await?.last + 1;
        let mut events = wire.follow(&EVENTS, "event.>", from).await?;
        let mut jobs = BTreeMap::new();
        for (name, content) in self.pictures {
            let key = format!("{round}/{name}");
            let job = folder::upload(&self.ports, &self.site, &key, content.clone()).await?;
            jobs.insert(job, name.clone());
        }
        let open: BTreeSet<JobId> = jobs.keys().copied().collect();
        let over = timeout(ROUND_MAX, until_over(&mut events, open)).await;
        over.map_err(|_| Refusal::Unavailable("pictures are not finished after ten minutes".to_owned()))?;
        let ledger = Ledger::new(self.ports.store.clone(), &self.site.state);
        let mut done = BTreeMap::new();
        for (job, name) in jobs {
            let state = ledger.state(job).await?;
            match ledger.outcome(job, state.life).await?.map(|outcome| outcome.ending) {
                Some(Ending::Done { .. }) => drop(done.insert(job, name)),
                Some(Ending::Rejected { reason }) => {
                    let what = format!("{name} becomes no model: {reason}; calibrate with pictures that do");
                    return Err(Refusal::Input(what));
                }
                _ => return Err(Refusal::Unavailable(format!("{name} did not become a model"))),
            }
        }
        Ok(done)
    }

    async fn timings(&self, from: u64, count: usize) -> Outcome<Vec<Timing>> {
        let log = self.ports.wire.follow(&TIMINGS, "timing.>", from).await?;
        let read = |logged: PortResult<Logged>| async move {
            serde_json::from_slice::<Timing>(&logged.ok()?.payload).ok()
        };
        let all = log.filter_map(read).take(count);
        // The last ones are told by tasks that their outcome does not wait for.
        let told = async {
            let (mut all, mut timings) = (std::pin::pin!(all), Vec::new());
            while let Ok(Some(timing)) = timeout(TIMINGS_MAX, all.next()).await {
                timings.push(timing);
            }
            timings
        };
        Ok(told.await)
    }

    async fn models(&self, jobs: &BTreeMap<JobId, String>) -> Outcome<BTreeMap<String, TexturedMesh>> {
        let ledger = Ledger::new(self.ports.store.clone(), &self.site.state);
        let mut models = BTreeMap::new();
        for (job, name) in jobs {
            let lost = || Refusal::Unavailable(format!("the model of {name} cannot be read"));
            let manifest = ledger.manifest(*job, Stage::Export).await?.ok_or_else(lost)?;
            let glb = manifest.artifacts.iter().find(|artifact| artifact.name == "model.glb");
            let key = &glb.ok_or_else(lost)?.key;
            let got = self.ports.store.get(&self.site.state, key, &GetOptions::default()).await?;
            let Got::Found(object) = got else { return Err(lost()) };
            models.insert(name.clone(), mesh::glb::read(&object.body).map_err(|_| lost())?);
        }
        Ok(models)
    }
}

async fn until_over(events: &mut BoxStream<'static, PortResult<Logged>>, mut open: BTreeSet<JobId>) {
    while !open.is_empty() {
        let Some(logged) = events.next().await else { return };
        let event = logged.ok().and_then(|logged| serde_json::from_slice::<Event>(&logged.payload).ok());
        if let Some(event) = event.filter(|event| event.kind.is_end()) {
            open.remove(&event.job);
        }
    }
}

/// Mean items of a batch at each stage: each batch counts once.
fn batches(timings: &[Timing]) -> BTreeMap<Stage, f64> {
    let mut sizes: BTreeMap<Stage, BTreeMap<domain::BatchId, u32>> = BTreeMap::new();
    for timing in timings {
        sizes.entry(timing.stage).or_default().insert(timing.batch, timing.batch_items);
    }
    let mean = |sizes: BTreeMap<_, u32>| {
        let items: u32 = sizes.values().sum();
        f64::from(items) / sizes.len().max(1) as f64
    };
    sizes.into_iter().map(|(stage, sizes)| (stage, mean(sizes))).collect()
}
