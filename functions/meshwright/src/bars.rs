//! Live bars per stage on a terminal, plain lines elsewhere. It only draws; `progress` knows.

use crate::progress::{End, Progress};
use domain::{Event, EventKind, JobId, Stage};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

/// How progress is shown.
pub(crate) struct Bars {
    bars: Vec<(Stage, ProgressBar)>,
    eta: ProgressBar,
    names: BTreeMap<JobId, String>,
    plain: bool,
    json: bool,
}

impl Bars {
    /// For jobs with these names.
    pub(crate) fn new(names: BTreeMap<JobId, String>, json: bool) -> Bars {
        let plain = json || !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
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
        Bars { bars, eta, names, plain, json }
    }

    /// Says what happened, where bars cannot be drawn.
    pub(crate) fn tell(&self, event: &Event) {
        if self.json {
            if let Ok(line) = serde_json::to_string(event) {
                println!("{line}");
            }
        } else if self.plain {
            let name = self.names.get(&event.job).cloned().unwrap_or_else(|| event.job.to_string());
            match &event.kind {
                EventKind::Progress { .. } => {}
                EventKind::Accepted { .. } => eprintln!("{name}: accepted"),
                EventKind::Started { stage } => eprintln!("{name}: {stage} started"),
                EventKind::StageDone { stage } => eprintln!("{name}: {stage} done"),
                EventKind::Finished => eprintln!("{name}: finished"),
                EventKind::Rejected { reason } => eprintln!("{name}: rejected: {reason}"),
                EventKind::Dead { stage, error } => eprintln!("{name}: set aside at {stage}: {error}"),
                EventKind::Cancelled { reason } => eprintln!("{name}: cancelled: {reason}"),
            }
        }
    }

    /// Draws.
    pub(crate) fn draw(&self, progress: &Progress, eta: Option<Duration>) {
        for (stage, bar) in &self.bars {
            let (done, all) = progress.of_stage(*stage);
            bar.set_length(all.max(1));
            bar.set_position(done);
            let finished = progress.jobs().values().filter(|line| line.committed.contains(stage)).count();
            bar.set_message(format!("{finished}/{}", all / 1000));
        }
        let open = progress.jobs().values().filter(|line| line.end.is_none()).count();
        let text = match eta {
            _ if open == 0 => "nothing".to_owned(),
            Some(eta) => format!("about {:.1} s for {open} jobs", eta.as_secs_f64()),
            None => format!("{open} jobs"),
        };
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

/// One line about an end.
pub(crate) fn end_text(end: &End) -> String {
    match end {
        End::Done => "done".to_owned(),
        End::Rejected(reason) => format!("rejected: {reason}"),
        End::Dead(error) => format!("set aside: {error}"),
        End::Cancelled(reason) => format!("cancelled: {reason}"),
    }
}
