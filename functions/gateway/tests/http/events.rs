//! Server-sent events of one job and of all.

use crate::world::{PATIENCE, World, problem, sent};
use domain::{EVENTS, Ending, EventKind, JobId, Stage};
use futures::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

/// One event as it came: its id, its kind, its data.
type Told = (String, String, Value);

/// What one client hears.
struct Client {
    /// Where it would resume.
    place: String,
    body: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Client {
    fn new(response: Response) -> Client {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Client { place: String::new(), body: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next event; none when the stream has ended.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    lines.unwrap_or_default().to_owned()
                };
                let told = (field("id"), field("event"), field("data"));
                self.text = rest.to_owned();
                if !told.0.is_empty() {
                    self.place.clone_from(&told.0);
                }
                if !told.1.is_empty() {
                    return Some((told.0, told.1, serde_json::from_str(&told.2).expect("JSON")));
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.body.next()).await.expect("an event or an end in time")?;
            self.text += std::str::from_utf8(&chunk.expect("a whole answer")).expect("text");
        }
    }

    /// The kinds of all that comes until the end, and the last id.
    async fn rest(mut self) -> (Vec<String>, String) {
        let mut kinds = Vec::new();
        while let Some((_, kind, _)) = self.next().await {
            kinds.push(kind);
        }
        (kinds, self.place)
    }
}

async fn follow(world: &World, path: &str, last: Option<&str>) -> Response {
    let call = world.call(Method::GET, path);
    let call = last.into_iter().fold(call, |call, last| call.header("last-event-id", last));
    call.send().await.expect("an answer")
}

fn path(job: JobId) -> String {
    format!("/api/jobs/{job}/events")
}

async fn finish(world: &World, job: JobId) {
    world.decide(job, 0, Ending::Done { files: vec![], unpublished: None }).await;
    world.tell(job, 0, EventKind::Finished).await;
}

#[tokio::test]
async fn events_come_from_the_beginning_then_live_and_end_with_the_outcome() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let stage = Stage::Shape;
    world.tell(job, 0, EventKind::Started { stage }).await;
    let mut client = Client::new(follow(&world, &path(job), None).await);
    assert_eq!(client.next().await.expect("an event").1, "started");
    world.tell(job, 0, EventKind::Progress { stage, fraction: 0.5, phase: "mesh".into() }).await;
    let (_, kind, data) = client.next().await.expect("an event");
    assert_eq!(
        (kind.as_str(), &data["fraction"], &data["stage"]),
        ("progress", &0.5.into(), &"shape".into())
    );
    finish(&world, job).await;
    assert_eq!(client.rest().await.0, ["finished"]);
}

#[tokio::test]
async fn a_client_that_was_cut_off_hears_what_it_missed_and_nothing_twice() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    for stage in Stage::ALL {
        world.tell(job, 0, EventKind::Started { stage }).await;
    }
    let mut client = Client::new(follow(&world, &path(job), None).await);
    client.next().await.expect("an event");
    let (id, _, data) = client.next().await.expect("an event");
    assert_eq!(data["stage"], "shape");
    drop(client);
    finish(&world, job).await;
    let client = Client::new(follow(&world, &path(job), Some(&id)).await);
    assert_eq!(client.rest().await.0, ["started", "started", "finished"]);
}

