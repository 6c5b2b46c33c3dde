//! Jobs as their events tell: a pure fold from which bars, lines and ETAs are drawn. It knows no terminal and
//! no clock.

use domain::{Event, EventKind, JobId, Stage, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a job ended, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Rejected(String),
    Dead(String),
    Cancelled(String),
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobLine {
    pub(crate) running: Option<(Stage, f32, Timestamp)>,
    pub(crate) committed: Vec<Stage>,
    pub(crate) end: Option<End>,
}

/// All jobs that somebody follows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    jobs: BTreeMap<JobId, JobLine>,
    /// Number and sum of measured stage times.
    measured: BTreeMap<Stage, (u32, Duration)>,
}

impl Progress {
    /// Follows these jobs, of which nothing is known yet.
    pub(crate) fn of(jobs: impl IntoIterator<Item = JobId>) -> Progress {
        let jobs = jobs.into_iter().map(|job| (job, JobLine::default())).collect();
        Progress { jobs, ..Progress::default() }
    }

    /// Takes an event in; false if it is of a job that nobody follows.
    pub(crate) fn hear(&mut self, event: &Event) -> bool {
        let Some(line) = self.jobs.get_mut(&event.job) else { return false };
        match &event.kind {
            EventKind::Accepted { .. } => {}
            EventKind::Started { stage } => line.running = Some((*stage, 0.0, event.at)),
            EventKind::Progress { stage, fraction, .. } => {
                let since = line.running.map_or(event.at, |(_, _, since)| since);
                line.running = Some((*stage, *fraction, since));
            }
            EventKind::StageDone { stage } => {
                if let Some((of, _, since)) = line.running.take()
                    && of == *stage
                {
                    let (count, sum) = self.measured.entry(*stage).or_default();
                    (*count, *sum) = (*count + 1, *sum + event.at.since(since));
                }
                if !line.committed.contains(stage) {
                    line.committed.push(*stage);
                }
            }
            EventKind::Finished => {
                line.committed = Stage::ALL.to_vec();
                line.end = Some(End::Done);
            }
            EventKind::Rejected { reason } => line.end = Some(End::Rejected(reason.clone())),
            EventKind::Dead { stage, error } => line.end = Some(End::Dead(format!("{stage}: {error}"))),
            EventKind::Cancelled { reason } => line.end = Some(End::Cancelled(reason.clone())),
        }
        true
    }

    /// All jobs, by id.
    pub(crate) fn jobs(&self) -> &BTreeMap<JobId, JobLine> {
        &self.jobs
    }

    /// Whether every job has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.jobs.values().all(|line| line.end.is_some())
    }

    /// Of a stage: thousandths done, and thousandths in all, of the jobs that reach it.
    pub(crate) fn of_stage(&self, stage: Stage) -> (u64, u64) {
        let share = |line: &JobLine| match line {
            line if line.committed.contains(&stage) => 1000,
            JobLine { running: Some((of, fraction, _)), end: None, .. } if *of == stage => {
                (fraction.clamp(0.0, 1.0) * 1000.0) as u64
            }
            _ => 0,
        };
        let reach = self.jobs.values().filter(|line| line.end.is_none() || line.committed.contains(&stage));
        reach.fold((0, 0), |(done, all), line| (done + share(line), all + 1000))
    }

    /// How long the rest takes on this many lanes: the remaining stage tasks at their measured mean times.
    /// None before the first measurement; a stage not measured yet counts as the mean of those that are.
    pub(crate) fn eta(&self, lanes: usize) -> Option<Duration> {
        let (count, sum) = self.measured.values().fold((0, Duration::ZERO), |(n, s), (m, t)| (n + m, s + *t));
        let mean = sum.checked_div(count)?;
        let rest: Duration = Stage::ALL
            .into_iter()
            .map(|stage| {
                let (done, all) = self.of_stage(stage);
                let each = self.measured.get(&stage).and_then(|(n, sum)| sum.checked_div(*n)).unwrap_or(mean);
                each.mul_f64(all.saturating_sub(done) as f64 / 1000.0)
            })
            .sum();
        let open = self.jobs.values().filter(|line| line.end.is_none()).count();
        Some(rest / (lanes.min(open).max(1) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Life;

    fn event(job: u8, at: u64, kind: EventKind) -> Event {
        Event { job: JobId([job; 16]), life: Life(0), at: Timestamp(at), kind }
    }

    #[test]
    fn a_stage_is_measured_and_the_rest_estimated() {
        let mut progress = Progress::of([JobId([1; 16]), JobId([2; 16])]);
        assert_eq!(progress.eta(1), None);
        let stage = Stage::Preprocess;
        assert!(progress.hear(&event(1, 1_000, EventKind::Started { stage })));
        assert!(progress.hear(&event(1, 3_000, EventKind::StageDone { stage })));
        assert!(!progress.hear(&event(9, 0, EventKind::Finished)));
        assert_eq!(progress.of_stage(stage), (1000, 2000));
        // One preprocess and two of each other stage are left, 2 s each.
        assert_eq!(progress.eta(1), Some(Duration::from_secs(14)));
        assert_eq!(progress.eta(8), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_rejected_job_does_not_wait_for_later_stages() {
        let mut progress = Progress::of([JobId([1; 16])]);
        progress.hear(&event(1, 5, EventKind::Rejected { reason: "no picture".to_owned() }));
        assert!(progress.is_over());
        assert_eq!(progress.of_stage(Stage::Export), (0, 0));
    }
}
