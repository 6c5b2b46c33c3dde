//! Trace context: every message whose subject names a job carries the header `traceparent` of that job's
//! trace. It reads none.

use async_nats::HeaderMap;
use domain::{job_of_subject, traceparent};

/// The headers of a message on this subject.
pub(crate) fn trace_headers(subject: &str) -> Option<HeaderMap> {
    let job = job_of_subject(subject)?;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", traceparent(job).as_str());
    Some(headers)
}
