//! Trace context: a job is a trace, whose id is the job's id. Ids of spans are made of what both sides of a
//! message know, so that nothing has to be kept or passed on, and a span and its parent may be told by two
//! processes.

use crate::{BatchId, JobId, Life, Stage, ids::hash128};
use std::fmt;

/// A span within a job's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl SpanId {
    /// The root: one life of a job.
    pub fn of_life(job: JobId, life: Life) -> SpanId {
        cut(hash128("meshwright span of a life 1", &[&job.0, &life.0.to_be_bytes()]))
    }

    /// One run of a task. A batch has a task once, and planner and worker know it by the same id.
    pub fn of_task(job: JobId, stage: Stage, batch: BatchId) -> SpanId {
        cut(hash128("meshwright span of a task 1", &[&job.0, stage.as_str().as_bytes(), &batch.0]))
    }

    /// A span below this one; names are different below one parent.
    pub fn within(self, name: &str) -> SpanId {
        cut(hash128("meshwright span within 1", &[&self.0, name.as_bytes()]))
    }
}

fn cut([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> SpanId {
    SpanId([a, b, c, d, e, f, g, h])
}

/// A span of whatever trace: what the W3C header `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Its trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: SpanId,
    /// Whether somebody keeps it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a header. None if it is none, as the standard says: zeros, capitals, version `ff`.
    pub fn parse(header: &str) -> Option<TraceContext> {
        let mut parts = header.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_lower_hex = part.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
            u128::from_str_radix(part, 16).ok().filter(|_| is_lower_hex)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_whole = version != 0xff && (version > 0 || parts.next().is_none());
        let span_id = SpanId((span as u64).to_be_bytes());
        let context = TraceContext { trace: trace.to_be_bytes(), span: span_id, is_sampled: flags & 1 == 1 };
        (is_whole && trace != 0 && span != 0).then_some(context)
    }
}

/// The job that a subject names, wherever it stands there.
pub fn job_of_subject(subject: &str) -> Option<JobId> {
    let mut tokens = subject.split('.');
    match tokens.next()? {
        "task" | "dead" => tokens.next_back()?.parse().ok(),
        "event" | "control" => tokens.next()?.parse().ok(),
        _ => None,
    }
}

/// The W3C header `traceparent` of all messages about a job: whoever hears one may join its trace.
pub fn traceparent(job: JobId) -> String {
    format!("00-{job}-{}-01", SpanId::of_life(job, Life(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_job_names_its_trace_and_its_root() {
        let job = JobId([0xab; 16]);
        let read = TraceContext::parse(&traceparent(job)).expect("a header");
        let root = SpanId::of_life(job, Life(0));
        assert_eq!(read, TraceContext { trace: job.0, span: root, is_sampled: true });
        let hex = "ab".repeat(16);
        for subject in [format!("task.shape.normal.acme.{hex}"), format!("dead.shape.{hex}")] {
            assert_eq!(job_of_subject(&subject), Some(job), "{subject}");
        }
        assert_eq!(job_of_subject(&format!("event.{hex}.started")), Some(job));
        // A tenant may look like an id.
        assert_eq!(job_of_subject(&format!("task.shape.normal.{hex}.x")), None);
        assert_eq!(job_of_subject("offer"), None);
    }

    #[test]
    fn spans_of_lives_and_runs_are_different_ones() {
        let (job, batch) = (JobId([1; 16]), BatchId([2; 16]));
        let task = SpanId::of_task(job, Stage::Shape, batch);
        let all = [
            SpanId::of_life(job, Life(0)),
            SpanId::of_life(job, Life(1)),
            task,
            SpanId::of_task(job, Stage::Texture, batch),
            SpanId::of_task(job, Stage::Shape, BatchId([3; 16])),
            task.within("compute"),
            task.within("compute").within("compute"),
        ];
        let distinct: std::collections::BTreeSet<SpanId> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_header_is_read_as_the_standard_says() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let check = |header: String, expect: Option<bool>| {
            let read = TraceContext::parse(&header);
            assert_eq!(read.map(|read| read.is_sampled), expect, "{header}");
        };
        check(format!("00-{trace}-{span}-01"), Some(true));
        check(format!("00-{trace}-{span}-00"), Some(false));
        check(format!("01-{trace}-{span}-01-what-comes-later"), Some(true));
        check(format!("00-{trace}-{span}-01-more"), None);
        check(format!("ff-{trace}-{span}-01"), None);
        check(format!("00-{}-{span}-01", "0".repeat(32)), None);
        check(format!("00-{trace}-{}-01", "0".repeat(16)), None);
        check(format!("00-{}-{span}-01", trace.to_uppercase()), None);
        check(format!("00-+{}-{span}-01", &trace[1..]), None);
        check(format!("00-{trace}-{span}"), None);
        check(String::new(), None);
    }
}
