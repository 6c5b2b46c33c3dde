//! From the store's event of an upload to the first that a person hears of it: that it is accepted, that a
//! stage has begun, how far that is. Warm, on a real broker and a real store, all heard on one connection.

use crate::servers::Servers;
use crate::upload::picture;
use anyhow::{Context, Result, ensure};
use domain::{Event, EventKind};
use figures::{Bar, Report, ms, percentile};
use futures::{StreamExt, stream};
use harness::NatsConfig;
use ports::{Condition, PutOptions};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Uploads before the measured ones.
const WARM_UP: usize = 3;
const STUCK_AFTER: Duration = Duration::from_secs(60);

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 6 } else { 40 };
    let servers = Servers::start(NatsConfig::durable(), false).await?;
    let _functions = servers.all_functions().await?;
    let ports = servers.ports().await?;
    let uploads = ports.wire.subscribe("s3ev.*").await?.map(|_| None::<bytes::Bytes>).boxed();
    let events = ports.wire.subscribe("event.*.*").await?.map(|message| Some(message.payload)).boxed();
    let mut heard = stream::select(uploads, events);
    let mut first: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for n in 0..WARM_UP + rounds {
        let (bucket, key) = (&servers.site.inputs[0].bucket, format!("{n}.png"));
        let options = PutOptions::of("image/png", Condition::Always);
        let picture = picture(n as u8)?;
        let put = async { anyhow::Ok(ports.store.put(bucket, &key, picture.into(), &options).await?) };
        let listen = async {
            let (mut uploaded, mut told) = (None, BTreeMap::new());
            while let Some(said) = heard.next().await {
                let now = Instant::now();
                let Some(payload) = said else {
                    uploaded.get_or_insert(now);
                    continue;
                };
                let kind = serde_json::from_slice::<Event>(&payload)?.kind;
                told.entry(kind.as_str()).or_insert(now);
                if kind.is_end() {
                    ensure!(kind == EventKind::Finished, "upload {n} became no model: {kind:?}");
                    return Ok((uploaded.context("the store sent no event")?, told));
                }
            }
            anyhow::bail!("the connection was closed")
        };
        let listen = async { timeout(STUCK_AFTER, listen).await.context("wait for a model")? };
        let (_, (uploaded, told)) = tokio::try_join!(put, listen)?;
        for (kind, at) in told.into_iter().filter(|_| n >= WARM_UP) {
            first.entry(kind).or_default().push(at.saturating_duration_since(uploaded));
        }
    }
    for (kind, bar) in [("accepted", Bar::None), ("started", Bar::None), ("progress", Bar::AtMost(50.0))] {
        let spans = first.get_mut(kind).with_context(|| format!("nobody was told {kind}"))?;
        let what = format!("S3 event to the first event {kind:?} of its job");
        report.add(format!("{what}, p50"), ms(percentile(spans, 0.5)), "ms", bar);
        report.add(format!("{what}, slowest"), ms(percentile(spans, 1.0)), "ms", Bar::None);
    }
    Ok(())
}
