//! Pages of other origins that may call: those that are configured, each named exactly, and no other. Without
//! one no answer carries a header of this kind.

use crate::Settings;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    ORIGIN, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, HeaderValue, Method};
use reqwest::Url;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what it was allowed.
const REMEMBERED: Duration = Duration::from_secs(600);
/// An origin as browsers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// Reads `https://host` or `https://host:port`, without the scheme's own port and without anything behind
    /// it; `http` too.
    ///
    /// # Errors
    /// A sentence for whoever configures it.
    pub fn parse(text: &str) -> Result<Origin, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let said = url.map(|url| url.origin().ascii_serialization());
        // What a browser never says would never match.
        match said {
            Some(said) if said == text => {
                HeaderValue::from_str(&said).map(Origin).map_err(|error| error.to_string())
            }
            Some(said) => Err(format!("{text:?} is not how a browser says an origin; use {said:?}")),
            None => Err(format!("{text:?} is no origin; use one as \"https://shop.example\"")),
        }
    }
}

/// Whether a page of this origin may do what our own pages may.
pub(crate) fn is_allowed(settings: &Settings, origin: &HeaderValue) -> bool {
    settings.cors_origins.iter().any(|allowed| allowed.0 == origin)
}

/// What answers pages of these origins, their questions beforehand included; none without origins.
pub(crate) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    let list = origins.iter().map(|origin| origin.0.clone());
    // What calls of the API carry, and what answers say, besides what every page may send and read.
    let carried = ["idempotency-key", "last-event-id"].map(HeaderName::from_static);
    let carried = carried.into_iter().chain([AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, RANGE]);
    let told = [ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(list))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(carried.collect::<Vec<_>>())
        .expose_headers(told)
        .vary([ORIGIN])
        .max_age(REMEMBERED);
    (!origins.is_empty()).then_some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_exactly_what_a_browser_says_or_refused_with_what_to_say() {
        for good in ["https://shop.example", "http://localhost:3000", "https://xn--mller-kva.example:8443"] {
            assert_eq!(Origin::parse(good).map(|origin| origin.0), Ok(HeaderValue::from_static(good)));
        }
        let check = |bad: &str, part: &str| {
            let said = Origin::parse(bad).expect_err(bad);
            assert!(said.contains(part), "{said}");
        };
        check("https://shop.example/", "use \"https://shop.example\"");
        check("https://Shop.example:443", "use \"https://shop.example\"");
        check("https://shop.example/page", "use \"https://shop.example\"");
        for bad in ["*", "null", "shop.example", "https://*.example:x", "file:///page", ""] {
            check(bad, "is no origin");
        }
    }
}
