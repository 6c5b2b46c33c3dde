//! What every [`Wire`] must do: who listens hears, who asks is answered or told that nobody is there, and a
//! log forgets nothing within its limits.

use super::{PATIENCE, all_kept, asked, promises};
use crate::{Answer, Clock, LogRange, Logged, Message, PortError, PortResult, SystemClock, Wire};
use bytes::Bytes as Payload;
use domain::{DEAD, EVENTS, StreamSpec, TIMINGS};
use futures::StreamExt;
use futures::future::{join, join_all};
use futures::stream::BoxStream;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A wire whose logs are empty, as the suite sees it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The wire.
    pub wire: &'a dyn Wire,
    /// The same wire by another connection.
    pub elsewhere: &'a dyn Wire,
}

/// Runs the suite.
///
/// # Panics
/// The wire does not keep its contract; the message says which promises.
pub async fn conforms(on: Subject<'_>) {
    let mut promises = promises![on;
        a_message_is_heard_as_it_was_sent,
        all_who_listen_hear_everything_in_order,
        what_was_sent_before_is_not_heard,
        a_filter_lets_through_what_matches,
        a_message_that_nobody_hears_is_no_error,
        a_request_is_answered,
        requests_at_once_get_their_own_answers,
        the_first_answer_counts,
        a_request_that_nobody_hears_is_told_at_once,
        a_request_that_nobody_answers_ends_in_time,
        who_has_stopped_listening_is_nobody,
    ];
    promises.extend(promises![on;
        a_log_begins_at_nothing_and_counts_up,
        a_log_is_followed_from_its_beginning_and_live,
        a_log_is_followed_from_a_place_in_it,
        a_log_is_followed_from_a_place_that_is_yet_to_come,
        a_log_is_followed_through_a_filter,
        what_is_published_on_a_log_is_in_it,
        what_is_appended_is_heard,
        a_logged_message_tells_when_it_was_appended,
        many_who_append_at_once_get_places_of_their_own,
        a_subject_of_no_log_is_missing,
        a_message_too_large_for_its_log_is_invalid,
    ]);
    all_kept(promises).await;
}

/// For logs of which `purge` removes what stands before a place: how a client that was away for too long is
/// told so.
///
/// # Panics
/// The wire says that a log holds more or less than it does.
pub async fn tells_where_a_shortened_log_begins(on: Subject<'_>, purge: impl AsyncFn(&StreamSpec, u64)) {
    let range = async || on.elsewhere.range(&EVENTS).await.expect("a log that answers");
    let (subject, mut places) = ("event.shortened.progress", Vec::new());
    for n in 0..6 {
        places.push(append(on, subject, n.to_string()).await);
    }
    purge(&EVENTS, places[3]).await;
    assert_eq!(range().await, LogRange { first: places[3], last: places[5] });
    let mut follower = follow(on.wire, &EVENTS, "event.shortened.*", places[0]).await;
    assert_eq!(sequences(&mut follower, 3).await, places[3..], "from a place that is gone");
    purge(&EVENTS, places[5] + 1).await;
    assert_eq!(range().await, LogRange { first: places[5] + 1, last: places[5] }, "nothing is left");
    let next = append(on, subject, "next").await;
    assert!(next > places[5], "{next} after {}", places[5]);
    assert_eq!(range().await, LogRange { first: next, last: next });
    assert_eq!(read(&mut follower).await.sequence, next);
}

type Listener = BoxStream<'static, Message>;
type Follower = BoxStream<'static, PortResult<Logged>>;

async fn listen(wire: &dyn Wire, filter: &str) -> Listener {
    wire.subscribe(filter).await.expect("a wire that answers")
}

async fn send(wire: &dyn Wire, subject: &str, payload: impl Into<Payload>) {
    wire.publish(subject, payload.into()).await.expect("a wire that answers");
}

/// The next message, which must come.
async fn hear(listener: &mut Listener) -> Message {
    let heard = timeout(PATIENCE, listener.next()).await;
    heard.expect("nothing was heard in time").expect("the connection is open")
}

async fn append(on: Subject<'_>, subject: &str, payload: impl Into<Payload>) -> u64 {
    on.wire.append(subject, payload.into()).await.expect("a log that answers")
}

async fn follow(wire: &dyn Wire, log: &StreamSpec, filter: &str, from: u64) -> Follower {
    wire.follow(log, filter, from).await.expect("a log that answers")
}

/// The next message of a log, which must come.
async fn read(follower: &mut Follower) -> Logged {
    let read = timeout(PATIENCE, follower.next()).await.expect("nothing was logged in time");
    read.expect("a log has no end").expect("a log that answers")
}

