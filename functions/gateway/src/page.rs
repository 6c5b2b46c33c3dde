//! The page. If the program was built with the dashboard, that; else the plain one, for which nothing but
//! Rust is needed: drop a picture, see the stages move, the preview, the downloads. Everything is in the
//! binary.

use crate::problem::Problem;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Asked for again each time, and sent again only when it changed.
const FRESH: &str = "no-cache";
/// The name changes with the content.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// A file of the dashboard, twice.
#[allow(dead_code, reason = "a program that was built without the dashboard makes none")]
struct Asset {
    name: &'static str,
    plain: &'static [u8],
    zipped: &'static [u8],
}

/// All files of the dashboard; none when the program was built without.
static DASHBOARD: &[Asset] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

impl Asset {
    fn find(name: &str) -> Option<&'static Asset> {
        DASHBOARD.iter().find(|asset| asset.name == name)
    }

    fn kind(&self) -> &'static str {
        match self.name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("txt") => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }
}

/// Whether a list of weighted words has this one, and not with weight zero.
fn takes(headers: &HeaderMap, coding: &str) -> bool {
    let said = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|list| list.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|word| word.eq_ignore_ascii_case(coding));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok());
        is_it && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// A file that never changes while the program runs, as this caller takes it.
fn serve(asset: &Asset, cache: &'static str, asked: &HeaderMap) -> Response {
    let is_zipped = takes(asked, "gzip");
    let content = if is_zipped { asset.zipped } else { asset.plain };
    // The two are not the same bytes, so they share no tag.
    let etag = format!("\"{}\"", blake3::hash(content).to_hex());
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let is_known = known.any(|tag| tag == etag || tag == "*");
    headers.insert(ETAG, HeaderValue::from_str(&etag).expect("hex in quotes is a header"));
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind()));
    if is_zipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    (headers, content).into_response()
}

fn text(kind: &'static str, content: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, FRESH)], content).into_response()
}

pub(crate) async fn index(headers: HeaderMap) -> Response {
    match Asset::find("index.html") {
        Some(index) => serve(index, FRESH, &headers),
        None => plain().await,
    }
}

/// The plain page, whichever the program was built with.
pub(crate) async fn plain() -> Response {
    text("text/html; charset=utf-8", include_str!("../web/index.html"))
}

/// A part of the dashboard.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match Asset::find(&format!("assets/{name}")) {
        Some(asset) => serve(asset, FOREVER, &headers),
        None => Problem::missing("such file; load the page again").into_response(),
    }
}

pub(crate) async fn script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../web/app.js"))
}

pub(crate) async fn style() -> Response {
    text("text/css; charset=utf-8", include_str!("../web/style.css"))
}

pub(crate) async fn icon() -> Response {
    text("image/svg+xml", include_str!("../web/icon.svg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Asset = Asset { name: "assets/a-1.js", plain: b"let a;", zipped: b"\x1f\x8b..." };

    fn asked(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).expect("a header"))
        });
        pairs.collect()
    }

    #[test]
    fn gzip_goes_to_whoever_takes_it() {
        for (said, is_zipped) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let answer = serve(&SCRIPT, FOREVER, &asked(&[("accept-encoding", said)]));
            assert_eq!(answer.headers().contains_key(CONTENT_ENCODING), is_zipped, "{said}");
            assert_eq!(answer.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
        }
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again_and_each_form_has_its_own_tag() {
        let first = serve(&SCRIPT, FRESH, &asked(&[("accept-encoding", "gzip")]));
        let etag = first.headers()[ETAG].to_str().expect("text").to_owned();
        let both = [("accept-encoding", "gzip"), ("if-none-match", etag.as_str())];
        assert_eq!(serve(&SCRIPT, FRESH, &asked(&both)).status(), StatusCode::NOT_MODIFIED);
        let weak = format!("\"x\", W/{etag}");
        let weak = [("accept-encoding", "gzip"), ("if-none-match", weak.as_str())];
        assert_eq!(serve(&SCRIPT, FRESH, &asked(&weak)).status(), StatusCode::NOT_MODIFIED);
        let plain = [("if-none-match", etag.as_str())];
        assert_eq!(serve(&SCRIPT, FRESH, &asked(&plain)).status(), StatusCode::OK);
    }

    #[test]
    fn a_dashboard_that_is_there_is_whole() {
        let Some(index) = Asset::find("index.html") else { return };
        let html = std::str::from_utf8(index.plain).expect("UTF-8");
        let named: Vec<&str> = html.split('"').filter(|word| word.starts_with("/assets/")).collect();
        assert!(named.len() >= 2, "{html}");
        for name in named {
            assert!(Asset::find(&name[1..]).is_some(), "{name}");
        }
        assert!(!html.contains("<style") && !html.contains("javascript:"), "{html}");
    }
}
