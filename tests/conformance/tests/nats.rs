//! Queue, Boards and Wire on a real nats-server.

use anyhow::Result;
use async_nats::jetstream;
use domain::{
    BoardSpec, Bytes, Class, Consumer, FOOTPRINTS, JobId, LEASE, Medium, Stage, StreamSpec, TASKS, Times,
};
use harness::{NatsConfig, NatsServer};
use nats::Broker;
use ports::conformance::{boards, queue, wire};
use ports::{PortError, Queue};
use std::sync::Arc;
use std::time::Duration;

/// Times that a test can wait out, and that a busy machine keeps: the suite asks that some things take less
/// than three quarters of an ack wait, which is 5 s here.
fn times() -> Times {
    Times::PRODUCTION.scaled(2)
}

async fn connect(server: &NatsServer, name: &str) -> Result<Arc<Broker>> {
    Ok(nats::connect(config(server, name)).await?)
}

async fn connect_as(server: &NatsServer, user: &str) -> Result<Arc<Broker>> {
    let password = Some(nats::Secret::new("secret".to_owned()));
    let config = nats::Config { user: Some(user.to_owned()), password, ..config(server, user) };
    Ok(nats::connect(config).await?)
}

fn config(server: &NatsServer, name: &str) -> nats::Config {
    nats::Config { times: times(), ..nats::Config::new(server.url(), name) }
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
    let (server, broker, _elsewhere) = served().await?;
    // Somebody with little room shrinks it, behind our back.
    let stranger = stranger(&server).await?;
    let found = stranger.get_stream(TASKS.name).await?.cached_info().config.clone();
    stranger.update_stream(jetstream::stream::Config { max_bytes: Bytes::mib(1).0 as i64, ..found }).await?;
    queue::tells_a_full_stream_from_a_full_subject(&*broker.queue(), 100).await;
    Ok(())
}

#[tokio::test]
async fn what_is_there_with_other_settings_is_refused_and_never_changed() -> Result<()> {
    let (server, here, elsewhere) = served().await?;
    elsewhere.ensure().await?;
    let stranger = stranger(&server).await?;
    let found = stranger.get_stream(TASKS.name).await?.cached_info().config.clone();
    let other = jetstream::stream::Config { max_message_size: 1 << 20, ..found };
    stranger.update_stream(other.clone()).await?;
    let refused = here.ensure().await.expect_err("another message size").to_string();
    assert!(
        refused.contains("stream TASKS has maximum message size 1048576, and 65536 is needed"),
        "{refused}"
    );
    assert_eq!(stranger.get_stream(TASKS.name).await?.cached_info().config.max_message_size, 1 << 20);

    let consumer = Consumer::Tasks(Stage::Shape, Class::Normal, "strange".parse()?);
    let hasty = jetstream::consumer::pull::Config {
        durable_name: Some(consumer.durable_name()),
        filter_subject: consumer.filter(),
        ack_wait: Duration::from_secs(1),
        ..jetstream::consumer::pull::Config::default()
    };
    stranger.create_consumer_on_stream(hasty, TASKS.name).await?;
    let refused = here.take(&consumer, 1, Duration::ZERO).await.expect_err("another ack wait").to_string();
    assert!(refused.contains("consumer shape-normal-strange has ack wait 1s, and 5s is needed"), "{refused}");
    Ok(())
}

/// Users of the broker: one may do all, the others lack one thing each.
const USERS: &str = r#"authorization { users: [
    { user: all, password: secret }
    { user: deaf, password: secret, permissions: {
        publish: { deny: "$JS.API.CONSUMER.MSG.NEXT.TASKS.>" } } }
    { user: mute, password: secret, permissions: { publish: { deny: "task.>" } } }
    { user: shut, password: secret, permissions: { subscribe: { deny: "run.>" } } }
    { user: blind, password: secret, permissions: { publish: { deny: "$JS.API.STREAM.INFO.*" } } }
] }"#;

