//! Who may call, and the headers that every answer carries.

use crate::cors;
use crate::problem::Problem;
use crate::{Gateway, Settings};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Asked by whatever runs this process, under whatever name; they tell nothing.
const PROBES: [&str; 2] = ["/livez", "/readyz"];
/// How a browser says whose page asks.
const FETCH_SITE: &str = "sec-fetch-site";

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
pub(crate) async fn has_token(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let Some(token) = &gateway.settings.token else { return next.run(request).await };
    let said = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.strip_prefix("Bearer "));
    if said.is_some_and(|said| token.is(said)) {
        return next.run(request).await;
    }
    Problem::unauthorized().into_response()
}

/// Without a token, whoever reaches this machine's own address may call; a browser on it reaches that for
/// every page that it shows. So a name that somebody else may have pointed here is refused, and so is every
/// change, and every WebSocket, that a page of another site asks for, unless that is one which may call.
pub(crate) async fn is_neighbour(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    match judge(&gateway.settings, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(settings: &Settings, request: &Request) -> Result<(), Problem> {
    if settings.token.is_some() || PROBES.contains(&request.uri().path()) {
        return Ok(());
    }
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST.as_str()).or_else(|| request.uri().authority().map(|place| place.as_str()));
    let host = host.filter(|host| is_ours(host, &settings.public_hosts));
    let host = host.ok_or_else(Problem::foreign_host)?;
    // No rule of browsers keeps a page from what another site says over a WebSocket.
    if request.method().is_safe() && text(UPGRADE.as_str()).is_none() {
        return Ok(());
    }
    // What no browser sends has neither header.
    let origin = request.headers().get(ORIGIN);
    if origin.is_some_and(|origin| cors::is_allowed(settings, origin)) {
        return Ok(());
    }
    let is_same = origin.is_none_or(|origin| is_origin(origin, host, settings));
    if is_same && text(FETCH_SITE) != Some("cross-site") { Ok(()) } else { Err(Problem::foreign_origin()) }
}

fn is_origin(origin: &HeaderValue, host: &str, settings: &Settings) -> bool {
    let origin = origin.to_str().ok();
    let place = origin.and_then(|text| text.strip_prefix("http://").or(text.strip_prefix("https://")));
    place.is_some_and(|place| {
        place.eq_ignore_ascii_case(host) || settings.public_hosts.iter().any(|name| is_host(place, name))
    })
}

/// Whether a `Host` names this machine itself, or a name under which it is known.
fn is_ours(host: &str, public: &[String]) -> bool {
    let name = without_port(host);
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || name.eq_ignore_ascii_case("localhost")
        || public.iter().any(|public| is_host(host, public))
}

fn is_host(said: &str, name: &str) -> bool {
    said.eq_ignore_ascii_case(name) || without_port(said).eq_ignore_ascii_case(name)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_named_hosts_are_ours_and_nothing_else_is() {
        let public = ["models.example.org".to_owned(), "lab:8080".to_owned()];
        let ours = ["localhost", "LOCALHOST:80", "127.0.0.1:7788", "127.8.8.8", "[::1]:80", "[::1]"];
        let named = ["models.example.org", "Models.Example.org:443", "lab:8080"];
        for host in ours.iter().chain(&named) {
            assert!(is_ours(host, &public), "{host}");
        }
        let foreign = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""];
        for host in foreign.iter().chain(&["lab:8081", "::1:80:x", "[::2]", "models.example.org.evil"]) {
            assert!(!is_ours(host, &public), "{host}");
        }
    }
}