async fn sequences(follower: &mut Follower, count: usize) -> Vec<u64> {
    let mut read_so_far = Vec::new();
    for _ in 0..count {
        read_so_far.push(read(follower).await.sequence);
    }
    read_so_far
}

async fn a_message_is_heard_as_it_was_sent(on: Subject<'_>) {
    let mut listener = listen(on.wire, "conform.heard").await;
    for payload in [Payload::new(), Payload::from((0..=255).cycle().take(60_000).collect::<Vec<u8>>())] {
        send(on.elsewhere, "conform.heard", payload.clone()).await;
        let expect = Message { subject: "conform.heard".to_owned(), payload, reply: None };
        assert_eq!(hear(&mut listener).await, expect);
    }
}

async fn all_who_listen_hear_everything_in_order(on: Subject<'_>) {
    let mut listeners = Vec::new();
    for wire in [on.wire, on.wire, on.elsewhere] {
        listeners.push(listen(wire, "conform.order.*").await);
    }
    for n in 0..1000 {
        send(on.wire, &format!("conform.order.{}", n % 3), n.to_string()).await;
    }
    for listener in &mut listeners {
        for n in 0..1000 {
            assert_eq!(hear(listener).await.payload, n.to_string());
        }
    }
}

async fn what_was_sent_before_is_not_heard(on: Subject<'_>) {
    send(on.wire, "conform.before", "too early").await;
    let mut listener = listen(on.wire, "conform.before").await;
    send(on.wire, "conform.before", "in time").await;
    assert_eq!(hear(&mut listener).await.payload, "in time");
}

async fn a_filter_lets_through_what_matches(on: Subject<'_>) {
    let filters = ["conform.f.a", "conform.f.*", "conform.f.*.c", "conform.f.>"];
    let mut listeners = Vec::new();
    for filter in filters {
        listeners.push(listen(on.wire, filter).await);
    }
    // The last one is let through by all, in its three forms: what came before it was all there was.
    let subjects = ["conform.f.b", "conform.f.a", "conform.f.b.c", "conform.f.b.d", "conform.g.a"];
    let ends = ["conform.f.a", "conform.f.b.c"];
    for subject in subjects {
        send(on.elsewhere, subject, "middle").await;
    }
    for subject in ends {
        send(on.elsewhere, subject, "end").await;
    }
    let expect = [
        vec!["conform.f.a"],
        vec!["conform.f.b", "conform.f.a"],
        vec!["conform.f.b.c"],
        vec!["conform.f.b", "conform.f.a", "conform.f.b.c", "conform.f.b.d"],
    ];
    for ((filter, listener), expect) in filters.iter().zip(&mut listeners).zip(expect) {
        let mut heard = Vec::new();
        loop {
            let message = hear(listener).await;
            if message.payload == "end" {
                break;
            }
            heard.push(message.subject);
        }
        assert_eq!(heard, expect, "{filter}");
    }
}

async fn a_message_that_nobody_hears_is_no_error(on: Subject<'_>) {
    send(on.wire, "conform.nobody.hears", "lost").await;
    send(on.wire, "_INBOX.of.nobody", "an answer that comes too late").await;
}

/// Answers every request with itself and a word before it.
async fn echo(wire: &dyn Wire, mut listener: Listener, word: &str) {
    while let Some(asked) = listener.next().await {
        let answer = format!("{word} {}", String::from_utf8_lossy(&asked.payload));
        send(wire, &asked.reply.expect("a request says where its answer goes"), answer).await;
    }
}

/// Runs `asking` while `answering` answers.
async fn answered<T>(answering: impl Future<Output = ()>, asking: impl Future<Output = T>) -> T {
    tokio::select! {
        () = answering => panic!("a listener hears no end"),
        asked = asking => asked,
    }
}

async fn ask(wire: &dyn Wire, subject: &str, payload: impl Into<Payload>, wait: Duration) -> Answer {
    wire.request(subject, payload.into(), wait).await.expect("a wire that answers")
}

async fn a_request_is_answered(on: Subject<'_>) {
    let listener = listen(on.elsewhere, "conform.asked").await;
    let answer =
        answered(echo(on.elsewhere, listener, "heard"), ask(on.wire, "conform.asked", "you", PATIENCE));
    assert_eq!(answer.await, Answer::Reply("heard you".into()));
}

