//! The client commands: they speak HTTP to a gateway, so the same words work against `up` and against a
//! cluster, and need no credentials of broker or store.

use crate::bars::{Bars, Left, end_text};
use crate::cli::{DeadLetterCommand, JobArgs, ServerArgs, SubmitArgs, WatchArgs};
use crate::http::{ANSWER_MAX, Client, Heard, Since};
use crate::progress::Progress;
use crate::refusal::{Outcome, Refusal};
use domain::{Event, JobId};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Jobs that are followed at once; the others wait and are replayed when their turn comes.
const FOLLOWED_MAX: usize = 64;
/// How often a gateway is asked how long jobs that are drawn take, about how many at most, and how long
/// the answer may take.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASKED_MAX: usize = 32;
const ASK_MAX: Duration = Duration::from_secs(2);
/// The gateway itself waits two minutes for a sweep.
const SWEEP_MAX: Duration = Duration::from_secs(130);

/// `submit FILE…`
pub(crate) async fn submit(args: SubmitArgs, json: bool) -> Outcome<()> {
    let client = Client::new(&args.server)?;
    let mut query: Vec<(String, String)> = Vec::new();
    for option in &args.options {
        let Some((name, value)) = option.split_once('=') else {
            return Err(Refusal::Input(format!("option {option:?}: write NAME=VALUE, as quality=fine")));
        };
        query.push((name.to_owned(), value.to_owned()));
    }
    let mut names = BTreeMap::new();
    let mut refused = 0;
    for file in &args.files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match send_file(&client, file, &name, &query).await {
            Ok((id, answer)) => {
                if json {
                    say!("{answer}");
                } else {
                    say!("{id}  {name}");
                }
                names.insert(id, name);
            }
            // One bad file costs only itself.
            Err(Refusal::Input(why)) => {
                refused += 1;
                tell_refused(file, &why, json);
            }
            Err(away) => return Err(away),
        }
    }
    let watched = if args.watch { watch_jobs(&client, names, json).await } else { Ok(()) };
    if refused > 0 {
        let (refused, all) = (refused, args.files.len());
        return Err(Refusal::Input(format!("{refused} of {all} files were not taken; see above")));
    }
    watched
}

async fn send_file(
    client: &Client,
    file: &Path,
    name: &str,
    query: &[(String, String)],
) -> Outcome<(JobId, Value)> {
    let bytes = tokio::fs::read(file).await.map_err(|e| Refusal::Input(format!("read it: {e}")))?;
    let request = client.request(Method::POST, "/api/jobs").query(query).query(&[("name", name)]);
    let request = request.header("Content-Type", "application/octet-stream").timeout(ANSWER_MAX);
    let response = client.send(request.body(bytes)).await?;
    let unread = |why: String| Refusal::Unavailable(format!("read the answer: {why}"));
    let answer: Value = response.json().await.map_err(|e| unread(e.to_string()))?;
    let id: Option<JobId> = answer["id"].as_str().and_then(|id| id.parse().ok());
    Ok((id.ok_or_else(|| unread("it names no job".to_owned()))?, answer))
}

fn tell_refused(file: &Path, why: &str, as_json: bool) {
    if as_json {
        note!("{}", json!({"file": file.display().to_string(), "error": why}));
    } else {
        note!("{}: {why}", file.display());
    }
}

/// `watch [JOB…]`
pub(crate) async fn watch(args: WatchArgs, json: bool) -> Outcome<()> {
    let client = Client::new(&args.server)?;
    if args.jobs.is_empty() {
        let lines = Bars::lines(json);
        let each = |event: Event| {
            lines.tell(&event);
            Heard::Part
        };
        return client.follow("/api/events", Since::Now, each).await;
    }
    let mut names = BTreeMap::new();
    for job in &args.jobs {
        let id = job_id(job)?;
        let shown = client.json(Method::GET, &format!("/api/jobs/{id}"), ANSWER_MAX).await?;
        names.insert(id, shown["key"].as_str().map_or_else(|| job.clone(), str::to_owned));
    }
    watch_jobs(&client, names, json).await
}

/// Follows jobs until all have ended, then prints one line each; the exit is an error if one is not done.
async fn watch_jobs(client: &Client, names: BTreeMap<JobId, String>, json: bool) -> Outcome<()> {
    let progress = RefCell::new(Progress::of(names.keys().copied()));
    let bars = Bars::new(names.clone(), json);
    let told = Cell::new(None);
    bars.draw(&progress.borrow(), 1, None);
    let (progress_of, bars_of, told_of) = (&progress, &bars, &told);
    let each = futures::stream::iter(names.keys().copied()).map(|job| async move {
        let hear = |event: Event| {
            let mut progress = progress_of.borrow_mut();
            if progress.hear(&event) {
                bars_of.tell(&event);
                bars_of.draw(&progress, 1, told_of.get());
            }
            if progress.has_ended(job) { Heard::All } else { Heard::Part }
        };
        client.follow(&format!("/api/jobs/{job}/events"), Since::Beginning, hear).await
    });
    let mut followed = each.buffer_unordered(FOLLOWED_MAX);
    let mut ask = tokio::time::interval(ASK_EVERY);
    loop {
        tokio::select! {
            ended = followed.next() => match ended {
                Some(ended) => ended?,
                None => break,
            },
            _ = ask.tick(), if bars.are_drawn() => {
                let open = progress.borrow().open();
                told.set(left(client, &open).await);
                bars.draw(&progress.borrow(), 1, told.get());
            }
        }
    }
    drop(followed);
    let progress = progress.into_inner();
    bars.finish();
    let mut bad = 0;
    for (job, line) in progress.jobs() {
        let name = names.get(job).cloned().unwrap_or_default();
        let text = line.end.as_ref().map_or_else(|| "not finished".to_owned(), end_text);
        bad += u32::from(text != "done");
        if !json {
            say!("{job}  {name}: {text}");
        }
    }
    if bad == 0 { Ok(()) } else { Err(Refusal::Input(format!("{bad} of {} jobs are not done", names.len()))) }
}

