//! What an error of the store means for a caller.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, get_object, head_object};
use ports::PortError;
use std::error::Error;

/// Anything that the client may answer.
pub(crate) type Failed<E> = SdkError<E, aws_sdk_s3::config::http::HttpResponse>;

/// The HTTP status of an answer, if there was one.
pub(crate) fn status<E>(error: &Failed<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// A condition did not hold.
pub(crate) fn is_precondition<E: ProvideErrorMetadata>(error: &Failed<E>) -> bool {
    status(error) == Some(412) || error.code() == Some("PreconditionFailed")
}

/// Another conditional write is in progress: only trying again tells who won.
pub(crate) fn is_conflict<E: ProvideErrorMetadata>(error: &Failed<E>) -> bool {
    status(error) == Some(409)
}

/// The object does not exist; a missing bucket is something else.
pub(crate) fn is_absent<E: ProvideErrorMetadata>(error: &Failed<E>) -> bool {
    status(error) == Some(404) && error.code() != Some("NoSuchBucket")
}

/// What an error and those that caused it say, from the outside in.
fn told_by_all(error: &dyn Error) -> String {
    let (mut told, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// The error in the words of ports.
pub(crate) fn port_error<E>(what: &str, error: &Failed<E>) -> PortError
where
    E: ProvideErrorMetadata + RequestId + Error + 'static,
{
    let code = error.code().unwrap_or_default();
    let text = match (error.message(), status(error)) {
        (Some(message), _) if !code.is_empty() => format!("{what}: {code}: {message}"),
        (_, Some(status)) => format!("{what}: HTTP status {status} {code}"),
        (_, None) => format!("{what}: {}", told_by_all(error)),
    };
    match (status(error), code) {
        (_, "NoSuchBucket") => PortError::Missing(text),
        (
            _,
            "SlowDown"
            | "RequestTimeout"
            | "InternalError"
            | "ServiceUnavailable"
            | "XMinioServerNotInitialized",
        ) => PortError::Unavailable(text),
        (Some(401 | 403), _) => PortError::Denied(text),
        (Some(404), _) => PortError::Missing(text),
        // Nothing was sent, and nothing would be: the caller asked for what cannot be said.
        (None, _) if matches!(error, SdkError::ConstructionFailure(_)) => PortError::Invalid(text),
        (Some(408 | 409 | 429 | 500..), _) | (None, _) => PortError::Unavailable(text),
        (Some(_), _) => PortError::Invalid(text),
    }
}

/// A HEAD has no body to say what is missing; 404 is the object unless the bucket is asked for.
pub(crate) fn head_absent(error: &Failed<head_object::HeadObjectError>) -> bool {
    status(error) == Some(404)
}

/// A GET whose `If-Match` does not hold.
pub(crate) fn get_changed(error: &Failed<get_object::GetObjectError>) -> bool {
    is_precondition(error)
}
