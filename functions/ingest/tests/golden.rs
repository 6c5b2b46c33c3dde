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

#[test]
fn minio_and_rustfs_envelopes_are_read() {
    check(golden!("minio"), &[object(&UMLAUT, Some(3), None, SEQUENCER)]);
    check(golden!("rustfs"), &[object(&UMLAUT, Some(3), None, SEQUENCER)]);
}

#[test]
fn an_empty_object_and_a_multipart_upload_keep_what_minio_tells_of_them() {
    let empty = ObjectEvent {
        etag: Some("d41d8cd98f00b204e9800998ecf8427e".to_owned()),
        ..object(&["empty.png"], None, None, SEQUENCER)
    };
    check(golden!("minio_empty"), &[empty]);
    let big = ObjectEvent {
        etag: Some("9b2cf535f27731c974343645a3985328-3".to_owned()),
        ..object(&["big.png"], Some(11_534_336), None, SEQUENCER)
    };
    check(golden!("minio_multipart"), &[big]);
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
fn test_events_and_deletions_are_ignored() {
    for parsed in [golden!("aws_test"), golden!("versitygw_test")] {
        assert_eq!(parsed, Parsed::Ignored { why: "test event" });
    }
    assert_eq!(golden!("minio_removed"), Parsed::Ignored { why: "not a creation" });
}
