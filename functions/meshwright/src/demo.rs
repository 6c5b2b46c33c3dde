//! `demo`: starts the embedded service, turns sample pictures into models through the S3 interface, shows
//! progress, and ends with a table. One sample is no picture at all: its rejection is part of the
//! demonstration.

use crate::bars::Bars;
use crate::cli::{DemoArgs, KEEP, KEEP_DAYS, ServerArgs};
use crate::folder;
use crate::http::Client;
use crate::phases;
use crate::progress::Progress;
use crate::refusal::{Outcome, Refusal};
use crate::report;
use crate::service::{Service, ServiceOptions, data_folder};
use crate::watch;
use domain::{EVENTS, Event, EventKind, JobId, Recipe, Site};
use futures::StreamExt;
use futures::stream::BoxStream;
use ports::{Logged, PortResult, Ports};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

type Events = BoxStream<'static, PortResult<Logged>>;

/// The samples, made by this project (`samples/make.py`).
pub(crate) const SAMPLES: [(&str, &[u8]); 6] = [
    ("mug.png", include_bytes!("../samples/mug.png")),
    ("rocket.png", include_bytes!("../samples/rocket.png")),
    ("cactus.jpg", include_bytes!("../samples/cactus.jpg")),
    ("pear.webp", include_bytes!("../samples/pear.webp")),
    ("duck.png", include_bytes!("../samples/duck.png")),
    ("not-a-picture.png", include_bytes!("../samples/not-a-picture.png")),
];

/// How often the gateway is asked what is left.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Bars are redrawn at least this often, so that the ETA counts down.
const REDRAW: Duration = Duration::from_millis(200);

pub(crate) async fn demo(args: DemoArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    let data = args.data.clone().unwrap_or_else(|| data_folder("demo"));
    folder::check_apart(args.images.as_deref(), None, &data)?;
    let pictures = pictures(args.images.as_deref())?;
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let keep = (KEEP.to_owned(), KEEP_DAYS);
    let options = ServiceOptions {
        data: data.clone(),
        s3: any,
        listen: args.listen,
        keep,
        webhooks: Vec::new(),
        recipe: Recipe::default(),
        lanes: None,
    };
    let began = Instant::now();
    let service = Service::start(options, shutdown.clone()).await?;
    note!("S3 endpoint {}   page {}", service.endpoint, service.page);
    let page = service.page.clone();
    let (ports, site) = (service.ports.clone(), service.config.site.clone());
    let lanes = service.config.worker.lanes(None);
    // A function that ends by an error ends everything, and is the reason that is told.
    let running = tokio::spawn(service.wait());
    let models = data.join("models");
    let client = Client::new(&ServerArgs { server: page.clone(), token_file: None })?;
    let mut show = Show { ports, site, json, lanes, client, began, first_model: None };
    let shown = tokio::select! {
        shown = show.all(pictures, &models) => shown,
        () = shutdown.cancelled() => Err(Refusal::Stopped),
    };
    if shown.is_ok() {
        show.tell_end(&models, &page, args.stay);
    }
    if !args.stay || shown.is_err() {
        shutdown.cancel();
    }
    running.await.map_err(|error| Refusal::Io(error.to_string())).flatten()?;
    shown
}

