//! Items that end their runner, or never end: their neighbours finish, a person is told, and a redrive or a
//! cancel does what it says.

use anyhow::{Context, Result};
use domain::{DEAD, EventKind, JobId};
use e2e::{Cluster, Expect, Setup, check, picture};
use futures::StreamExt;
use harness::until;
use std::collections::BTreeMap;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);

type Wanted = BTreeMap<JobId, Expect>;

async fn cluster() -> Cluster {
    Cluster::start(Setup { synthetic: true, ..Setup::default() }).await.expect("a cluster")
}

async fn neighbours(cluster: &Cluster, count: u32) -> Result<Wanted> {
    let mut wanted = Wanted::new();
    for n in 0..count {
        let key = format!("good/{n}.png");
        cluster.put(picture(n), &key).await?;
        wanted.insert(cluster.job(&key).await?, Expect::Done);
    }
    Ok(wanted)
}

/// What the gateway answers to a POST, once it knows the job.
async fn post(cluster: &Cluster, job: JobId, what: &str) -> Result<u16> {
    let url = format!("{}/api/jobs/{job}/{what}", cluster.gateway_url()?);
    let http = reqwest::Client::new();
    until("the gateway's answer", WITHIN, async || {
        let status = http.post(&url).send().await?.status().as_u16();
        Ok((status != 404).then_some(status))
    })
    .await
}

/// Waits until a stage of this job is being computed.
async fn computing(cluster: &Cluster, job: JobId) -> Result<()> {
    let filter = format!("event.{job}.>");
    let mut events = cluster.ports.wire.follow(&domain::EVENTS, &filter, 0).await?;
    let waited = tokio::time::timeout(WITHIN, async {
        while let Some(logged) = events.next().await {
            let event: domain::Event = serde_json::from_slice(&logged?.payload)?;
            if matches!(event.kind, EventKind::Progress { stage: domain::Stage::Shape, .. }) {
                return Ok(());
            }
        }
        anyhow::bail!("the log of events ended")
    });
    waited.await.context("no progress in time")?
}

async fn restart_workers(cluster: &mut Cluster) -> Result<()> {
    for name in ["worker-a", "worker-b"] {
        cluster.kill(name)?;
        cluster.restart(name)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_that_always_kills_its_runner_becomes_a_dead_letter_and_lives_again_once_it_is_cured() {
    let mut cluster = cluster().await;
    let mut wanted = neighbours(&cluster, 15).await.expect("uploads");
    let poison = ("synthetic", "stage=shape,end=abort");
    let job = cluster.put_with(picture(99), "poison.png", poison).await.expect("an upload");
    wanted.insert(job, Expect::Dead);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    assert_eq!(cluster.ports.wire.last_sequence(&DEAD).await.expect("an answer"), 1, "one dead letter");
    let url = format!("{}/api/dead-letters", cluster.gateway_url().expect("an address"));
    let listed = reqwest::get(&url).await.expect("an answer").text().await.expect("a text");
    assert!(listed.contains(&job.to_string()), "{listed}");
    // The cure: the engine no longer ends its runner. The redriven life has five attempts of its own.
    cluster.permit_synthetic(false).expect("a configuration");
    restart_workers(&mut cluster).await.expect("workers");
    assert_eq!(post(&cluster, job, "redrive").await.expect("an answer"), 202);
    wanted.insert(job, Expect::Done);
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_computation_that_would_never_end_and_its_lane_goes_on() {
    let cluster = cluster().await;
    let endless = ("synthetic", "stage=shape,item-ms=600000");
    let mut wanted = Wanted::new();
    for n in 0..3 {
        let key = format!("endless/{n}.png");
        let job = cluster.put_with(picture(n), &key, endless).await.expect("an upload");
        wanted.insert(job, Expect::Cancelled);
    }
    for job in wanted.keys() {
        computing(&cluster, *job).await.expect("a start");
        assert_eq!(post(&cluster, *job, "cancel").await.expect("an answer"), 202);
    }
    wanted.extend(neighbours(&cluster, 8).await.expect("uploads"));
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_fit_is_halved_and_its_items_are_all_finished() {
    let cluster = cluster().await;
    let mut wanted = Wanted::new();
    // More per item than the prior allows: the first batches die of it, and each item finishes all the same.
    for n in 0..12 {
        let heavy = ("synthetic", "stage=texture,fixed=64MiB,per-item=160MiB,noise-percent=10");
        let key = format!("heavy/{n}.png");
        let job = cluster.put_with(picture(n), &key, heavy).await.expect("an upload");
        wanted.insert(job, Expect::Done);
    }
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}
