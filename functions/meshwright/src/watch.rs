//! Following jobs: those that are named until all have ended, or all that there are until ctrl-C. What is
//! known of them is folded by `progress` and drawn by `bars`.

use crate::bars::{Bars, Left, end_text};
use crate::cli::WatchArgs;
use crate::client::job_id;
use crate::http::{ANSWER_MAX, Client, Heard, Since};
use crate::performance::{rows, text};
use crate::phases;
use crate::progress::Progress;
use crate::refusal::{Outcome, Refusal};
use crate::top::open_jobs;
use domain::{Event, EventKind, JobId, Life, Stage, Timestamp};
use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::interval;

/// Jobs that are followed at once; the others wait and are replayed when their turn comes.
const FOLLOWED_MAX: usize = 64;
/// How often a gateway is asked how long jobs that are drawn take, about how many at most, and how long
/// the answer may take.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASKED_MAX: usize = 32;
const ASK_MAX: Duration = Duration::from_secs(2);
/// Between two pictures of all jobs.
const REDRAW: Duration = Duration::from_millis(200);
/// Jobs that have ended and are still in the picture.
const ENDED_MAX: usize = 1_000;

/// `watch [JOB…]`
pub(crate) async fn watch(args: WatchArgs, json: bool) -> Outcome<()> {
    let client = Client::new(&args.server)?;
    if args.jobs.is_empty() {
        return watch_all(&client, &Bars::all(json)).await;
    }
    let mut names = BTreeMap::new();
    for job in &args.jobs {
        let id = job_id(job)?;
        let shown = client.json(Method::GET, &format!("/api/jobs/{id}"), ANSWER_MAX).await?;
        names.insert(id, shown["key"].as_str().map_or_else(|| job.clone(), str::to_owned));
    }
    watch_jobs(&client, names, json).await
}

/// Follows jobs until all have ended, then prints one line each and where their time went; the exit is an
/// error if one is not done.
pub(crate) async fn watch_jobs(client: &Client, names: BTreeMap<JobId, String>, json: bool) -> Outcome<()> {
    let progress = RefCell::new(Progress::of(names.keys().copied()));
    let bars = Bars::new(names.clone(), json);
    follow_jobs(client, &progress, &bars).await?;
    let progress = progress.into_inner();
    bars.finish();
    let mut bad = 0;
    for (job, line) in progress.jobs() {
        let name = names.get(job).cloned().unwrap_or_default();
        let text = line.end.as_ref().map_or_else(|| "not finished".to_owned(), end_text);
        bad += u32::from(text != "done");
        if !json {
            say!("{job}  {name}: {text}");
            if names.len() <= ASKED_MAX {
                notes(client, *job).await.iter().for_each(|note| say!("    {note}"));
            }
        }
    }
    phases::print(&phases::of_jobs(client, names.keys().copied()).await, json);
    if bad == 0 { Ok(()) } else { Err(Refusal::Input(format!("{bad} of {} jobs are not done", names.len()))) }
}

/// What a person should know of a job's model; nothing if it cannot be asked.
async fn notes(client: &Client, job: JobId) -> Vec<String> {
    let shown = client.json(Method::GET, &format!("/api/jobs/{job}"), ASK_MAX).await.unwrap_or_default();
    let notes = shown["notes"].as_array().into_iter().flatten();
    notes.filter_map(|note| note.as_str().map(str::to_owned)).collect()
}

async fn follow_jobs(client: &Client, progress: &RefCell<Progress>, bars: &Bars) -> Outcome<()> {
    let told = &Cell::new(None);
    bars.draw(&progress.borrow(), 1, None);
    let names: Vec<JobId> = progress.borrow().jobs().keys().copied().collect();
    let each = futures::stream::iter(names).map(|job| async move {
        let hear = |event: Event| {
            let mut progress = progress.borrow_mut();
            if progress.hear(&event) {
                bars.tell(&event);
                bars.draw(&progress, 1, told.get());
            }
            if progress.has_ended(job) { Heard::All } else { Heard::Part }
        };
        client.follow(&format!("/api/jobs/{job}/events"), Since::Beginning, hear).await
    });
    let mut followed = pin!(each.buffer_unordered(FOLLOWED_MAX));
    let mut ask = interval(ASK_EVERY);
    loop {
        tokio::select! {
            ended = followed.next() => match ended {
                Some(ended) => ended?,
                None => return Ok(()),
            },
            _ = ask.tick(), if bars.are_drawn() => {
                let open = progress.borrow().open();
                told.set(left(client, &open).await);
                bars.draw(&progress.borrow(), 1, told.get());
            }
        }
    }
}

/// How long these jobs take, all of them: as long as the last one, as the gateway sees it. None while it
/// cannot tell, or there are too many to ask about.
pub(crate) async fn left(client: &Client, open: &[JobId]) -> Option<Left> {
    if open.len() > ASKED_MAX {
        return None;
    }
    let ask = open.iter().map(|job| async move {
        left_of(&client.json(Method::GET, &format!("/api/jobs/{job}"), ASK_MAX).await.ok()?)
    });
    let all = futures::future::join_all(ask).await.into_iter().collect::<Option<Vec<Left>>>()?;
    all.into_iter().reduce(|a, b| Left { p50: a.p50.max(b.p50), p90: a.p90.max(b.p90) })
}

