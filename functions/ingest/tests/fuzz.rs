//! Broken events: whatever arrives, parsing ends with a verdict and within its limits.

use ingest::{Parsed, RECORDS_MAX, parse};
use proptest::prelude::*;

const SEEDS: [&[u8]; 5] = [
    include_bytes!("golden/minio.json"),
    include_bytes!("golden/sqs_lambda_sns.json"),
    include_bytes!("golden/eventbridge.json"),
    include_bytes!("golden/versitygw_list.json"),
    include_bytes!("golden/ceph.json"),
];

fn within_limits(body: &[u8]) -> Result<(), TestCaseError> {
    if let Parsed::Objects { objects, .. } = parse(body) {
        prop_assert!(!objects.is_empty() && objects.len() <= RECORDS_MAX);
        for object in objects {
            prop_assert!(!object.bucket.is_empty() && !object.key_candidates.is_empty());
            prop_assert!(object.key_candidates.len() <= 3);
        }
    }
    Ok(())
}

/// Changes of a body: where, how many bytes go, what comes instead.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            &b"null"[..],
            b"{}",
            b"[",
            b"]",
            b"\"",
            b"\\u0000",
            b"1e999",
            b"-1",
            b"%ff"
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, bytes), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_events_never_panic(seed in prop::sample::select(SEEDS.to_vec()), edits in edits()) {
        let mut body = seed.to_vec();
        for (at, cut, insert) in edits {
            let at = at.index(body.len() + 1);
            let end = (at + cut).min(body.len());
            body.splice(at..end, insert);
        }
        within_limits(&body)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        within_limits(&body)?;
    }
}
