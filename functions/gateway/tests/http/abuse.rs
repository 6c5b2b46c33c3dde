//! Callers that take nothing, that send for ever, that never say what they want: each is cut off, and others
//! are served meanwhile.

use crate::world::{PATIENCE, World, json, problem};
use domain::Stage;
use gateway::Limits;
use harness::{output, until};
use reqwest::StatusCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

/// Short, so that a test waits for the limit itself and for no time of its own.
const SOON: Duration = Duration::from_millis(200);
/// Set where a test runs in a process of its own.
const ALONE: &str = "MESHWRIGHT_TEST_ALONE";
const PIECE_BYTES: usize = 64 << 10;
/// What such a caller wants to send.
const ENDLESS_BYTES: usize = 2 << 30;
/// What sockets hold on the way, and then some.
const ON_THE_WAY_BYTES_MAX: usize = 64 << 20;
/// The gateway's limit of this body is far below it.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

/// Whether this is the process of this test alone; if not, it runs there.
async fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", test, "--nocapture"]).env(ALONE, "1");
    let said = output(child, 2 * PATIENCE).await.expect("the test passes in a process of its own");
    assert!(said.contains("1 passed"), "{said}");
    false
}

/// The most memory that this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

async fn beginning(mut from: OwnedReadHalf) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        answer.extend(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_post_that_goes_on_after_its_answer_is_cut_off_and_held_by_nobody() {
    if !is_alone("abuse::a_post_that_goes_on_after_its_answer_is_cut_off_and_held_by_nobody").await {
        return;
    }
    let world = World::with(None, Limits { bodies: 1, ..Limits::default() }).await;
    world.job("/api/jobs", b"picture").await;
    let before = peak_bytes();
    let socket = TcpStream::connect(world.address()).await.expect("a connection");
    let (from, mut to) = socket.into_split();
    let answer = tokio::spawn(beginning(from));
    let head = "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    to.write_all(head.as_bytes()).await.expect("sent");
    let piece = format!("{PIECE_BYTES:x}\r\n{}\r\n", "7".repeat(PIECE_BYTES));
    let sending = async {
        for sent in 0..ENDLESS_BYTES / PIECE_BYTES {
            if to.write_all(piece.as_bytes()).await.is_err() {
                return sent * PIECE_BYTES;
            }
        }
        ENDLESS_BYTES
    };
    let others = async { json(world.get("/api/jobs").await, StatusCode::OK).await };
    let (sent, _) = futures::join!(timeout(PATIENCE, sending), others);
    let sent = sent.expect("cut off in time");
    assert!(sent < ON_THE_WAY_BYTES_MAX, "{sent} bytes were taken");
    let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let growth = peak_bytes() - before;
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
    // Its place among the bodies is free.
    world.job("/api/jobs", b"another").await;
}

#[tokio::test]
async fn a_client_of_events_that_never_reads_again_is_cut_off() {
    let limits = Limits { followers: 1, take_max: SOON, ..Limits::default() };
    let world = World::with(None, limits).await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let mut socket = world.narrow_connection().await;
    let call = "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.write_all(call.as_bytes()).await.expect("sent");
    let mut start = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut start)).await.expect("in time").expect("a start");
    assert_eq!(&start, b"HTTP/1.1 200");
    problem(world.get("/api/events").await, 503, "unavailable").await;
    world.flood(job).await;
    until("its place to be free", PATIENCE, async || {
        Ok((world.get("/api/events").await.status() == StatusCode::OK).then_some(()))
    })
    .await
    .expect("in time");
    drop(socket);
}

#[tokio::test]
async fn a_file_that_nobody_takes_gives_its_connection_back() {
    // One for the calls of this test, one for the file.
    let limits = Limits { connections: 2, take_max: SOON, ..Limits::default() };
    let world = World::with(None, limits).await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let large = vec![7; 40 << 20];
    world.commit(job, Stage::Export, &[("model.glb", "model/gltf-binary", &large)]).await;
    let mut socket = world.narrow_connection().await;
    let call = format!("GET /api/jobs/{job}/artifacts/model.glb HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(call.as_bytes()).await.expect("sent");
    let answer = world.raw("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(socket);
}

/// Says one byte more, and whether anybody hears it.
async fn drips(socket: &mut TcpStream) -> bool {
    let is_open = socket.try_read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    is_open && socket.write_all(b"x").await.is_ok()
}

async fn slow_connections(world: &World, count: usize) -> Vec<TcpStream> {
    let mut slow = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(world.address()).await.expect("a connection");
        socket.write_all(b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.expect("sent");
        slow.push(socket);
    }
    slow
}

#[tokio::test]
async fn others_are_served_beside_many_whose_heads_never_end() {
    let world = World::with(None, Limits { head_max: SOON, ..Limits::default() }).await;
    let mut slow = slow_connections(&world, 200).await;
    // Each says a byte more whenever somebody else was served.
    until("all of them to be cut off", PATIENCE, async || {
        json(world.get("/api/jobs").await, StatusCode::OK).await;
        let mut open = Vec::new();
        for mut socket in slow.drain(..) {
            if drips(&mut socket).await {
                open.push(socket);
            }
        }
        slow = open;
        Ok(slow.is_empty().then_some(()))
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn a_door_that_is_full_of_those_opens_again() {
    let limits = Limits { connections: 8, head_max: SOON, ..Limits::default() };
    let world = World::with(None, limits).await;
    let slow = slow_connections(&world, 24).await;
    json(world.get("/api/jobs").await, StatusCode::OK).await;
    drop(slow);
}
