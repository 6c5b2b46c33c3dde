//! Jobs as their events tell: a pure fold from which bars, lines and ETAs are drawn. It knows no terminal and
//! no clock.

use domain::{Event, EventKind, JobId, Life, Stage, Timestamp};
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

/// How long the rest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Eta {
    pub(crate) left: Duration,
    /// Whether it rests on measured stages alone; else some are supposed.
    pub(crate) measured: bool,
}

/// How long a stage takes before any was measured: one small picture on one core.
fn supposed(stage: Stage) -> Duration {
    Duration::from_millis(match stage {
        Stage::Preprocess => 200,
        Stage::Shape => 700,
        Stage::Texture => 700,
        Stage::Export => 300,
    })
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobLine {
    life: Life,
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

    /// Follows one more.
    pub(crate) fn add(&mut self, job: JobId) {
        self.jobs.entry(job).or_default();
    }

    /// Follows those no more that have ended.
    pub(crate) fn forget_ended(&mut self) {
        self.jobs.retain(|_, line| line.end.is_none());
    }

    /// Takes an event in; false if it is of a job that nobody follows.
    pub(crate) fn hear(&mut self, event: &Event) -> bool {
        let Some(line) = self.jobs.get_mut(&event.job) else { return false };
        if event.life < line.life {
            // A straggler of an earlier life decides nothing any more.
            return true;
        }
        if event.life > line.life {
            // What was committed stays; how the earlier life ended does not.
            (line.life, line.running, line.end) = (event.life, None, None);
        }
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

    /// Jobs that have not ended.
    pub(crate) fn open(&self) -> Vec<JobId> {
        let open = self.jobs.iter().filter(|(_, line)| line.end.is_none());
        open.map(|(job, _)| *job).collect()
    }

    /// Whether every job has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.jobs.values().all(|line| line.end.is_some())
    }

    /// Whether this job has ended.
    pub(crate) fn has_ended(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|line| line.end.is_some())
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

    /// How long the rest takes on this many lanes: the remaining stage tasks at their measured mean times, or
    /// at those that are supposed.
    pub(crate) fn eta(&self, lanes: usize) -> Eta {
        let mut eta = Eta { left: Duration::ZERO, measured: true };
        for stage in Stage::ALL {
            let (done, all) = self.of_stage(stage);
            let measured = self.measured.get(&stage).and_then(|(n, sum)| sum.checked_div(*n));
            let each = measured.unwrap_or_else(|| supposed(stage));
            eta.left += each.mul_f64(all.saturating_sub(done) as f64 / 1000.0);
            eta.measured &= measured.is_some() || done >= all;
        }
        let open = self.jobs.values().filter(|line| line.end.is_none()).count();
        Eta { left: eta.left / (lanes.min(open).max(1) as u32), ..eta }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(job: u8, at: u64, kind: EventKind) -> Event {
        Event { job: JobId([job; 16]), life: Life(0), at: Timestamp(at), kind }
    }

    #[test]
    fn a_stage_is_measured_and_the_rest_estimated() {
        let mut progress = Progress::of([JobId([1; 16]), JobId([2; 16])]);
        // From the first second on: two of each stage.
        assert_eq!(progress.eta(1), Eta { left: Duration::from_millis(3_800), measured: false });
        let mut at = 1_000;
        for stage in Stage::ALL {
            assert!(progress.hear(&event(1, at, EventKind::Started { stage })));
            assert!(progress.hear(&event(1, at + 2_000, EventKind::StageDone { stage })));
            at += 2_000;
        }
        assert!(!progress.hear(&event(9, 0, EventKind::Finished)));
        assert_eq!(progress.of_stage(Stage::Shape), (1000, 2000));
        // One of each stage is left, 2 s each.
        assert_eq!(progress.eta(1), Eta { left: Duration::from_secs(8), measured: true });
        assert_eq!(progress.eta(8), Eta { left: Duration::from_secs(4), measured: true });
    }

    #[test]
    fn a_redriven_job_loses_its_old_end_and_keeps_what_is_committed() {
        let job = JobId([1; 16]);
        let mut progress = Progress::of([job]);
        progress.hear(&event(1, 1, EventKind::StageDone { stage: Stage::Preprocess }));
        progress.hear(&event(1, 2, EventKind::Dead { stage: Stage::Shape, error: "it broke".to_owned() }));
        assert!(progress.has_ended(job));
        let started = EventKind::Started { stage: Stage::Shape };
        progress.hear(&Event { life: Life(1), ..event(1, 3, started) });
        assert!(!progress.has_ended(job));
        assert_eq!(progress.of_stage(Stage::Preprocess), (1000, 1000));
        // A straggler of the first life ends nothing.
        progress.hear(&event(1, 4, EventKind::Cancelled { reason: "late".to_owned() }));
        assert!(!progress.has_ended(job));
        progress.hear(&Event { life: Life(1), ..event(1, 5, EventKind::Finished) });
        assert!(progress.is_over());
    }

    #[test]
    fn a_rejected_job_does_not_wait_for_later_stages() {
        let mut progress = Progress::of([JobId([1; 16])]);
        progress.hear(&event(1, 5, EventKind::Rejected { reason: "no picture".to_owned() }));
        assert!(progress.is_over());
        assert_eq!(progress.of_stage(Stage::Export), (0, 0));
    }
}
