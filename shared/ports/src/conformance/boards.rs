//! What every [`Boards`] must do: the latest value of each key, one winner of each conditional write, and
//! forgetting what nobody renews.

use super::{all_kept, asked, promises};
use crate::{Boards, Clock, Entry, Expect, PortError, SystemClock, Write};
use bytes::Bytes as Payload;
use domain::BoardSpec;
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// Boards that are empty, as the suite sees them.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The boards.
    pub boards: &'a dyn Boards,
    /// The same boards by another connection.
    pub elsewhere: &'a dyn Boards,
    /// A board whose entries stay.
    pub lasting: &'a BoardSpec,
    /// A board whose entries go; its age is a part of the suite's time.
    pub brief: &'a BoardSpec,
    /// A board that nobody else writes to, not even another promise.
    pub quiet: &'a BoardSpec,
}

/// Runs the suite.
///
/// # Panics
/// The boards do not keep their contract; the message says which promises.
pub async fn conforms(on: Subject<'_>) {
    let mut promises = promises![on;
        what_was_written_is_read_everywhere,
        a_key_without_entry_is_none,
        the_latest_value_counts,
        a_value_may_be_anything,
        revisions_rise_with_every_write,
        a_list_tells_each_key_once_in_order,
        boards_do_not_know_each_other,
    ];
    promises.extend(promises![on;
        an_entry_is_created_once,
        of_many_creators_one_wins,
        an_update_needs_the_revision_that_is_there,
        of_many_updates_of_one_revision_one_wins,
        what_is_removed_is_gone_and_can_be_created_again,
        an_entry_that_nobody_renews_goes,
        an_entry_that_is_renewed_stays,
        a_lease_changes_hands_once_it_has_expired,
        a_key_that_is_no_name_is_invalid,
    ]);
    all_kept(promises).await;
}

async fn write(on: Subject<'_>, key: &str, value: &'static str, expect: Expect) -> Write {
    let written = on.boards.write(on.lasting, key, value.into(), expect).await;
    written.expect("a board that answers")
}

/// The revision of a write that must succeed.
async fn written(on: Subject<'_>, key: &str, value: &'static str, expect: Expect) -> u64 {
    match write(on, key, value, expect).await {
        Write::Written(revision) => revision,
        Write::Conflict => panic!("{key}: {expect:?} holds, and yet there is a conflict"),
    }
}

async fn read(boards: &dyn Boards, board: &BoardSpec, key: &str) -> Option<Entry> {
    boards.read(board, key).await.expect("a board that answers")
}

