//! From the upload of one 512² picture to its GLB in the bucket of models, warm: four processes on a real
//! broker and a real store, the event sent by the store itself.

use crate::figure::{Bar, Report, ms, percentile};
use crate::servers::Servers;
use anyhow::{Context, Result, ensure};
use domain::{Event, EventKind, Phase, Stage, Timing};
use futures::StreamExt;
use harness::NatsConfig;
use image::imageops::FilterType;
use ports::{Condition, PutOptions};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::{Duration, Instant};

const SIDE: u32 = 512;
/// Uploads before the measured ones: runners are started, footprints learned.
const WARM_UP: usize = 3;
const STUCK_AFTER: Duration = Duration::from_secs(60);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let servers = Servers::start(NatsConfig::durable()).await?;
    let mut processes = Vec::new();
    for functions in [&["ingest"][..], &["planner"], &["gateway"]] {
        processes.push(servers.process(functions).await?);
    }
    let stages = Stage::ALL.map(Stage::as_str);
    processes.push(servers.process(&stages).await?);
    let ports = servers.ports().await?;
    let mut ends = ports.wire.subscribe("event.*.*").await?;
    let mut timings = ports.wire.subscribe("timing.*").await?;
    let (mut spans, mut puts, rounds) = (Vec::new(), Vec::new(), if quick { 3 } else { 10 });
    let mut phases: BTreeMap<(Stage, Phase), Vec<Duration>> = BTreeMap::new();
    for n in 0..WARM_UP + rounds {
        let (bucket, key) = (&servers.site.inputs[0].bucket, format!("{n}.png"));
        let options = PutOptions::of("image/png", Condition::Always);
        let picture = picture(n as u8)?;
        let began = Instant::now();
        ports.store.put(bucket, &key, picture.into(), &options).await?;
        let put = began.elapsed();
        let end = async {
            while let Some(message) = ends.next().await {
                let event = serde_json::from_slice::<Event>(&message.payload)?;
                if event.kind.is_end() {
                    return Ok(Some(event));
                }
            }
            anyhow::Ok(None)
        };
        let end = tokio::time::timeout(STUCK_AFTER, end).await.context("wait for a model")??;
        let whole = began.elapsed();
        ensure!(end.is_some_and(|end| end.kind == EventKind::Finished), "upload {n} became no model");
        let model = ports.store.head(&servers.site.models, &format!("{key}/{n}.glb")).await?;
        ensure!(model.is_some(), "there is no GLB of upload {n}");
        for _ in Stage::ALL {
            let timing = tokio::time::timeout(STUCK_AFTER, timings.next()).await?.context("no timing")?;
            let timing: Timing = serde_json::from_slice(&timing.payload)?;
            for phase in Phase::ALL.into_iter().filter(|_| n >= WARM_UP) {
                phases.entry((timing.stage, phase)).or_default().push(timing.phases.of(phase));
            }
        }
        if n >= WARM_UP {
            spans.push(whole);
            puts.push(put);
        }
    }
    report.add("upload to GLB, 512², warm, p50", ms(percentile(&mut spans, 0.5)), "ms", Bar::None);
    report.add("upload to GLB, 512², warm, slowest", ms(percentile(&mut spans, 1.0)), "ms", Bar::None);
    report.add("of it the PUT itself, p50", ms(percentile(&mut puts, 0.5)), "ms", Bar::None);
    for phase in Phase::ALL {
        let mut of_phase = |stage| phases.get_mut(&(stage, phase)).map(|spans| percentile(spans, 0.5));
        let sum: Duration = Stage::ALL.into_iter().filter_map(&mut of_phase).sum();
        report.add(format!("of it {}, four stages", phase.as_str()), ms(sum), "ms", Bar::None);
    }
    Ok(())
}

/// A sample picture at 512², a little different each time.
fn picture(seed: u8) -> Result<Vec<u8>> {
    let sample = include_bytes!("../../../functions/meshwright/samples/mug.png");
    let sample = image::load_from_memory(sample).context("read the sample")?;
    let mut picture = sample.resize_exact(SIDE, SIDE, FilterType::Triangle).into_rgba8();
    picture.get_pixel_mut(SIDE / 2, SIDE / 2).0[0] = seed;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).context("write the picture")?;
    Ok(png.into_inner())
}