async fn requests_at_once_get_their_own_answers(on: Subject<'_>) {
    let listener = listen(on.elsewhere, "conform.at-once.*").await;
    let asking = (0..64).map(|n| async move {
        let wire = if n % 2 == 0 { on.wire } else { on.elsewhere };
        (n, ask(wire, &format!("conform.at-once.{n}"), n.to_string(), PATIENCE).await)
    });
    for (n, answer) in answered(echo(on.elsewhere, listener, "heard"), join_all(asking)).await {
        assert_eq!(answer, Answer::Reply(format!("heard {n}").into()));
    }
}

async fn the_first_answer_counts(on: Subject<'_>) {
    let (one, two) = (listen(on.wire, "conform.first").await, listen(on.wire, "conform.first").await);
    let both = async {
        join(echo(on.wire, one, "one"), echo(on.wire, two, "two")).await;
    };
    let asking = async {
        for n in 0..10 {
            let answer = ask(on.elsewhere, "conform.first", n.to_string(), PATIENCE).await;
            let expect = ["one", "two"].map(|word| Answer::Reply(format!("{word} {n}").into()));
            assert!(expect.contains(&answer), "request {n} got {answer:?}");
        }
    };
    answered(both, asking).await;
}

/// What lets the planner ask the next worker at once.
async fn a_request_that_nobody_hears_is_told_at_once(on: Subject<'_>) {
    let started = Instant::now();
    let answer = ask(on.wire, "conform.nobody.answers", "anybody?", PATIENCE).await;
    assert_eq!(answer, Answer::NoResponders);
    assert!(started.elapsed() < PATIENCE / 4, "after {:?}", started.elapsed());
}

async fn a_request_that_nobody_answers_ends_in_time(on: Subject<'_>) {
    let mut silent = listen(on.elsewhere, "conform.silent").await;
    let (started, wait) = (Instant::now(), Duration::from_millis(300));
    assert_eq!(ask(on.wire, "conform.silent", "anybody?", wait).await, Answer::TimedOut);
    assert!((wait..PATIENCE / 2).contains(&started.elapsed()), "after {:?}", started.elapsed());
    let asked = hear(&mut silent).await;
    assert_eq!(asked.payload, "anybody?", "the request was heard all the same");
    send(on.elsewhere, &asked.reply.expect("a request says where its answer goes"), "too late").await;
}

async fn who_has_stopped_listening_is_nobody(on: Subject<'_>) {
    let mut listener = listen(on.elsewhere, "conform.stopped").await;
    send(on.wire, "conform.stopped", "hello").await;
    hear(&mut listener).await;
    drop(listener);
    asked("a request to be heard by nobody", async || {
        let answer = ask(on.wire, "conform.stopped", "anybody?", Duration::from_millis(100)).await;
        (answer == Answer::NoResponders).then_some(())
    })
    .await;
}

/// No other promise writes to this log.
async fn a_log_begins_at_nothing_and_counts_up(on: Subject<'_>) {
    let range = async || on.elsewhere.range(&DEAD).await.expect("a log that answers");
    assert_eq!(range().await, LogRange { first: 1, last: 0 }, "an empty log");
    let mut before = 0;
    for n in 0..5 {
        let sequence = append(on, "dead.shape.j", n.to_string()).await;
        assert!(sequence > before, "{sequence} after {before}");
        assert_eq!(range().await, LogRange { first: 1, last: sequence });
        before = sequence;
    }
    let mut follower = follow(on.wire, &DEAD, DEAD.subjects, 0).await;
    for n in 0..5 {
        assert_eq!(read(&mut follower).await.payload, n.to_string(), "from 0 is from the beginning");
    }
}

async fn a_log_is_followed_from_its_beginning_and_live(on: Subject<'_>) {
    let (subject, filter) = ("event.live.started", "event.live.*");
    let old = append(on, subject, "old").await;
    let mut followers = Vec::new();
    for wire in [on.wire, on.elsewhere] {
        followers.push(follow(wire, &EVENTS, filter, 1).await);
    }
    for follower in &mut followers {
        let logged = read(follower).await;
        assert_eq!((logged.sequence, logged.subject.as_str()), (old, subject));
        assert_eq!(logged.payload, "old");
    }
    for n in 0..300 {
        let sequence = append(on, subject, n.to_string()).await;
        for follower in &mut followers {
            let logged = read(follower).await;
            assert_eq!((logged.sequence, logged.payload), (sequence, n.to_string().into()), "live");
        }
    }
}

