//! What every [`Queue`] must do: store once, deliver at least once, and let go of nothing that nobody
//! acknowledged.

use super::{PATIENCE, all_kept, asked, promises};
use crate::{Backlog, Clock, Delivery, PortError, Put, Queue, SystemClock};
use bytes::Bytes as Payload;
use domain::{AckToken, Class, Consumer, Stage, StoreId, TASKS};
use futures::future::{join, join_all};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// A queue that is empty, as the suite sees it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The queue.
    pub queue: &'a dyn Queue,
    /// The same queue by another connection.
    pub elsewhere: &'a dyn Queue,
    /// How long it waits for an acknowledgement; a wait of a few of these is part of the suite.
    pub ack_wait: Duration,
}

/// Runs the suite.
///
/// # Panics
/// The queue does not keep its contract; the message says which promises.
pub async fn conforms(on: Subject<'_>) {
    let mut promises = promises![on;
        a_task_is_stored_once_while_it_waits_or_is_in_flight,
        of_many_who_put_one_task_at_once_one_stores_it,
        a_task_can_be_put_again_once_it_is_done,
        a_put_that_races_an_acknowledgement_is_stored_or_there,
        uploads_are_stored_however_often_they_come,
        a_consumer_gets_its_own_stage_class_and_tenant_only,
        messages_come_in_order_and_no_more_than_asked_for,
        a_delivery_tells_what_was_put,
        nothing_to_take_is_empty_and_no_error,
        who_waits_is_woken_by_a_put,
    ];
    promises.extend(promises![on;
        what_is_done_never_comes_again,
        what_is_not_done_comes_again_after_the_ack_wait,
        an_extension_keeps_a_delivery_from_coming_again,
        what_is_given_back_comes_again_at_once,
        a_token_works_from_elsewhere,
        a_late_acknowledgement_removes_the_message_for_all,
        an_old_token_acts_on_the_newest_delivery,
        a_token_of_what_is_gone_harms_nothing,
        a_token_of_nobody_is_an_error,
        the_backlog_counts_all_that_is_not_done,
        a_message_too_large_for_its_stream_is_invalid,
        a_subject_of_no_queue_is_missing,
    ]);
    all_kept(promises).await;
}

/// The consumer of a promise's own tenant, so that promises do not meet.
fn tasks_of(tenant: &str) -> Consumer {
    let tenant = tenant.parse().expect("a tenant's name");
    Consumer::Tasks(Stage::Shape, Class::Normal, tenant)
}

/// The subject of a task that goes to this consumer.
fn task(consumer: &Consumer, job: &str) -> String {
    consumer.filter().replace('*', job)
}

async fn put(on: Subject<'_>, subject: &str, payload: &'static str) -> Put {
    on.queue.put_if_absent(subject, payload.into()).await.expect("a queue with room")
}

/// The next delivery, which must come.
async fn next(on: Subject<'_>, consumer: &Consumer) -> Delivery {
    let mut taken = on.queue.take(consumer, 1, PATIENCE).await.expect("a queue that answers");
    assert!(taken.len() <= 1, "more than asked for: {taken:?}");
    taken.pop().unwrap_or_else(|| panic!("nothing came to {}", consumer.durable_name()))
}

/// Nothing comes for this long.
async fn nothing(on: Subject<'_>, consumer: &Consumer, wait: Duration) {
    let taken = on.queue.take(consumer, 10, wait).await.expect("a queue that answers");
    assert_eq!(taken, Vec::new(), "nothing comes to {}", consumer.durable_name());
}

async fn done(on: Subject<'_>, token: &AckToken) {
    on.queue.done(token).await.expect("an acknowledgement that is recorded");
}

async fn a_task_is_stored_once_while_it_waits_or_is_in_flight(on: Subject<'_>) {
    let consumer = tasks_of("once");
    let subject = task(&consumer, "j");
    assert_eq!(put(on, &subject, "first").await, Put::Stored);
    assert_eq!(put(on, &subject, "second").await, Put::AlreadyThere, "while it waits");
    let delivery = next(on, &consumer).await;
    assert_eq!(delivery.payload, "first", "what was there stays");
    assert_eq!(put(on, &subject, "third").await, Put::AlreadyThere, "while it is in flight");
    assert_eq!(put(on, &task(&consumer, "k"), "other").await, Put::Stored, "another job is another task");
    done(on, &next(on, &consumer).await.token).await;
    done(on, &delivery.token).await;
    nothing(on, &consumer, Duration::ZERO).await;
}

