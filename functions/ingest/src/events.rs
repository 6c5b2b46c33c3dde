//! Events: reads what stores say of a new object, in six dialects. Pure; the first step of the flow.
//!
//! Nothing here is believed: bucket, key, etag and size only say which object to look at.
//! ```text
//! {Records: […]}            AWS, Ceph, versitygw            […]                older versitygw
//! {EventName, Key, Records} MinIO, RustFS                   {detail-type, …}   EventBridge
//! {Message: "…"}            SNS around any of these         {Body: "…"}        SQS around any of these
//! ```

use crate::event_key::{KeyStyle, key_candidates};
use domain::Bytes;
use serde_json_borrow::{ObjectAsVec, Value};

/// Largest event body that is read: what stream `UPLOADS` takes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most records in one event, over all its wrappers.
pub const RECORDS_MAX: usize = 100;
/// Deepest nesting of an event; real ones have 6 levels.
pub const DEPTH_MAX: usize = 32;
/// Most wrappers around each other: SNS in SQS in a record list is 3.
const WRAPPERS_MAX: usize = 4;

/// One object that a store says was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// The bucket it names.
    pub bucket: String,
    /// The keys that it may mean, the likeliest first; never empty.
    pub key_candidates: Vec<String>,
    /// Without quotes, if it names one.
    pub etag: Option<String>,
    /// If it names one; MinIO leaves it out for empty objects.
    pub size: Option<Bytes>,
    /// If it names a version that is one.
    pub version_id: Option<String>,
    /// A hint only: compared with nothing.
    pub sequencer: Option<String>,
}

