//! What became of the jobs of a load: a pure fold of calls, answers and events, each at the moment at which
//! it came, counted from the first intended beginning. Latency counts from when a job was *intended* to
//! begin: a generator that is late, or a server that keeps it waiting, hides nothing. It knows no clock.

use crate::progress::{End, Progress};
use domain::{Event, JobId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Jobs of others, or with an answer still on its way, whose events are kept until it is known which.
const EARLY_MAX: usize = 10_000;
/// Reasons that are told apart.
const REASONS_MAX: usize = 20;

/// How a call ended that made no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoJob {
    /// The server said no.
    Refused,
    /// It was full or away.
    Unanswered,
}

/// One job that was to be.
#[derive(Clone, Debug, Default)]
struct Sent {
    intended: Duration,
    called: Duration,
    answered: Option<Duration>,
    job: Option<JobId>,
    no_job: Option<NoJob>,
    ended: Option<Duration>,
}

/// How many became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) done: u64,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Calls that the server refused.
    pub(crate) refused: u64,
    /// Calls that it did not answer, or with an error of its own.
    pub(crate) unanswered: u64,
    /// Not ended when the counting did.
    pub(crate) open: u64,
}

/// A load as it goes.
#[derive(Default)]
pub(crate) struct Tally {
    sent: Vec<Sent>,
    jobs: BTreeMap<JobId, usize>,
    early: BTreeMap<JobId, (Duration, Event)>,
    calling: usize,
    ended: usize,
    reasons: BTreeMap<String, u64>,
    progress: Progress,
}

impl Tally {
    /// The next job is asked for; gives its number.
    pub(crate) fn call(&mut self, intended: Duration, at: Duration) -> usize {
        self.sent.push(Sent { intended, called: at, ..Sent::default() });
        self.calling += 1;
        self.sent.len() - 1
    }

    /// The server has made this job of it.
    pub(crate) fn answered(&mut self, number: usize, job: JobId, at: Duration) {
        self.calling -= 1;
        (self.sent[number].answered, self.sent[number].job) = (Some(at), Some(job));
        self.jobs.insert(job, number);
        self.progress.add(job);
        if let Some((at, event)) = self.early.remove(&job) {
            self.hear(&event, at);
        }
        self.forget();
    }

    /// The server has made no job of it.
    pub(crate) fn not_made(&mut self, number: usize, how: NoJob, why: &str) {
        self.calling -= 1;
        self.sent[number].no_job = Some(how);
        self.reason(why);
        self.forget();
    }

    /// What is not ours once every call is answered never was.
    fn forget(&mut self) {
        if self.calling == 0 {
            self.early.clear();
        }
    }

    fn reason(&mut self, why: &str) {
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(why) {
            *self.reasons.entry(why.to_owned()).or_default() += 1;
        }
    }

    /// Something happened to a job, of ours or not.
    pub(crate) fn hear(&mut self, event: &Event, at: Duration) {
        if !self.progress.hear(event) {
            if self.calling > 0 && event.kind.is_end() && self.early.len() < EARLY_MAX {
                self.early.insert(event.job, (at, event.clone()));
            }
            return;
        }
        let Some(number) = self.jobs.get(&event.job) else { return };
        let sent = &mut self.sent[*number];
        if sent.ended.is_some() {
            return;
        }
        let end = self.progress.jobs().get(&event.job).and_then(|line| line.end.clone());
        sent.ended = end.is_some().then_some(at);
        self.ended += usize::from(end.is_some());
        match end {
            Some(End::Rejected(why) | End::Dead(why) | End::Cancelled(why)) => self.reason(&why),
            Some(End::Done) | None => {}
        }
    }

    /// The jobs as bars are drawn of them.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Calls without an answer.
    pub(crate) fn calling(&self) -> usize {
        self.calling
    }