async fn of_many_who_put_one_task_at_once_one_stores_it(on: Subject<'_>) {
    let consumer = tasks_of("race");
    let subject = &task(&consumer, "j");
    let racers = (0..32).map(|racer| async move {
        let queue = if racer % 2 == 0 { on.queue } else { on.elsewhere };
        queue.put_if_absent(subject, "racer".into()).await.expect("a queue with room")
    });
    let stored = join_all(racers).await.into_iter().filter(|put| *put == Put::Stored).count();
    assert_eq!(stored, 1);
    done(on, &next(on, &consumer).await.token).await;
    nothing(on, &consumer, Duration::ZERO).await;
}

/// What a redrive rests on: it puts until it is stored.
async fn a_task_can_be_put_again_once_it_is_done(on: Subject<'_>) {
    let consumer = tasks_of("again");
    let subject = task(&consumer, "j");
    for life in ["life 0", "life 1", "life 2"] {
        assert_eq!(put(on, &subject, life).await, Put::Stored, "{life}");
        let delivery = next(on, &consumer).await;
        assert_eq!((delivery.payload.as_ref(), delivery.count), (life.as_bytes(), 1), "a new message");
        assert_eq!(put(on, &subject, "not yet").await, Put::AlreadyThere);
        done(on, &delivery.token).await;
    }
}

/// The message may go between the refusal of a put and whatever tells why it was refused.
async fn a_put_that_races_an_acknowledgement_is_stored_or_there(on: Subject<'_>) {
    let consumer = tasks_of("put-and-done");
    let (subject, put_all, stored) = (&task(&consumer, "j"), Cell::new(false), Cell::new(0));
    let putting = async {
        for _ in 0..300 {
            stored.set(stored.get() + usize::from(put(on, subject, "again").await == Put::Stored));
        }
        put_all.set(true);
    };
    let taking = async {
        let mut taken = 0;
        loop {
            let last = put_all.get();
            let deliveries = on.elsewhere.take(&consumer, 1, on.ack_wait / 10).await;
            let deliveries = deliveries.expect("a queue that answers");
            for delivery in &deliveries {
                taken += 1;
                on.elsewhere.done(&delivery.token).await.expect("an acknowledgement that is recorded");
            }
            if last && deliveries.is_empty() {
                return taken;
            }
        }
    };
    let ((), taken) = join(putting, taking).await;
    assert_eq!(taken, stored.get(), "each message that was stored came once");
}

async fn uploads_are_stored_however_often_they_come(on: Subject<'_>) {
    let store: StoreId = "twice".parse().expect("a store's name");
    let (consumer, other) = (Consumer::Uploads(store), Consumer::Uploads("other".parse().expect("a name")));
    for _ in 0..2 {
        assert_eq!(put(on, &consumer.filter(), "event").await, Put::Stored, "an event is no task");
    }
    nothing(on, &other, Duration::ZERO).await;
    for _ in 0..2 {
        let delivery = next(on, &consumer).await;
        assert_eq!(delivery.count, 1, "two messages");
        done(on, &delivery.token).await;
    }
    nothing(on, &consumer, Duration::ZERO).await;
}

async fn a_consumer_gets_its_own_stage_class_and_tenant_only(on: Subject<'_>) {
    let tenant = |name: &str| name.parse().expect("a tenant's name");
    let consumers = [
        Consumer::Tasks(Stage::Shape, Class::Normal, tenant("own")),
        Consumer::Tasks(Stage::Texture, Class::Normal, tenant("own")),
        Consumer::Tasks(Stage::Shape, Class::High, tenant("own")),
        Consumer::Tasks(Stage::Shape, Class::Normal, tenant("own-2")),
    ];
    for consumer in &consumers {
        put(on, &task(consumer, "j"), "mine").await;
    }
    for consumer in &consumers {
        let delivery = next(on, consumer).await;
        assert_eq!(delivery.subject, task(consumer, "j"));
        nothing(on, consumer, Duration::ZERO).await;
        done(on, &delivery.token).await;
    }
}