#[tokio::test]
async fn a_missing_permission_is_an_error_that_names_the_subject() -> Result<()> {
    let server = NatsServer::start(NatsConfig { extra: USERS.to_owned(), ..NatsConfig::default() }).await?;
    connect_as(&server, "all").await?.ensure().await?;
    let (deaf, mute) = (connect_as(&server, "deaf").await?, connect_as(&server, "mute").await?);
    let blind = connect_as(&server, "blind").await?;
    let consumer = Consumer::Tasks(Stage::Shape, Class::Normal, "acme".parse()?);
    let (taken, put, declared) = tokio::join!(
        deaf.take(&consumer, 1, Duration::from_secs(1)),
        mute.put_if_absent("task.shape.normal.acme.j", "never".into()),
        blind.ensure(),
    );
    let taken = taken.expect_err("a pull that is denied");
    let next = "$JS.API.CONSUMER.MSG.NEXT.TASKS.shape-normal-acme";
    assert!(matches!(&taken, PortError::Denied(text) if text.contains(next)), "{taken:?}");
    let put = put.expect_err("a publish that is denied");
    assert!(matches!(&put, PortError::Denied(text) if text.contains("task.shape.normal.acme.j")), "{put:?}");
    let shut = connect_as(&server, "shut").await?.wire();
    let heard = shut.subscribe("run.w-1").await.err().expect("a subscription that is denied");
    assert!(matches!(&heard, PortError::Denied(text) if text.contains("run.w-1")), "{heard:?}");
    let _hears = shut.subscribe("stop.w-1").await?;
    let declared = declared.expect_err("streams that may not be looked at").to_string();
    assert!(declared.contains("$JS.API.STREAM.INFO.UPLOADS"), "{declared}");
    Ok(())
}

#[tokio::test]
async fn messages_about_a_job_carry_its_trace() -> Result<()> {
    let (server, here, _elsewhere) = served().await?;
    let subject = format!("task.shape.normal.acme.{}", "ab".repeat(16));
    here.put_if_absent(&subject, "task".into()).await?;
    let tasks = stranger(&server).await?.get_stream(TASKS.name).await?;
    let stored = tasks.get_last_raw_message_by_subject(&subject).await?;
    let header = stored.headers.get("traceparent").map(|header| header.as_str().to_owned());
    assert_eq!(header, Some(domain::traceparent(JobId([0xab; 16]))));
    Ok(())
}

#[tokio::test]
async fn the_boards_conform() -> Result<()> {
    let (server, here, elsewhere) = served().await?;
    // As the lease, but short.
    let age_max = Some(Duration::from_secs(5));
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

#[tokio::test]
async fn the_wire_tells_where_a_shortened_log_begins() -> Result<()> {
    let (server, here, elsewhere) = served().await?;
    let admin = stranger(&server).await?;
    let purge = async |log: &StreamSpec, before| {
        let stream = admin.get_stream(log.name).await.expect("the stream");
        stream.purge().sequence(before).await.expect("a purge");
    };
    let subject = wire::Subject { wire: &*here.wire(), elsewhere: &*elsewhere.wire() };
    wire::tells_where_a_shortened_log_begins(subject, purge).await;
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

/// A server that restarts forgets who waits, and the client mends its connection without a word of that.
#[tokio::test]
async fn a_pull_that_the_server_forgot_is_an_error() -> Result<()> {
    let (mut server, here, _elsewhere) = served().await?;
    let consumer = Consumer::Tasks(Stage::Shape, Class::Normal, "forgotten".parse()?);
    let name = consumer.durable_name();
    let restarted = async {
        let stream = stranger(&server).await?;
        harness::until("the pull to wait at the server", Duration::from_secs(20), async || {
            let Ok(stream) = stream.get_stream(TASKS.name).await else { return Ok(None) };
            let known = stream.get_consumer::<jetstream::consumer::pull::Config>(&name).await;
            let Ok(mut known) = known else { return Ok(None) };
            Ok((known.info().await?.num_waiting > 0).then_some(()))
        })
        .await?;
        server.kill()?;
        server.restart().await
    };
    let (taken, restarted) = tokio::join!(here.take(&consumer, 1, Duration::from_secs(5)), restarted);
    restarted?;
    assert!(taken.as_ref().is_err_and(|error| error.is_transient()), "{taken:?}");
    Ok(())
}
