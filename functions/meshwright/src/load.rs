//! `load`: an open loop of jobs against a running gateway. They begin when `arrivals` says, whatever became
//! of the ones before; `tally` counts what becomes of them, and `load_report` says it. Here is what acts:
//! calls, events, a picture of how it goes.

use crate::arrivals::{Arrivals, JOBS_MAX};
use crate::bars::{Bars, Left};
use crate::cli::LoadArgs;
use crate::client::{self, send_picture};
use crate::demo::SAMPLES;
use crate::folder;
use crate::http::{ANSWER_MAX, Client, Heard, Since};
use crate::load_report::{self, Watched};
use crate::performance::rows;
use crate::phases;
use crate::refusal::{Outcome, Refusal};
use crate::tally::{NoJob, Tally};
use crate::watch::left_of;
use bytes::Bytes;
use domain::{Event, EventKind, JobId, Life, Stage, Timestamp};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, interval, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Calls without an answer, at most: one more waits, and its latency counts on.
const CALLS_MAX: usize = 1_000;
/// Pictures of a folder that are sent in turn, and what they may weigh together.
const PICTURES_MAX: usize = 1_000;
const PICTURES_BYTES_MAX: u64 = 256 << 20;
/// Between two pictures of how it goes, on a terminal and elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often a gateway is asked what is left, and how long the answer may take.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_MAX: Duration = Duration::from_secs(2);
/// An event may be lost, an outcome is not: so many open jobs are asked for at each such pause.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOKS_MAX: usize = 32;
/// Timings follow the ends of their jobs: looks at them, and the pause between two.
const TIMINGS_LOOKS: u32 = 10;
const TIMINGS_PAUSE: Duration = Duration::from_millis(300);
/// Beyond the load's own time, so much is asked of the gateway's window.
const WINDOW_MORE_S: u64 = 60;
const WINDOW_MAX_S: u64 = 24 * 3600;

/// What is sent, and when.
struct Plan {
    arrivals: Arrivals,
    pictures: Vec<(String, Bytes)>,
    query: Vec<(String, String)>,
    patience: Duration,
}

impl Plan {
    async fn of(args: &LoadArgs) -> Outcome<Plan> {
        let ramp = args.ramp.unwrap_or_else(|| args.rate.into());
        let most = || Refusal::Input(format!("a load has {JOBS_MAX} jobs at most: ask for less"));
        let arrivals = match args.jobs {
            Some(jobs) => Arrivals::of_jobs(ramp, jobs),
            None => Arrivals::during(ramp, Duration::from_secs(args.during)).ok_or_else(most)?,
        };
        let pictures = match &args.images {
            Some(folder) => read(folder).await?,
            // One sample is no picture.
            None => SAMPLES[..SAMPLES.len() - 1]
                .iter()
                .map(|(name, content)| ((*name).to_owned(), Bytes::from_static(content)))
                .collect(),
        };
        let patience = Duration::from_secs(args.patience);
        Ok(Plan { arrivals, pictures, query: client::recipe_query(&args.options)?, patience })
    }
}

async fn read(images: &Path) -> Outcome<Vec<(String, Bytes)>> {
    let (mut pictures, mut left) = (Vec::new(), PICTURES_BYTES_MAX);
    for path in folder::files_below(images)?.into_iter().take(PICTURES_MAX) {
        let content = folder::read(&images.join(&path), domain::Bytes(left)).await;
        let content = content.map_err(|why| why.of(&path.display().to_string()))?;
        left -= content.len() as u64;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        pictures.push((name, content.into()));
    }
    match pictures.is_empty() {
        true => Err(Refusal::Input(format!("there is no file in {}", images.display()))),
        false => Ok(pictures),
    }
}

/// What a call or a question came to.
enum Word {
    Made(usize, JobId),
    NotMade(usize, NoJob, String),
    Left(Option<Left>),
    Shown(JobId, Option<Value>),
}

/// `load`
pub(crate) async fn load(args: LoadArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    let plan = Plan::of(&args).await?;
    let client = Client::new(&args.server)?;
    // Whoever is not there, or wants another token, is told before anything begins.
    client.json(Method::GET, "/api/jobs?limit=1", ANSWER_MAX).await?;
    let run = Run {
        client: &client,
        plan: &plan,
        tally: RefCell::default(),
        began: Cell::new(Instant::now()),
        left: Cell::new(None),
        bars: Bars::new([].into(), json),
        json,
    };
    let driven = run.drive(&shutdown).await;
    run.bars.finish();
    if let Err(Refusal::Stopped) = driven {
        return Err(Refusal::Stopped);
    }
    let (took, tally) = (run.clock(), run.tally.into_inner());
    let timings = timings(&client, &tally, took, &shutdown).await;
    let watched = Watched { arrivals: &plan.arrivals, tally: &tally, took, early: shutdown.is_cancelled() };
    let report = load_report::json(&watched, timings.as_ref());
    if let Some(file) = &args.plot {
        let failed = |e: std::io::Error| Refusal::Io(format!("write {}: {e}", file.display()));
        std::fs::write(file, load_report::plot(&watched)).map_err(failed)?;
    }
    client::print_answer(&report, json, || load_report::text(&report));
    driven?;
    match tally.jobs().next() {
        Some(_) => Ok(()),
        None => Err(Refusal::Unavailable("no job was made; the table says why".to_owned())),
    }
}

