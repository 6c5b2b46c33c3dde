//! The store: reading, listing, deleting. Writing is next door.

use crate::errors::{get_changed, head_absent, is_absent, port_error};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};
use bytes::Bytes as Payload;
use domain::{Bytes, Timestamp};
use ports::{
    GetOptions, Got, Listed, Object, ObjectInfo, Page, PortError, PortResult, PutOptions, Store, Stored,
};
use std::collections::{BTreeMap, HashMap};

/// Keys of one delete call, by the protocol.
const DELETE_MAX: usize = 1000;

/// A store behind the S3 protocol.
pub(crate) struct S3Store {
    pub(crate) client: Client,
}

pub(crate) fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

fn version(id: Option<&str>) -> Option<String> {
    id.filter(|id| !id.is_empty() && *id != "null").map(str::to_owned)
}

fn seconds(time: Option<&DateTime>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.secs()).unwrap_or(0))
}

fn size(length: Option<i64>) -> Bytes {
    Bytes(length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0))
}

fn lower(metadata: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
    let pairs = metadata.into_iter().flatten();
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

/// The size of the whole object, of which a range was answered: what stands behind the slash of
/// `Content-Range`.
fn whole_size(range: Option<&str>, length: Option<i64>) -> Bytes {
    let total = range.and_then(|range| range.rsplit_once('/')).and_then(|(_, total)| total.parse().ok());
    total.map_or_else(|| size(length), Bytes)
}

#[async_trait]
impl Store for S3Store {
    async fn head(&self, bucket: &str, key: &str) -> PortResult<Option<ObjectInfo>> {
        let head = match self.client.head_object().bucket(bucket).key(key).send().await {
            Ok(head) => head,
            Err(error) if head_absent(&error) => return Ok(None),
            Err(error) => return Err(port_error(&format!("HEAD {bucket}/{key}"), &error)),
        };
        Ok(Some(ObjectInfo {
            etag: unquoted(head.e_tag()),
            size: size(head.content_length()),
            last_modified_s: seconds(head.last_modified()),
            version_id: version(head.version_id()),
            content_type: head.content_type().map(str::to_owned),
            metadata: lower(head.metadata()),
        }))
    }

    async fn get(&self, bucket: &str, key: &str, options: &GetOptions) -> PortResult<Got> {
        let what = || format!("GET {bucket}/{key}");
        let range = options.range.map(|(first, last)| format!("bytes={first}-{last}"));
        let request = self.client.get_object().bucket(bucket).key(key);
        let request = request.set_version_id(options.version_id.clone()).set_range(range);
        let if_match = options.if_match.as_ref().map(|etag| format!("\"{etag}\""));
        let got = match request.set_if_match(if_match).send().await {
            Ok(got) => got,
            Err(error) if is_absent(&error) => return Ok(Got::Absent),
            Err(error) if get_changed(&error) => return Ok(Got::Changed),
            Err(error) => return Err(port_error(&what(), &error)),
        };
        let info = ObjectInfo {
            etag: unquoted(got.e_tag()),
            size: whole_size(got.content_range(), got.content_length()),
            last_modified_s: seconds(got.last_modified()),
            version_id: version(got.version_id()),
            content_type: got.content_type().map(str::to_owned),
            metadata: lower(got.metadata()),
        };
        let max = options.size_max;
        if max > Bytes::ZERO && size(got.content_length()) > max {
            return Err(PortError::Invalid(format!("{}: {} is more than {max}", what(), info.size)));
        }
        let body = got.body.collect().await;
        let body = body.map_err(|error| PortError::Unavailable(format!("{}: {error}", what())))?;
        Ok(Got::Found(Object { info, body: body.into_bytes() }))
    }

    async fn put(&self, bucket: &str, key: &str, body: Payload, options: &PutOptions) -> PortResult<Stored> {
        crate::write::put(&self.client, (bucket, key), body, options).await
    }

    async fn list(&self, bucket: &str, prefix: &str, next: Option<String>) -> PortResult<Page> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        // Keys may hold characters that XML cannot: asked for percent-encoded.
        let request = request.encoding_type(EncodingType::Url).set_continuation_token(next);
        let listed = request.send().await.map_err(|e| port_error(&format!("LIST {bucket}/{prefix}"), &e))?;
        let encoded = listed.encoding_type() == Some(&EncodingType::Url);
        let objects = listed.contents().iter().filter_map(|object| {
            let key = object.key()?;
            let key = if encoded { decode(key)? } else { key.to_owned() };
            let millis = object.last_modified().and_then(|time| time.to_millis().ok()).unwrap_or(0);
            Some(Listed {
                key,
                etag: unquoted(object.e_tag()),
                size: size(object.size()),
                last_modified: Timestamp(u64::try_from(millis).unwrap_or(0)),
            })
        });
        let next = listed.next_continuation_token().map(str::to_owned);
        Ok(Page { objects: objects.collect(), next: next.filter(|_| listed.is_truncated() == Some(true)) })
    }

    async fn delete(&self, bucket: &str, keys: &[String]) -> PortResult<()> {
        for keys in keys.chunks(DELETE_MAX) {
            let what = || format!("delete {} objects of {bucket}", keys.len());
            let mut delete = Delete::builder().quiet(true);
            for key in keys {
                let object = ObjectIdentifier::builder().key(key).build();
                delete = delete.objects(object.map_err(|error| PortError::Invalid(error.to_string()))?);
            }
            let delete = delete.build().map_err(|error| PortError::Invalid(error.to_string()))?;
            let deleted = self.client.delete_objects().bucket(bucket).delete(delete).send().await;
            let deleted = deleted.map_err(|error| port_error(&what(), &error))?;
            if let Some(error) = deleted.errors().iter().find(|error| error.code() != Some("NoSuchKey")) {
                let key = error.key().unwrap_or_default();
                let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
                return Err(PortError::Unavailable(format!("{}: {key}: {code}: {message}", what())));
            }
        }
        Ok(())
    }

    async fn abort_uploads(&self, bucket: &str, begun_before: Timestamp) -> PortResult<usize> {
        let mut aborted = 0;
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self.client.list_multipart_uploads().bucket(bucket);
            let request = request.set_key_marker(key_marker).set_upload_id_marker(id_marker);
            let listed = request.send().await;
            let listed = listed.map_err(|error| port_error(&format!("list uploads of {bucket}"), &error))?;
            for upload in listed.uploads() {
                let begun = Timestamp(seconds(upload.initiated()) * 1000);
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
                if begun < begun_before {
                    let abort = self.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
                    match abort.send().await {
                        Ok(_) => aborted += 1,
                        Err(error) if is_absent(&error) => {}
                        Err(error) => {
                            return Err(port_error(&format!("abort an upload of {bucket}"), &error));
                        }
                    }
                }
            }
            if listed.is_truncated() != Some(true) {
                return Ok(aborted);
            }
            key_marker = listed.next_key_marker().map(str::to_owned);
            id_marker = listed.next_upload_id_marker().map(str::to_owned);
        }
    }
}

/// A key of a LIST with encoding type `url`: percent-encoded, and `+` for a space as some stores write it.
fn decode(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_list_are_decoded() {
        assert_eq!(decode("d+ir/a%20b%2B%C3%BC.png").as_deref(), Some("d ir/a b+ü.png"));
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn a_range_tells_the_whole_size() {
        assert_eq!(whole_size(Some("bytes 0-9/1234"), Some(10)), Bytes(1234));
        assert_eq!(whole_size(None, Some(10)), Bytes(10));
    }
}
