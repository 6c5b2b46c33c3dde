//! Who may call, and the headers that every answer carries.

use crate::Gateway;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::sync::Arc;

/// A bearer token: never printed, compared in constant time.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Keeps it.
    pub fn new(text: String) -> Token {
        Token(text)
    }

    fn is(&self, said: &str) -> bool {
        // Hashes have one length, so the time tells nothing of the token.
        blake3::hash(self.0.as_bytes()) == blake3::hash(said.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Lets a call pass that carries the token, if one is wanted.
pub(crate) async fn check(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let Some(token) = &gateway.settings.token else { return next.run(request).await };
    let said = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.strip_prefix("Bearer "));
    if said.is_some_and(|said| token.is(said)) {
        return next.run(request).await;
    }
    Problem::unauthorized().into_response()
}

/// Nothing is guessed, framed or loaded from elsewhere.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; \
                  form-action 'self'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
