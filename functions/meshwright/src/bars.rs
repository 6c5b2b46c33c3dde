//! Live bars per stage on a terminal, plain lines elsewhere. It only draws; `progress` knows.

use crate::progress::{End, Eta, Progress};
use domain::{Event, EventKind, JobId, Stage};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

/// How progress is shown.
pub(crate) struct Bars {
    all: MultiProgress,
    bars: Vec<(Stage, ProgressBar)>,
    eta: ProgressBar,
    names: BTreeMap<JobId, String>,
    told: Told,
}

/// Where lines about events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nowhere: bars are drawn.
    Drawn,
    /// Beside the results.
    Aside,
    /// They are the results.
    Result,
    /// As one object per line.
    Json,
}

impl Bars {
    /// For jobs with these names.
    pub(crate) fn new(names: BTreeMap<JobId, String>, json: bool) -> Bars {
        let told = match (json, std::io::stderr().is_terminal()) {
            (true, _) => Told::Json,
            (false, true) => Told::Drawn,
            (false, false) => Told::Aside,
        };
        Bars::telling(names, told)
    }

    /// For all jobs: drawn where results go to the same terminal, else one line per event as the result.
    pub(crate) fn all(json: bool) -> Bars {
        let is_seen = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let told = match (json, is_seen) {
            (true, _) => Told::Json,
            (false, true) => Told::Drawn,
            (false, false) => Told::Result,
        };
        Bars::telling(BTreeMap::new(), told)
    }

    fn telling(names: BTreeMap<JobId, String>, told: Told) -> Bars {
        let drawn = told == Told::Drawn;
        let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:40.cyan/blue}] {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        let bar = |stage: Stage| {
            let bar = all.add(ProgressBar::new(1).with_style(style.clone()).with_prefix(stage.as_str()));
            (stage, bar)
        };
        let bars = Stage::ALL.map(bar).into();
        let line = ProgressStyle::with_template("{prefix:>10} {msg}");
        let eta = all.add(ProgressBar::new(1).with_prefix("left"));
        eta.set_style(line.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bars { all, bars, eta, names, told }
    }

    /// Says what happened, where bars are not drawn.
    pub(crate) fn tell(&self, event: &Event) {
        match (self.told, self.line(event)) {
            (Told::Drawn, _) => {}
            (Told::Json, _) => {
                if let Ok(line) = serde_json::to_string(event) {
                    say!("{line}");
                }
            }
            (_, None) => {}
            (Told::Aside, Some(line)) => note!("{line}"),
            (Told::Result, Some(line)) => say!("{line}"),
        }
    }

    /// One line about an event; none about a fraction of a stage.
    fn line(&self, event: &Event) -> Option<String> {
        let name = self.names.get(&event.job).cloned().unwrap_or_else(|| event.job.to_string());
        Some(match &event.kind {
            EventKind::Progress { .. } => return None,
            EventKind::Accepted { key, .. } if !self.names.contains_key(&event.job) => {
                format!("{name}: accepted {key}")
            }
            EventKind::Accepted { .. } => format!("{name}: accepted"),
            EventKind::Started { stage } => format!("{name}: {stage} started"),
            EventKind::StageDone { stage } => format!("{name}: {stage} done"),
            EventKind::Finished => format!("{name}: finished"),
            EventKind::Rejected { reason } => format!("{name}: rejected: {reason}"),
            EventKind::Dead { stage, error } => format!("{name}: set aside at {stage}: {error}"),
            EventKind::Cancelled { reason } => format!("{name}: cancelled: {reason}"),
        })
    }

    /// Whether anybody sees what is drawn.
    pub(crate) fn are_drawn(&self) -> bool {
        self.told == Told::Drawn
    }

    /// Draws, with the time that is left as a gateway told it, or else on this many lanes.
    pub(crate) fn draw(&self, progress: &Progress, lanes: usize, told: Option<Left>) {
        self.draw_stages(progress);
        let open = progress.jobs().values().filter(|line| line.end.is_none()).count();
        self.set_left(match told {
            Some(left) if open > 0 => told_text(open, left),
            _ => left_text(open, &progress.eta(lanes)),
        });
    }

    /// Draws the stages alone.
    pub(crate) fn draw_stages(&self, progress: &Progress) {
        for (stage, bar) in &self.bars {
            let (done, all) = progress.of_stage(*stage);
            bar.set_length(all.max(1));
            bar.set_position(done);
            let finished = progress.jobs().values().filter(|line| line.committed.contains(stage)).count();
            bar.set_message(format!("{finished}/{}", all / 1000));
        }
    }

    /// A line above what is drawn.
    pub(crate) fn above(&self, line: &str) {
        // Where the terminal is gone, nobody is left to be told.
        let _nobody_sees = self.all.println(line);
    }

    /// Says what is left.
    pub(crate) fn set_left(&self, text: String) {
        self.eta.set_message(text);
    }

    /// Leaves the last picture standing.
    pub(crate) fn finish(&self) {
        for (_, bar) in &self.bars {
            bar.abandon();
        }
        self.eta.finish_and_clear();
    }
}

/// How long the rest takes, as a gateway tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// As likely less as more.
    pub(crate) p50: Duration,
    /// Nine times of ten less.
    pub(crate) p90: Duration,
}

/// What is left as a gateway tells it, for a person.
fn told_text(open: usize, left: Left) -> String {
    let jobs = if open == 1 { "1 job".to_owned() } else { format!("{open} jobs") };
    let (p50, p90) = (left.p50.as_secs_f64(), left.p90.as_secs_f64());
    format!("{p50:.1} s for {jobs}, 9 times of 10 below {p90:.1} s")
}

/// What is left, for a person.
fn left_text(open: usize, eta: &Eta) -> String {
    let (about, seconds) = (if eta.measured { "" } else { "about " }, eta.left.as_secs_f64());
    match open {
        0 => "nothing".to_owned(),
        1 => format!("{about}{seconds:.1} s for 1 job"),
        open => format!("{about}{seconds:.1} s for {open} jobs"),
    }
}

/// One line about an end.
pub(crate) fn end_text(end: &End) -> String {
    match end {
        End::Done => "done".to_owned(),
        End::Rejected(reason) => format!("rejected: {reason}"),
        End::Dead(error) => format!("set aside: {error}"),
        End::Cancelled(reason) => format!("cancelled: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Life, Timestamp};

    #[test]
    fn what_no_measurement_supports_is_marked() {
        let left = Duration::from_millis(2500);
        assert_eq!(left_text(2, &Eta { left, measured: false }), "about 2.5 s for 2 jobs");
        assert_eq!(left_text(1, &Eta { left, measured: true }), "2.5 s for 1 job");
        assert_eq!(left_text(0, &Eta { left, measured: true }), "nothing");
        let told = Left { p50: left, p90: Duration::from_secs(4) };
        assert_eq!(told_text(2, told), "2.5 s for 2 jobs, 9 times of 10 below 4.0 s");
    }

    #[test]
    fn a_job_without_a_name_is_told_by_its_id_and_key() {
        let kind =
            EventKind::Accepted { bucket: "uploads".to_owned(), key: "a.png".to_owned(), upload: None };
        let event = Event { job: JobId([1; 16]), life: Life(0), at: Timestamp(1), kind };
        let line = Bars::all(true).line(&event);
        assert_eq!(line, Some(format!("{}: accepted a.png", event.job)));
        let kind = EventKind::Progress { stage: Stage::Shape, fraction: 0.5, phase: String::new() };
        assert_eq!(Bars::all(true).line(&Event { kind, ..event }), None);
    }
}
