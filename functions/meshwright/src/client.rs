//! The client commands: they speak HTTP to a gateway, so the same words work against `up` and against a
//! cluster, and need no credentials of broker or store.

use crate::bars::{Bars, end_text};
use crate::cli::{DeadLetterCommand, JobArgs, ServerArgs, SubmitArgs, WatchArgs};
use crate::progress::Progress;
use crate::refusal::{Outcome, Refusal};
use domain::{Event, JobId};
use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for an answer that is not a stream.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Jobs that are followed at once; the others wait and are replayed when their turn comes.
const FOLLOWED_MAX: usize = 64;

/// A gateway.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    fn new(args: &ServerArgs) -> Outcome<Client> {
        let token = match &args.token_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|e| Refusal::Config(format!("read {}: {e}", file.display())))?;
                Some(text.trim().to_owned())
            }
        };
        let base = args.server.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|e| Refusal::Io(format!("make an HTTP client: {e}")))?;
        Ok(Client { http, base, token })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Outcome<Response> {
        let response = request.send().await.map_err(|error| {
            let base = &self.base;
            Refusal::Unavailable(format!(
                "no answer from {base} ({error}); is `meshwright up` running there?"
            ))
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Value = response.json().await.unwrap_or_default();
        let part = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let text = format!("{status}: {} {}", part("title"), part("detail"));
        Err(if status.is_server_error() { Refusal::Unavailable(text) } else { Refusal::Input(text) })
    }

    async fn json(&self, method: Method, path: &str) -> Outcome<Value> {
        let response = self.send(self.request(method, path).timeout(ANSWER_MAX)).await?;
        response.json().await.map_err(|error| Refusal::Unavailable(format!("read the answer: {error}")))
    }

    /// The job's events from the beginning, then live.
    async fn follow(&self, path: &str, mut each: impl FnMut(Event) -> bool) -> Outcome<()> {
        let request = self.request(Method::GET, path).header("Last-Event-ID", "0");
        let response = self.send(request).await?;
        let mut lines = SseLines::default();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|e| Refusal::Unavailable(format!("the event stream broke: {e}")))?;
            for data in lines.feed(&chunk) {
                let goes_on = serde_json::from_str::<Event>(&data).map_or(true, &mut each);
                if !goes_on {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The data lines of server-sent events; our gateway writes one line per event.
#[derive(Default)]
struct SseLines {
    rest: Vec<u8>,
}

impl SseLines {
    fn feed(&mut self, chunk: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(chunk);
        let mut found = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:") {
                found.push(data.trim_start().to_owned());
            }
        }
        found
    }
}

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
    for file in &args.files {
        let bytes = tokio::fs::read(file).await;
        let bytes = bytes.map_err(|e| Refusal::Input(format!("read {}: {e}", file.display())))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let request = client.request(Method::POST, "/api/jobs").query(&query).query(&[("name", &name)]);
        let request = request.header("Content-Type", "application/octet-stream").timeout(ANSWER_MAX);
        let response = client.send(request.body(bytes)).await?;
        let answer: Value =
            response.json().await.map_err(|e| Refusal::Unavailable(format!("read the answer: {e}")))?;
        let id: Option<JobId> = answer["id"].as_str().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Refusal::Unavailable("the answer names no job".to_owned()))?;
        if json {
            println!("{answer}");
        } else {
            println!("{id}  {name}");
        }
        names.insert(id, name);
    }
    if args.watch { watch_jobs(&client, names, json).await } else { Ok(()) }
}

/// `watch [JOB…]`
pub(crate) async fn watch(args: WatchArgs, json: bool) -> Outcome<()> {
    let client = Client::new(&args.server)?;
    if args.jobs.is_empty() {
        let bars = Bars::new(BTreeMap::new(), json);
        return client
            .follow("/api/events", |event| {
                bars.tell(&event);
                true
            })
            .await;
    }
    let mut names = BTreeMap::new();
    for job in &args.jobs {
        names.insert(job_id(job)?, job.clone());
    }
    watch_jobs(&client, names, json).await
}