#[tokio::test]
async fn an_end_is_told_once_and_who_comes_back_after_it_is_told_to_stay_away() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    finish(&world, job).await;
    let (kinds, last) = Client::new(follow(&world, &path(job), None).await).rest().await;
    assert_eq!(kinds, ["finished"]);
    assert_eq!(follow(&world, &path(job), Some(&last)).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_end_that_the_log_forgot_is_told_from_the_bucket() {
    let mut world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    world.decide(job, 0, Ending::Rejected { reason: "no picture".into() }).await;
    world.forgetful_gateway().await;
    let mut client = Client::new(follow(&world, &path(job), Some("41")).await);
    assert_eq!(client.next().await.expect("an event").1, "reload");
    let (id, kind, data) = client.next().await.expect("an event");
    assert_eq!((kind.as_str(), &data["reason"]), ("rejected", &"no picture".into()));
    assert!(client.next().await.is_none());
    assert_eq!(follow(&world, &path(job), Some(&id)).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_end_of_an_older_life_does_not_end_the_stream() {
    let world = World::new().await;
    let record = world.job("/api/jobs", b"picture").await;
    let job = record.job_id();
    world.die(&record, Stage::Shape).await;
    let (_, last) = Client::new(follow(&world, &path(job), None).await).rest().await;
    let redriven = world.post(&format!("/api/jobs/{job}/redrive"), "").await;
    assert_eq!(redriven.status(), StatusCode::ACCEPTED);
    let mut client = Client::new(follow(&world, &path(job), None).await);
    assert_eq!(client.next().await.expect("an event").1, "dead");
    let resumed = Client::new(follow(&world, &path(job), Some(&last)).await);
    world.decide(job, 1, Ending::Done { files: vec![], unpublished: None }).await;
    world.tell(job, 1, EventKind::Finished).await;
    // The next life is told of from its beginning.
    assert_eq!(client.rest().await.0, ["accepted", "finished"]);
    assert_eq!(resumed.rest().await.0, ["accepted", "finished"]);
}

#[tokio::test]
async fn all_jobs_are_followed_from_now_on_or_from_where_one_was() {
    let world = World::new().await;
    let a = world.job("/api/jobs?name=a", b"a").await.job_id();
    let b = world.job("/api/jobs?name=b", b"b").await.job_id();
    world.tell(a, 0, EventKind::Started { stage: Stage::Shape }).await;
    let mut live = Client::new(follow(&world, "/api/events", None).await);
    finish(&world, b).await;
    let (id, kind, data) = live.next().await.expect("an event");
    assert_eq!((kind.as_str(), &data["job"]), ("finished", &b.to_string().into()));
    // The end of one job is not the end of all.
    finish(&world, a).await;
    assert_eq!(live.next().await.expect("an event").2["job"], a.to_string());
    let mut resumed = Client::new(follow(&world, "/api/events", Some(&id)).await);
    assert_eq!(resumed.next().await.expect("an event").2["job"], a.to_string());
    let mut all = Client::new(follow(&world, "/api/events", Some("0")).await);
    assert_eq!(all.next().await.expect("an event").1, "started");
}

#[tokio::test]
async fn a_place_of_a_log_that_was_lost_is_told_to_reload_and_hears_the_new_log() {
    let mut world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    world.forgetful_gateway().await;
    let stage = Stage::Shape;
    world.tell(job, 0, EventKind::Started { stage }).await;
    for from in ["812", &u64::MAX.to_string(), "none of ours"] {
        for path in [path(job), "/api/events".to_owned()] {
            let mut client = Client::new(follow(&world, &path, Some(from)).await);
            let (id, kind, _) = client.next().await.expect("an event");
            assert_eq!((id.as_str(), kind.as_str()), ("0", "reload"), "{path}");
            assert_eq!(client.next().await.expect("an event").1, "started", "{path}");
        }
    }
    finish(&world, job).await;
}

#[tokio::test]
async fn a_place_whose_next_events_the_log_has_lost_is_told_to_reload_and_hears_what_is_left() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let mut client = Client::new(follow(&world, "/api/events", None).await);
    let mut places = Vec::new();
    for stage in Stage::ALL {
        world.tell(job, 0, EventKind::Started { stage }).await;
        places.push(client.next().await.expect("an event").0.parse::<u64>().expect("a place"));
    }
    // The first two are gone.
    world.broker.purge(&EVENTS, places[2]);
    for path in [path(job), "/api/events".to_owned()] {
        for gone in [0, places[0]] {
            let mut client = Client::new(follow(&world, &path, Some(&gone.to_string())).await);
            let (id, kind, _) = client.next().await.expect("an event");
            assert_eq!((id, kind.as_str()), (places[1].to_string(), "reload"), "{path} from {gone}");
            assert_eq!(client.next().await.expect("an event").2["stage"], "texture", "{path} from {gone}");
            // Cut off right after the word, it is not told to reload again.
            let mut client = Client::new(follow(&world, &path, Some(&places[1].to_string())).await);
            assert_eq!(client.next().await.expect("an event").2["stage"], "texture", "{path}");
        }
    }
    // Who comes for the first time has nothing to forget, and may be cut off before it hears anything.
    let mut client = Client::new(follow(&world, &path(job), None).await);
    assert_eq!(client.next().await.expect("an event").2["stage"], "texture");
    // Nothing is left, and nothing was missed.
    world.broker.purge(&EVENTS, u64::MAX);
    let last = places[3].to_string();
    let mut client = Client::new(follow(&world, "/api/events", Some(&last)).await);
    finish(&world, job).await;
    assert_eq!(client.next().await.expect("an event").1, "finished");
}

#[tokio::test]
async fn a_client_resumes_at_another_gateway_where_it_was() {
    let mut world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    for stage in Stage::ALL {
        world.tell(job, 0, EventKind::Started { stage }).await;
    }
    let mut client = Client::new(follow(&world, "/api/events", Some("0")).await);
    let (id, ..) = client.next().await.expect("an event");
    world.restart_gateway().await;
    let mut client = Client::new(follow(&world, "/api/events", Some(&id)).await);
    for stage in ["shape", "texture", "export"] {
        assert_eq!(client.next().await.expect("an event").2["stage"], stage);
    }
    finish(&world, job).await;
    assert_eq!(client.next().await.expect("an event").1, "finished");
}

#[tokio::test]
async fn a_client_that_changes_between_two_gateways_hears_everything_once() {
    let one = World::new().await;
    let other = one.beside().await;
    let job = one.job("/api/jobs", b"picture").await.job_id();
    for stage in Stage::ALL {
        one.tell(job, 0, EventKind::Started { stage }).await;
    }
    finish(&one, job).await;
    let (mut place, mut heard) = (None, Vec::new());
    for world in [&one, &other].into_iter().cycle().take(5) {
        let mut client = Client::new(follow(world, &path(job), place.as_deref()).await);
        let (id, kind, data) = client.next().await.expect("an event");
        heard.push(data["stage"].as_str().map_or(kind, str::to_owned));
        place = Some(id);
    }
    assert_eq!(heard, ["preprocess", "shape", "texture", "export", "finished"]);
    let away = follow(&other, &path(job), place.as_deref()).await;
    assert_eq!(away.status(), StatusCode::NO_CONTENT);
}

/// Sent more than a socket and this client's share of memory hold.
#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_resumes_without_a_gap() {
    const COUNT: u32 = 15_000;
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    let client = Client::new(follow(&world, "/api/events", None).await);
    let progress = |n: u32| EventKind::Progress {
        stage: Stage::Shape,
        fraction: n as f32 / COUNT as f32,
        phase: "x".repeat(2_000),
    };
    for n in 0..COUNT {
        world.tell(job, 0, progress(n)).await;
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (kinds, last) = client.rest().await;
    assert!(kinds.len() < COUNT as usize, "{}", kinds.len());
    let mut client = Client::new(follow(&world, "/api/events", Some(&last)).await);
    let (id, ..) = client.next().await.expect("an event");
    let number = |id: &str| id.parse::<u64>().expect("a place");
    assert_eq!(number(&id), number(&last) + 1);
}

#[tokio::test]
async fn no_more_clients_follow_than_the_limit_says() {
    let limits = gateway::Limits { followers: 2, ..gateway::Limits::default() };
    let world = World::with(None, limits).await;
    let one = follow(&world, "/api/events", None).await;
    let _two = Client::new(follow(&world, "/api/events", None).await);
    problem(follow(&world, "/api/events", None).await, 503, "unavailable").await;
    drop(one);
    harness::until("a place to be free again", PATIENCE, async || {
        Ok((follow(&world, "/api/events", None).await.status() == StatusCode::OK).then_some(()))
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn nobody_waits_for_events_of_what_is_no_job() {
    let world = World::new().await;
    let unknown = world.call(Method::GET, "/api/jobs/0123456789abcdef0123456789abcdef/events");
    problem(sent(unknown).await, 404, "not-found").await;
}
