//! The same events over a WebSocket.

use crate::world::{PATIENCE, World, problem};
use domain::{EVENTS, Ending, EventKind, JobId, Stage};
use futures::StreamExt;
use gateway::Limits;
use harness::until;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection, or with which status it was refused.
async fn open(
    world: &World,
    job: JobId,
    query: &str,
    header: Option<(&'static str, &str)>,
) -> Result<Socket, u16> {
    let address = format!("ws://{}/api/jobs/{job}/ws{query}", world.address());
    let mut request = address.into_client_request().expect("an address");
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, value.parse().expect("a header"));
    }
    match timeout(PATIENCE, connect_async(request)).await.expect("an answer in time") {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next thing that happened; none once the server has closed the connection in order.
async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("a message in time").expect("a close first") {
            Ok(Message::Text(text)) => {
                let said: Value = serde_json::from_str(&text).expect("JSON");
                // The place alone.
                if said["event"].is_string() {
                    return Some(said);
                }
                assert!(said["id"].is_string(), "{said}");
            }
            Ok(Message::Close(_)) => return None,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn rest(socket: &mut Socket) -> Vec<String> {
    let mut kinds = Vec::new();
    while let Some(said) = next(socket).await {
        kinds.push(said["event"].as_str().expect("a kind").to_owned());
    }
    kinds
}

#[tokio::test]
async fn a_socket_tells_what_server_sent_events_tell_resumes_and_ends_with_the_job() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    world.tell(job, 0, EventKind::Started { stage: Stage::Shape }).await;
    let mut socket = open(&world, job, "", None).await.expect("a socket");
    let said = next(&mut socket).await.expect("an event");
    assert_eq!((&said["event"], &said["data"]["stage"]), (&"started".into(), &"shape".into()));
    world.tell(job, 0, EventKind::Started { stage: Stage::Texture }).await;
    assert_eq!(next(&mut socket).await.expect("an event")["data"]["stage"], "texture");
    drop(socket);
    world.decide(job, 0, Ending::Done { files: vec![], unpublished: None }).await;
    world.tell(job, 0, EventKind::Finished).await;
    let place = format!("?last_event_id={}", said["id"].as_str().expect("a place"));
    let mut socket = open(&world, job, &place, None).await.expect("a socket");
    assert_eq!(rest(&mut socket).await, ["started", "finished"]);
    // Of another log.
    let mut socket = open(&world, job, "?last_event_id=foreign", None).await.expect("a socket");
    assert_eq!(rest(&mut socket).await, ["reload", "started", "started", "finished"]);
    // What followed is gone from this one.
    let second = said["id"].as_str().and_then(|id| id.parse::<u64>().ok()).expect("a place") + 1;
    world.broker.purge(&EVENTS, second + 1);
    let mut socket = open(&world, job, &place, None).await.expect("a socket");
    assert_eq!(rest(&mut socket).await, ["reload", "finished"]);
}

#[tokio::test]
async fn a_socket_is_for_those_who_may_call_and_not_for_a_page_of_another_site() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    assert_eq!(open(&world, JobId([9; 16]), "", None).await.err(), Some(404));
    assert_eq!(open(&world, job, "?colour=red", None).await.err(), Some(400));
    assert_eq!(open(&world, job, "", Some(("origin", "https://evil.example"))).await.err(), Some(403));
    let own = format!("http://{}", world.address());
    assert!(open(&world, job, "", Some(("origin", &own))).await.is_ok());
    let plain = world.call(Method::GET, &format!("/api/jobs/{job}/ws")).send().await.expect("an answer");
    assert_eq!(plain.status(), StatusCode::BAD_REQUEST);
    problem(plain, 400, "bad-request").await;
    let world = World::with_token(Some("secret")).await;
    let job = JobId([1; 16]);
    assert_eq!(open(&world, job, "", None).await.err(), Some(401));
    assert_eq!(open(&world, job, "", Some(("authorization", "Bearer secret"))).await.err(), Some(404));
}

#[tokio::test]
async fn sockets_count_as_followers_and_are_closed_at_the_end() {
    let world = World::with(None, Limits { followers: 1, ..Limits::default() }).await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let mut socket = open(&world, job, "", None).await.expect("a socket");
    assert_eq!(open(&world, job, "", None).await.err(), Some(503));
    let ended = tokio::spawn(world.end());
    assert_eq!(next(&mut socket).await, None);
    ended.await.expect("an end");
}

#[tokio::test]
async fn a_socket_that_nobody_reads_is_cut_off_and_resumes_without_a_gap() {
    let limits = Limits { followers: 1, take_max: Duration::from_millis(200), ..Limits::default() };
    let world = World::with(None, limits).await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let address = format!("ws://{}/api/jobs/{job}/ws", world.address());
    let stream = world.narrow_connection().await;
    let (mut socket, _) = client_async(address, stream).await.expect("a socket");
    world.flood(job).await;
    until("its place to be free", PATIENCE, async || Ok(open(&world, job, "", None).await.ok()))
        .await
        .expect("in time");
    let mut last = None;
    while let Some(Ok(message)) = timeout(PATIENCE, socket.next()).await.expect("an end in time") {
        if let Message::Text(text) = message {
            let said: Value = serde_json::from_str(&text).expect("JSON");
            last = said["id"].as_str().and_then(|id| id.parse::<u64>().ok());
        }
    }
    let last = last.expect("a place");
    let resumed = until("its place to be free again", PATIENCE, async || {
        Ok(open(&world, job, &format!("?last_event_id={last}"), None).await.ok())
    });
    let said = next(&mut resumed.await.expect("in time")).await.expect("an event");
    assert_eq!(said["id"], (last + 1).to_string());
}
