//! The one page: drop a picture, see the stages move, the preview, the downloads. Everything is in the
//! binary.

use axum::http::header;
use axum::response::{IntoResponse, Response};

fn text(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

pub(crate) async fn index() -> Response {
    text("text/html; charset=utf-8", include_str!("../web/index.html"))
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
