//! Bucket events: the standard JSON, as AWS and MinIO write it.

use crate::s3_disk::Description;
use bytes::Bytes as Payload;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is encoded in a key of an event or of a LIST with encoding type `url`.
pub(crate) const KEY_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Who owns and configures everything here.
const OWNER: &str = "meshwright";

/// `ObjectCreated:<how>` of one object. The key is form-encoded: a space is `+`.
pub(crate) fn created(bucket: &str, object: &Description, how: &str) -> Payload {
    let key = utf8_percent_encode(&object.key, KEY_ENCODED).to_string().replace("%20", "+");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(object.modified_ms) * 1_000_000);
    let at = at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    let request = format!("{:016X}", object.modified_ms);
    let event = json!({"Records": [{
        "eventVersion": "2.1",
        "eventSource": "meshwright:s3",
        "awsRegion": "us-east-1",
        "eventTime": at,
        "eventName": format!("ObjectCreated:{how}"),
        "userIdentity": {"principalId": OWNER},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": request, "x-amz-id-2": request},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": OWNER,
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": OWNER},
                "arn": format!("arn:aws:s3:::{bucket}"),
            },
            "object": {
                "key": key,
                "size": object.size,
                "eTag": object.etag,
                "sequencer": request,
            },
        },
    }]});
    Payload::from(event.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_form_encoded() {
        let object = Description {
            key: "d ir/a b+ü.png".to_owned(),
            etag: "e".to_owned(),
            size: 3,
            modified_ms: 1_700_000_000_123,
            content_type: None,
            metadata: Default::default(),
        };
        let event: serde_json::Value =
            serde_json::from_slice(&created("uploads", &object, "Put")).expect("JSON");
        let record = &event["Records"][0];
        assert_eq!(record["s3"]["object"]["key"], "d+ir/a+b%2B%C3%BC.png");
        assert_eq!(record["eventTime"], "2023-11-14T22:13:20.123Z");
        assert_eq!(record["eventName"], "ObjectCreated:Put");
        for name in [
            "eventVersion",
            "eventSource",
            "awsRegion",
            "userIdentity",
            "requestParameters",
            "responseElements",
        ] {
            assert!(!record[name].is_null(), "{name}");
        }
        assert!(record["s3"]["configurationId"].is_string());
    }
}
