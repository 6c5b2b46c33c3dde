//! Copying an object within the store.

use crate::s3_body::{internal, receive, send};
use crate::s3_disk::{Description, Only};
use crate::s3_service::{Finished, Service, check_key, now_ms, timestamp};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};
use std::fs::File;
use std::sync::Arc;

/// Opens what is to be copied, if it is still what the client means.
pub(crate) async fn source(
    service: &Service,
    source: &CopySource,
    if_match: Option<&ETagCondition>,
) -> S3Result<(File, Arc<Description>)> {
    let CopySource::Bucket { bucket, key, .. } = source else {
        return Err(s3_error!(NotImplemented, "a copy source is bucket/key"));
    };
    let found = service.bucket(bucket)?.read(key).await.map_err(internal)?;
    let (file, from) = found.ok_or_else(|| s3_error!(NoSuchKey))?;
    let is = |condition: &ETagCondition| condition.as_etag().is_some_and(|etag| etag.value() == from.etag);
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed, "the source has another etag"));
    }
    Ok((file, from))
}

pub(crate) async fn copy_object(
    service: &Service,
    input: CopyObjectInput,
) -> S3Result<S3Response<CopyObjectOutput>> {
    check_key(&input.key)?;
    let (file, from) = source(service, &input.copy_source, input.copy_source_if_match.as_ref()).await?;
    let bucket = service.bucket(&input.bucket)?;
    let into = bucket.unfinished().map_err(internal)?;
    let body = StreamingBlob::wrap(send(file, 0, from.size).map_err(internal)?);
    let received = receive(Some(body), &into, u64::MAX).await?;
    let replace = input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
    let (content_type, metadata) = if replace {
        (input.content_type, input.metadata.unwrap_or_default().into_iter().collect())
    } else {
        (from.content_type.clone(), from.metadata.clone())
    };
    let (key, modified_ms, etag) = (input.key, now_ms(), hex::encode(received.md5));
    let object =
        Description { key, etag: etag.clone(), size: received.size, modified_ms, content_type, metadata };
    let finished = Finished { from: into, object, only: Only::Always, event: "Copy", parts: None };
    service.commit(&input.bucket, bucket, finished).await?;
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(etag)),
        last_modified: Some(timestamp(modified_ms)),
        ..CopyObjectResult::default()
    };
    Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
}