/// Follows jobs until all have ended, then prints one line each; the exit is an error if one is not done.
async fn watch_jobs(client: &Client, names: BTreeMap<JobId, String>, json: bool) -> Outcome<()> {
    let progress = RefCell::new(Progress::of(names.keys().copied()));
    let bars = Bars::new(names.clone(), json);
    bars.draw(&progress.borrow(), None);
    let hear = |event: Event| {
        let mut progress = progress.borrow_mut();
        if progress.hear(&event) {
            bars.tell(&event);
            bars.draw(&progress, progress.eta(1));
        }
        true
    };
    let each = futures::stream::iter(names.keys())
        .map(|job| async move { client.follow(&format!("/api/jobs/{job}/events"), hear).await });
    let mut followed = each.buffer_unordered(FOLLOWED_MAX);
    while let Some(ended) = followed.next().await {
        ended?;
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
            println!("{job}  {name}: {text}");
        }
    }
    if bad == 0 { Ok(()) } else { Err(Refusal::Input(format!("{bad} of {} jobs are not done", names.len()))) }
}

/// `sweep`
pub(crate) async fn sweep(args: ServerArgs) -> Outcome<()> {
    print_answer(Client::new(&args)?.json(Method::POST, "/api/sweep").await?)
}

/// `cancel JOB`
pub(crate) async fn cancel(args: JobArgs) -> Outcome<()> {
    let path = format!("/api/jobs/{}/cancel", job_id(&args.job)?);
    print_answer(Client::new(&args.server)?.json(Method::POST, &path).await?)
}

/// `dead-letter …`
pub(crate) async fn dead_letter(command: DeadLetterCommand, json: bool) -> Outcome<()> {
    match command {
        DeadLetterCommand::List(args) => {
            let all = Client::new(&args)?.json(Method::GET, "/api/dead-letters").await?;
            for letter in letters(&all) {
                if json {
                    println!("{letter}");
                } else {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let (job, stage) = (text(&letter["task"]["job"]), text(&letter["task"]["stage"]));
                    println!("{job}  {stage}  {} attempts  {}", letter["attempts"], text(&letter["error"]));
                }
            }
            Ok(())
        }
        DeadLetterCommand::Show(args) => {
            let job = job_id(&args.job)?.to_string();
            let all = Client::new(&args.server)?.json(Method::GET, "/api/dead-letters").await?;
            let letter = letters(&all).into_iter().find(|l| l["task"]["job"].as_str() == Some(&job));
            print_answer(letter.ok_or_else(|| Refusal::Input(format!("job {job} is not set aside")))?)
        }
        DeadLetterCommand::Redrive(args) => {
            let path = format!("/api/jobs/{}/redrive", job_id(&args.job)?);
            print_answer(Client::new(&args.server)?.json(Method::POST, &path).await?)
        }
    }
}

fn letters(all: &Value) -> Vec<Value> {
    all["dead_letters"].as_array().or_else(|| all.as_array()).cloned().unwrap_or_default()
}

fn job_id(text: &str) -> Outcome<JobId> {
    text.parse().map_err(|_| Refusal::Input(format!("{text:?} is no job; a job is 32 hex digits")))
}

fn print_answer(answer: Value) -> Outcome<()> {
    let text = serde_json::to_string_pretty(&answer);
    println!("{}", text.map_err(|e| Refusal::Io(format!("print the answer: {e}")))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_across_chunk_borders() {
        let mut lines = SseLines::default();
        assert!(lines.feed(b"id: 4\nda").is_empty());
        assert_eq!(lines.feed(b"ta: {\"a\":1}\n\n: keep-alive\n"), ["{\"a\":1}"]);
        assert!(lines.feed(b"\xff\xfe\n").is_empty());
    }
}
