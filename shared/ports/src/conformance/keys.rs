//! What every [`crate::Store`] must do with keys: a key is data, whatever is in it, and never a path; a list
//! tells all of them, once and in the order of their bytes.

use super::store::Subject;
use super::{all_kept, promises};
use crate::{Condition, GetOptions, Got, PortError, PutOptions, Stored, list_all};
use futures::StreamExt;
use futures::stream::iter;

/// Objects of the large list: more than one page of 1,000, by a few.
const MANY: usize = 1005;

/// Calls at once, where there are many.
const AT_ONCE: usize = 32;

/// Runs the suite.
///
/// # Panics
/// The store does not keep its contract; the message says which promises.
pub async fn conforms(on: Subject<'_>) {
    let promises = promises![on;
        a_key_may_hold_anything,
        a_key_may_be_long,
        keys_that_look_alike_are_different_keys,
        a_key_that_is_a_way_out_is_invalid,
        a_key_too_long_is_invalid,
        a_list_is_in_the_order_of_bytes,
        a_prefix_is_text_and_no_folder,
        a_long_list_comes_in_pages_and_is_deleted_at_once,
    ];
    all_kept(promises).await;
    let leaked = list_all(on.store, on.other, "").await.expect("a bucket that can be listed");
    assert_eq!(leaked, Vec::new(), "nothing has got into the other bucket");
}

async fn create(on: Subject<'_>, key: &str) {
    let options = PutOptions::of("text/plain", Condition::IfAbsent);
    let stored = on.store.put(on.bucket, key, key.to_owned().into(), &options).await;
    assert!(matches!(stored, Ok(Stored::Written(_))), "PUT {key:?}: {stored:?}");
}

async fn listed(on: Subject<'_>, prefix: &str) -> Vec<String> {
    let objects = list_all(on.store, on.bucket, prefix).await;
    let objects = objects.unwrap_or_else(|error| panic!("LIST {prefix:?}: {error}"));
    objects.into_iter().map(|object| object.key).collect()
}

/// Writes, reads, lists and deletes objects with these keys, all of which begin with `prefix`.
async fn live_through(on: Subject<'_>, prefix: &str, keys: &[String]) {
    for key in keys {
        create(on, key).await;
    }
    for key in keys {
        let head = on.store.head(on.bucket, key).await;
        assert!(matches!(&head, Ok(Some(info)) if info.size.0 == key.len() as u64), "HEAD {key:?}: {head:?}");
        let got = on.store.get(on.bucket, key, &GetOptions::default()).await;
        assert!(matches!(&got, Ok(Got::Found(object)) if object.body == *key), "GET {key:?}: {got:?}");
    }
    let mut sorted = keys.to_vec();
    sorted.sort();
    assert_eq!(listed(on, prefix).await, sorted);
    on.store.delete(on.bucket, keys).await.unwrap_or_else(|error| panic!("DELETE {prefix}…: {error}"));
    assert_eq!(listed(on, prefix).await, Vec::<String>::new(), "all of them are deleted");
}

async fn a_key_may_hold_anything(on: Subject<'_>) {
    let keys = [
        "two words.png",
        " around ",
        "ü ö ß/é.png",
        "日本語/写真.png",
        "😀/👩‍🚀.png",
        "a..b",
        "..c",
        "d..",
        "...",
        ".hidden",
        "a+b&c=d?e#f",
        "100%.png",
        "%zz",
        "<&>\"'.png",
        "[x]{y}|^`~$@!*();,:",
        "-rf",
        "con",
        "xl.meta",
        "folder/",
        "state.json/inside",
    ];
    live_through(on, "odd/", &keys.map(|key| format!("odd/{key}"))).await;
}

async fn a_key_may_be_long(on: Subject<'_>) {
    let of_bytes = |bytes: usize, letter: &str| {
        let segments = "long/".to_owned() + &format!("{}/", letter.repeat(200 / letter.len())).repeat(6);
        let mut end = bytes;
        while !segments.is_char_boundary(end) {
            end -= 1;
        }
        let key = segments[..end].trim_end_matches('/').to_owned();
        key.clone() + &"x".repeat(bytes - key.len())
    };
    let keys = [of_bytes(1000, "a"), of_bytes(1000, "ü"), of_bytes(1024, "b"), of_bytes(1024, "写")];
    assert!(keys.iter().all(|key| key.len() >= 1000));
    live_through(on, "long/", &keys).await;
}

