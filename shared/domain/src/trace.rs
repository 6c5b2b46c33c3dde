//! Trace context of messages: a job is a trace, each of its messages a span in it. Nothing has to be kept
//! or passed on for it: the trace id is the job's id, and the span is named by the message's subject.

use crate::{JobId, ids::hash128};

/// The job that a subject names, wherever it stands there.
pub fn job_of_subject(subject: &str) -> Option<JobId> {
    let mut tokens = subject.split('.');
    match tokens.next()? {
        "task" | "dead" => tokens.next_back()?.parse().ok(),
        "event" | "control" => tokens.next()?.parse().ok(),
        _ => None,
    }
}

/// The W3C header `traceparent` of a message about a job.
pub fn traceparent(job: JobId, subject: &str) -> String {
    let span = JobId(hash128("meshwright span 1", &[&job.0, subject.as_bytes()])).to_string();
    format!("00-{job}-{}-01", &span[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_about_one_job_share_its_trace_and_have_their_own_spans() {
        let job = JobId([0xab; 16]);
        let hex = "ab".repeat(16);
        let subjects = [
            format!("task.shape.normal.acme.{hex}"),
            format!("dead.shape.{hex}"),
            format!("event.{hex}.started"),
        ];
        let headers = subjects.map(|subject| {
            assert_eq!(job_of_subject(&subject), Some(job), "{subject}");
            traceparent(job, &subject)
        });
        assert!(headers.iter().all(|header| header.starts_with(&format!("00-{hex}-")) && header.len() == 55));
        assert!(headers[0] != headers[1] && headers[1] != headers[2]);
        // A tenant may look like an id.
        assert_eq!(job_of_subject(&format!("task.shape.normal.{hex}.x")), None);
        assert_eq!(job_of_subject("offer"), None);
    }
}
