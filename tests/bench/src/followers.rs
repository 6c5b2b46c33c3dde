//! One real gateway, thousands of clients on its stream of all events, and events at a steady rate: how long
//! after its publication began each client has read each event. Clients, gateway and broker share the cores.

use crate::memory::resident;
use crate::pipeline::AT_ONCE;
use crate::servers::Servers;
use anyhow::{Context, Result, ensure};
use domain::{Event, EventKind, JobId, Life, Stage, event_subject};
use figures::{Bar, Report};
use futures::{StreamExt, stream};
use harness::NatsConfig;
use ports::{Clock, Ports, SystemClock};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

const CLIENTS: usize = 5_000;
/// Of one event to the next: 20,000 deliveries a second.
const EVERY: Duration = Duration::from_millis(250);
/// Files of this process besides its clients.
const OTHER_FILES: u64 = 256;
const CONNECTED_WITHIN: Duration = Duration::from_secs(60);
/// After the last event.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Where each event stands in the log, and when a client read it.
type Heard = Vec<(u64, Instant)>;

pub(crate) async fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let events = if quick { 20 } else { 120 };
    let files = harness::allow_all_files()?;
    let needed = CLIENTS as u64 + OTHER_FILES;
    ensure!(
        files >= needed,
        "{files} files may be open, {needed} are needed: raise the limit (`ulimit -Hn`)"
    );
    let servers = Servers::start(NatsConfig::default(), true).await?;
    let gateway = servers.process(&["gateway"]).await?;
    let ports = servers.ports().await?;
    let began = Instant::now();
    let followers = connect(&gateway.address).await;
    let connected = began.elapsed();
    let over = CancellationToken::new();
    let mut following = JoinSet::new();
    for follower in followers {
        following.spawn(follower.hear(events, over.clone()));
    }
    let appended = publish(&ports, events).await?;
    let mut heard = Vec::new();
    if timeout(READ_WITHIN, collect(&mut following, &mut heard)).await.is_err() {
        over.cancel();
        collect(&mut following, &mut heard).await;
    }
    let memory = resident(&gateway, "VmHWM")?;
    let served = heard.iter().filter(|heard| heard.len() == events).count();
    let mut delays: Vec<Duration> = Vec::new();
    for (place, at) in heard.into_iter().flatten() {
        delays.extend(appended.get(&place).map(|began| at.saturating_duration_since(*began)));
    }
    let rate = 1.0 / EVERY.as_secs_f64();
    let what = format!("clients on the stream of events that read all {events} of them, at {rate} a second");
    report.add(what, served as f64, "clients", Bar::AtLeast(CLIENTS as f64));
    report.add_spans("event published to read by a client", &mut delays, (Bar::None, Bar::None));
    report.add("time until all were connected", connected.as_secs_f64(), "s", Bar::None);
    report.add("gateway: resident with them, at its peak", memory, "MiB", Bar::None);
    Ok(())
}

/// Those that could be connected; of the others the first trouble is told.
async fn connect(address: &str) -> Vec<Follower> {
    let calls = (0..CLIENTS).map(|_| {
        let address = address.to_owned();
        async move { timeout(CONNECTED_WITHIN, Follower::connect(&address)).await.context("follow events")? }
    });
    let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
    let (mut followers, mut trouble) = (Vec::with_capacity(CLIENTS), None);
    while let Some(called) = calls.next().await {
        match called {
            Ok(follower) => followers.push(follower),
            Err(error) => {
                trouble.get_or_insert(error);
            }
        }
        // Without a gateway every further call would take its whole time.
        if followers.is_empty() && trouble.is_some() {
            break;
        }
    }
    if let Some(error) = trouble {
        eprintln!("  {} clients were not connected: {error:#}", CLIENTS - followers.len());
    }
    followers
}

/// Events at a steady rate; when the publication of each began, by its place in the log.
async fn publish(ports: &Ports, events: usize) -> Result<BTreeMap<u64, Instant>> {
    let (mut ticks, mut appended) = (interval(EVERY), BTreeMap::new());
    for n in 0..events {
        ticks.tick().await;
        let fraction = n as f32 / events as f32;
        let kind = EventKind::Progress { stage: Stage::Shape, fraction, phase: "inflate".to_owned() };
        let event = Event { job: JobId([1; 16]), life: Life(0), at: SystemClock.now(), kind };
        let (subject, body) = (event_subject(event.job, &event.kind), serde_json::to_vec(&event)?);
        let began = Instant::now();
        let place = ports.wire.append(&subject, body.into()).await.context("append an event")?;
        appended.insert(place, began);
    }
    Ok(appended)
}

async fn collect(following: &mut JoinSet<Heard>, heard: &mut Vec<Heard>) {
    while let Some(ended) = following.join_next().await {
        heard.extend(ended.ok());
    }
}

/// A client that has been told its first place: from there on it hears everything.
struct Follower {
    stream: TcpStream,
    text: Vec<u8>,
}

impl Follower {
    async fn connect(address: &str) -> Result<Follower> {
        let mut stream = TcpStream::connect(address).await.context("connect to the gateway")?;
        let head =
            format!("GET /api/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut follower = Follower { stream, text: Vec::new() };
        ensure!(follower.read().await? > 0, "the gateway hung up");
        let status = String::from_utf8_lossy(&follower.text);
        ensure!(status.starts_with("HTTP/1.1 200 "), "{}", status.lines().next().unwrap_or_default());
        while places(&mut follower.text).is_empty() {
            ensure!(follower.read().await? > 0, "the gateway hung up");
        }
        Ok(follower)
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; 2048];
        let read = self.stream.read(&mut bytes).await?;
        self.text.extend_from_slice(&bytes[..read]);
        Ok(read)
    }

    /// Until so many events were heard, the gateway hangs up, or it is over.
    async fn hear(mut self, events: usize, over: CancellationToken) -> Heard {
        let mut heard = Vec::with_capacity(events);
        while heard.len() < events {
            let read = tokio::select! { read = self.read() => read, () = over.cancelled() => break };
            if !read.is_ok_and(|read| read > 0) {
                break;
            }
            let now = Instant::now();
            heard.extend(places(&mut self.text).into_iter().map(|place| (place, now)));
        }
        heard
    }
}

/// The places that the whole lines of a stream name; the beginning of a line is left.
fn places(text: &mut Vec<u8>) -> Vec<u64> {
    let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = text.split_off(end + 1);
    let lines = std::mem::replace(text, rest);
    let place = |line: &[u8]| std::str::from_utf8(line).ok()?.strip_prefix("id:")?.trim().parse().ok();
    lines.split(|byte| *byte == b'\n').filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_line_by_line_whatever_comes_together() {
        let mut text = Vec::new();
        let mut check = |more: &str, expect: &[u64], left: &str| {
            text.extend_from_slice(more.as_bytes());
            assert_eq!(places(&mut text), expect);
            assert_eq!(text, left.as_bytes());
        };
        check("HTTP/1.1 200 OK\r\n\r\n7\r\nid: 0\n\n\r\n", &[0], "");
        check("40\r\nid: 1", &[], "id: 1");
        check("7\nevent: progress\ndata: {}\n\n\r\n40\r\nid: 18\nda", &[17, 18], "da");
        check("ta: id: 19\n:\n\n", &[], "");
    }
}