async fn keys_that_look_alike_are_different_keys(on: Subject<'_>) {
    let keys =
        ["a b", "a+b", "a%20b", "a%2Bb", "a%2520b", "A b", "a b ", "é", "e\u{301}", "a%2Fb", "c/d", "c%2fd"];
    live_through(on, "alike/", &keys.map(|key| format!("alike/{key}"))).await;
}

/// Refused when written, and nothing is found under it: neither an error of the other kinds nor an object.
async fn refused(on: Subject<'_>, key: &str) {
    let options = PutOptions::of("text/plain", Condition::Always);
    let put = on.store.put(on.bucket, key, "out".into(), &options).await;
    assert!(matches!(put, Err(PortError::Invalid(_))), "PUT {key:?}: {put:?}");
    let head = on.store.head(on.bucket, key).await;
    assert!(matches!(head, Ok(None) | Err(PortError::Invalid(_))), "HEAD {key:?}: {head:?}");
    let got = on.store.get(on.bucket, key, &GetOptions::default()).await;
    assert!(matches!(got, Ok(Got::Absent) | Err(PortError::Invalid(_))), "GET {key:?}: {got:?}");
}

async fn a_key_that_is_a_way_out_is_invalid(on: Subject<'_>) {
    let into_other = format!("../{}/x", on.other);
    let keys = ["out/../x", "../x", "..", "out/..", "out/../../x", "out/./x", ".", into_other.as_str()];
    for key in keys {
        refused(on, key).await;
    }
    assert_eq!(listed(on, "out").await, Vec::<String>::new());
}

async fn a_key_too_long_is_invalid(on: Subject<'_>) {
    for key in [String::new(), "too-long/".to_owned() + &"x".repeat(256), "too-long/".repeat(114)] {
        refused(on, &key).await;
    }
    assert_eq!(listed(on, "too-long").await, Vec::<String>::new());
}

async fn a_list_is_in_the_order_of_bytes(on: Subject<'_>) {
    // In this order: `!` and `-` and `.` come before `/`, capitals before small letters, and what UTF-16
    // would put the other way round comes last.
    let keys = ["a!", "a-b", "a.b", "a/B", "a/b", "a/b.c", "a0", "aB", "ab", "b", "z", "ä", "～", "😀"];
    let keys = keys.map(|key| format!("order/{key}"));
    for key in keys.iter().rev() {
        create(on, key).await;
    }
    assert_eq!(listed(on, "order/").await, keys);
}

async fn a_prefix_is_text_and_no_folder(on: Subject<'_>) {
    for key in ["prefix/ab/c", "prefix/abc", "prefix/b c", "prefix/ü"] {
        create(on, key).await;
    }
    let check = async |prefix: &str, expect: &[&str]| {
        assert_eq!(listed(on, prefix).await, expect, "{prefix:?}");
    };
    check("prefix/ab", &["prefix/ab/c", "prefix/abc"]).await;
    check("prefix/ab/", &["prefix/ab/c"]).await;
    check("prefix/a", &["prefix/ab/c", "prefix/abc"]).await;
    check("prefix/abc", &["prefix/abc"]).await;
    check("prefix/b ", &["prefix/b c"]).await;
    check("prefix/ü", &["prefix/ü"]).await;
    check("prefix/x", &[]).await;
    check("refix/", &[]).await;
}

async fn a_long_list_comes_in_pages_and_is_deleted_at_once(on: Subject<'_>) {
    let keys: Vec<String> = (0..MANY).map(|n| format!("many/{n:04}")).collect();
    let creating = iter(&keys).map(|key| create(on, key)).buffer_unordered(AT_ONCE);
    creating.collect::<()>().await;
    let (mut found, mut next, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = on.store.list(on.bucket, "many/", next).await.expect("a bucket that can be listed");
        assert!(page.objects.len() <= 1000, "{} at once", page.objects.len());
        found.extend(page.objects.into_iter().map(|object| object.key));
        pages += 1;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, keys);
    assert!(pages >= 2, "more than a page holds");
    assert_eq!(listed(on, "many/0").await, keys[..1000], "as many as a page holds");
    on.store.delete(on.bucket, &keys).await.expect("a bucket that can be written");
    assert_eq!(listed(on, "many/").await, Vec::<String>::new());
}
