//! What every [`Store`] must do with an object: keep it as it was written, and let one of many conditional
//! writers win. What it must do with keys and lists is in [`super::keys`].

use super::{all_kept, asked, promises};
use crate::{
    Clock, Condition, GetOptions, Got, Object, ObjectInfo, PortError, PutOptions, Store, Stored, SystemClock,
    list_all,
};
use bytes::Bytes as Payload;
use domain::{Bytes, Timestamp};
use futures::future::{join, join_all};
use std::collections::BTreeMap;
use std::time::Duration;

/// A store, as the suites see it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// An empty bucket without versions.
    pub bucket: &'a str,
    /// Another empty bucket, in which nothing must appear.
    pub other: &'a str,
}

/// An etag that no object has.
const NO_ETAG: &str = "00000000000000000000000000000000";

/// More than one part: every adapter sends it in several.
const LARGE_BYTES: usize = 20 << 20;

/// Runs the suite.
///
/// # Panics
/// The store does not keep its contract; the message says which promises.
pub async fn conforms(on: Subject<'_>) {
    let mut promises = promises![on;
        what_was_put_is_got_as_it_was,
        get_head_and_list_agree,
        an_empty_object_is_an_object,
        an_object_is_replaced_with_all_that_belongs_to_it,
        one_content_has_one_etag,
        a_range_is_a_part_of_the_object,
        a_range_behind_the_end_is_invalid,
        a_read_may_insist_on_an_etag,
        a_read_may_have_a_largest_size,
        what_is_not_there_is_absent,
        a_bucket_that_is_not_there_is_missing,
        a_version_that_was_never_made_is_absent,
    ];
    promises.extend(promises![on;
        what_is_deleted_is_gone,
        a_create_needs_an_absent_object,
        of_many_creators_one_wins,
        a_replacement_needs_the_etag_that_is_there,
        of_many_replacements_of_one_etag_one_wins,
        a_reader_never_sees_half_of_two_writes,
        a_large_object_is_one_object,
        a_large_object_may_have_a_condition,
        of_many_large_creators_one_wins,
    ]);
    all_kept(promises).await;
}

fn text(condition: Condition) -> PutOptions {
    PutOptions::of("text/plain", condition)
}

async fn try_put(on: Subject<'_>, key: &str, body: impl Into<Payload>, condition: Condition) -> Stored {
    let put = on.store.put(on.bucket, key, body.into(), &text(condition)).await;
    put.unwrap_or_else(|error| panic!("PUT {key}: {error}"))
}

/// The etag of a write that must succeed.
async fn put(on: Subject<'_>, key: &str, body: impl Into<Payload>) -> String {
    match try_put(on, key, body, Condition::Always).await {
        Stored::Written(etag) => etag,
        Stored::ConditionFailed => panic!("PUT {key}: there is no condition"),
    }
}

async fn try_get(on: Subject<'_>, key: &str, options: GetOptions) -> Got {
    on.store.get(on.bucket, key, &options).await.unwrap_or_else(|error| panic!("GET {key}: {error}"))
}

/// An object that must be there.
async fn get(on: Subject<'_>, key: &str) -> Object {
    match try_get(on, key, GetOptions::default()).await {
        Got::Found(object) => object,
        other => panic!("GET {key}: {other:?}"),
    }
}

async fn head(on: Subject<'_>, key: &str) -> Option<ObjectInfo> {
    on.store.head(on.bucket, key).await.unwrap_or_else(|error| panic!("HEAD {key}: {error}"))
}

/// Bytes without a pattern that a lost, doubled or swapped part would keep.
fn noise(bytes: usize, seed: u64) -> Payload {
    let mut state = seed | 1;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(word).take(bytes).collect::<Vec<u8>>().into()
}

