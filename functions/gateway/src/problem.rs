//! What is wrong, as RFC 9457 problem JSON with a stable type.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ports::PortError;
use serde_json::json;
use std::time::Duration;

const PROBLEM_JSON: &str = "application/problem+json";
/// After so many seconds it is worth to ask again what is away.
const AGAIN_S: u64 = 2;
/// Longest text of somebody else's refusal that is passed on.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// A problem: the stable end of its type, its status, and one sentence.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: &'static str,
    status: StatusCode,
    detail: String,
    // Of the file, where a range of it is refused.
    size: Option<u64>,
    // Seconds after which to try again, where that is known.
    again_s: Option<u64>,
}

impl Problem {
    fn new(kind: &'static str, status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { kind, status, detail: detail.into(), size: None, again_s: None }
    }

    pub(crate) fn missing(what: &str) -> Problem {
        Problem::new("not-found", StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new("bad-request", StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn bad_query(detail: impl Into<String>) -> Problem {
        Problem::new("bad-query", StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn bad_recipe(detail: impl Into<String>) -> Problem {
        Problem::new("bad-recipe", StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new("too-large", StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new("conflict", StatusCode::CONFLICT, detail)
    }

    pub(crate) fn range(size: u64) -> Problem {
        let detail = format!("the range lies outside the file, which has {size} bytes");
        Problem { size: Some(size), ..Problem::new("bad-range", StatusCode::RANGE_NOT_SATISFIABLE, detail) }
    }

    pub(crate) fn key_reused() -> Problem {
        let detail =
            "this Idempotency-Key was used for another picture, object, name or recipe; use a new one";
        Problem::new("idempotency-key-reused", StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn unauthorized() -> Problem {
        let detail = "send the header `Authorization: Bearer …` with this server's token";
        Problem::new("unauthorized", StatusCode::UNAUTHORIZED, detail)
    }

    pub(crate) fn foreign_host() -> Problem {
        let detail = "this server is not known under that name; reach it as localhost, or name the host in \
                      gateway.public_hosts";
        Problem::new("foreign-host", StatusCode::MISDIRECTED_REQUEST, detail)
    }

    pub(crate) fn foreign_origin() -> Problem {
        let detail = "a page of another site may change nothing here";
        Problem::new("foreign-origin", StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn timed_out(detail: impl Into<String>) -> Problem {
        Problem::new("timed-out", StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// Of a call to a port whose names come from the caller.
    pub(crate) fn of_input(error: PortError) -> Problem {
        match error {
            PortError::Invalid(text) => Problem::bad_request(format!("the store does not take that: {text}")),
            error => error.into(),
        }
    }

    pub(crate) fn full(detail: impl Into<String>) -> Problem {
        Problem::new("full", StatusCode::INSUFFICIENT_STORAGE, detail)
    }

    /// The sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn too_many(wait: Duration) -> Problem {
        let again_s = wait.as_secs() + 1;
        let detail = format!("this tenant has made its jobs of this minute; try again in {again_s} s");
        let problem = Problem::new("too-many", StatusCode::TOO_MANY_REQUESTS, detail);
        Problem { again_s: Some(again_s), ..problem }
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new("unavailable", StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Problem {
        tracing::warn!(%error, "answer a call");
        match error {
            PortError::Unavailable(_) => Problem::unavailable("store or broker do not answer; try again"),
            error => Problem::new("internal", StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:meshwright:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let kind = HeaderValue::from_static(PROBLEM_JSON);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(size) = self.size.and_then(|size| HeaderValue::try_from(format!("bytes */{size}")).ok()) {
            response.headers_mut().insert(header::CONTENT_RANGE, size);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let is_away = self.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(seconds) = self.again_s.or(is_away.then_some(AGAIN_S)) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Whatever refuses a call before a handler does (a query that cannot be read, a body that is too long)
/// speaks as we do.
pub(crate) async fn dress(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON);
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), TEXT_BYTES_MAX).await.unwrap_or_default();
    let kind = match status {
        StatusCode::BAD_REQUEST => "bad-request",
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        _ => "refused",
    };
    Problem::new(kind, status, String::from_utf8_lossy(&text)).into_response()
}

pub(crate) async fn not_found() -> Problem {
    Problem::missing("such address; see /api/openapi.json")
}

pub(crate) async fn wrong_method() -> Problem {
    let detail = "this address does not take this method; see /api/openapi.json";
    Problem::new("wrong-method", StatusCode::METHOD_NOT_ALLOWED, detail)
}
