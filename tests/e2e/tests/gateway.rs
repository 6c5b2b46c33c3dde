//! The gateway as a process of its own, on a real nats-server: its events survive it, and a client survives
//! the loss of the log.

use anyhow::{Context, Result, ensure};
use domain::JobId;
use e2e::{Cluster, Setup, picture};
use futures::StreamExt;
use harness::until;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(90);

/// A stream of server-sent events: place and kind of each.
struct Events {
    body: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    async fn follow(url: &str, from: Option<&str>) -> Result<Events> {
        let call = Client::new().get(url);
        let call = from.into_iter().fold(call, |call, from| call.header("last-event-id", from));
        let answer: Response = call.send().await?.error_for_status()?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        Ok(Events { body: answer.bytes_stream().boxed(), text: String::new() })
    }

    /// The next event; none when the stream has ended or broken.
    async fn next(&mut self) -> Result<Option<(String, String)>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                let told = field("event: ").map(|kind| (field("id: ").unwrap_or_default(), kind));
                let told = told.map(|(id, kind)| (id.to_owned(), kind.to_owned()));
                self.text = rest.to_owned();
                if told.is_some() {
                    return Ok(told);
                }
                continue;
            }
            let chunk = timeout(WITHIN, self.body.next()).await.context("no event in time")?;
            let Some(Ok(chunk)) = chunk else { return Ok(None) };
            self.text += std::str::from_utf8(&chunk)?;
        }
    }

    /// All that comes until the end.
    async fn rest(mut self) -> Result<Vec<(String, String)>> {
        let mut told = Vec::new();
        while let Some(event) = self.next().await? {
            told.push(event);
        }
        Ok(told)
    }
}

/// Follows once the gateway, which was just started again, says its new address and has its broker.
async fn follow(cluster: &Cluster, path: &str, from: Option<&str>) -> Result<Events> {
    until("the gateway to tell events", WITHIN, async || {
        let Ok(url) = cluster.gateway_url() else { return Ok(None) };
        Ok(Events::follow(&format!("{url}{path}"), from).await.ok())
    })
    .await
}

fn restart_gateway(cluster: &mut Cluster) -> Result<()> {
    cluster.kill("gateway")?;
    cluster.restart("gateway")
}

/// Sends a picture through the gateway.
async fn submit(cluster: &Cluster, n: u32) -> Result<JobId> {
    let url = format!("{}/api/jobs?name={n}.png", cluster.gateway_url()?);
    let made = Client::new().post(url).body(picture(n)).send().await?.error_for_status()?;
    let made: Value = serde_json::from_slice(&made.bytes().await?)?;
    made["id"].as_str().context("an id")?.parse().context("a job")
}

fn place(id: &str) -> Result<u64> {
    id.split("-end").next().unwrap_or_default().parse().context("a place in the log")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_a_job_through_a_restart_of_the_gateway_and_the_loss_of_the_log() {
    let mut cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let job = submit(&cluster, 1).await.expect("a job");
    let path = format!("/api/jobs/{job}/events");
    let whole = follow(&cluster, &path, None).await.expect("a stream");
    let whole = whole.rest().await.expect("events");
    let kinds: Vec<&str> = whole.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "stage_done").count(), 4, "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"finished"), "{kinds:?}");

    // A new gateway, which has to read the log first, tells the rest and nothing twice.
    restart_gateway(&mut cluster).expect("started");
    let (from, _) = &whole[whole.len() / 2];
    let resumed = follow(&cluster, &path, Some(from)).await.expect("a stream");
    let resumed = resumed.rest().await.expect("events");
    let places = |told: &[(String, String)]| told.iter().map(|(id, _)| place(id)).collect::<Result<Vec<_>>>();
    let behind = &whole[whole.len() / 2 + 1..];
    assert_eq!(places(&resumed).expect("places"), places(behind).expect("places"));

    // Events are in memory: with the broker they are gone, and places count from 1 again.
    cluster.stack.nats.kill().expect("killed");
    cluster.stack.nats.restart().await.expect("started");
    restart_gateway(&mut cluster).expect("started");
    let lost = (place(&whole[whole.len() - 1].0).expect("a place") + 1_000).to_string();
    let mut events = follow(&cluster, "/api/events", Some(&lost)).await.expect("a stream");
    let (id, kind) = events.next().await.expect("an event").expect("no end");
    assert_eq!((id.as_str(), kind.as_str()), ("0", "reload"));
    let second = submit(&cluster, 2).await.expect("a job");
    let url = format!("{}/api/jobs/{second}", cluster.gateway_url().expect("an address"));
    while events.next().await.expect("an event").expect("no end").1 != "finished" {}
    let shown = Client::new().get(url).send().await.expect("an answer").bytes().await.expect("a body");
    let shown: Value = serde_json::from_slice(&shown).expect("JSON");
    assert_eq!((&shown["state"], &shown["fraction"]), (&"done".into(), &1.0.into()), "{shown}");
    let timings = shown["timings"].as_array().expect("timings");
    assert!(timings.iter().any(|timing| timing["compute_ms"].as_u64() > Some(0)), "{shown}");
}