async fn keys(boards: &dyn Boards, board: &BoardSpec) -> Vec<String> {
    let entries = boards.list(board).await.expect("a board that answers");
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn what_was_written_is_read_everywhere(on: Subject<'_>) {
    let before = SystemClock.now();
    let revision = written(on, "read", "value", Expect::Anything).await;
    let after = SystemClock.now();
    for boards in [on.boards, on.elsewhere] {
        let entry = read(boards, on.lasting, "read").await.expect("it was written");
        assert_eq!((entry.key.as_str(), entry.value.as_ref()), ("read", &b"value"[..]));
        assert_eq!(entry.revision, revision, "the revision that the writer was told");
        assert!((before..=after).contains(&entry.written_at), "written at {:?}", entry.written_at);
        let listed = boards.list(on.lasting).await.expect("a board that answers");
        assert!(listed.contains(&entry), "a list tells the same");
    }
}

async fn a_key_without_entry_is_none(on: Subject<'_>) {
    assert_eq!(read(on.boards, on.lasting, "never-written").await, None);
}

async fn the_latest_value_counts(on: Subject<'_>) {
    for value in ["one", "two", "three"] {
        written(on, "latest", value, Expect::Anything).await;
        assert_eq!(read(on.elsewhere, on.lasting, "latest").await.expect("written").value, value);
    }
}

async fn a_value_may_be_anything(on: Subject<'_>) {
    let large = (0..=255).cycle().take(100_000).collect::<Vec<u8>>();
    for value in [Payload::new(), Payload::from_static(&[0, 255, 13, 10]), large.into()] {
        let written = on.boards.write(on.lasting, "anything", value.clone(), Expect::Anything).await;
        assert!(matches!(written, Ok(Write::Written(_))), "{written:?}");
        assert_eq!(read(on.boards, on.lasting, "anything").await.expect("written").value, value);
    }
}

async fn revisions_rise_with_every_write(on: Subject<'_>) {
    let mut last = 0;
    for n in 0..20 {
        let key = if n % 2 == 0 { "rising-a" } else { "rising-b" };
        let revision = written(on, key, "value", Expect::Anything).await;
        assert!(revision > last, "{revision} after {last}");
        last = revision;
    }
}

async fn a_list_tells_each_key_once_in_order(on: Subject<'_>) {
    assert_eq!(keys(on.boards, on.quiet).await, Vec::<String>::new(), "an empty board is an empty list");
    let mut expect: Vec<String> = (0..150).map(|n| format!("key-{n}.of/many_{n}=")).collect();
    for key in expect.iter().rev() {
        for _ in 0..2 {
            let written = on.boards.write(on.quiet, key, "value".into(), Expect::Anything).await;
            written.expect("a board with room");
        }
    }
    on.boards.remove(on.quiet, &expect[77]).await.expect("a board that answers");
    expect.remove(77);
    expect.sort();
    assert_eq!(keys(on.boards, on.quiet).await, expect);
    assert_eq!(keys(on.elsewhere, on.quiet).await, expect);
}

async fn boards_do_not_know_each_other(on: Subject<'_>) {
    written(on, "mine-alone", "lasting", Expect::Anything).await;
    assert_eq!(read(on.boards, on.brief, "mine-alone").await, None);
}

async fn an_entry_is_created_once(on: Subject<'_>) {
    let revision = written(on, "created", "first", Expect::Absent).await;
    assert_eq!(write(on, "created", "second", Expect::Absent).await, Write::Conflict);
    let entry = read(on.boards, on.lasting, "created").await.expect("written");
    assert_eq!((entry.value.as_ref(), entry.revision), (&b"first"[..], revision), "the first one stays");
}

/// How many of 32 writers, by two connections, get through.
async fn winners(on: Subject<'_>, key: &str, expect: Expect) -> usize {
    let racers = (0..32).map(|racer| async move {
        let boards = if racer % 2 == 0 { on.boards } else { on.elsewhere };
        boards.write(on.lasting, key, racer.to_string().into(), expect).await.expect("a board that answers")
    });
    let raced = join_all(racers).await;
    raced.into_iter().filter(|write| matches!(write, Write::Written(_))).count()
}

async fn of_many_creators_one_wins(on: Subject<'_>) {
    for round in 0..5 {
        assert_eq!(winners(on, &format!("create-race-{round}"), Expect::Absent).await, 1);
    }
}

async fn an_update_needs_the_revision_that_is_there(on: Subject<'_>) {
    let first = written(on, "updated", "first", Expect::Absent).await;
    let second = written(on, "updated", "second", Expect::Revision(first)).await;
    assert_eq!(write(on, "updated", "stale", Expect::Revision(first)).await, Write::Conflict);
    assert_eq!(write(on, "updated", "early", Expect::Revision(second + 1000)).await, Write::Conflict);
    assert_eq!(write(on, "never-there", "new", Expect::Revision(second)).await, Write::Conflict);
    assert_eq!(read(on.boards, on.lasting, "updated").await.expect("written").value, "second");
    assert_eq!(read(on.boards, on.lasting, "never-there").await, None);
}

async fn of_many_updates_of_one_revision_one_wins(on: Subject<'_>) {
    let mut revision = written(on, "update-race", "start", Expect::Absent).await;
    for _ in 0..5 {
        assert_eq!(winners(on, "update-race", Expect::Revision(revision)).await, 1);
        revision = read(on.boards, on.lasting, "update-race").await.expect("written").revision;
    }
}

async fn what_is_removed_is_gone_and_can_be_created_again(on: Subject<'_>) {
    let first = written(on, "removed", "first", Expect::Absent).await;
    on.boards.remove(on.lasting, "removed").await.expect("a board that answers");
    assert_eq!(read(on.elsewhere, on.lasting, "removed").await, None);
    assert!(!keys(on.boards, on.lasting).await.contains(&"removed".to_owned()));
    assert_eq!(write(on, "removed", "stale", Expect::Revision(first)).await, Write::Conflict);
    on.boards.remove(on.lasting, "removed").await.expect("removed twice is removed");
    on.boards.remove(on.lasting, "never-written").await.expect("what is not there is removed");
    assert!(written(on, "removed", "second", Expect::Absent).await > first);
    assert_eq!(read(on.boards, on.lasting, "removed").await.expect("written").value, "second");
}

/// The age of an entry of the brief board.
fn age(on: Subject<'_>) -> Duration {
    on.brief.age_max.expect("the brief board has an age")
}

async fn brief(boards: &dyn Boards, on: Subject<'_>, key: &str, expect: Expect) -> Write {
    boards.write(on.brief, key, "brief".into(), expect).await.expect("a board that answers")
}

async fn gone(on: Subject<'_>, key: &str) {
    let look = async || read(on.elsewhere, on.brief, key).await.is_none().then_some(());
    asked(&format!("{key} to expire"), look).await;
}

async fn an_entry_that_nobody_renews_goes(on: Subject<'_>) {
    let started = Instant::now();
    let Write::Written(revision) = brief(on.boards, on, "dies", Expect::Anything).await else {
        panic!("anything goes")
    };
    assert!(read(on.elsewhere, on.brief, "dies").await.is_some(), "it is there at first");
    gone(on, "dies").await;
    assert!(started.elapsed() >= age(on), "gone after {:?} already", started.elapsed());
    assert!(!keys(on.boards, on.brief).await.contains(&"dies".to_owned()), "a list does not tell it");
    assert_eq!(brief(on.boards, on, "dies", Expect::Revision(revision)).await, Write::Conflict);
}

async fn an_entry_that_is_renewed_stays(on: Subject<'_>) {
    let started = Instant::now();
    while started.elapsed() < age(on) * 2 {
        brief(on.boards, on, "lives", Expect::Anything).await;
        let renewed = Instant::now();
        // Looked at all the time, renewed three times an age.
        asked("the next renewal", async || {
            let entry = read(on.boards, on.brief, "lives").await;
            assert!(entry.is_some(), "it was renewed {:?} ago", renewed.elapsed());
            (renewed.elapsed() >= age(on) / 3).then_some(())
        })
        .await;
    }
}

/// How planners follow each other.
async fn a_lease_changes_hands_once_it_has_expired(on: Subject<'_>) {
    let (one, two) = (on.boards, on.elsewhere);
    let Write::Written(first) = brief(one, on, "lease", Expect::Absent).await else {
        panic!("nobody has it")
    };
    assert_eq!(brief(two, on, "lease", Expect::Absent).await, Write::Conflict, "one has it");
    let Write::Written(renewed) = brief(one, on, "lease", Expect::Revision(first)).await else {
        panic!("nobody wrote in between")
    };
    assert_eq!(brief(two, on, "lease", Expect::Absent).await, Write::Conflict, "one has renewed it");
    gone(on, "lease").await;
    let Write::Written(taken) = brief(two, on, "lease", Expect::Absent).await else {
        panic!("it has expired")
    };
    assert!(taken > renewed);
    assert_eq!(brief(one, on, "lease", Expect::Revision(renewed)).await, Write::Conflict, "two has it");
}

async fn a_key_that_is_no_name_is_invalid(on: Subject<'_>) {
    for key in ["", "two words", "ü", "*", "a.>", ".a", "a."] {
        let written = on.boards.write(on.lasting, key, "value".into(), Expect::Anything).await;
        assert!(matches!(written, Err(PortError::Invalid(_))), "write {key:?}: {written:?}");
        let created = on.boards.write(on.lasting, key, "value".into(), Expect::Absent).await;
        assert!(matches!(created, Err(PortError::Invalid(_))), "create {key:?}: {created:?}");
        let read = on.boards.read(on.lasting, key).await;
        assert!(matches!(read, Err(PortError::Invalid(_))), "read {key:?}: {read:?}");
        let removed = on.boards.remove(on.lasting, key).await;
        assert!(matches!(removed, Err(PortError::Invalid(_))), "remove {key:?}: {removed:?}");
    }
}