/// How long a job takes, as it is shown.
pub(crate) fn left_of(shown: &Value) -> Option<Left> {
    let ms = |name: &str| shown["eta"][name].as_u64().map(Duration::from_millis);
    Some(Left { p50: ms("p50_ms")?, p90: ms("p90_ms")? })
}

/// All jobs, from now on: bars where a person sees them, lines elsewhere.
async fn watch_all(client: &Client, bars: &Bars) -> Outcome<()> {
    let (all, opened) = (RefCell::new(All::default()), Notify::new());
    let hear = |event: Event| {
        bars.tell(&event);
        if bars.are_drawn()
            && let Some(line) = all.borrow_mut().hear(&event)
        {
            bars.above(&line);
        }
        Heard::Part
    };
    let heard = client.follow_opened("/api/events", Since::Now, || opened.notify_one(), hear);
    if !bars.are_drawn() {
        return heard.await;
    }
    let mut heard = pin!(heard);
    // First those that are under way.
    let open = async {
        opened.notified().await;
        open_jobs(client).await
    };
    tokio::select! {
        ended = &mut heard => return ended,
        open = open => open?.0.iter().for_each(|shown| all.borrow_mut().add(shown)),
    }
    let (mut redraw, mut ask, mut told) = (interval(REDRAW), interval(ASK_EVERY), None);
    loop {
        tokio::select! {
            ended = &mut heard => return ended,
            _ = redraw.tick() => {
                let mut all = all.borrow_mut();
                all.forget();
                bars.draw(&all.progress, 1, told);
            }
            _ = ask.tick() => {
                let open = all.borrow().progress.open();
                told = left(client, &open).await;
            }
        }
    }
}

/// All jobs that are under way, and those that have just ended.
#[derive(Default)]
struct All {
    progress: Progress,
    names: BTreeMap<JobId, String>,
}

impl All {
    /// A job that was under way before.
    fn add(&mut self, shown: &Value) {
        let Ok(job) = text(&shown["id"]).parse::<JobId>() else { return };
        self.progress.add(job);
        self.names.entry(job).or_insert_with(|| text(&shown["key"]));
        let life = Life(u32::try_from(shown["life"].as_u64().unwrap_or_default()).unwrap_or_default());
        let done = rows(&shown["stages"]).filter(|of| of["state"] == "done");
        for stage in done.filter_map(|of| text(&of["stage"]).parse::<Stage>().ok()) {
            let kind = EventKind::StageDone { stage };
            self.progress.hear(&Event { job, life, at: Timestamp(0), kind });
        }
    }

    /// Takes an event in; gives a line about an end.
    fn hear(&mut self, event: &Event) -> Option<String> {
        self.progress.add(event.job);
        self.progress.hear(event);
        if let EventKind::Accepted { key, .. } = &event.kind {
            self.names.insert(event.job, key.clone());
        }
        let end = self.progress.jobs().get(&event.job)?.end.as_ref().filter(|_| event.kind.is_end())?;
        let name = self.names.get(&event.job).cloned().unwrap_or_else(|| event.job.to_string());
        Some(format!("{name}: {}", end_text(end)))
    }

    /// Forgets what has ended, once nothing else is left or it is too much.
    fn forget(&mut self) {
        let open = self.progress.open().len();
        if open == 0 || self.progress.jobs().len() - open > ENDED_MAX {
            self.progress.forget_ended();
            let jobs = self.progress.jobs();
            self.names.retain(|job, _| jobs.contains_key(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_under_way_before_is_drawn_as_far_as_it_was_and_what_ended_is_forgotten() {
        let (old, new) = (JobId([1; 16]), JobId([2; 16]));
        let event = |job: JobId, kind: EventKind| Event { job, life: Life(0), at: Timestamp(1), kind };
        let mut all = All::default();
        all.add(&json!({"id": old.to_string(), "key": "old.png", "life": 0, "stages": [
            {"stage": "preprocess", "state": "done"}, {"stage": "shape", "state": "running"}]}));
        all.add(&json!({"id": "no job"}));
        let accepted =
            EventKind::Accepted { bucket: "b".to_owned(), key: "new.png".to_owned(), upload: None };
        assert_eq!(all.hear(&event(new, accepted)), None);
        assert_eq!(all.progress.of_stage(Stage::Preprocess), (1000, 2000));
        all.forget();
        assert_eq!(all.progress.open(), [old, new]);
        assert_eq!(all.hear(&event(old, EventKind::Finished)).as_deref(), Some("old.png: done"));
        all.forget();
        assert_eq!(all.progress.of_stage(Stage::Preprocess), (1000, 2000), "it stays while others go on");
        let rejected = EventKind::Rejected { reason: "no picture".to_owned() };
        assert_eq!(all.hear(&event(new, rejected)).as_deref(), Some("new.png: rejected: no picture"));
        all.forget();
        assert!(all.progress.jobs().is_empty() && all.names.is_empty());
    }
}