/// How a page goes on after `Last-Event-ID`.
async fn a_log_is_followed_from_a_place_in_it(on: Subject<'_>) {
    let (subject, mut places) = ("event.resume.progress", Vec::new());
    for n in 0..10 {
        places.push(append(on, subject, n.to_string()).await);
    }
    let mut whole = follow(on.wire, &EVENTS, "event.resume.*", places[0]).await;
    assert_eq!(sequences(&mut whole, 10).await, places);
    let mut rest = follow(on.elsewhere, &EVENTS, "event.resume.*", places[6] + 1).await;
    assert_eq!(sequences(&mut rest, 3).await, places[7..]);
    drop(whole);
    let next = append(on, subject, "next").await;
    assert_eq!(read(&mut rest).await.sequence, next, "one who has left takes nobody along");
}

async fn a_log_is_followed_from_a_place_that_is_yet_to_come(on: Subject<'_>) {
    append(on, "timing.yet-to-come", "old").await;
    let last = on.wire.range(&TIMINGS).await.expect("a log that answers").last;
    let mut follower = follow(on.elsewhere, &TIMINGS, "timing.yet-to-come", last + 1).await;
    let new = append(on, "timing.yet-to-come", "new").await;
    let logged = read(&mut follower).await;
    assert_eq!((logged.sequence, logged.payload.as_ref()), (new, &b"new"[..]));
}

async fn a_log_is_followed_through_a_filter(on: Subject<'_>) {
    let subjects = ["event.fa.started", "event.fb.started", "event.fa.done", "event.fb.done"];
    let mut places = Vec::new();
    for subject in subjects {
        places.push(append(on, subject, subject).await);
    }
    let check = async |filter: &str, expect: &[usize]| {
        let mut follower = follow(on.wire, &EVENTS, filter, places[0]).await;
        let expect: Vec<u64> = expect.iter().map(|at| places[*at]).collect();
        assert_eq!(sequences(&mut follower, expect.len()).await, expect, "{filter}");
    };
    check("event.fa.*", &[0, 2]).await;
    check("event.fb.done", &[3]).await;
    let mut all = follow(on.wire, &EVENTS, EVENTS.subjects, places[0]).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let logged = read(&mut all).await;
        seen.extend(subjects.contains(&logged.subject.as_str()).then_some(logged.sequence));
    }
    assert_eq!(seen, places, "without a filter everything comes, in one order");
}

async fn what_is_published_on_a_log_is_in_it(on: Subject<'_>) {
    send(on.wire, "event.published.started", "not waited for").await;
    let mut follower = follow(on.elsewhere, &EVENTS, "event.published.*", 1).await;
    assert_eq!(read(&mut follower).await.payload, "not waited for");
}

async fn what_is_appended_is_heard(on: Subject<'_>) {
    let mut listener = listen(on.elsewhere, "event.appended.*").await;
    append(on, "event.appended.started", "heard too").await;
    let heard = hear(&mut listener).await;
    assert_eq!(
        (heard.subject.as_str(), heard.payload.as_ref()),
        ("event.appended.started", &b"heard too"[..])
    );
}

async fn a_logged_message_tells_when_it_was_appended(on: Subject<'_>) {
    let before = SystemClock.now();
    append(on, "timing.when", "now").await;
    let after = SystemClock.now();
    let logged = read(&mut follow(on.wire, &TIMINGS, "timing.when", 1).await).await;
    assert!((before..=after).contains(&logged.at), "appended at {:?}", logged.at);
}

async fn many_who_append_at_once_get_places_of_their_own(on: Subject<'_>) {
    let appending = (0..100).map(|n| async move {
        let wire = if n % 2 == 0 { on.wire } else { on.elsewhere };
        wire.append("timing.at-once", n.to_string().into()).await.expect("a log that answers")
    });
    let mut places: Vec<(u64, usize)> = join_all(appending).await.into_iter().zip(0..).collect();
    places.sort_unstable();
    let mut follower = follow(on.wire, &TIMINGS, "timing.at-once", 1).await;
    for (sequence, n) in places {
        let logged = read(&mut follower).await;
        assert_eq!((logged.sequence, logged.payload), (sequence, n.to_string().into()));
    }
}

async fn a_subject_of_no_log_is_missing(on: Subject<'_>) {
    for subject in ["weather.today", "event.j", "task.shape.normal.not-a-log.j"] {
        let answer = on.wire.append(subject, "lost".into()).await;
        assert!(matches!(answer, Err(PortError::Missing(_))), "{subject}: {answer:?}");
    }
}

async fn a_message_too_large_for_its_log_is_invalid(on: Subject<'_>) {
    let max = TIMINGS.message_bytes_max.0 as usize;
    for bytes in [max + 1, 4 << 20] {
        let answer = on.wire.append("timing.large", vec![0; bytes].into()).await;
        assert!(matches!(answer, Err(PortError::Invalid(_))), "{bytes} bytes: {answer:?}");
    }
}
