//! The S3 operations: what a client asks, done on the disk, announced to whoever watches.

use crate::s3_body::{internal, receive, send};
use crate::s3_disk::{Bucket, Commit, Description, Disk, Only, Unfinished};
use crate::s3_keys::{self, BadKey};
use crate::s3_list::{Line, ListQuery, list};
use crate::s3_server::Notify;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys of one LIST answer, by the protocol.
const LIST_MAX: i32 = 1000;

/// The service.
pub(crate) struct Service {
    pub(crate) disk: Disk,
    pub(crate) notify: Option<Notify>,
    pub(crate) body_bytes_max: u64,
}

/// A finished file on its way to be an object.
pub(crate) struct Finished {
    pub(crate) from: Unfinished,
    pub(crate) object: Description,
    pub(crate) only: Only,
    /// As in `ObjectCreated:<event>`.
    pub(crate) event: &'static str,
    /// The parts that it was joined from.
    pub(crate) parts: Option<PathBuf>,
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(ms))
}

/// The conditions of a write; a request that names both is one that cannot be meant.
pub(crate) fn only(
    if_none_match: Option<&ETagCondition>,
    if_match: Option<&ETagCondition>,
) -> S3Result<Only> {
    match (if_none_match, if_match) {
        (None, None) => Ok(Only::Always),
        (Some(none), None) if none.is_any() => Ok(Only::IfAbsent),
        (None, Some(some)) if some.is_any() => Ok(Only::IfPresent),
        (None, Some(some)) => {
            Ok(Only::IfEtag(some.as_etag().map(|etag| etag.value().to_owned()).unwrap_or_default()))
        }
        _ => Err(s3_error!(NotImplemented, "only `If-None-Match: *` or `If-Match` is taken on a write")),
    }
}

pub(crate) fn check_key(key: &str) -> S3Result<()> {
    s3_keys::check(key).map_err(|bad| match bad {
        BadKey::TooLong => s3_error!(KeyTooLongError, "a key has 1 to 1024 bytes"),
        BadKey::Segment => {
            s3_error!(InvalidArgument, "the key has a segment that is empty, `.`, `..` or too long")
        }
    })
}

fn etag(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

impl Service {
    pub(crate) fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        self.disk.bucket(name).ok_or_else(|| s3_error!(NoSuchBucket, "there is no bucket {name}"))
    }

    /// Makes a finished file an object, and announces it. In a task of its own: a client that goes away in
    /// the middle must not leave the disk, the list and the events apart.
    pub(crate) async fn commit(&self, name: &str, bucket: Arc<Bucket>, finished: Finished) -> S3Result<()> {
        let (name, notify) = (name.to_owned(), self.notify.clone());
        let committing = tokio::spawn(async move {
            let Finished { from, object, only, event, parts } = finished;
            let commit = bucket.commit(from, object, &only).await?;
            if let Commit::Written(object) = &commit {
                if let Some(notify) = notify {
                    let event = crate::s3_events::created(&name, object, event);
                    notify(name, event);
                }
                // Left over, it is ended by whoever ends old uploads.
                if let Some(Err(error)) = parts.map(std::fs::remove_dir_all) {
                    tracing::warn!(%error, "remove the parts of an upload");
                }
            }
            Ok::<_, std::io::Error>(commit)
        });
        let committed = committing.await.map_err(std::io::Error::other).flatten();
        match committed.map_err(internal)? {
            Commit::ConditionFailed => Err(s3_error!(PreconditionFailed, "the condition does not hold")),
            Commit::Written(_) => Ok(()),
        }
    }

    fn list(
        &self,
        bucket: &str,
        query: &ListQuery,
    ) -> S3Result<(Vec<Object>, Vec<CommonPrefix>, Option<String>)> {
        let bucket = self.bucket(bucket)?;
        let (lines, next) = list(&bucket.objects(), query);
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(prefix) }),
                Line::Object(object) => objects.push(Object {
                    key: Some(object.key.clone()),
                    e_tag: Some(etag(&object.etag)),
                    size: Some(object.size as i64),
                    last_modified: Some(timestamp(object.modified_ms)),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    ..Object::default()
                }),
            }
        }
        Ok((objects, prefixes, next))
    }
}

