//! Writing: in one piece, or in parts when large. The condition holds for both.

use crate::config::with_time_for;
use crate::errors::{Failed, is_conflict, is_precondition, port_error};
use crate::store::unquoted;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes as Payload;
use ports::{Condition, PortError, PortResult, PutOptions, Stored};
use std::time::Duration;

/// From this size on an object is written in parts.
const PART_BYTES: usize = 16 << 20;
/// Tries of a conditional write that meets another one in progress; each round somebody succeeds.
const CONFLICTS_MAX: u32 = 20;
/// The first pause between two of them, at most; it doubles up to the last.
const CONFLICT_PAUSE_MS: u64 = 10;
/// The longest pause.
const CONFLICT_PAUSE_MS_MAX: u64 = 500;

/// Up to the pause of this round, by chance: those who met must not meet again.
fn pause(round: u32, chance: u128) -> Duration {
    let most = (CONFLICT_PAUSE_MS << round.min(10)).min(CONFLICT_PAUSE_MS_MAX);
    Duration::from_millis(1 + (chance % u128::from(most)) as u64)
}

/// What one try came to.
enum Try {
    Done(Stored),
    Conflict(String),
}

pub(crate) async fn put(
    client: &Client,
    at: (&str, &str),
    body: Payload,
    options: &PutOptions,
) -> PortResult<Stored> {
    let mut last = String::new();
    for round in 0..CONFLICTS_MAX {
        if round > 0 {
            tokio::time::sleep(pause(round - 1, uuid::Uuid::new_v4().as_u128())).await;
        }
        let tried = if body.len() > PART_BYTES {
            put_parts(client, at, &body, options).await?
        } else {
            put_whole(client, at, body.clone(), options).await?
        };
        match tried {
            Try::Done(stored) => return Ok(stored),
            Try::Conflict(text) => last = text,
        }
    }
    Err(PortError::Unavailable(last))
}

fn conditions(options: &PutOptions) -> (Option<String>, Option<String>) {
    match &options.condition {
        Condition::Always => (None, None),
        Condition::IfAbsent => (Some("*".to_owned()), None),
        Condition::IfMatch(etag) => (None, Some(format!("\"{etag}\""))),
    }
}

/// What a failed write means under its condition.
fn failed<E>(what: &str, error: &Failed<E>, options: &PutOptions) -> PortResult<Try>
where
    E: ProvideErrorMetadata + aws_sdk_s3::operation::RequestId + std::error::Error + 'static,
{
    let conditional = options.condition != Condition::Always;
    let gone = matches!(options.condition, Condition::IfMatch(_))
        && error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
        && error.code() != Some("NoSuchBucket");
    if conditional && (is_precondition(error) || gone) {
        return Ok(Try::Done(Stored::ConditionFailed));
    }
    let error_of_port = port_error(what, error);
    if is_conflict(error) {
        return Ok(Try::Conflict(error_of_port.to_string()));
    }
    Err(error_of_port)
}

async fn put_whole(
    client: &Client,
    (bucket, key): (&str, &str),
    body: Payload,
    options: &PutOptions,
) -> PortResult<Try> {
    let (if_none_match, if_match) = conditions(options);
    let request = client.put_object().bucket(bucket).key(key).content_type(&options.content_type);
    let request = request.set_if_none_match(if_none_match).set_if_match(if_match);
    let metadata = options.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let time = with_time_for(body.len());
    let request = request.set_metadata(Some(metadata)).body(ByteStream::from(body));
    match request.customize().config_override(time).send().await {
        Ok(put) => Ok(Try::Done(Stored::Written(unquoted(put.e_tag())))),
        Err(error) => failed(&format!("PUT {bucket}/{key}"), &error, options),
    }
}

async fn put_parts(
    client: &Client,
    (bucket, key): (&str, &str),
    body: &Payload,
    options: &PutOptions,
) -> PortResult<Try> {
    let what = format!("PUT {bucket}/{key} in parts");
    let metadata = options.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let request =
        client.create_multipart_upload().bucket(bucket).key(key).content_type(&options.content_type);
    let created = request.set_metadata(Some(metadata)).send().await;
    let created = created.map_err(|error| port_error(&what, &error))?;
    let id = created.upload_id().ok_or_else(|| PortError::Invalid(format!("{what}: no upload id")))?;
    let tried = send_parts(client, (bucket, key, id), body, options).await;
    if !matches!(tried, Ok(Try::Done(Stored::Written(_)))) {
        // What cannot be aborted now the collector aborts later.
        let abort = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
        if let Err(error) = abort.send().await {
            tracing::debug!(error = %port_error(&what, &error), "abort an upload");
        }
    }
    tried
}

async fn send_parts(
    client: &Client,
    (bucket, key, id): (&str, &str, &str),
    body: &Payload,
    options: &PutOptions,
) -> PortResult<Try> {
    let what = format!("PUT {bucket}/{key} in parts");
    let mut parts = CompletedMultipartUpload::builder();
    for (number, start) in (1i32..).zip((0..body.len()).step_by(PART_BYTES)) {
        let part = body.slice(start..(start + PART_BYTES).min(body.len()));
        let request = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number);
        let time = with_time_for(part.len());
        let sent = request.body(ByteStream::from(part)).customize().config_override(time).send().await;
        let sent = sent.map_err(|error| port_error(&what, &error))?;
        let etag = sent.e_tag().unwrap_or_default();
        parts = parts.parts(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    let (if_none_match, if_match) = conditions(options);
    let request = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
    let request = request.set_if_none_match(if_none_match).set_if_match(if_match);
    match request.multipart_upload(parts.build()).send().await {
        Ok(done) => Ok(Try::Done(Stored::Written(unquoted(done.e_tag())))),
        Err(error) => failed(&what, &error, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let longest = |round| pause(round, u128::MAX / 2).as_millis();
        assert!((1..=10).contains(&longest(0)));
        assert!((0..CONFLICTS_MAX).all(|round| longest(round) <= u128::from(CONFLICT_PAUSE_MS_MAX)));
        assert_eq!(pause(6, 499), Duration::from_millis(500));
    }
}