async fn what_was_put_is_got_as_it_was(on: Subject<'_>) {
    let metadata = [("recipe", "prop, high"), ("x-two", "a=b;c \"d\""), ("number", "17")];
    let metadata: BTreeMap<String, String> =
        metadata.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = PutOptions { metadata: metadata.clone(), ..PutOptions::of("image/png", Condition::Always) };
    let body = noise(9 << 20, 1);
    let before = SystemClock.now();
    let stored = on.store.put(on.bucket, "as-it-was", body.clone(), &options).await;
    let Ok(Stored::Written(etag)) = stored else { panic!("{stored:?}") };
    let object = get(on, "as-it-was").await;
    assert!(object.body == body, "the content is another one");
    assert_eq!((&object.info.etag, object.info.size), (&etag, Bytes(body.len() as u64)));
    assert_eq!((object.info.content_type.as_deref(), &object.info.metadata), (Some("image/png"), &metadata));
    assert_eq!(object.info.version_id, None, "a bucket without versions");
    let seconds = before.0 / 1000..=SystemClock.now().0 / 1000;
    assert!(
        seconds.contains(&object.info.last_modified_s),
        "{} is not {seconds:?}",
        object.info.last_modified_s
    );
}

/// What an upload's id is made of must be the same wherever it is read.
async fn get_head_and_list_agree(on: Subject<'_>) {
    let etag = put(on, "agree/a", "content").await;
    let info = get(on, "agree/a").await.info;
    assert_eq!(head(on, "agree/a").await.as_ref(), Some(&info));
    let listed = list_all(on.store, on.bucket, "agree/").await.expect("a bucket that can be listed");
    let [listed] = listed.as_slice() else { panic!("one object, not {listed:?}") };
    assert_eq!((listed.key.as_str(), &listed.etag, listed.size), ("agree/a", &etag, Bytes(7)));
    assert_eq!(listed.last_modified.0 / 1000, info.last_modified_s, "the same second");
    assert!(!etag.is_empty() && !etag.contains('"'), "an etag without quotes, not {etag}");
}

async fn an_empty_object_is_an_object(on: Subject<'_>) {
    let etag = put(on, "empty", "").await;
    let object = get(on, "empty").await;
    assert_eq!((object.body.len(), object.info.size, &object.info.etag), (0, Bytes::ZERO, &etag));
    assert_eq!(try_put(on, "empty", "more", Condition::IfAbsent).await, Stored::ConditionFailed);
}

async fn an_object_is_replaced_with_all_that_belongs_to_it(on: Subject<'_>) {
    let metadata = BTreeMap::from([("old".to_owned(), "yes".to_owned())]);
    let options = PutOptions { metadata, ..PutOptions::of("image/png", Condition::Always) };
    let first = on.store.put(on.bucket, "replaced", "a long first content".into(), &options).await;
    let Ok(Stored::Written(first)) = first else { panic!("{first:?}") };
    let second = put(on, "replaced", "second").await;
    let object = get(on, "replaced").await;
    assert_eq!((object.body.as_ref(), object.info.size), (&b"second"[..], Bytes(6)));
    assert_eq!(
        (object.info.content_type.as_deref(), object.info.metadata),
        (Some("text/plain"), BTreeMap::new())
    );
    assert_eq!(object.info.etag, second);
    assert_ne!(first, second, "another content has another etag");
}

async fn one_content_has_one_etag(on: Subject<'_>) {
    let first = put(on, "etag/a", "the same").await;
    assert_eq!(put(on, "etag/b", "the same").await, first, "under another key");
    assert_eq!(put(on, "etag/a", "the same").await, first, "written again");
    assert_ne!(put(on, "etag/c", "not the same").await, first);
}

async fn a_range_is_a_part_of_the_object(on: Subject<'_>) {
    let body = noise(100_000, 2);
    put(on, "range", body.clone()).await;
    for (first, last) in [(0, 0), (0, 99), (99_999, 99_999), (70_000, 80_000), (0, 99_999), (99_990, 200_000)]
    {
        let options = GetOptions { range: Some((first, last)), ..GetOptions::default() };
        let Got::Found(part) = try_get(on, "range", options).await else { panic!("it is there") };
        let expect = body.slice(first as usize..(last as usize + 1).min(body.len()));
        assert!(part.body == expect, "bytes {first} to {last}, both included");
        assert_eq!(part.info.size, Bytes(100_000), "the size is that of the whole object");
    }
}

