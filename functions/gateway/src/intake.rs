//! Bodies of calls: how large they may be, how long they may take, how many are held at once.

use crate::Gateway;
use crate::problem::Problem;
use axum::body::Bytes as Body;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::time::timeout;

/// Multipart wraps an upload in this much text at most.
const FORM_BYTES_MAX: usize = 64 << 10;
/// Fields of a form, the picture included.
const FORM_FIELDS_MAX: usize = 32;
/// A body that only names an object.
const NAME_BYTES_MAX: usize = 16 << 10;

/// The largest body of any call.
pub(crate) fn body_bytes_max(gateway: &Gateway) -> usize {
    gateway.settings.site.upload_bytes_max.0 as usize + FORM_BYTES_MAX
}

fn too_large() -> Problem {
    Problem::too_large("the body is larger than this server takes")
}

/// Refuses a body that says it is too large before a byte of it is read.
pub(crate) async fn refuse_early(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > body_bytes_max(&gateway) as u64) {
        return too_large().into_response();
    }
    next.run(request).await
}

/// What a body was.
pub(crate) enum Taken {
    /// Itself.
    Raw(Body),
    /// A form's first file with its name, and the other fields.
    Form { picture: Option<(String, Body)>, fields: Vec<(String, String)> },
}

/// Reads a body; a form is taken apart. Only so many are read at once, since each is held in memory, and
/// none for ever.
pub(crate) async fn take(gateway: &Gateway, request: Request) -> Result<Taken, Problem> {
    let busy = |_| Problem::unavailable("other pictures are being received; try again");
    let _place = gateway.bodies.try_acquire().map_err(busy)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_form = kind.is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let reading = async {
        match is_form {
            true => form(request).await,
            false => Ok(Taken::Raw(raw(request).await?)),
        }
    };
    let late = |_| Problem::timed_out("the body did not arrive in time");
    timeout(gateway.settings.limits.body_max, reading).await.map_err(late)?
}

/// Reads a body that only names something.
pub(crate) async fn take_name(gateway: &Gateway, request: Request) -> Result<Body, Problem> {
    let reading = axum::body::to_bytes(request.into_body(), NAME_BYTES_MAX);
    let late = |_| Problem::timed_out("the body did not arrive in time");
    let read = timeout(gateway.settings.limits.body_max, reading).await.map_err(late)?;
    read.map_err(|_| Problem::bad_request(format!("send at most {NAME_BYTES_MAX} bytes of JSON")))
}

fn refused(status: StatusCode, text: String) -> Problem {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::bad_request(text),
    }
}

async fn raw(request: Request) -> Result<Body, Problem> {
    Body::from_request(request, &()).await.map_err(|error| refused(error.status(), error.body_text()))
}

async fn form(request: Request) -> Result<Taken, Problem> {
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| refused(error.status(), error.body_text()))?;
    let bad = |error: axum::extract::multipart::MultipartError| refused(error.status(), error.body_text());
    let (mut picture, mut fields) = (None, Vec::new());
    for _ in 0..FORM_FIELDS_MAX {
        let Some(field) = form.next_field().await.map_err(bad)? else {
            return Ok(Taken::Form { picture, fields });
        };
        let name = field.name().unwrap_or_default().to_owned();
        match field.file_name().map(str::to_owned) {
            Some(file) => {
                let content = field.bytes().await.map_err(bad)?;
                picture.get_or_insert((file, content));
            }
            None => fields.push((name, field.text().await.map_err(bad)?)),
        }
    }
    Err(Problem::bad_request(format!("the form has more than {FORM_FIELDS_MAX} fields")))
}