/// What a message on `s3ev.<store>` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Objects were created.
    Objects {
        /// Which.
        objects: Vec<ObjectEvent>,
        /// Records beside them that could not be read; the sweep finds what they meant.
        unreadable: usize,
    },
    /// It is well-formed and nothing was created: a test event, a deletion, another service's message.
    Ignored {
        /// What it is.
        why: &'static str,
    },
    /// It cannot be read.
    Unreadable {
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Reads one message. Never panics, whatever the bytes.
pub fn parse(body: &[u8]) -> Parsed {
    let mut found = Found::default();
    match found.document(body, WRAPPERS_MAX) {
        Err(why) => Parsed::Unreadable { why },
        Ok(()) if !found.objects.is_empty() => {
            Parsed::Objects { objects: found.objects, unreadable: found.unreadable }
        }
        Ok(()) if found.unreadable > 0 => Parsed::Unreadable { why: "no record can be read" },
        Ok(()) => Parsed::Ignored { why: found.ignored.unwrap_or("no records") },
    }
}

/// What was found so far in a message and its wrappers.
#[derive(Default)]
struct Found {
    objects: Vec<ObjectEvent>,
    records: usize,
    unreadable: usize,
    ignored: Option<&'static str>,
}

impl Found {
    /// A JSON text: the message itself or what a wrapper carries.
    fn document(&mut self, body: &[u8], wrappers_left: usize) -> Result<(), &'static str> {
        if body.len() > BODY_BYTES_MAX {
            return Err("more than 64 KiB");
        }
        if is_too_deep(body) {
            return Err("nested deeper than 32 levels");
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => self.message(&fields, wrappers_left),
            Ok(Value::Array(records)) => self.records(&records, wrappers_left),
            Ok(_) => Err("neither an object nor a list"),
            Err(_) => Err("not JSON"),
        }
    }

    fn message(&mut self, fields: &Fields<'_>, wrappers_left: usize) -> Result<(), &'static str> {
        if let Some(Value::Array(records)) = fields.get("Records") {
            return self.records(records, wrappers_left);
        }
        if let (Some(kind), Some(detail)) = (text(fields, "detail-type"), fields.get("detail")) {
            return self.event_bridge(kind, detail);
        }
        if text(fields, "Event") == Some("s3:TestEvent") {
            return self.ignore("test event");
        }
        if let Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") = text(fields, "Type") {
            // The URL in it is never followed: a person confirms a subscription.
            return self.ignore("subscription confirmation");
        }
        match wrapped(fields) {
            Some(inner) => self.unwrap_once(inner, wrappers_left),
            None => self.ignore("unknown message"),
        }
    }

    fn records(&mut self, records: &[Value<'_>], wrappers_left: usize) -> Result<(), &'static str> {
        self.records += records.len();
        if self.records > RECORDS_MAX {
            return Err("more than 100 records");
        }
        for record in records {
            let Value::Object(fields) = record else {
                self.unreadable += 1;
                continue;
            };
            if fields.contains_key("s3") {
                self.s3_record(fields);
            } else if let Some(inner) = wrapped(fields) {
                // One bad message of several does not spoil its neighbours.
                if self.unwrap_once(inner, wrappers_left).is_err() {
                    self.unreadable += 1;
                }
            } else {
                self.ignored = Some("another service's record");
            }
        }
        // Again, for what the wrapped ones brought.
        if self.records > RECORDS_MAX { Err("more than 100 records") } else { Ok(()) }
    }

    fn unwrap_once(&mut self, inner: &str, wrappers_left: usize) -> Result<(), &'static str> {
        match wrappers_left.checked_sub(1) {
            Some(left) => self.document(inner.as_bytes(), left),
            None => Err("wrapped too often"),
        }
    }

    fn s3_record(&mut self, record: &Fields<'_>) {
        let Some(name) = text(record, "eventName") else {
            self.unreadable += 1;
            return;
        };
        if !name.strip_prefix("s3:").unwrap_or(name).starts_with("ObjectCreated:") {
            self.ignored = Some("not a creation");
            return;
        }
        let names = Names { etag: "eTag", version: "versionId", style: KeyStyle::Encoded };
        self.object(record.get("s3"), &names);
    }

    fn event_bridge(&mut self, kind: &str, detail: &Value<'_>) -> Result<(), &'static str> {
        self.records += 1;
        if kind != "Object Created" {
            return self.ignore("not a creation");
        }
        let names = Names { etag: "etag", version: "version-id", style: KeyStyle::Raw };
        self.object(Some(detail), &names);
        Ok(())
    }

    /// What a record says of bucket and object.
    fn object(&mut self, said: Option<&Value<'_>>, names: &Names) {
        let field = |of: &str| said.and_then(Value::as_object)?.get(of)?.as_object();
        let (bucket, object) = (field("bucket"), field("object"));
        let of_object = |name: &str| object.and_then(|fields| text(fields, name));
        let (Some(bucket), Some(key)) = (bucket.and_then(|fields| text(fields, "name")), of_object("key"))
        else {
            self.unreadable += 1;
            return;
        };
        let key_candidates = key_candidates(key, names.style);
        if bucket.is_empty() || key_candidates.is_empty() {
            self.unreadable += 1;
            return;
        }
        let etag = of_object(names.etag).map(|etag| etag.trim_matches('"')).filter(|e| !e.is_empty());
        let version = of_object(names.version).filter(|v| !v.is_empty() && *v != "null");
        // Ceph has sent sizes as text.
        let size = object.and_then(|fields| fields.get("size"));
        let size = size.and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
        self.objects.push(ObjectEvent {
            bucket: bucket.to_owned(),
            key_candidates,
            etag: etag.map(str::to_owned),
            size: size.map(Bytes),
            version_id: version.map(str::to_owned),
            sequencer: of_object("sequencer").map(str::to_owned),
        });
    }

    fn ignore(&mut self, why: &'static str) -> Result<(), &'static str> {
        self.ignored = Some(why);
        Ok(())
    }
}

type Fields<'a> = ObjectAsVec<'a>;

/// How a dialect names and writes what it tells of an object.
struct Names {
    etag: &'static str,
    version: &'static str,
    style: KeyStyle,
}

fn text<'a>(fields: &'a Fields<'_>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

/// The text that an SNS or SQS message carries, as itself or as a function's record.
fn wrapped<'a>(fields: &'a Fields<'_>) -> Option<&'a str> {
    let own = ["Message", "Body", "body"].into_iter().find_map(|name| text(fields, name));
    own.or_else(|| text(fields.get("Sns")?.as_object()?, "Message"))
}

/// Whether brackets outside of strings nest deeper than allowed. Before parsing, since a parser recurses.
fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(body: &[u8], expect: &str) {
        assert_eq!(parse(body), Parsed::Unreadable { why: expect_static(expect) });
    }

    fn ignored(body: &str, expect: &str) {
        assert_eq!(parse(body.as_bytes()), Parsed::Ignored { why: expect_static(expect) });
    }

    fn expect_static(text: &str) -> &'static str {
        text.to_owned().leak()
    }

    fn record(name: &str, key: &str) -> String {
        format!(r#"{{"eventName":"{name}","s3":{{"bucket":{{"name":"u"}},"object":{{"key":"{key}"}}}}}}"#)
    }

    #[test]
    fn every_limit_is_held() {
        unreadable(&vec![b' '; BODY_BYTES_MAX + 1], "more than 64 KiB");
        unreadable("[".repeat(33).as_bytes(), "nested deeper than 32 levels");
        let many = |n: usize| format!("[{}]", vec!["{}"; n].join(","));
        unreadable(many(101).as_bytes(), "more than 100 records");
        ignored(&many(100), "another service's record");
        unreadable(b"\xff\xfe", "not JSON");
        unreadable(b"7", "neither an object nor a list");
    }

    #[test]
    fn brackets_inside_of_strings_are_no_nesting() {
        let body = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(99));
        ignored(&body, "unknown message");
    }

    #[test]
    fn wrappers_end_somewhere() {
        let mut body = r#"{"Event":"s3:TestEvent"}"#.to_owned();
        for _ in 0..WRAPPERS_MAX {
            body = serde_json::json!({ "Message": body }).to_string();
        }
        ignored(&body, "test event");
        unreadable(serde_json::json!({ "Message": body }).to_string().as_bytes(), "wrapped too often");
    }

    #[test]
    fn only_creations_count_and_bad_neighbours_do_no_harm() {
        ignored(&format!("[{}]", record("s3:ObjectRemoved:Delete", "a")), "not a creation");
        unreadable(format!("[{}]", record("s3:ObjectCreated:Put", "")).as_bytes(), "no record can be read");
        let (good, gone) = (record("s3:ObjectCreated:Put", "a"), record("ObjectRemoved:Delete", "b"));
        let body = format!(r#"{{"Records":[{good},null,{gone},{{"body":"no JSON"}}]}}"#);
        let Parsed::Objects { objects, unreadable } = parse(body.as_bytes()) else { panic!("one is good") };
        assert_eq!((objects.len(), unreadable), (1, 2));
        assert_eq!(objects[0].key_candidates, ["a"]);
    }

    #[test]
    fn a_subscription_confirmation_is_not_followed() {
        let body =
            r#"{"Type":"SubscriptionConfirmation","Message":"You…","SubscribeURL":"http://10.0.0.1/"}"#;
        ignored(body, "subscription confirmation");
    }
}