    /// Whether every call is answered and every job has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.calling == 0 && self.ended == self.jobs.len()
    }

    /// Jobs that were made, in the order in which they were asked for.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.sent.iter().filter_map(|sent| sent.job)
    }

    /// Jobs that have not ended, the oldest first.
    pub(crate) fn open(&self) -> Vec<JobId> {
        self.sent.iter().filter(|sent| sent.ended.is_none()).filter_map(|sent| sent.job).collect()
    }

    /// How many became what so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { sent: self.sent.len() as u64, ..Counts::default() };
        for sent in &self.sent {
            let end = sent.job.and_then(|job| self.progress.jobs().get(&job)?.end.as_ref());
            *match (sent.no_job, sent.ended.and(end)) {
                (Some(NoJob::Refused), _) => &mut counts.refused,
                (Some(NoJob::Unanswered), _) => &mut counts.unanswered,
                (None, Some(End::Done)) => &mut counts.done,
                (None, Some(End::Rejected(_))) => &mut counts.rejected,
                (None, Some(End::Dead(_))) => &mut counts.failed,
                (None, Some(End::Cancelled(_))) => &mut counts.cancelled,
                (None, None) => &mut counts.open,
            } += 1;
        }
        counts
    }

    /// Why jobs were not made or not done, and how many of each.
    pub(crate) fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.reasons
    }

    /// When each job was intended to begin, and when it ended if it did; those that were never made left out.
    pub(crate) fn lives(&self) -> Vec<(Duration, Option<Duration>)> {
        let made = self.sent.iter().filter(|sent| sent.no_job.is_none());
        made.map(|sent| (sent.intended, sent.ended)).collect()
    }

    /// From the intended beginning to the end, of each job that has ended.
    pub(crate) fn latencies(&self) -> Vec<Duration> {
        self.sent.iter().filter_map(|sent| Some(sent.ended?.saturating_sub(sent.intended))).collect()
    }

    /// From the intended beginning to the answer that the job is made.
    pub(crate) fn answers(&self) -> Vec<Duration> {
        self.sent.iter().filter_map(|sent| Some(sent.answered?.saturating_sub(sent.intended))).collect()
    }

    /// How late this side itself was, at most.
    pub(crate) fn late_max(&self) -> Duration {
        let late = self.sent.iter().map(|sent| sent.called.saturating_sub(sent.intended));
        late.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{EventKind, Life, Stage, Timestamp};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn event(job: JobId, kind: EventKind) -> Event {
        Event { job, life: Life(0), at: Timestamp(0), kind }
    }

    #[test]
    fn latency_counts_from_the_intended_beginning_however_late_the_call_was() {
        let (mut tally, job) = (Tally::default(), JobId([1; 16]));
        let number = tally.call(ms(1_000), ms(1_400));
        tally.answered(number, job, ms(1_500));
        assert_eq!((tally.open(), tally.latencies(), tally.is_over()), (vec![job], vec![], false));
        tally.hear(&event(job, EventKind::Finished), ms(3_000));
        assert_eq!(tally.latencies(), [ms(2_000)]);
        assert_eq!((tally.answers(), tally.late_max(), tally.is_over()), (vec![ms(500)], ms(400), true));
        // A second end changes nothing.
        tally.hear(&event(job, EventKind::Finished), ms(9_000));
        assert_eq!(tally.latencies(), [ms(2_000)]);
    }

    #[test]
    fn an_end_that_is_heard_before_the_answer_counts_and_the_jobs_of_others_never_do() {
        let (mut tally, ours, other) = (Tally::default(), JobId([1; 16]), JobId([2; 16]));
        tally.hear(&event(ours, EventKind::Finished), ms(1));
        assert!(tally.early.is_empty(), "nobody is asked for a job");
        let number = tally.call(ms(0), ms(0));
        tally.hear(&event(other, EventKind::Finished), ms(10));
        tally.hear(&event(ours, EventKind::StageDone { stage: Stage::Preprocess }), ms(20));
        tally.hear(&event(ours, EventKind::Finished), ms(30));
        tally.answered(number, ours, ms(40));
        assert_eq!((tally.latencies(), tally.early.len()), (vec![ms(30)], 0));
        assert_eq!(tally.counts(), Counts { sent: 1, done: 1, ..Counts::default() });
    }

    #[test]
    fn every_call_is_counted_once_with_its_reason() {
        let mut tally = Tally::default();
        let id = |n: u8| JobId([n; 16]);
        for n in 0..6 {
            assert_eq!(tally.call(ms(n), ms(n)), n as usize);
        }
        tally.not_made(0, NoJob::Refused, "too many");
        tally.not_made(1, NoJob::Unanswered, "no answer");
        (2..6).for_each(|n| tally.answered(n, id(n as u8), ms(9)));
        let rejected = || EventKind::Rejected { reason: "no picture".to_owned() };
        tally.hear(&event(id(2), rejected()), ms(10));
        tally.hear(&event(id(3), rejected()), ms(10));
        tally.hear(
            &event(id(4), EventKind::Dead { stage: Stage::Shape, error: "it broke".to_owned() }),
            ms(11),
        );
        let counts = Counts {
            sent: 6,
            rejected: 2,
            failed: 1,
            refused: 1,
            unanswered: 1,
            open: 1,
            ..Counts::default()
        };
        assert_eq!((tally.counts(), tally.calling()), (counts, 0));
        let reasons: Vec<_> = tally.reasons().iter().map(|(why, n)| (why.as_str(), *n)).collect();
        assert_eq!(reasons, [("no answer", 1), ("no picture", 2), ("shape: it broke", 1), ("too many", 1)]);
        assert_eq!((tally.lives().len(), tally.open()), (4, vec![id(5)]));
    }
}