/// Percent-encodes what a LIST with encoding type `url` must.
fn encode(text: String, on: bool) -> String {
    if !on {
        return text;
    }
    percent_encoding::utf8_percent_encode(&text, crate::s3_events::KEY_ENCODED).to_string()
}

/// A LIST's lines in the encoding that was asked for.
fn encoded(objects: &mut [Object], prefixes: &mut [CommonPrefix], on: bool) {
    for key in objects.iter_mut().filter_map(|object| object.key.as_mut()) {
        *key = encode(std::mem::take(key), on);
    }
    for prefix in prefixes.iter_mut().filter_map(|prefix| prefix.prefix.as_mut()) {
        *prefix = encode(std::mem::take(prefix), on);
    }
}

fn query(
    prefix: Option<String>,
    delimiter: Option<String>,
    after: Option<String>,
    max: Option<i32>,
) -> ListQuery {
    let max = max.unwrap_or(LIST_MAX).clamp(0, LIST_MAX) as usize;
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    ListQuery { prefix: prefix.unwrap_or_default(), delimiter, after, max }
}

/// There are no versions here: the only one is called `null`.
fn no_version(id: Option<&str>) -> S3Result<()> {
    match id {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(NoSuchVersion)),
    }
}

/// The answers of conditions on a read.
fn check_read(
    object: &Description,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| {
        condition.is_any() || condition.as_etag().is_some_and(|of| of.value() == object.etag)
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed, "the object has another etag"));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        if !self.disk.create_bucket(&request.input.bucket).map_err(internal)? {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.bucket(&request.input.bucket)?;
        if !self.disk.remove_bucket(&request.input.bucket).map_err(internal)? {
            return Err(s3_error!(BucketNotEmpty));
        }
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = |(name, bucket): (String, Arc<Bucket>)| s3s::dto::Bucket {
            name: Some(name),
            creation_date: Some(timestamp(bucket.created_ms)),
            ..s3s::dto::Bucket::default()
        };
        let buckets = self.disk.buckets().into_iter().map(bucket).collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..ListBucketsOutput::default() }))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let query = query(input.prefix, input.delimiter, input.marker, input.max_keys);
        let (mut objects, mut prefixes, next) = self.list(&input.bucket, &query)?;
        let url = input.encoding_type.is_some();
        encoded(&mut objects, &mut prefixes, url);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode(query.prefix, url)),
            delimiter: query.delimiter.map(|delimiter| encode(delimiter, url)),
            max_keys: Some(query.max as i32),
            is_truncated: Some(next.is_some()),
            next_marker: next.map(|next| encode(next, url)),
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let token = match &input.continuation_token {
            None => None,
            Some(token) => {
                let key = hex::decode(token).ok().and_then(|key| String::from_utf8(key).ok());
                Some(key.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not ours"))?)
            }
        };
        let after = token.or(input.start_after);
        let query = query(input.prefix, input.delimiter, after, input.max_keys);
        let (mut objects, mut prefixes, next) = self.list(&input.bucket, &query)?;
        let url = input.encoding_type.is_some();
        encoded(&mut objects, &mut prefixes, url);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode(query.prefix, url)),
            delimiter: query.delimiter.map(|delimiter| encode(delimiter, url)),
            max_keys: Some(query.max as i32),
            key_count: Some((objects.len() + prefixes.len()) as i32),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            // A key may hold what XML cannot.
            next_continuation_token: next.map(|next| hex::encode(next.as_bytes())),
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        no_version(input.version_id.as_deref())?;
        let object = self.bucket(&input.bucket)?.describe(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(object.size as i64),
            content_type: object.content_type.clone(),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified_ms)),
            metadata: Some(object.metadata.clone()),
            accept_ranges: Some("bytes".to_owned()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        no_version(input.version_id.as_deref())?;
        let found = self.bucket(&input.bucket)?.read(&input.key).await.map_err(internal)?;
        let (file, object) = found.ok_or_else(|| s3_error!(NoSuchKey))?;
        check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (start, length, content_range) = match input.range {
            None => (0, object.size, None),
            Some(range) => {
                let range = range.check(object.size)?;
                let said = format!("bytes {}-{}/{}", range.start, range.end - 1, object.size);
                (range.start, range.end - range.start, Some(said))
            }
        };
        let body = send(file, start, length).map_err(internal)?;
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            content_length: Some(length as i64),
            content_range,
            content_type: object.content_type.clone(),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified_ms)),
            metadata: Some(object.metadata.clone()),
            accept_ranges: Some("bytes".to_owned()),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        check_key(&input.key)?;
        let only = only(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let bucket = self.bucket(&input.bucket)?;
        let from = bucket.unfinished().map_err(internal)?;
        let received = receive(input.body, &from, self.body_bytes_max).await?;
        let said = input.content_md5.as_ref().map(|md5| md5.trim().to_owned());
        if said.is_some_and(|said| said != base64(&received.md5)) {
            return Err(s3_error!(BadDigest, "the body has another MD5"));
        }
        let object = Description {
            key: input.key,
            etag: hex::encode(received.md5),
            size: received.size,
            modified_ms: now_ms(),
            content_type: input.content_type,
            metadata: input.metadata.unwrap_or_default().into_iter().collect::<HashMap<_, _>>(),
        };
        let e_tag = Some(etag(&object.etag));
        let finished = Finished { from, object, only, event: "Put", parts: None };
        self.commit(&input.bucket, bucket, finished).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        crate::s3_copy::copy_object(self, request.input).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.bucket(&request.input.bucket)?.remove(&request.input.key).await.map_err(internal)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = self.bucket(&request.input.bucket)?;
        let quiet = request.input.delete.quiet == Some(true);
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            bucket.remove(&object.key).await.map_err(internal)?;
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        let deleted = if quiet { None } else { Some(deleted) };
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        crate::s3_multipart::create(self, request.input)
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        crate::s3_multipart::upload_part(self, request.input).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        crate::s3_multipart::upload_part_copy(self, request.input).await
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        crate::s3_multipart::list_parts(self, request.input)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        crate::s3_multipart::complete(self, request.input).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        crate::s3_multipart::abort(self, request.input)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        crate::s3_multipart::list_uploads(self, request.input)
    }
}