/// The timings of all tasks, once all that are to come are there, or as many as came in time.
async fn timings(
    client: &Client,
    tally: &Tally,
    took: Duration,
    shutdown: &CancellationToken,
) -> Option<profile::Window> {
    let jobs: BTreeSet<JobId> = tally.jobs().collect();
    if jobs.is_empty() {
        return None;
    }
    let expected = tally.counts().done * Stage::ALL.len() as u64;
    let window_s = (took.as_secs() + WINDOW_MORE_S).min(WINDOW_MAX_S);
    for look in 1.. {
        match phases::window_of(client, &jobs, window_s).await {
            Ok((window, committed)) => {
                if committed >= expected || look == TIMINGS_LOOKS || shutdown.is_cancelled() {
                    return Some(window);
                }
            }
            Err(why) => {
                note!("meshwright: no timings of stages: {why}");
                return None;
            }
        }
        sleep(TIMINGS_PAUSE).await;
    }
    None
}

/// A load that goes on.
struct Run<'a> {
    client: &'a Client,
    plan: &'a Plan,
    tally: RefCell<Tally>,
    began: Cell<Instant>,
    /// What the newest job takes, as the gateway sees it.
    left: Cell<Option<Left>>,
    bars: Bars,
    json: bool,
}

type Words<'a> = FuturesUnordered<LocalBoxFuture<'a, Word>>;

