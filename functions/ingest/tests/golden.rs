//! Golden events: one body per store and wrapper, and what each must be read as.

use ingest::{ObjectEvent, Parsed, parse};

const ETAG: &str = "764efa883dda1e11db47671c4a3bbd9e";
const UMLAUT: [&str; 3] = ["d ir/a b+ü.png", "d+ir/a+b+ü.png", "d+ir%2Fa+b%2B%C3%BC.png"];

macro_rules! golden {
    ($name:literal) => {
        parse(include_bytes!(concat!("golden/", $name, ".json")))
    };
}

fn object(keys: &[&str], size: Option<u64>, version: Option<&str>, sequencer: &str) -> ObjectEvent {
    ObjectEvent {
        bucket: "uploads".to_owned(),
        key_candidates: keys.iter().map(|key| (*key).to_owned()).collect(),
        etag: Some(ETAG.to_owned()),
        size: size.map(domain::Bytes),
        version_id: version.map(str::to_owned),
        sequencer: Some(sequencer.to_owned()),
    }
}

fn check(parsed: Parsed, expect: &[ObjectEvent]) {
    assert_eq!(parsed, Parsed::Objects { objects: expect.to_vec(), unreadable: 0 });
}

const SEQUENCER: &str = "18EA6C5F0D1B2A33";

/// As MinIO sent them: the others are written by their stores' documents.
#[test]
fn what_minio_sent_is_read() {
    let minio = |keys: &[&str], size, etag: &str, sequencer: &str| {
        [ObjectEvent { etag: Some(etag.to_owned()), ..object(keys, size, None, sequencer) }]
    };
    let abc = minio(&UMLAUT, Some(3), "900150983cd24fb0d6963f7d28e17f72", "18EAFDD563888E74");
    check(golden!("minio"), &abc);
    // No size where it is 0.
    let empty = minio(&["empty.png"], None, "d41d8cd98f00b204e9800998ecf8427e", "18EAFDD5652212F6");
    check(golden!("minio_empty"), &empty);
    let parts = "d65b162ab258708384ca716a7fe9ec85-2";
    let big = minio(&["big.png"], Some(20_971_520), parts, "18EAFDD56A1323A7");
    check(golden!("minio_multipart"), &big);
    // A creation by its name; the object is the same, so accepting it again changes nothing.
    check(golden!("minio_tagging"), &empty);
    assert_eq!(golden!("minio_removed"), Parsed::Ignored { why: "not a creation" });
}

#[test]
fn rustfs_is_read() {
    check(golden!("rustfs"), &[object(&UMLAUT, Some(3), None, SEQUENCER)]);
}

#[test]
fn versitygw_is_read_in_both_of_its_forms_although_it_names_no_etag() {
    let keys = ["d ir/a b ü.png", "d ir/a b+ü.png", "d%20ir/a%20b+%C3%BC.png"];
    let expect = ObjectEvent { etag: None, ..object(&keys, Some(3), None, SEQUENCER) };
    check(golden!("versitygw"), std::slice::from_ref(&expect));
    check(golden!("versitygw_list"), &[expect]);
}

#[test]
fn ceph_is_read() {
    check(golden!("ceph"), &[object(&["d ir/a b.png"], Some(3), None, SEQUENCER)]);
}

#[test]
fn aws_is_read_bare_and_through_sns_sqs_and_both() {
    let keys = ["d ir/a b+ü.png", "d+ir/a+b+ü.png", "d+ir/a+b%2B%C3%BC.png"];
    let expect = [
        object(&keys, Some(3), None, SEQUENCER),
        object(&["second.png"], Some(5), Some("3HL4kqtJvjVBH40Nrjfkd"), "0055AED6DCD90281E5"),
    ];
    for parsed in [golden!("aws"), golden!("sns"), golden!("sqs"), golden!("sqs_lambda_sns")] {
        check(parsed, &expect);
    }
}

#[test]
fn event_bridge_keys_are_taken_as_they_are_first() {
    let keys = ["d ir/a+b%2B.png", "d ir/a b+.png", "d ir/a+b+.png"];
    let expect = object(&keys, Some(3), Some("IYV3p45BT0ac8hjHg1houSdS1a"), "617f08299329d189");
    check(golden!("eventbridge"), &[expect]);
}

#[test]
fn test_events_are_ignored() {
    for parsed in [golden!("aws_test"), golden!("versitygw_test")] {
        assert_eq!(parsed, Parsed::Ignored { why: "test event" });
    }
}
