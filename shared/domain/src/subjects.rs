//! Subjects: built and parsed in one place. They contain ids and closed vocabularies only.

use crate::{Class, EventKind, JobId, Stage, StoreId, Task, TenantId, WorkerId};

/// Where workers make their offers.
pub const OFFER_SUBJECT: &str = "offer";
/// Where a new leader asks all workers to repeat their offers at once.
pub const CALL_SUBJECT: &str = "call";
/// Where workers say how batches ended.
pub const ENDED_SUBJECT: &str = "ended";
/// Where a sweep is asked for at once; the answer is its report.
pub const SWEEP_SUBJECT: &str = "sweep";
/// Where the leading planner is asked about what it plans.
pub const PLAN_SUBJECT: &str = "plan";

/// `s3ev.<store>`: one subject, and one user of the broker, per store.
pub fn uploads_subject(store: &StoreId) -> String {
    format!("s3ev.{store}")
}

/// `task.<stage>.<class>.<tenant>.<job_id>`
pub fn task_subject(task: &Task) -> String {
    format!("task.{}.{}.{}.{}", task.stage, task.class, task.tenant, task.job)
}

/// `dead.<stage>.<job_id>`
pub fn dead_subject(stage: Stage, job: JobId) -> String {
    format!("dead.{stage}.{job}")
}

/// `timing.<stage>`
pub fn timing_subject(stage: Stage) -> String {
    format!("timing.{stage}")
}

/// `event.<job_id>.<kind>`
pub fn event_subject(job: JobId, kind: &EventKind) -> String {
    format!("event.{job}.{}", kind.as_str())
}

/// `event.<job_id>.*`: all events of one job.
pub fn job_events_subject(job: JobId) -> String {
    format!("event.{job}.*")
}

/// `run.<worker>`
pub fn run_subject(worker: &WorkerId) -> String {
    format!("run.{worker}")
}

/// `stop.<worker>`
pub fn stop_subject(worker: &WorkerId) -> String {
    format!("stop.{worker}")
}

/// `release.<worker>`
pub fn release_subject(worker: &WorkerId) -> String {
    format!("release.{worker}")
}

/// `control.<job_id>`
pub fn control_subject(job: JobId) -> String {
    format!("control.{job}")
}

/// The job of a `control.<job_id>` or `event.<job_id>.<kind>` subject.
pub fn subject_job(subject: &str) -> Option<JobId> {
    subject.split('.').nth(1)?.parse().ok()
}

/// One durable pull consumer: a filter on a work queue, so that fairness and priority are possible at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// Events of one store.
    Uploads(StoreId),
    /// Tasks of one stage, class and tenant.
    Tasks(Stage, Class, TenantId),
}

impl Consumer {
    /// Its durable name, as `shape-normal-acme`.
    pub fn durable_name(&self) -> String {
        match self {
            Consumer::Uploads(store) => format!("ingest-{store}"),
            Consumer::Tasks(stage, class, tenant) => format!("{stage}-{class}-{tenant}"),
        }
    }

    /// Its filter.
    pub fn filter(&self) -> String {
        match self {
            Consumer::Uploads(store) => uploads_subject(store),
            Consumer::Tasks(stage, class, tenant) => format!("task.{stage}.{class}.{tenant}.*"),
        }
    }

    /// The consumer that delivers a task.
    pub fn of_task(task: &Task) -> Consumer {
        Consumer::Tasks(task.stage, task.class, task.tenant.clone())
    }
}

/// Whether `subject` matches `filter`, with the broker's wildcards: `*` one token, `>` the rest.
pub fn subject_matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(have)) if want == have => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_the_broker_does() {
        let check = |filter: &str, subject: &str, expect: bool| {
            assert_eq!(subject_matches(filter, subject), expect, "{filter} {subject}");
        };
        check("a.*.c", "a.b.c", true);
        check("a.*.c", "a.b.d", false);
        check("a.>", "a.b.c", true);
        check("a.>", "a", false);
        check("a", "a", true);
        check("a.*", "a.b.c", false);
    }

    #[test]
    fn a_control_subject_names_its_job() {
        let job = JobId([7; 16]);
        assert_eq!(subject_job(&control_subject(job)), Some(job));
        assert_eq!(subject_job("control.nonsense"), None);
    }
}
