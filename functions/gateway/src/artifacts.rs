//! The upload and the files of a job, with right types, ranges and etags; what is missing is a problem in
//! JSON, never a page.

use crate::Gateway;
use crate::jobs::{job_id, record};
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::{Artifact, Stage};
use futures::stream::{StreamExt, once, unfold};
use ports::{GetOptions, Got, PortResult};
use std::sync::Arc;

/// How much of a file is fetched at once.
const PIECE_BYTES: u64 = 4 << 20;
/// Enough of an upload to know it by.
const KNOWN_BY_BYTES: u64 = 12;

/// What a browser may show of an upload: its own word for the type is not believed.
fn picture_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "application/octet-stream",
    }
}

/// An object as it is served. It never changes under its address.
struct Served {
    bucket: String,
    key: String,
    version_id: Option<String>,
    /// Only while it is this one.
    if_match: Option<String>,
    size: u64,
    etag: String,
    content_type: String,
    /// The name under which a browser stores it, instead of showing it.
    save_as: Option<String>,
    /// What is said when it is gone.
    gone: &'static str,
}

/// `GET /api/jobs/{id}/upload`
pub(crate) async fn upload(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let upload = record(&gateway, job_id(&id)?).await?.upload;
    let mut served = Served {
        etag: format!("\"{}\"", upload.id()),
        bucket: upload.bucket,
        key: upload.key,
        version_id: upload.version_id,
        if_match: Some(upload.etag),
        size: upload.size_bytes.0,
        content_type: String::new(),
        save_as: None,
        gone: "upload any more; it was replaced or deleted",
    };
    if has_it(&headers, &served) {
        return Ok(unchanged(&served));
    }
    let start = served.fetch(&gateway, 0, KNOWN_BY_BYTES.min(served.size)).await?;
    let kind = picture_type(&start.ok_or_else(|| Problem::missing(served.gone))?);
    served.content_type = kind.to_owned();
    served.save_as = (!kind.starts_with("image/")).then(|| "upload".to_owned());
    answer(gateway, &headers, served).await
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
    let served = Served {
        bucket: gateway.ledger.bucket().to_owned(),
        key: artifact.key,
        version_id: None,
        if_match: None,
        size: artifact.size_bytes.0,
        etag: format!("\"{}\"", artifact.sha256),
        content_type: artifact.content_type,
        save_as: name.starts_with("model.").then_some(name),
        gone: "such file any more; it was collected after its time",
    };
    if has_it(&headers, &served) { Ok(unchanged(&served)) } else { answer(gateway, &headers, served).await }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"))
}

fn has_it(headers: &HeaderMap, served: &Served) -> bool {
    text(headers, header::IF_NONE_MATCH).is_some_and(|said| said == "*" || said.contains(&served.etag))
}

fn unchanged(served: &Served) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, value(&served.etag))]).into_response()
}

/// The whole, or the range that is asked for.
async fn answer(gateway: Arc<Gateway>, headers: &HeaderMap, served: Served) -> Result<Response, Problem> {
    let size = served.size;
    // A range of another file is of no use: such a client gets the whole one.
    let same = text(headers, header::IF_RANGE).is_none_or(|said| said == served.etag);
    let range = match text(headers, header::RANGE).filter(|_| same) {
        None => None,
        Some(said) => parse_range(said, size)?,
    };
    let (first, last) = range.unwrap_or((0, size.saturating_sub(1)));
    let mut response = Response::new(Body::empty());
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, value(&served.content_type));
    set.insert(header::CONTENT_LENGTH, HeaderValue::from(if size == 0 { 0 } else { last - first + 1 }));
    set.insert(header::ETAG, value(&served.etag));
    set.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    if let Some(name) = &served.save_as {
        set.insert(header::CONTENT_DISPOSITION, value(&format!("attachment; filename=\"{name}\"")));
    }
    if range.is_some() {
        set.insert(header::CONTENT_RANGE, value(&format!("bytes {first}-{last}/{size}")));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    *response.body_mut() = Pieces { gateway, served, next: first, end: size.min(last + 1) }.body().await?;
    Ok(response)
}

impl Served {
    /// The bytes from `first` to before `end`; none if it is gone.
    async fn fetch(&self, gateway: &Gateway, first: u64, end: u64) -> PortResult<Option<Bytes>> {
        if first >= end {
            return Ok(Some(Bytes::new()));
        }
        let options = GetOptions {
            version_id: self.version_id.clone(),
            if_match: self.if_match.clone(),
            range: Some((first, end - 1)),
            ..GetOptions::default()
        };
        Ok(match gateway.ports.store.get(&self.bucket, &self.key, &options).await? {
            Got::Found(object) => Some(object.body),
            Got::Absent | Got::Changed => None,
        })
    }
}

/// What is still to be sent of a file. It is fetched piece by piece, so that a slow client holds one piece
/// and no more.
struct Pieces {
    gateway: Arc<Gateway>,
    served: Served,
    next: u64,
    end: u64,
}

impl Pieces {
    /// The first piece is fetched before anything is said; later ones break the answer off if they fail.
    async fn body(mut self) -> Result<Body, Problem> {
        let Some(first) = self.fetch().await? else { return Err(Problem::missing(self.served.gone)) };
        if self.next >= self.end {
            return Ok(Body::from(first));
        }
        let rest = unfold(self, |mut pieces| async move {
            if pieces.next >= pieces.end {
                return None;
            }
            let piece = match pieces.fetch().await {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => Err(std::io::Error::other("the file is gone")),
                Err(error) => Err(std::io::Error::other(error)),
            };
            Some((piece, pieces))
        });
        Ok(Body::from_stream(once(std::future::ready(Ok(first))).chain(rest)))
    }

    async fn fetch(&mut self) -> PortResult<Option<Bytes>> {
        let end = self.end.min(self.next + PIECE_BYTES);
        let piece = self.served.fetch(&self.gateway, self.next, end).await?;
        self.next = end;
        Ok(piece)
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