async fn messages_come_in_order_and_no_more_than_asked_for(on: Subject<'_>) {
    let consumer = tasks_of("order");
    let jobs: Vec<String> = (0..50).map(|n| format!("j{n}")).collect();
    for job in &jobs {
        put(on, &task(&consumer, job), "in order").await;
    }
    let mut came = Vec::new();
    for (max, expect) in [(1, 1), (7, 7), (100, 42)] {
        let taken = on.queue.take(&consumer, max, PATIENCE).await.expect("a queue that answers");
        assert_eq!(taken.len(), expect, "all there is, up to {max}");
        for delivery in taken {
            done(on, &delivery.token).await;
            came.push(delivery.subject);
        }
    }
    assert_eq!(came, jobs.iter().map(|job| task(&consumer, job)).collect::<Vec<_>>());
}

async fn a_delivery_tells_what_was_put(on: Subject<'_>) {
    let consumer = tasks_of("told");
    let (subject, payload) = (task(&consumer, "j"), Payload::from((0..=255).collect::<Vec<u8>>()));
    let before = SystemClock.now();
    on.queue.put_if_absent(&subject, payload.clone()).await.expect("a queue with room");
    let after = SystemClock.now();
    let delivery = next(on, &consumer).await;
    assert_eq!((&delivery.subject, &delivery.payload, delivery.count), (&subject, &payload, 1));
    assert!((before..=after).contains(&delivery.published_at), "stored at {:?}", delivery.published_at);
    done(on, &delivery.token).await;
}

async fn nothing_to_take_is_empty_and_no_error(on: Subject<'_>) {
    let consumer = tasks_of("empty");
    let started = Instant::now();
    nothing(on, &consumer, Duration::ZERO).await;
    assert!(started.elapsed() < PATIENCE / 2, "no wait returns at once");
    let (started, wait) = (Instant::now(), on.ack_wait / 2);
    nothing(on, &consumer, wait).await;
    assert!(started.elapsed() >= wait, "it waits as long as it is told");
}

async fn who_waits_is_woken_by_a_put(on: Subject<'_>) {
    let consumer = tasks_of("woken");
    let subject = task(&consumer, "j");
    // The consumer is there, and the wait has begun, before the put.
    nothing(on, &consumer, Duration::ZERO).await;
    let started = Instant::now();
    let (delivery, _) = join(next(on, &consumer), put(on, &subject, "news")).await;
    assert!(started.elapsed() < PATIENCE / 2, "as soon as there is one");
    done(on, &delivery.token).await;
}

async fn what_is_done_never_comes_again(on: Subject<'_>) {
    let consumer = tasks_of("done");
    for job in ["a", "b", "c"] {
        put(on, &task(&consumer, job), "work").await;
    }
    for _ in 0..3 {
        done(on, &next(on, &consumer).await.token).await;
    }
    nothing(on, &consumer, on.ack_wait * 3 / 2).await;
    assert_eq!(on.queue.backlog(&consumer).await, Ok(Backlog::default()));
}

async fn what_is_not_done_comes_again_after_the_ack_wait(on: Subject<'_>) {
    let consumer = tasks_of("redelivery");
    put(on, &task(&consumer, "j"), "work").await;
    let (mut tokens, started) = (BTreeSet::new(), Instant::now());
    for count in 1..=3 {
        let delivery = next(on, &consumer).await;
        assert_eq!(delivery.count, count, "the count rises with each delivery");
        assert_eq!((&delivery.subject, delivery.payload.as_ref()), (&task(&consumer, "j"), &b"work"[..]));
        assert!(tokens.insert(delivery.token.clone()), "each delivery has its own token");
        let waits = on.ack_wait * u32::try_from(count - 1).expect("a small number");
        assert!(started.elapsed() >= waits, "delivery {count} after {:?} already", started.elapsed());
        if count == 3 {
            done(on, &delivery.token).await;
        }
    }
}

