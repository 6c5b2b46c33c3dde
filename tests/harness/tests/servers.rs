//! The harness itself: servers become ready, survive kill and restart on the same port, and other people's
//! clients work.

use anyhow::{Result, ensure};
use harness::{
    Child, NatsConfig, NatsServer, PortLease, Proxy, Spec, Stack, StackConfig, output, tool, until,
};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(20);

/// One request in NATS's text protocol, and the payload of its answer: enough to make a stream without a
/// client library.
async fn request(nats: &NatsServer, subject: &str, body: &str) -> Result<String> {
    let ask = async {
        let mut stream = BufReader::new(TcpStream::connect(nats.address()).await?);
        let length = body.len();
        let ask = format!("CONNECT {{}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{body}\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut line = String::new();
        while !line.starts_with("MSG answer") {
            line.clear();
            ensure!(stream.read_line(&mut line).await? > 0, "nats-server closed the connection");
        }
        line.clear();
        stream.read_line(&mut line).await?;
        Ok(line)
    };
    tokio::time::timeout(SOON, ask).await?
}

#[tokio::test]
async fn a_killed_nats_server_comes_back_on_its_port_with_its_stream() {
    let mut nats = NatsServer::start(NatsConfig::durable()).await.unwrap();
    let url = nats.url();
    let made = request(&nats, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#).await.unwrap();
    assert!(made.contains("\"config\""), "{made}");

    nats.kill().unwrap();
    assert!(TcpStream::connect(nats.address()).await.is_err());
    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    let info = request(&nats, "$JS.API.STREAM.INFO.S", "").await.unwrap();
    assert!(info.contains("\"config\""), "{info}");

    nats.kill().unwrap();
    nats.lose_store().unwrap();
    nats.restart().await.unwrap();
    let info = request(&nats, "$JS.API.STREAM.INFO.S", "").await.unwrap();
    assert!(info.contains("stream not found"), "{info}");
}

#[tokio::test]
async fn an_upload_by_aws_or_mc_becomes_a_message_and_survives_a_kill_of_the_store() {
    let mut stack = Stack::start(StackConfig::default(), async |_url| Ok(())).await.unwrap();
    // MinIO was started before its stream here, to see that events wait in its queue folder for the stream.
    let config = r#"{"name":"UPLOADS","subjects":["s3ev.>"]}"#;
    request(&stack.nats, "$JS.API.STREAM.CREATE.UPLOADS", config).await.unwrap();

    let file = stack.nats.folder().join("a.png");
    std::fs::write(&file, b"abc").unwrap();
    let endpoint = stack.minio.endpoint();
    let mut aws = endpoint.aws().unwrap();
    aws.args(["s3", "cp", "--no-progress"]).arg(&file).arg("s3://uploads/d ir/a b+ü.png");
    output(aws, SOON).await.unwrap();
    let mut mc = endpoint.mc().unwrap();
    mc.arg("cp").arg("--quiet").arg(&file).arg("local/uploads/c.png");
    output(mc, SOON).await.unwrap();

    until("both events in the stream", SOON, async || {
        let info = request(&stack.nats, "$JS.API.STREAM.INFO.UPLOADS", "").await?;
        Ok(info.contains("\"messages\":2").then_some(()))
    })
    .await
    .unwrap();

    stack.minio.kill().unwrap();
    stack.minio.restart().await.unwrap();
    let listed = stack.minio.mc(["ls", "--recursive", "local/uploads"]).await.unwrap();
    assert!(listed.contains("d ir/a b+ü.png") && listed.contains("c.png"), "{listed}");
}

#[tokio::test]
async fn a_child_tells_its_lines_and_its_end() {
    let spec = Spec::new("speaker", "/bin/sh").args(["-c", "echo ready on 17; exec tail -f /dev/null"]);
    let mut child = Child::spawn(spec).unwrap();
    let line = child.wait_for_line("its port", SOON, |line| line.starts_with("ready on ")).await.unwrap();
    assert_eq!(line, "ready on 17");
    child.terminate().unwrap();
    assert!(!child.wait(SOON).await.unwrap().success());
    assert!(child.terminate().is_err(), "there is nobody left to tell");
}

#[tokio::test]
async fn a_line_of_an_earlier_start_is_no_answer_to_a_wait_after_a_restart() {
    // It says the word at its first start only.
    let script = "if [ -e again ]; then echo again; else touch again; echo ready; fi; exec tail -f /dev/null";
    let mut child = Child::spawn(Spec::new("twice", "/bin/sh").args(["-c", script])).unwrap();
    child.wait_for_line("its word", SOON, |line| line == "ready").await.unwrap();
    child.restart().unwrap();
    child.wait_for_line("its second start", SOON, |line| line == "again").await.unwrap();
    let limit = Duration::from_millis(1);
    assert!(child.wait_for_line("its word", limit, |line| line == "ready").await.is_err());
    assert_eq!(child.stdout(), "ready\nagain\n");
    assert_eq!(child.said_since_start(), ["again\n", ""]);
}

#[tokio::test]
async fn a_wait_ends_even_if_its_look_does_not() {
    let waited = until("what hangs", Duration::from_millis(1), async || {
        std::future::pending::<()>().await;
        Ok(Some(()))
    });
    let error = tokio::time::timeout(SOON, waited).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("what hangs"), "{error}");
}

/// A server that answers each connection with what it was sent, and the link to it.
async fn echoing() -> Result<Proxy> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.split();
            let _ended = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    Proxy::start(&server).await
}