/// Base64 of 16 bytes, as `Content-MD5` is written.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit = |n: usize| {
            if n <= chunk.len() { DIGITS[(bits >> (18 - 6 * n)) as usize & 63] as char } else { '=' }
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn an_md5_is_written_in_base64() {
        assert_eq!(base64(b"0123456789abcdef"), "MDEyMzQ1Njc4OWFiY2RlZg==");
    }

    #[tokio::test]
    async fn a_client_that_goes_away_in_the_middle_leaves_disk_list_and_events_together() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(root.path()).expect("a writable folder");
        disk.create_bucket("b").expect("a writable folder");
        let bucket = disk.bucket("b").expect("just made");
        let (sender, mut heard) = mpsc::unbounded_channel();
        let notify: Notify = Arc::new(move |bucket, _| sender.send(bucket).expect("somebody listens"));
        let service = Service { disk, notify: Some(notify), body_bytes_max: 100 };
        let from = bucket.unfinished().expect("a writable folder");
        let object = Description {
            key: "k".to_owned(),
            etag: "e".to_owned(),
            size: 0,
            modified_ms: 7,
            content_type: None,
            metadata: HashMap::new(),
        };
        let finished = Finished { from, object, only: Only::IfAbsent, event: "Put", parts: None };
        let held = bucket.stripe("k").lock().await;
        let mut commit = Box::pin(service.commit("b", bucket.clone(), finished));
        assert!(futures::poll!(commit.as_mut()).is_pending());
        drop(commit);
        drop(held);
        assert_eq!(heard.recv().await.as_deref(), Some("b"));
        let (_, described) = bucket.read("k").await.expect("a readable disk").expect("an object");
        assert_eq!(described.etag, "e");
    }
}
