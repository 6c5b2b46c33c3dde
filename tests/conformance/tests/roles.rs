//! The broker's configuration that is shipped: a real nats-server takes it, and its users may do what is
//! theirs and nothing else. That what is theirs is enough is shown by the whole pipeline, which `e2e` runs
//! under them.

use anyhow::{Context, Result};
use async_nats::{ConnectOptions, jetstream};
use domain::{Class, Consumer, LEASE, Stage, TASKS};
use harness::{NatsConfig, NatsServer, ROLE_PASSWORD, Scratch, infra, output, tool};
use ports::{Boards, Expect, PortError, Queue, Wire, Write};
use std::sync::Arc;
use std::time::Duration;

async fn connect_as(server: &NatsServer, user: &str) -> Result<Arc<nats::Broker>> {
    let password = Some(nats::Secret::new(ROLE_PASSWORD.to_owned()));
    let config =
        nats::Config { user: Some(user.to_owned()), password, ..nats::Config::new(server.url(), user) };
    Ok(nats::connect(config).await?)
}

async fn served() -> Result<NatsServer> {
    let server = NatsServer::start(NatsConfig::with_roles()?).await?;
    connect_as(&server, "admin").await?.ensure().await?;
    Ok(server)
}

#[tokio::test]
async fn the_server_takes_the_shipped_configuration() -> Result<()> {
    let scratch = Scratch::new("shipped")?;
    for file in ["server.conf", "authorization.conf", "tls.conf"] {
        // Certificates are the operator's; here there are none.
        let shipped = std::fs::read_to_string(infra(&format!("nats/{file}"))?)?;
        let text = if file == "tls.conf" { "" } else { &shipped };
        std::fs::write(scratch.path().join(file), text)?;
    }
    let mut server = tokio::process::Command::new(tool("nats-server")?);
    server.arg("-t").arg("-c").arg(scratch.path().join("server.conf"));
    for role in ["ADMIN", "STORE", "INGEST", "PLANNER", "WORKER", "GATEWAY"] {
        server.env(format!("MESHWRIGHT_NATS_{role}_PASSWORD"), ROLE_PASSWORD);
    }
    output(server, Duration::from_secs(30)).await?;
    let text = std::fs::read_to_string(infra("nats/server.conf")?)?;
    let set: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    for needed in ["sync_interval: always", "http: \"127.0.0.1:8222\"", "write_deadline: \"10s\""] {
        assert!(set.contains(&needed), "{needed} is not set");
    }
    for door in ["websocket", "mqtt", "leafnodes", "no_auth_user"] {
        assert!(!set.iter().any(|line| line.starts_with(door)), "{door} is open");
    }
    Ok(())
}

#[tokio::test]
async fn each_role_may_do_only_what_is_its_own() -> Result<()> {
    let server = served().await?;
    let worker = connect_as(&server, "worker").await?;
    let planner = connect_as(&server, "planner").await?;
    let gateway = connect_as(&server, "gateway").await?;
    let consumer = Consumer::Tasks(Stage::Shape, Class::Normal, "default".parse()?);
    let task = format!("task.shape.normal.default.{}", "ab".repeat(16));
    let (drawn, queued, spoofed) = tokio::join!(
        worker.take(&consumer, 1, Duration::ZERO),
        planner.put_if_absent(&task, "never".into()),
        gateway.put_if_absent("s3ev.minio", "never".into()),
    );
    let timed = gateway.append("timing.shape", "never".into()).await;
    assert!(matches!(drawn, Err(PortError::Denied(_))), "a worker that draws: {drawn:?}");
    assert!(matches!(queued, Err(PortError::Denied(_))), "a planner that queues: {queued:?}");
    assert!(matches!(spoofed, Err(PortError::Denied(_))), "a gateway that speaks as a store: {spoofed:?}");
    assert!(matches!(timed, Err(PortError::Denied(_))), "a gateway that invents timings: {timed:?}");
    let take = |key| gateway.write(&LEASE, key, "me".into(), Expect::Absent);
    let own = take("gateway.webhooks").await;
    assert!(matches!(own, Ok(Write::Written(_))), "its own lease: {own:?}");
    assert_eq!(gateway.read(&LEASE, "gateway.webhooks").await?.map(|entry| entry.value), Some("me".into()));
    let led = take("planner.0").await;
    assert!(matches!(led, Err(PortError::Denied(_))), "a gateway that leads: {led:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_but_the_admin_deletes_a_stream() -> Result<()> {
    let server = served().await?;
    let mut tries = tokio::task::JoinSet::new();
    for user in ["store", "ingest", "planner", "worker", "gateway"] {
        let url = server.url();
        tries.spawn(async move {
            let options = ConnectOptions::with_user_and_password(user.to_owned(), ROLE_PASSWORD.to_owned());
            let inbox = if user == "store" { "_INBOX".to_owned() } else { format!("_INBOX_{user}") };
            let mut broker = jetstream::new(options.custom_inbox_prefix(inbox).connect(url).await?);
            // What is denied is never answered.
            broker.set_timeout(Duration::from_secs(1));
            anyhow::ensure!(broker.delete_stream(TASKS.name).await.is_err(), "{user} deleted the stream");
            Ok(())
        });
    }
    while let Some(tried) = tries.join_next().await {
        tried??;
    }
    let admin = connect_as(&server, "admin").await?;
    admin.range(&TASKS).await.context("the stream is there")?;
    Ok(())
}
