//! Queue, Boards and Wire on a real nats-server.

use anyhow::Result;
use async_nats::jetstream;
use domain::{BoardSpec, Bytes, Class, Consumer, FOOTPRINTS, LEASE, Medium, Stage, TASKS, Times};
use harness::{NatsConfig, NatsServer};
use nats::Broker;
use ports::Queue;
use ports::conformance::{boards, queue, wire};
use std::sync::Arc;
use std::time::Duration;

/// Times that a test can wait out, and that a busy machine keeps.
fn times() -> Times {
    Times::PRODUCTION.scaled(5)
}

async fn connect(server: &NatsServer, name: &str) -> Result<Arc<Broker>> {
    let config = nats::Config {
        servers: server.url(),
        name: name.to_owned(),
        user: None,
        password: None,
        credentials_file: None,
        root_ca_file: None,
        client_cert_file: None,
        client_key_file: None,
        times: times(),
    };
    Ok(nats::connect(config).await?)
}

/// A server with all streams, and two connections.
async fn served() -> Result<(NatsServer, Arc<Broker>, Arc<Broker>)> {
    let server = NatsServer::start(NatsConfig::default()).await?;
    let (here, elsewhere) = (connect(&server, "here").await?, connect(&server, "elsewhere").await?);
    here.ensure().await?;
    Ok((server, here, elsewhere))
}

/// The server as a stranger sees it.
async fn stranger(server: &NatsServer) -> Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(server.url()).await?))
}

#[tokio::test]
async fn the_queue_conforms() -> Result<()> {
    let (_server, here, elsewhere) = served().await?;
    let (queue, elsewhere, ack_wait) = (&*here.queue(), &*elsewhere.queue(), times().ack_wait);
    queue::conforms(queue::Subject { queue, elsewhere, ack_wait }).await;
    Ok(())
}

#[tokio::test]
async fn the_queue_tells_a_full_stream_from_a_full_subject() -> Result<()> {
    let server = NatsServer::start(NatsConfig::default()).await?;
    // The table's stream in all but its size: it was made by somebody with little room.
    let small = jetstream::stream::Config {
        name: TASKS.name.to_owned(),
        subjects: vec![TASKS.subjects.to_owned()],
        retention: jetstream::stream::RetentionPolicy::WorkQueue,
        discard: jetstream::stream::DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: 1,
        max_bytes: Bytes::mib(1).0 as i64,
        deny_purge: true,
        ..jetstream::stream::Config::default()
    };
    stranger(&server).await?.create_stream(small).await?;
    let broker = connect(&server, "small").await?;
    broker.ensure().await?;
    queue::tells_a_full_stream_from_a_full_subject(&*broker.queue(), 100).await;
    Ok(())
}

#[tokio::test]
async fn the_boards_conform() -> Result<()> {
    let (server, here, elsewhere) = served().await?;
    // As the lease, but short.
    let age_max = Some(Duration::from_secs(2));
    let brief = BoardSpec { name: "brief", age_max, ..LEASE };
    let quiet = BoardSpec { name: "quiet", ..FOOTPRINTS };
    for spec in [&brief, &quiet] {
        let config = jetstream::kv::Config {
            bucket: spec.name.to_owned(),
            history: i64::from(spec.history),
            max_age: spec.age_max.unwrap_or_default(),
            storage: match spec.medium {
                Medium::File => jetstream::stream::StorageType::File,
                Medium::Memory => jetstream::stream::StorageType::Memory,
            },
            ..jetstream::kv::Config::default()
        };
        stranger(&server).await?.create_key_value(config).await?;
    }
    let (boards, elsewhere) = (&*here.boards(), &*elsewhere.boards());
    let (lasting, brief, quiet) = (&FOOTPRINTS, &brief, &quiet);
    boards::conforms(boards::Subject { boards, elsewhere, lasting, brief, quiet }).await;
    Ok(())
}

#[tokio::test]
async fn the_wire_conforms() -> Result<()> {
    let (_server, here, elsewhere) = served().await?;
    wire::conforms(wire::Subject { wire: &*here.wire(), elsewhere: &*elsewhere.wire() }).await;
    Ok(())
}

/// Whoever asks in an outage must learn of it: a planner that sees an empty queue goes to rest.
#[tokio::test]
async fn an_outage_is_an_error_and_never_an_empty_queue() -> Result<()> {
    let (mut server, here, elsewhere) = served().await?;
    let consumer = Consumer::Tasks(Stage::Shape, Class::Normal, "outage".parse()?);
    assert_eq!(here.take(&consumer, 1, Duration::ZERO).await?, Vec::new(), "the consumer is made");
    assert_eq!(elsewhere.take(&consumer, 1, Duration::ZERO).await?, Vec::new(), "the consumer is known");
    let wait = Duration::from_secs(1);
    let (asked_before, killed) = tokio::join!(here.take(&consumer, 1, wait), async { server.kill() });
    killed?;
    let asked_after = tokio::join!(
        here.take(&consumer, 1, wait),
        elsewhere.take(&consumer, 1, Duration::ZERO),
        elsewhere.backlog(&consumer),
        elsewhere.put_if_absent("task.shape.normal.outage.j", "lost".into()),
    );
    assert!(asked_before.as_ref().is_err_and(|error| error.is_transient()), "{asked_before:?}");
    assert!(asked_after.0.as_ref().is_err_and(|error| error.is_transient()), "{:?}", asked_after.0);
    assert!(asked_after.1.as_ref().is_err_and(|error| error.is_transient()), "{:?}", asked_after.1);
    assert!(asked_after.2.as_ref().is_err_and(|error| error.is_transient()), "{:?}", asked_after.2);
    assert!(asked_after.3.as_ref().is_err_and(|error| error.is_transient()), "{:?}", asked_after.3);
    server.restart().await?;
    harness::until("the queue to answer again", Duration::from_secs(20), async || {
        Ok(here.take(&consumer, 1, Duration::ZERO).await.ok())
    })
    .await?;
    Ok(())
}