async fn an_extension_keeps_a_delivery_from_coming_again(on: Subject<'_>) {
    let consumer = tasks_of("extended");
    put(on, &task(&consumer, "j"), "long work").await;
    let first = next(on, &consumer).await;
    for _ in 0..8 {
        nothing(on, &consumer, on.ack_wait / 4).await;
        on.queue.extend(&first.token).await.expect("an extension that is recorded");
    }
    let again = next(on, &consumer).await;
    assert_eq!(again.count, 2, "once nobody extends it");
    done(on, &again.token).await;
}

async fn what_is_given_back_comes_again_at_once(on: Subject<'_>) {
    let consumer = tasks_of("given-back");
    put(on, &task(&consumer, "j"), "work").await;
    let first = next(on, &consumer).await;
    let started = Instant::now();
    on.queue.give_back(&first.token).await.expect("a giving back that is recorded");
    let again = next(on, &consumer).await;
    assert!(started.elapsed() < on.ack_wait * 3 / 4, "without the ack wait: {:?}", started.elapsed());
    assert_eq!((&again.subject, again.count), (&first.subject, 2));
    done(on, &again.token).await;
}

/// The planner takes, a worker extends and acknowledges.
async fn a_token_works_from_elsewhere(on: Subject<'_>) {
    let consumer = tasks_of("elsewhere");
    put(on, &task(&consumer, "j"), "handed on").await;
    let first = next(on, &consumer).await;
    for _ in 0..6 {
        nothing(on, &consumer, on.ack_wait / 4).await;
        on.elsewhere.extend(&first.token).await.expect("an extension that is recorded");
    }
    on.elsewhere.give_back(&first.token).await.expect("a giving back that is recorded");
    let again = next(on, &consumer).await;
    on.elsewhere.done(&again.token).await.expect("an acknowledgement that is recorded");
    nothing(on, &consumer, on.ack_wait * 3 / 2).await;
}

/// An acknowledgement is no lock: whoever comes late ends the work of who has it now.
async fn a_late_acknowledgement_removes_the_message_for_all(on: Subject<'_>) {
    let consumer = tasks_of("late");
    put(on, &task(&consumer, "j"), "work").await;
    let first = next(on, &consumer).await;
    let second = next(on, &consumer).await;
    assert_eq!(second.count, 2);
    done(on, &first.token).await;
    assert_eq!(put(on, &task(&consumer, "j"), "next").await, Put::Stored, "it is gone");
    done(on, &second.token).await;
    let fresh = next(on, &consumer).await;
    assert_eq!((fresh.payload.as_ref(), fresh.count), (&b"next"[..], 1), "and the next one is untouched");
    done(on, &fresh.token).await;
}

/// Hence the rule that whoever lost a delivery drops its token and never gives it back.
async fn an_old_token_acts_on_the_newest_delivery(on: Subject<'_>) {
    let consumer = tasks_of("old-token");
    put(on, &task(&consumer, "j"), "work").await;
    let first = next(on, &consumer).await;
    let second = next(on, &consumer).await;
    for _ in 0..6 {
        nothing(on, &consumer, on.ack_wait / 4).await;
        on.queue.extend(&first.token).await.expect("an extension that is recorded");
    }
    let started = Instant::now();
    on.queue.give_back(&first.token).await.expect("a giving back that is recorded");
    let third = next(on, &consumer).await;
    assert!(started.elapsed() < on.ack_wait * 3 / 4, "taken away at once: {:?}", started.elapsed());
    assert_eq!((second.count, third.count), (2, 3));
    done(on, &third.token).await;
}

async fn a_token_of_what_is_gone_harms_nothing(on: Subject<'_>) {
    let consumer = tasks_of("gone");
    put(on, &task(&consumer, "j"), "work").await;
    let delivery = next(on, &consumer).await;
    done(on, &delivery.token).await;
    for queue in [on.queue, on.elsewhere] {
        queue.done(&delivery.token).await.expect("done twice is done");
        queue.extend(&delivery.token).await.expect("there is nothing to extend");
        queue.give_back(&delivery.token).await.expect("there is nothing to give back");
    }
    nothing(on, &consumer, Duration::ZERO).await;
    assert_eq!(put(on, &task(&consumer, "j"), "next").await, Put::Stored);
    done(on, &next(on, &consumer).await.token).await;
}

