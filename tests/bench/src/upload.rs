//! From the upload of one 512² picture to its GLB in the bucket of models, warm: four processes on a real
//! broker and a real store, the event sent by the store itself. MinIO sends an event at once, or through a
//! folder into which it looks every 3 s; the latter is measured beside it.

use crate::servers::Servers;
use anyhow::{Context, Result, ensure};
use domain::{Event, EventKind, Phase, Stage, Timing};
use figures::{Bar, Report, ms, percentile};
use futures::StreamExt;
use futures::stream::BoxStream;
use harness::NatsConfig;
use image::imageops::FilterType;
use ports::{Condition, Message, PutOptions};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const SIDE: u32 = 512;
/// Uploads before the measured ones: runners are started, footprints learned.
const WARM_UP: usize = 3;
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What one upload cost.
struct Spans {
    put: Duration,
    /// From the beginning of the PUT to the event on the wire.
    event: Duration,
    /// From the beginning of the PUT to the outcome, before which the GLB stands under its friendly name.
    whole: Duration,
}

/// Spans of each upload, and of each phase of their tasks.
#[derive(Default)]
struct Measured {
    uploads: Vec<Spans>,
    phases: BTreeMap<(Stage, Phase), Vec<Duration>>,
}

impl Measured {
    fn p50(&self, of: impl Fn(&Spans) -> Duration) -> f64 {
        ms(percentile(&mut self.uploads.iter().map(of).collect::<Vec<_>>(), 0.5))
    }
}

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 4 } else { 20 };
    let mut measured = uploads(false, rounds).await?;
    let event_to_glb = |spans: &Spans| spans.whole.saturating_sub(spans.event);
    report.add("upload event to GLB, 512², warm, p50", measured.p50(event_to_glb), "ms", Bar::None);
    let mut all: Vec<Duration> = measured.uploads.iter().map(event_to_glb).collect();
    report.add("upload event to GLB, 512², warm, slowest", ms(percentile(&mut all, 1.0)), "ms", Bar::None);
    for phase in Phase::ALL {
        let mut of_phase =
            |stage| measured.phases.get_mut(&(stage, phase)).map(|spans| percentile(spans, 0.5));
        let sum: Duration = Stage::ALL.into_iter().filter_map(&mut of_phase).sum();
        report.add(format!("of it {}, four stages", phase.as_str()), ms(sum), "ms", Bar::None);
    }
    report.add("PUT to GLB, 512², warm, p50", measured.p50(|spans| spans.whole), "ms", Bar::None);
    report.add("of it the PUT itself, p50", measured.p50(|spans| spans.put), "ms", Bar::None);
    report.add("of it until the event is sent, p50", measured.p50(|spans| spans.event), "ms", Bar::None);
    let through_folder = uploads(true, 4).await?;
    let what = "until the event is sent where MinIO keeps events in a folder, p50";
    report.add(what, through_folder.p50(|spans| spans.event), "ms", Bar::None);
    Ok(())
}

/// Starts everything and uploads one picture after another.
async fn uploads(event_folder: bool, rounds: usize) -> Result<Measured> {
    let servers = Servers::start(NatsConfig::durable(), event_folder).await?;
    let _functions = servers.all_functions().await?;
    let ports = servers.ports().await?;
    let mut events = ports.wire.subscribe("s3ev.*").await?;
    let mut ends = ports.wire.subscribe("event.*.*").await?;
    let mut timings = ports.wire.subscribe("timing.*").await?;
    let mut measured = Measured::default();
    for n in 0..WARM_UP + rounds {
        let (bucket, key) = (&servers.site.inputs[0].bucket, format!("{n}.png"));
        let options = PutOptions::of("image/png", Condition::Always);
        let picture = picture(n as u8)?;
        let began = Instant::now();
        let put = async {
            ports.store.put(bucket, &key, picture.into(), &options).await?;
            anyhow::Ok(began.elapsed())
        };
        let event = async {
            timeout(STUCK_AFTER, events.next()).await.context("wait for an event")?;
            anyhow::Ok(began.elapsed())
        };
        let (put, event) = tokio::try_join!(put, event)?;
        let end = timeout(STUCK_AFTER, next_end(&mut ends)).await.context("wait for a model")??;
        let whole = began.elapsed();
        ensure!(end == Some(EventKind::Finished), "upload {n} became no model: {end:?}");
        let model = ports.store.head(&servers.site.models, &format!("{key}/{n}.glb")).await?;
        ensure!(model.is_some(), "there is no GLB of upload {n}");
        for _ in Stage::ALL {
            let timing = timeout(STUCK_AFTER, timings.next()).await?.context("no timing")?;
            let timing: Timing = serde_json::from_slice(&timing.payload)?;
            for phase in Phase::ALL.into_iter().filter(|_| n >= WARM_UP) {
                measured.phases.entry((timing.stage, phase)).or_default().push(timing.phases.of(phase));
            }
        }
        if n >= WARM_UP {
            measured.uploads.push(Spans { put, event, whole });
        }
    }
    Ok(measured)
}

/// How the next life ends.
async fn next_end(events: &mut BoxStream<'static, Message>) -> Result<Option<EventKind>> {
    while let Some(message) = events.next().await {
        let event = serde_json::from_slice::<Event>(&message.payload)?;
        if event.kind.is_end() {
            return Ok(Some(event.kind));
        }
    }
    Ok(None)
}

/// A sample picture at 512², a little different each time.
pub(crate) fn picture(seed: u8) -> Result<Vec<u8>> {
    let sample = include_bytes!("../../../functions/meshwright/samples/mug.png");
    let sample = image::load_from_memory(sample).context("read the sample")?;
    let mut picture = sample.resize_exact(SIDE, SIDE, FilterType::Triangle).into_rgba8();
    picture.get_pixel_mut(SIDE / 2, SIDE / 2).0[0] = seed;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).context("write the picture")?;
    Ok(png.into_inner())
}