/// A picture by its name: a sample, or a file to read.
enum Picture {
    Sample(&'static [u8]),
    File(PathBuf),
}

/// What the demonstration runs on, and what it finds.
struct Show {
    ports: Ports,
    site: Site,
    json: bool,
    lanes: usize,
    client: Client,
    began: Instant,
    first_model: Option<Duration>,
}

impl Show {
    /// Uploads, follows, and prints the table; an error if a picture did not come to an end.
    async fn all(&mut self, pictures: Vec<(String, Picture)>, models: &Path) -> Outcome<()> {
        let wire = self.ports.wire.clone();
        let from = wire.range(&EVENTS).await.map_err(Refusal::from)?.last + 1;
        let events = wire.follow(&EVENTS, "event.>", from).await.map_err(Refusal::from)?;
        let names = self.upload(pictures).await?;
        self.follow(events, &names).await;
        let mut rows = Vec::new();
        for (job, name) in &names {
            rows.push(report::row(&self.ports, &self.site, *job, name, models).await?);
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        report::print(&rows, self.json);
        phases::print(&phases::of_jobs(&self.client, names.keys().copied()).await, self.json);
        let open: Vec<&str> = rows.iter().filter(|row| !row.finished).map(|row| row.name.as_str()).collect();
        if open.is_empty() {
            return Ok(());
        }
        Err(Refusal::Unavailable(format!("not finished: {}; the table says why", open.join(", "))))
    }

    /// Puts the pictures in, one in memory at a time. One that cannot be read or taken is told and left out.
    async fn upload(&self, pictures: Vec<(String, Picture)>) -> Outcome<BTreeMap<JobId, String>> {
        let mut names = BTreeMap::new();
        for (name, picture) in pictures {
            let content = match picture {
                Picture::Sample(content) => Ok(content.to_vec()),
                Picture::File(path) => folder::read(&path, self.site.upload_bytes_max).await,
            };
            let uploaded = match content {
                Ok(content) => folder::upload(&self.ports, &self.site, &name, content).await,
                Err(unread) => Err(unread),
            };
            match uploaded {
                Ok(job) => drop(names.insert(job, name)),
                Err(Refusal::Input(why)) => note!("{name}: left out: {why}"),
                Err(away) => return Err(away),
            }
        }
        if names.is_empty() { Err(Refusal::Input("no picture could be taken".to_owned())) } else { Ok(names) }
    }

    /// Draws progress until all jobs have ended.
    async fn follow(&mut self, mut events: Events, names: &BTreeMap<JobId, String>) {
        let mut progress = Progress::of(names.keys().copied());
        let bars = Bars::new(names.clone(), self.json);
        let (mut redraw, mut ask) = (tokio::time::interval(REDRAW), tokio::time::interval(ASK_EVERY));
        let mut left = None;
        while !progress.is_over() {
            bars.draw(&progress, self.lanes, left);
            tokio::select! {
                Some(logged) = events.next() => {
                    let Ok(logged) = logged else { continue };
                    let event = serde_json::from_slice::<Event>(&logged.payload).ok();
                    if let Some(event) = event.filter(|event| progress.hear(event)) {
                        bars.tell(&event);
                        if event.kind == EventKind::Finished {
                            self.first_model.get_or_insert_with(|| self.began.elapsed());
                        }
                    }
                }
                _ = ask.tick(), if bars.are_drawn() => {
                    left = watch::left(&self.client, &progress.open()).await;
                }
                _ = redraw.tick() => {}
            }
        }
        bars.draw(&progress, self.lanes, None);
        bars.finish();
    }

    fn tell_end(&self, models: &Path, page: &str, stays: bool) {
        let first = self.first_model.map(|first| first.as_secs_f64());
        if self.json {
            say!("{}", json!({"page": page, "folder": models, "first_model_s": first}));
            return;
        }
        if let Some(first) = first {
            say!("First model after {first:.1} s.");
        }
        say!("The files are in {}", models.display());
        say!("The page is at {page}{}", if stays { "" } else { " (with --stay it goes on)" });
    }
}

fn pictures(folder: Option<&Path>) -> Outcome<Vec<(String, Picture)>> {
    let Some(folder) = folder else {
        return Ok(SAMPLES.map(|(name, content)| (name.to_owned(), Picture::Sample(content))).into());
    };
    let files = folder::files_below(folder)?.into_iter();
    let pictures: Vec<_> =
        files.map(|path| (path.to_string_lossy().into_owned(), Picture::File(folder.join(path)))).collect();
    if pictures.is_empty() {
        return Err(Refusal::Input(format!("there is no file in {}", folder.display())));
    }
    Ok(pictures)
}