async fn a_range_behind_the_end_is_invalid(on: Subject<'_>) {
    put(on, "short", "ten bytes.").await;
    let options = GetOptions { range: Some((10, 20)), ..GetOptions::default() };
    let answer = on.store.get(on.bucket, "short", &options).await;
    assert!(matches!(answer, Err(PortError::Invalid(_))), "{answer:?}");
}

async fn a_read_may_insist_on_an_etag(on: Subject<'_>) {
    let insist = |etag: &str| GetOptions { if_match: Some(etag.to_owned()), ..GetOptions::default() };
    let first = put(on, "insist", "first").await;
    assert!(matches!(try_get(on, "insist", insist(&first)).await, Got::Found(_)));
    let second = put(on, "insist", "second").await;
    assert_eq!(try_get(on, "insist", insist(&first)).await, Got::Changed);
    assert!(matches!(try_get(on, "insist", insist(&second)).await, Got::Found(_)));
    assert_eq!(try_get(on, "insist-on-nothing", insist(&first)).await, Got::Absent);
}

async fn a_read_may_have_a_largest_size(on: Subject<'_>) {
    put(on, "sized", noise(1000, 3)).await;
    let up_to = |bytes| GetOptions { size_max: Bytes(bytes), ..GetOptions::default() };
    for enough in [0, 1000, 5000] {
        assert!(matches!(try_get(on, "sized", up_to(enough)).await, Got::Found(_)), "{enough} is enough");
    }
    let answer = on.store.get(on.bucket, "sized", &up_to(999)).await;
    assert!(matches!(answer, Err(PortError::Invalid(_))), "{answer:?}");
}

async fn what_is_not_there_is_absent(on: Subject<'_>) {
    put(on, "there/below", "content").await;
    for key in ["not-there", "there", "there/", "there/belo", "there/below2"] {
        assert_eq!(head(on, key).await, None, "{key}");
        assert_eq!(try_get(on, key, GetOptions::default()).await, Got::Absent, "{key}");
    }
}

async fn a_bucket_that_is_not_there_is_missing(on: Subject<'_>) {
    let bucket = "no-such-bucket-anywhere";
    let missing = |error: Option<PortError>| matches!(error, Some(PortError::Missing(_)));
    assert!(missing(on.store.get(bucket, "key", &GetOptions::default()).await.err()), "GET");
    assert!(missing(on.store.list(bucket, "", None).await.err()), "LIST");
    for condition in [Condition::Always, Condition::IfAbsent, Condition::IfMatch(NO_ETAG.to_owned())] {
        let put = on.store.put(bucket, "key", "content".into(), &text(condition.clone())).await;
        assert!(missing(put.err()), "PUT {condition:?}");
    }
    assert!(missing(on.store.delete(bucket, &["key".to_owned()]).await.err()), "DELETE");
    assert!(missing(on.store.abort_uploads(bucket, Timestamp(0)).await.err()), "list uploads");
}

async fn a_version_that_was_never_made_is_absent(on: Subject<'_>) {
    put(on, "versioned", "content").await;
    let version = Some("3b241101-e2bb-4255-8caf-4136c566a962".to_owned());
    let options = GetOptions { version_id: version, ..GetOptions::default() };
    assert_eq!(try_get(on, "versioned", options).await, Got::Absent);
}

async fn what_is_deleted_is_gone(on: Subject<'_>) {
    let keys = ["deleted/a", "deleted/b", "deleted/never-there"].map(str::to_owned);
    for key in [&keys[0], &keys[1], "deleted/kept"] {
        put(on, key, "content").await;
    }
    for round in ["once", "twice"] {
        on.store.delete(on.bucket, &keys).await.unwrap_or_else(|error| panic!("delete {round}: {error}"));
    }
    on.store.delete(on.bucket, &[]).await.expect("nothing to delete is deleted");
    assert_eq!(head(on, &keys[0]).await, None);
    assert_eq!(try_get(on, &keys[1], GetOptions::default()).await, Got::Absent);
    let left = list_all(on.store, on.bucket, "deleted/").await.expect("a bucket that can be listed");
    assert_eq!(left.into_iter().map(|object| object.key).collect::<Vec<_>>(), ["deleted/kept"]);
    assert!(matches!(try_put(on, &keys[0], "again", Condition::IfAbsent).await, Stored::Written(_)));
}