impl Run<'_> {
    /// Since the first intended beginning.
    fn clock(&self) -> Duration {
        self.began.get().elapsed()
    }

    /// Until every job has ended, patience has, or a person ends it; an error if nothing more can be heard.
    async fn drive(&self, shutdown: &CancellationToken) -> Outcome<()> {
        let opened = Notify::new();
        let hear = |event: Event| {
            self.tally.borrow_mut().hear(&event, self.clock());
            Heard::Part
        };
        let heard = self.client.follow_opened("/api/events", Since::Now, || opened.notify_one(), hear);
        let mut heard = pin!(heard);
        let silent = |ended: Outcome<()>| match ended {
            Ok(()) => Err(Refusal::Unavailable("the gateway tells no more events".to_owned())),
            Err(why) => Err(why),
        };
        tokio::select! {
            ended = &mut heard => return silent(ended),
            () = opened.notified() => {}
            () = shutdown.cancelled() => return Err(Refusal::Stopped),
        }
        self.began.set(Instant::now());
        tokio::select! {
            ended = &mut heard => silent(ended),
            () = self.send_and_wait() => Ok(()),
            // What was found so far is worth a table.
            () = shutdown.cancelled() => Ok(()),
        }
    }

    /// Begins each job at its time, whatever became of the others, and waits for all.
    async fn send_and_wait(&self) {
        let (began, arrivals) = (self.began.get(), &self.plan.arrivals);
        let give_up = began + arrivals.span() + self.plan.patience;
        let (mut redraw, mut ask) = (interval(REDRAW), interval(ASK_EVERY));
        let [mut line, mut look] = [LINE_EVERY, LOOK_EVERY].map(|pause| interval_at(began + pause, pause));
        let mut words = Words::new();
        let mut next = 0;
        loop {
            let due = arrivals.at(next);
            if due.is_none() && self.tally.borrow().is_over() {
                return self.show();
            }
            let has_room = self.tally.borrow().calling() < CALLS_MAX;
            tokio::select! {
                biased;
                () = sleep_until(began + due.unwrap_or_default()), if due.is_some() && has_room => {
                    let number = self.tally.borrow_mut().call(due.unwrap_or_default(), self.clock());
                    words.push(Box::pin(self.call(number)));
                    next += 1;
                }
                Some(word) = words.next(), if !words.is_empty() => self.take(word),
                _ = redraw.tick() => self.show(),
                _ = line.tick() => self.tell(),
                _ = ask.tick(), if self.bars.are_drawn() => self.ask(&words),
                _ = look.tick(), if due.is_none() => self.look(&words),
                () = sleep_until(give_up), if due.is_none() => return self.show(),
            }
        }
    }

    async fn call(&self, number: usize) -> Word {
        let (name, content) = &self.plan.pictures[number % self.plan.pictures.len()];
        match send_picture(self.client, name, content.clone(), &self.plan.query).await {
            Ok((job, _)) => Word::Made(number, job),
            Err(why @ Refusal::Input(_)) => Word::NotMade(number, NoJob::Refused, why.to_string()),
            Err(why) => Word::NotMade(number, NoJob::Unanswered, why.to_string()),
        }
    }

    fn take(&self, word: Word) {
        let mut tally = self.tally.borrow_mut();
        match word {
            Word::Made(number, job) => tally.answered(number, job, self.clock()),
            Word::NotMade(number, how, why) => tally.not_made(number, how, &why),
            Word::Left(left) => self.left.set(left),
            Word::Shown(job, shown) => {
                if let Some(event) = shown.and_then(|shown| end_of(job, &shown)) {
                    tally.hear(&event, self.clock());
                }
            }
        }
    }

    /// Asks how long the newest job takes: all others are before it.
    fn ask<'b>(&'b self, words: &Words<'b>) {
        let newest = self.tally.borrow().open().last().copied();
        words.push(Box::pin(async move {
            let Some(job) = newest else { return Word::Left(None) };
            let shown = self.client.json(Method::GET, &format!("/api/jobs/{job}"), ASK_MAX).await.ok();
            Word::Left(shown.as_ref().and_then(left_of))
        }));
    }

    /// Asks the bucket about the oldest open jobs.
    fn look<'b>(&'b self, words: &Words<'b>) {
        for job in self.tally.borrow().open().into_iter().take(LOOKS_MAX) {
            words.push(Box::pin(async move {
                let path = format!("/api/jobs/{job}");
                Word::Shown(job, self.client.json(Method::GET, &path, ASK_MAX).await.ok())
            }));
        }
    }

    fn show(&self) {
        if !self.bars.are_drawn() {
            return;
        }
        let (tally, arrivals) = (self.tally.borrow(), &self.plan.arrivals);
        self.bars.draw_stages(tally.progress());
        let counts = tally.counts();
        let to_send = arrivals.span().saturating_sub(self.clock());
        let last = self.left.get().unwrap_or_default();
        let left = (to_send + last.p50, to_send + last.p90);
        self.bars.set_left(format!(
            "{:.0} to {:.0} s; {} of {} sent, {} done, {} open",
            left.0.as_secs_f64(),
            left.1.as_secs_f64(),
            counts.sent,
            arrivals.jobs(),
            counts.done,
            counts.open
        ));
    }

    /// How it goes, where nothing is drawn.
    fn tell(&self) {
        if self.bars.are_drawn() || self.json {
            return;
        }
        let counts = self.tally.borrow().counts();
        note!(
            "{:.0} s: {} of {} sent, {} done, {} rejected, {} failed, {} not taken, {} open",
            self.clock().as_secs_f64(),
            counts.sent,
            self.plan.arrivals.jobs(),
            counts.done,
            counts.rejected,
            counts.failed,
            counts.refused + counts.unanswered,
            counts.open
        );
    }
}

/// The end of a job that is shown, as its event would have told it.
fn end_of(job: JobId, shown: &Value) -> Option<Event> {
    let reason = || shown["reason"].as_str().unwrap_or_default().to_owned();
    let kind = match shown["state"].as_str()? {
        "done" => EventKind::Finished,
        "rejected" => EventKind::Rejected { reason: reason() },
        "dead" => {
            let open = rows(&shown["stages"]).find(|of| of["state"] != "done")?;
            EventKind::Dead { stage: serde_json::from_value(open["stage"].clone()).ok()?, error: reason() }
        }
        "cancelled" => EventKind::Cancelled { reason: reason() },
        _ => return None,
    };
    let life = Life(u32::try_from(shown["life"].as_u64()?).ok()?);
    Some(Event { job, life, at: Timestamp(0), kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_that_is_shown_as_ended_has_ended_whatever_its_event_did() {
        let job = JobId([1; 16]);
        let stages =
            json!([{"stage": "preprocess", "state": "done"}, {"stage": "shape", "state": "waiting"}]);
        let shown = |state: &str| json!({"state": state, "life": 0, "reason": "why", "stages": stages});
        let kind = |state: &str| end_of(job, &shown(state)).map(|event| event.kind.as_str());
        let states = ["done", "rejected", "dead", "cancelled", "running", "unreadable"];
        let kinds = [Some("finished"), Some("rejected"), Some("dead"), Some("cancelled"), None, None];
        assert_eq!(states.map(kind), kinds);
        let dead = end_of(job, &shown("dead")).map(|event| event.kind);
        assert_eq!(dead, Some(EventKind::Dead { stage: Stage::Shape, error: "why".to_owned() }));
        assert!(end_of(job, &json!({})).is_none());
    }
}
