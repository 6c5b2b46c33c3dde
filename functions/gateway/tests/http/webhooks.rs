//! Webhooks: told at least once, signed, by one gateway, whatever answers and whoever restarts.

use crate::world::{PATIENCE, World};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use domain::{Ending, EventKind, JobId};
use gateway::{Ended, Listener};
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Somebody who is told: answers as the test says, then with 200.
struct Receiver {
    url: String,
    calls: UnboundedReceiver<(HeaderMap, Bytes)>,
}

#[derive(Clone)]
struct Answers {
    told: UnboundedSender<(HeaderMap, Bytes)>,
    next: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Receiver {
    async fn answering(answers: &[StatusCode]) -> Receiver {
        let (told, calls) = unbounded_channel();
        let next = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let hear = async |State(answers): State<Answers>, headers: HeaderMap, body: Bytes| {
            let status = answers.next.lock().expect("a lock").pop_front().unwrap_or(StatusCode::OK);
            // Whoever follows this is called as well.
            let location = [("location", "/elsewhere")];
            answers.told.send((headers, body)).expect("the test listens");
            (status, location)
        };
        let router = Router::new()
            .route("/hook", post(hear))
            .route("/elsewhere", post(hear).get(hear))
            .with_state(Answers { told, next });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { url, calls }
    }

    fn listener(&self, events: &[Ended]) -> Listener {
        let events = events.iter().copied().collect();
        Listener::new(&self.url, SECRET, events, BTreeSet::new()).expect("a listener")
    }

    /// The next call, whose signature is right: its id and what it says.
    async fn call(&mut self) -> (String, Value) {
        let (headers, body) = timeout(PATIENCE, self.calls.recv()).await.expect("in time").expect("a call");
        let signer = standardwebhooks::Webhook::new(SECRET).expect("a secret");
        signer.verify(&body, &headers).expect("its signature");
        let id = headers["webhook-id"].to_str().expect("text").to_owned();
        (id, serde_json::from_slice(&body).expect("JSON"))
    }
}

/// A job that ends as rejected; `told` by an event or not.
async fn rejected(world: &World, name: &'static str, told: bool) -> JobId {
    let job = world.job(&format!("/api/jobs?name={name}.png"), name.as_bytes()).await.job_id();
    let reason = "it is no picture".to_owned();
    world.decide(job, 0, Ending::Rejected { reason: reason.clone() }).await;
    if told {
        world.tell(job, 0, EventKind::Rejected { reason }).await;
    }
    job
}

#[tokio::test]
async fn an_ending_is_told_until_somebody_takes_it_and_never_after() {
    let failing = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TEMPORARY_REDIRECT];
    let mut receiver = Receiver::answering(&failing).await;
    let mut world = World::telling(vec![receiver.listener(&[])]).await;
    let job = rejected(&world, "one", true).await;
    let (first, said) = receiver.call().await;
    assert_eq!(said["type"], "job.rejected");
    assert_eq!((&said["data"]["job"], &said["data"]["life"]), (&job.to_string().into(), &0.into()));
    assert_eq!(said["data"]["reason"], "it is no picture");
    assert!(said["data"]["key"].as_str().expect("a key").ends_with("/one.png"), "{said}");
    for _ in &failing {
        assert_eq!(receiver.call().await, (first.clone(), said.clone()), "the same in every try");
    }
    // What is told stands in the bucket: the next gateway tells only what is new.
    until_noted(&world, job).await;
    world.restart_gateway().await;
    let next = rejected(&world, "two", true).await;
    assert_eq!(receiver.call().await.1["data"]["job"], next.to_string());
}

async fn until_noted(world: &World, job: JobId) {
    let noted = harness::until("the note that it is told", PATIENCE, async || {
        let prefix = format!("{}told.", domain::job_state_prefix(job));
        let listed = ports::list_all(&*world.ports.store, &world.site.state, &prefix).await?;
        Ok((!listed.is_empty()).then_some(()))
    });
    noted.await.expect("in time");
}

#[tokio::test]
async fn an_ending_that_no_event_told_is_found_in_the_bucket() {
    let mut receiver = Receiver::answering(&[]).await;
    let mut world = World::telling(vec![receiver.listener(&[])]).await;
    let job = rejected(&world, "one", false).await;
    world.forgetful_gateway().await;
    assert_eq!(receiver.call().await.1["data"]["job"], job.to_string());
}

#[tokio::test]
async fn of_two_gateways_one_tells() {
    let mut receiver = Receiver::answering(&[]).await;
    let world = World::telling(vec![receiver.listener(&[])]).await;
    let _second = world.beside().await;
    let mut jobs = BTreeSet::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        jobs.insert(rejected(&world, name, true).await.to_string());
    }
    let mut told = Vec::new();
    for _ in &jobs {
        told.push(receiver.call().await.1["data"]["job"].as_str().expect("an id").to_owned());
    }
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), jobs);
    for job in jobs {
        until_noted(&world, job.parse().expect("an id")).await;
    }
    assert!(receiver.calls.try_recv().is_err(), "each is told once");
}

#[tokio::test]
async fn a_listener_hears_what_it_asked_for_and_one_that_is_gone_nothing_more() {
    let mut dead_only = Receiver::answering(&[]).await;
    let mut gone = Receiver::answering(&[StatusCode::GONE]).await;
    let world = World::telling(vec![dead_only.listener(&[Ended::Dead]), gone.listener(&[])]).await;
    rejected(&world, "one", true).await;
    gone.call().await;
    let record = world.job("/api/jobs?name=two.png", b"two").await;
    world.die(&record, domain::Stage::Shape).await;
    let (_, said) = dead_only.call().await;
    assert_eq!((&said["type"], &said["data"]["reason"]), (&"job.dead".into(), &"shape: it broke".into()));
    assert!(gone.calls.try_recv().is_err());
}

#[tokio::test]
async fn a_listener_that_is_gone_is_not_asked_again_though_it_is_the_only_one() {
    let mut gone = Receiver::answering(&[StatusCode::GONE]).await;
    let world = World::telling(vec![gone.listener(&[])]).await;
    rejected(&world, "one", true).await;
    gone.call().await;
    let lease = async || {
        let entry = world.ports.boards.read(&domain::LEASE, "gateway.webhooks").await.expect("a board");
        serde_json::from_slice::<domain::Lease>(&entry.expect("a lease").value).expect("a lease").epoch
    };
    let held = lease().await;
    let next = rejected(&world, "two", true).await;
    world.until_listed(next, "rejected").await;
    assert_eq!(lease().await, held, "the same term goes on, and with it what is known of the listener");
    assert!(gone.calls.try_recv().is_err());
}