async fn a_create_needs_an_absent_object(on: Subject<'_>) {
    let Stored::Written(etag) = try_put(on, "create", "first", Condition::IfAbsent).await else {
        panic!("it was absent")
    };
    for body in ["second", "first"] {
        assert_eq!(try_put(on, "create", body, Condition::IfAbsent).await, Stored::ConditionFailed);
    }
    let object = get(on, "create").await;
    assert_eq!((object.body.as_ref(), object.info.etag), (&b"first"[..], etag), "the first one stays");
}

/// Puts different bodies at once; returns that of the only winner.
async fn winner(on: Subject<'_>, key: &str, bodies: Vec<Payload>, condition: &Condition) -> Payload {
    let racers = bodies.into_iter().map(|body| async move {
        let stored = try_put(on, key, body.clone(), condition.clone()).await;
        matches!(stored, Stored::Written(_)).then_some(body)
    });
    let mut winners: Vec<Payload> = join_all(racers).await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "winners of {key}");
    winners.remove(0)
}

fn bodies(round: usize) -> Vec<Payload> {
    (0..32).map(|racer| format!("racer {racer} of round {round}").into()).collect()
}

/// Races for one key: what all of the protocol rests on is tried more often than anything else.
const CREATE_ROUNDS: usize = 100;

async fn of_many_creators_one_wins(on: Subject<'_>) {
    for round in 0..CREATE_ROUNDS {
        let key = format!("create-race/{round}");
        let won = winner(on, &key, bodies(round), &Condition::IfAbsent).await;
        assert_eq!(get(on, &key).await.body, won, "what the winner wrote is there");
    }
}

async fn a_replacement_needs_the_etag_that_is_there(on: Subject<'_>) {
    let if_match = |etag: &str| Condition::IfMatch(etag.to_owned());
    let first = put(on, "replace", "first").await;
    let Stored::Written(second) = try_put(on, "replace", "second", if_match(&first)).await else {
        panic!("its etag is {first}")
    };
    for etag in [first.as_str(), NO_ETAG] {
        assert_eq!(try_put(on, "replace", "stale", if_match(etag)).await, Stored::ConditionFailed);
    }
    assert_eq!(get(on, "replace").await.info.etag, second);
    let absent = try_put(on, "replace-nothing", "new", if_match(&first)).await;
    assert_eq!(absent, Stored::ConditionFailed, "what is absent has no etag");
    assert_eq!(head(on, "replace-nothing").await, None);
}

async fn of_many_replacements_of_one_etag_one_wins(on: Subject<'_>) {
    let mut etag = put(on, "replace-race", "start").await;
    for round in 0..5 {
        let won = winner(on, "replace-race", bodies(round), &Condition::IfMatch(etag)).await;
        let object = get(on, "replace-race").await;
        assert_eq!(object.body, won);
        etag = object.info.etag;
    }
}

async fn a_reader_never_sees_half_of_two_writes(on: Subject<'_>) {
    let contents = [b'a', b'b'].map(|letter| Payload::from(vec![letter; 300_000]));
    let etags = [put(on, "torn", contents[0].clone()).await, put(on, "torn", contents[1].clone()).await];
    let writing = async {
        for n in 0..30 {
            put(on, "torn", contents[n % 2].clone()).await;
        }
    };
    let reading = async {
        for _ in 0..30 {
            let object = get(on, "torn").await;
            let which = usize::from(object.body.first() == Some(&b'b'));
            assert!(object.body == contents[which], "bytes of two writes");
            assert_eq!(object.info.etag, etags[which], "the etag belongs to the content");
        }
    };
    join(writing, reading).await;
}

