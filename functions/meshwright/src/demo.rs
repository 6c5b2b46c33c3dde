//! `demo`: starts the embedded service, turns sample pictures into models through the S3 interface, shows
//! progress, and ends with a table. One sample is no picture at all: its rejection is part of the
//! demonstration.

use crate::bars::Bars;
use crate::cli::DemoArgs;
use crate::folder;
use crate::progress::Progress;
use crate::refusal::{Outcome, Refusal};
use crate::report;
use crate::service::{Service, ServiceOptions, data_folder};
use domain::{EVENTS, Event, JobId};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The samples, made by this project (`samples/README.md` says how).
const SAMPLES: [(&str, &[u8]); 6] = [
    ("mug.png", include_bytes!("../samples/mug.png")),
    ("rocket.png", include_bytes!("../samples/rocket.png")),
    ("cactus.jpg", include_bytes!("../samples/cactus.jpg")),
    ("pear.webp", include_bytes!("../samples/pear.webp")),
    ("duck.png", include_bytes!("../samples/duck.png")),
    ("not-a-picture.png", include_bytes!("../samples/not-a-picture.png")),
];

/// Bars are redrawn at least this often, so that the ETA counts down.
const REDRAW: Duration = Duration::from_millis(200);

pub(crate) async fn demo(args: DemoArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    let pictures = pictures(&args)?;
    let data = args.data.clone().unwrap_or_else(|| data_folder("demo"));
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let options = ServiceOptions { data: data.clone(), s3: any, listen: args.listen, keep: None };
    let began = std::time::Instant::now();
    let service = Service::start(options, shutdown.clone()).await?;
    eprintln!("S3 endpoint {}   page {}", service.endpoint, service.page);
    let (ports, site) = (service.ports.clone(), service.config.site.clone());
    let lanes = service.config.worker.lanes(None);
    let from = ports.wire.last_sequence(&EVENTS).await.map_err(crate::pipeline::refusal)? + 1;
    let mut events = ports.wire.follow(&EVENTS, "event.>", from).await.map_err(crate::pipeline::refusal)?;
    let mut names: BTreeMap<JobId, String> = BTreeMap::new();
    for (name, content) in pictures {
        names.insert(folder::upload(&ports, &site, &name, content).await?, name);
    }
    let mut progress = Progress::of(names.keys().copied());
    let bars = Bars::new(names.clone(), json);
    let mut redraw = tokio::time::interval(REDRAW);
    let mut first_model = None;
    while !progress.is_over() && !shutdown.is_cancelled() {
        tokio::select! {
            Some(logged) = events.next() => {
                let Ok(logged) = logged else { continue };
                let event = serde_json::from_slice::<Event>(&logged.payload).ok();
                if let Some(event) = event.filter(|event| progress.hear(event)) {
                    bars.tell(&event);
                    if matches!(event.kind, domain::EventKind::Finished) {
                        first_model.get_or_insert_with(|| began.elapsed());
                    }
                }
            }
            _ = redraw.tick() => {}
            () = shutdown.cancelled() => {}
        }
        bars.draw(&progress, progress.eta(lanes));
    }
    bars.finish();
    let out = data.join("models");
    let mut rows = Vec::new();
    for (job, name) in &names {
        rows.push(report::row(&ports, &site, *job, name, &out).await?);
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    report::print(&rows, json);
    if !json {
        if let Some(first) = first_model {
            println!("First model after {:.1} s.", first.as_secs_f64());
        }
        println!("The files are in {}", out.display());
        println!(
            "The page is at {}{}",
            service.page,
            if args.stay { "" } else { " (with --stay it goes on)" }
        );
    }
    if !args.stay {
        shutdown.cancel();
    }
    service.wait().await
}

fn pictures(args: &DemoArgs) -> Outcome<Vec<(String, Vec<u8>)>> {
    let Some(folder) = &args.images else {
        return Ok(SAMPLES.map(|(name, content)| (name.to_owned(), content.to_vec())).into());
    };
    let mut pictures = Vec::new();
    for path in folder::files_below(folder)? {
        let content = std::fs::read(folder.join(&path));
        let content = content.map_err(|e| Refusal::Input(format!("read {}: {e}", path.display())))?;
        pictures.push((path.to_string_lossy().into_owned(), content));
    }
    if pictures.is_empty() {
        return Err(Refusal::Input(format!("there is no file in {}", folder.display())));
    }
    Ok(pictures)
}