/// How long these jobs take, all of them: as long as the last one, as the gateway sees it. None while it
/// cannot tell, or there are too many to ask about.
async fn left(client: &Client, open: &[JobId]) -> Option<Left> {
    if open.len() > ASKED_MAX {
        return None;
    }
    let ask = open.iter().map(|job| async move {
        let shown = client.json(Method::GET, &format!("/api/jobs/{job}"), ASK_MAX).await.ok()?;
        let ms = |name: &str| shown["eta"][name].as_u64().map(Duration::from_millis);
        Some(Left { p50: ms("p50_ms")?, p90: ms("p90_ms")? })
    });
    let all = futures::future::join_all(ask).await.into_iter().collect::<Option<Vec<Left>>>()?;
    all.into_iter().reduce(|a, b| Left { p50: a.p50.max(b.p50), p90: a.p90.max(b.p90) })
}

/// `sweep`
pub(crate) async fn sweep(args: ServerArgs, json: bool) -> Outcome<()> {
    let answer = Client::new(&args)?.json(Method::POST, "/api/sweep", SWEEP_MAX).await?;
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    let (accepted, queued, failed) = (number("accepted"), number("queued"), number("failed"));
    print_answer(&answer, json, || {
        format!("{accepted} uploads accepted, {queued} tasks queued again, {failed} could not be handled")
    });
    match answer["error"].as_str() {
        None => Ok(()),
        Some(error) => Err(Refusal::Unavailable(format!("the sweep ended early: {error}"))),
    }
}

/// `cancel JOB`
pub(crate) async fn cancel(args: JobArgs, json: bool) -> Outcome<()> {
    let job = job_id(&args.job)?;
    let client = Client::new(&args.server)?;
    let answer = client.json(Method::POST, &format!("/api/jobs/{job}/cancel"), ANSWER_MAX).await?;
    print_answer(&answer, json, || format!("{job}  cancelled"));
    Ok(())
}

/// `dead-letter …`
pub(crate) async fn dead_letter(command: DeadLetterCommand, json: bool) -> Outcome<()> {
    match command {
        DeadLetterCommand::List(args) => {
            let all = Client::new(&args)?.json(Method::GET, "/api/dead-letters", ANSWER_MAX).await?;
            for letter in letters(&all) {
                print_answer(&letter, json, || letter_line(&letter));
            }
            Ok(())
        }
        DeadLetterCommand::Show(args) => {
            let job = job_id(&args.job)?.to_string();
            let client = Client::new(&args.server)?;
            let all = client.json(Method::GET, "/api/dead-letters", ANSWER_MAX).await?;
            let letter = letters(&all).into_iter().find(|l| l["task"]["job"].as_str() == Some(&job));
            let letter = letter.ok_or_else(|| Refusal::Input(format!("job {job} is not set aside")))?;
            print_answer(&letter, json, || serde_json::to_string_pretty(&letter).unwrap_or_default());
            Ok(())
        }
        DeadLetterCommand::Redrive(args) => {
            let job = job_id(&args.job)?;
            let client = Client::new(&args.server)?;
            let answer = client.json(Method::POST, &format!("/api/jobs/{job}/redrive"), ANSWER_MAX).await?;
            print_answer(&answer, json, || format!("{job}  begins life {}", answer["life"]));
            Ok(())
        }
    }
}

fn letters(all: &Value) -> Vec<Value> {
    all["dead_letters"].as_array().or_else(|| all.as_array()).cloned().unwrap_or_default()
}

fn letter_line(letter: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (job, stage) = (text(&letter["task"]["job"]), text(&letter["task"]["stage"]));
    format!("{job}  {stage}  {} attempts  {}", letter["attempts"], text(&letter["error"]))
}

pub(crate) fn job_id(text: &str) -> Outcome<JobId> {
    text.parse().map_err(|_| Refusal::Input(format!("{text:?} is no job; a job is 32 hex digits")))
}

/// An answer as one line of JSON, or as a line for a person.
pub(crate) fn print_answer(answer: &Value, as_json: bool, line: impl FnOnce() -> String) {
    if as_json {
        say!("{answer}");
    } else {
        say!("{}", line());
    }
}
