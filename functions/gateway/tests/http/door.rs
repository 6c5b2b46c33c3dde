//! Connections: nobody holds one for nothing, and nobody holds up the end.

use crate::world::{PATIENCE, World};
use domain::Stage;
use gateway::Limits;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Short, so that a test waits for the limit itself and for no time of its own.
const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let world = World::with(None, Limits { head_max: SOON, ..Limits::default() }).await;
    for said in ["", "GET /livez HTTP/1.1\r\nHost: loc"] {
        let mut socket = TcpStream::connect(world.address()).await.expect("a connection");
        socket.write_all(said.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("an end in time").expect("an end");
    }
}

#[tokio::test]
async fn a_download_that_nobody_takes_does_not_hold_up_the_end() {
    let world = World::with(None, Limits { drain_max: SOON, ..Limits::default() }).await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let large = vec![7; 40 << 20];
    world.commit(job, Stage::Export, &[("model.glb", "model/gltf-binary", &large)]).await;
    let mut socket = TcpStream::connect(world.address()).await.expect("a connection");
    let call = format!("GET /api/jobs/{job}/artifacts/model.glb HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(call.as_bytes()).await.expect("sent");
    let mut start = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut start)).await.expect("in time").expect("a start");
    assert_eq!(&start, b"HTTP/1.1 200");
    world.end().await;
}

#[tokio::test]
async fn followers_are_sent_away_at_the_end() {
    let world = World::new().await;
    let mut followed = world.get("/api/events").await;
    let ended = tokio::spawn(world.end());
    while timeout(PATIENCE, followed.chunk())
        .await
        .expect("an end in time")
        .expect("a whole answer")
        .is_some()
    {}
    ended.await.expect("an end");
}
