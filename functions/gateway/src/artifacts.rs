//! The files of a job, with right types, ranges and etags; what is missing is a problem in JSON, never a
//! page.

use crate::Gateway;
use crate::jobs::{job_id, record};
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::{Artifact, Stage};
use futures::stream::{StreamExt, once, unfold};
use ports::{GetOptions, Got, PortResult};
use std::sync::Arc;

/// How much of a file is fetched at once.
const PIECE_BYTES: u64 = 4 << 20;

/// What a browser may show of an upload: its own word for the type is not believed.
fn picture_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "application/octet-stream",
    }
}

/// `GET /api/jobs/{id}/upload`
pub(crate) async fn upload(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let upload = record(&gateway, job_id(&id)?).await?.upload;
    let options = GetOptions {
        version_id: upload.version_id,
        if_match: Some(upload.etag),
        range: None,
        size_max: gateway.settings.site.upload_bytes_max,
    };
    match gateway.ports.store.get(&upload.bucket, &upload.key, &options).await? {
        Got::Found(object) => {
            let kind = picture_type(&object.body);
            Ok(([(header::CONTENT_TYPE, kind)], Body::from(object.body)).into_response())
        }
        Got::Absent | Got::Changed => Err(Problem::missing("upload any more; it was replaced or deleted")),
    }
}

/// `GET /api/jobs/{id}/artifacts/{name}`
pub(crate) async fn artifact(
    State(gateway): State<Arc<Gateway>>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = job_id(&id)?;
    let Some(artifact) = find(&gateway, job, &name).await? else {
        return Err(Problem::missing("such file of this job"));
    };
    let etag = format!("\"{}\"", artifact.sha256);
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|said| said == "*" || said.contains(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let size = artifact.size_bytes.0;
    // A range of another file is of no use: such a client gets the whole one.
    let same = text(header::IF_RANGE).is_none_or(|said| said == etag);
    let range = match text(header::RANGE).filter(|_| same) {
        None => None,
        Some(said) => parse_range(said, size)?,
    };
    let (first, last) = range.unwrap_or((0, size.saturating_sub(1)));
    let pieces = Pieces { gateway: gateway.clone(), key: artifact.key, next: first, last };
    let body = pieces.body(size).await?;
    let mut response = Response::new(body);
    let set = response.headers_mut();
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"));
    set.insert(header::CONTENT_TYPE, value(&artifact.content_type));
    set.insert(header::CONTENT_LENGTH, HeaderValue::from(if size == 0 { 0 } else { last - first + 1 }));
    set.insert(header::ETAG, value(&etag));
    set.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What a manifest names never changes.
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    if name.starts_with("model.") {
        set.insert(header::CONTENT_DISPOSITION, value(&format!("attachment; filename=\"{name}\"")));
    }
    if range.is_some() {
        set.insert(header::CONTENT_RANGE, value(&format!("bytes {first}-{last}/{size}")));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// What is still to be sent of a file. It is fetched piece by piece, so that a slow client holds one piece
/// and no more.
struct Pieces {
    gateway: Arc<Gateway>,
    key: String,
    next: u64,
    last: u64,
}

impl Pieces {
    /// The first piece is fetched before anything is said; later ones break the answer off if they fail.
    async fn body(mut self, size: u64) -> Result<Body, Problem> {
        if size == 0 {
            return Ok(Body::empty());
        }
        let Some(first) = self.fetch().await? else {
            return Err(Problem::missing("such file any more; it was collected after its time"));
        };
        if self.next > self.last {
            return Ok(Body::from(first));
        }
        let rest = unfold(self, |mut pieces| async move {
            if pieces.next > pieces.last {
                return None;
            }
            let piece = match pieces.fetch().await {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => Err(std::io::Error::other("the file was collected")),
                Err(error) => Err(std::io::Error::other(error)),
            };
            Some((piece, pieces))
        });
        Ok(Body::from_stream(once(std::future::ready(Ok(first))).chain(rest)))
    }

    async fn fetch(&mut self) -> PortResult<Option<Bytes>> {
        let to = self.last.min(self.next + PIECE_BYTES - 1);
        let options = GetOptions { range: Some((self.next, to)), ..GetOptions::default() };
        let got = self.gateway.ports.store.get(self.gateway.ledger.bucket(), &self.key, &options).await?;
        self.next = to + 1;
        Ok(match got {
            Got::Found(object) => Some(object.body),
            Got::Absent | Got::Changed => None,
        })
    }
}

async fn find(gateway: &Gateway, job: domain::JobId, name: &str) -> Result<Option<Artifact>, Problem> {
    for stage in Stage::ALL.into_iter().rev() {
        let manifest = gateway.ledger.manifest(job, stage).await?;
        if let Some(artifact) = manifest.as_ref().and_then(|manifest| manifest.artifact(name)) {
            return Ok(Some(artifact.clone()));
        }
    }
    Ok(None)
}

/// One range of bytes, as first and last; several, or other units, are answered with the whole file.
fn parse_range(said: &str, size: u64) -> Result<Option<(u64, u64)>, Problem> {
    let Some(range) = said.strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Ok(None);
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Ok(None) };
    let number = |text: &str| text.parse::<u64>().ok();
    let range = match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => (first, size.saturating_sub(1)),
        (Some(first), Some(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        (None, Some(length)) if first.is_empty() && length > 0 => {
            (size.saturating_sub(length), size.saturating_sub(1))
        }
        (None, Some(0)) if first.is_empty() => return Err(Problem::range(size)),
        _ => return Ok(None),
    };
    if range.0 >= size { Err(Problem::range(size)) } else { Ok(Some(range)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let check = |said: &str, expect: Result<Option<(u64, u64)>, ()>| {
            assert_eq!(parse_range(said, 100).map_err(drop), expect, "{said}");
        };
        check("bytes=0-9", Ok(Some((0, 9))));
        check("bytes=90-", Ok(Some((90, 99))));
        check("bytes=-5", Ok(Some((95, 99))));
        check("bytes=-500", Ok(Some((0, 99))));
        check("bytes=50-500", Ok(Some((50, 99))));
        check("bytes=100-", Err(()));
        check("bytes=-0", Err(()));
        check("bytes=9-3", Ok(None));
        check("bytes=0-1,5-6", Ok(None));
        check("lines=1-2", Ok(None));
    }
}