async fn a_large_object_is_one_object(on: Subject<'_>) {
    let body = noise(LARGE_BYTES, 4);
    let metadata = BTreeMap::from([("recipe".to_owned(), "large".to_owned())]);
    let options =
        PutOptions { metadata: metadata.clone(), ..PutOptions::of("model/gltf-binary", Condition::Always) };
    let stored = on.store.put(on.bucket, "large", body.clone(), &options).await;
    let Ok(Stored::Written(etag)) = stored else { panic!("{stored:?}") };
    let object = get(on, "large").await;
    assert!(object.body == body, "the content is another one");
    let info = object.info;
    assert_eq!((&info.etag, info.size), (&etag, Bytes(LARGE_BYTES as u64)));
    assert_eq!((info.content_type.as_deref(), &info.metadata), (Some("model/gltf-binary"), &metadata));
    assert_eq!(head(on, "large").await.as_ref(), Some(&info));
    let (first, last) = ((16 << 20) - 1000, (16 << 20) + 999);
    let options = GetOptions { range: Some((first, last)), if_match: Some(etag), ..GetOptions::default() };
    let Got::Found(part) = try_get(on, "large", options).await else { panic!("it is there") };
    assert!(part.body == body.slice(first as usize..=last as usize), "a range across parts");
}

async fn a_large_object_may_have_a_condition(on: Subject<'_>) {
    let first = put(on, "large-replace", "small").await;
    let body = noise(LARGE_BYTES, 5);
    let absent = try_put(on, "large-replace", body.clone(), Condition::IfAbsent).await;
    assert_eq!(absent, Stored::ConditionFailed);
    let stale = Condition::IfMatch(NO_ETAG.to_owned());
    assert_eq!(try_put(on, "large-replace", body.clone(), stale).await, Stored::ConditionFailed);
    assert_eq!(get(on, "large-replace").await.body, "small");
    let matching = try_put(on, "large-replace", body.clone(), Condition::IfMatch(first)).await;
    assert!(matches!(matching, Stored::Written(_)), "{matching:?}");
    assert!(get(on, "large-replace").await.body == body);
}

async fn of_many_large_creators_one_wins(on: Subject<'_>) {
    let bodies = (0..4).map(|racer| noise(LARGE_BYTES, 100 + racer)).collect();
    let won = winner(on, "large-race", bodies, &Condition::IfAbsent).await;
    assert!(get(on, "large-race").await.body == won, "what the winner wrote is there");
}

/// A bucket that keeps versions: each write is one, and each is read by its id.
///
/// # Panics
/// The store does not keep this promise.
pub async fn keeps_versions(store: &dyn Store, bucket: &str) {
    let on = Subject { store, bucket, other: bucket };
    let mut versions = Vec::new();
    for body in ["first", "second"] {
        let etag = put(on, "versions", body).await;
        let info = head(on, "versions").await.expect("it was written");
        assert_eq!(info.etag, etag);
        versions.push((info.version_id.expect("a bucket with versions"), body, etag));
    }
    assert_ne!(versions[0].0, versions[1].0);
    store.delete(bucket, &["versions".to_owned()]).await.expect("a bucket that can be written");
    assert_eq!(head(on, "versions").await, None, "what is deleted is gone");
    for (id, body, etag) in versions {
        let options =
            GetOptions { version_id: Some(id.clone()), if_match: Some(etag), ..GetOptions::default() };
        let Got::Found(object) = try_get(on, "versions", options).await else { panic!("{id} is there") };
        assert_eq!((object.body.as_ref(), object.info.version_id), (body.as_bytes(), Some(id)));
    }
}

/// A bucket in which somebody has just begun this many multipart uploads and left: old ones are ended, and
/// younger ones are not.
///
/// # Panics
/// The store does not keep this promise.
pub async fn ends_abandoned_uploads(store: &dyn Store, bucket: &str, begun: usize) {
    let abort = async |before| store.abort_uploads(bucket, before).await.expect("a store that answers");
    let hour = Duration::from_secs(3600);
    let hour_ago = Timestamp(SystemClock.now().0 - hour.as_millis() as u64);
    assert_eq!(abort(hour_ago).await, 0, "they are younger than an hour");
    let in_an_hour = SystemClock.now() + hour;
    let mut ended = 0;
    // A store may tell of a new upload a little later.
    asked("all uploads to be ended", async || {
        ended += abort(in_an_hour).await;
        (ended >= begun).then_some(())
    })
    .await;
    assert_eq!(ended, begun);
    assert_eq!(abort(in_an_hour).await, 0, "each is ended once");
}