#[tokio::test]
async fn a_link_holds_a_request_until_it_is_released_or_cut() {
    let link = echoing().await.unwrap();
    assert!(link.held(Duration::from_millis(1)).await.is_err(), "nothing was asked to be held");
    for released in [true, false] {
        link.hold("PUT /state/");
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        client.write_all(b"PUT /state/a").await.unwrap();
        link.held(SOON).await.unwrap();
        if released {
            link.release()
        } else {
            link.cut()
        }
        let mut answer = [0; 12];
        let read = tokio::time::timeout(SOON, client.read_exact(&mut answer)).await.unwrap();
        assert_eq!(read.is_ok(), released, "{read:?}");
        assert_eq!(answer, if released { *b"PUT /state/a" } else { [0; 12] });
        drop(client);
        until("nothing to be held", SOON, async || {
            Ok(link.held(Duration::from_millis(1)).await.is_err().then_some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_link_rewrites_answers_to_the_requests_that_it_is_told_and_no_others() {
    let link = echoing().await.unwrap();
    link.rewrite("one", "two");
    link.rewrite_answers_to("PUT /a", "no", "ok");
    let mut client = TcpStream::connect(link.address()).await.unwrap();
    for (request, expect) in [
        ("PUT /b: one no", "PUT /b: two no"),
        ("PUT /a: one no", "PUT /a: two ok"),
        ("PUT /b: one no", "PUT /b: two no"),
    ] {
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; expect.len()];
        tokio::time::timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expect);
    }
}

#[tokio::test]
async fn a_child_that_ends_early_shows_its_output_in_the_error() {
    let spec = Spec::new("failing", "/bin/sh").args(["-c", "echo no such bucket >&2; exit 78"]);
    let mut child = Child::spawn(spec).unwrap();
    let error = child.wait_for_line("a line that never comes", SOON, |_| false).await.unwrap_err();
    assert!(format!("{error:#}").contains("no such bucket"), "{error:#}");
    assert_eq!(child.wait(SOON).await.unwrap().code(), Some(78));
}

#[tokio::test]
async fn children_are_found_whichever_thread_started_them() {
    let spec = Spec::new("grandchild", "/bin/sh").args(["-c", "echo up; exec tail -f /dev/null"]);
    let started = std::thread::spawn(|| Child::spawn(spec).unwrap());
    let child = started.join().unwrap();
    let found = harness::children(std::process::id()).unwrap();
    assert!(found.iter().any(|found| found.as_raw_nonzero().get() as u32 == child.pid()), "{found:?}");
}

#[tokio::test]
async fn a_dropped_child_takes_its_own_children_along() {
    let spec = Spec::new("parent", "/bin/sh").args(["-c", "tail -f /dev/null & echo $!; wait"]);
    let mut child = Child::spawn(spec).unwrap();
    let pid = child.wait_for_line("its child's number", SOON, |_| true).await.unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{pid}/exe"));
    assert!(process.exists());
    drop(child);
    until("the grandchild to be gone", SOON, async || Ok((!process.exists()).then_some(()))).await.unwrap();
}

#[test]
fn two_leases_never_share_a_port() {
    let leases: Vec<PortLease> = (0..20).map(|_| PortLease::new().unwrap()).collect();
    let ports: std::collections::BTreeSet<u16> = leases.iter().map(PortLease::port).collect();
    assert_eq!(ports.len(), leases.len());
}

#[test]
fn a_tool_that_is_not_in_the_table_is_an_error_that_names_it() {
    let error = tool("frobnicator").unwrap_err();
    assert!(format!("{error:#}").contains("frobnicator"), "{error:#}");
}

/// Set in the process that plays the killed test.
const VICTIM: &str = "HARNESS_TEST_IS_VICTIM";

#[tokio::test]
async fn what_a_killed_test_process_started_ends_with_it() {
    if std::env::var_os(VICTIM).is_some() {
        let spec =
            Spec::new("orphan", "tail").args(["-f", "/dev/null"]).folder(&std::env::current_dir().unwrap());
        let orphan = Child::spawn(spec).unwrap();
        println!("\norphan {}", orphan.pid());
        std::process::abort();
    }
    let this = "what_a_killed_test_process_started_ends_with_it";
    let spec = Spec::new("victim", std::env::current_exe().unwrap());
    let mut victim = Child::spawn(spec.args(["--exact", this, "--nocapture"]).env(VICTIM, "1")).unwrap();
    let line = victim.wait_for_line("its orphan", SOON, |line| line.starts_with("orphan ")).await.unwrap();
    let orphan = std::path::PathBuf::from(format!("/proc/{}/exe", &line["orphan ".len()..]));
    assert!(!victim.wait(SOON).await.unwrap().success());
    until("the orphan to be gone", SOON, async || Ok((!orphan.exists()).then_some(()))).await.unwrap();
}