async fn a_token_of_nobody_is_an_error(on: Subject<'_>) {
    for text in ["", "nonsense", "no such.token"] {
        let token = AckToken(text.to_owned());
        for answer in
            [on.queue.done(&token).await, on.queue.extend(&token).await, on.queue.give_back(&token).await]
        {
            let error = answer.expect_err("nobody recorded it");
            assert!(!error.is_transient(), "the same token never works: {error}");
        }
    }
}

async fn the_backlog_counts_all_that_is_not_done(on: Subject<'_>) {
    let consumer = tasks_of("backlog");
    let count = |waiting, in_flight| Ok(Backlog { waiting, in_flight });
    assert_eq!(on.queue.backlog(&consumer).await, count(0, 0), "before anything was put");
    for job in ["a", "b", "c"] {
        put(on, &task(&consumer, job), "work").await;
    }
    // A broker counts on its own time, a moment after it has answered.
    let counts = async |queue: &dyn Queue, expect| {
        let is_so = async || (queue.backlog(&consumer).await == expect).then_some(());
        asked("the backlog to be counted", is_so).await;
    };
    counts(on.queue, count(3, 0)).await;
    let taken = on.queue.take(&consumer, 2, PATIENCE).await.expect("a queue that answers");
    counts(on.elsewhere, count(1, 2)).await;
    done(on, &taken[0].token).await;
    counts(on.queue, count(1, 1)).await;
    on.queue.give_back(&taken[1].token).await.expect("a giving back that is recorded");
    let given_back = on.queue.backlog(&consumer).await.expect("a queue that answers");
    assert_eq!(given_back.waiting + given_back.in_flight, 2, "it still is to be done: {given_back:?}");
    for _ in 0..2 {
        done(on, &next(on, &consumer).await.token).await;
    }
    counts(on.queue, count(0, 0)).await;
}

async fn a_message_too_large_for_its_stream_is_invalid(on: Subject<'_>) {
    let consumer = tasks_of("large");
    let subject = task(&consumer, "j");
    let max = TASKS.message_bytes_max.0 as usize;
    for bytes in [max + 1, 4 << 20] {
        let answer = on.queue.put_if_absent(&subject, vec![0; bytes].into()).await;
        assert!(matches!(answer, Err(PortError::Invalid(_))), "{bytes} bytes: {answer:?}");
    }
    nothing(on, &consumer, Duration::ZERO).await;
}

async fn a_subject_of_no_queue_is_missing(on: Subject<'_>) {
    for subject in ["weather.today", "event.j.started", "task.shape", "task.shape.normal.a.b.c"] {
        let answer = on.queue.put_if_absent(subject, "lost".into()).await;
        assert!(matches!(answer, Err(PortError::Missing(_))), "{subject}: {answer:?}");
    }
}

/// A queue whose task stream is full by `puts_max` messages of 60 KiB: that is an outage to be waited out,
/// and a task that is queued all the same is there. The queue is left full.
///
/// # Panics
/// The queue does not keep this promise.
pub async fn tells_a_full_stream_from_a_full_subject(queue: &dyn Queue, puts_max: usize) {
    let consumer = tasks_of("full");
    let payload = Payload::from(vec![7; 60 << 10]);
    let mut stored = 0;
    let full = loop {
        assert!(stored < puts_max, "not full after {stored} messages");
        match queue.put_if_absent(&task(&consumer, &format!("j{stored}")), payload.clone()).await {
            Ok(Put::Stored) => stored += 1,
            other => break other,
        }
    };
    assert!(matches!(full, Err(PortError::Unavailable(_))), "a full stream: {full:?}");
    assert!(stored > 1, "a stream that takes something");
    let there = queue.put_if_absent(&task(&consumer, "j0"), payload.clone()).await;
    assert_eq!(there, Ok(Put::AlreadyThere), "a queued task is there");
    let first = queue.take(&consumer, 1, PATIENCE).await.expect("a queue that answers").remove(0);
    queue.done(&first.token).await.expect("an acknowledgement that is recorded");
    let again = queue.put_if_absent(&task(&consumer, "late"), payload).await;
    assert_eq!(again, Ok(Put::Stored), "what was done made room");
}
