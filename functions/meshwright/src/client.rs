//! The client commands: they speak HTTP to a gateway, so the same words work against `up` and against a
//! cluster, and need no credentials of broker or store. What follows jobs is in `watch`.

use crate::cli::{DeadLetterCommand, JobArgs, ServerArgs, SubmitArgs};
use crate::http::{ANSWER_MAX, Client};
use crate::refusal::{Outcome, Refusal};
use crate::watch;
use domain::JobId;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// As many as a gateway gives at once, and far more pages than it keeps jobs for.
const LETTERS_PER_PAGE: usize = 200;
const LETTER_PAGES_MAX: usize = 10_000;
/// The gateway itself waits two minutes for a sweep.
const SWEEP_MAX: Duration = Duration::from_secs(130);

/// `submit FILE…`
pub(crate) async fn submit(args: SubmitArgs, json: bool) -> Outcome<()> {
    let client = Client::new(&args.server)?;
    let query = recipe_query(&args.options)?;
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
    let watched = if args.watch { watch::watch_jobs(&client, names, json).await } else { Ok(()) };
    if refused > 0 {
        let (refused, all) = (refused, args.files.len());
        return Err(Refusal::Input(format!("{refused} of {all} files were not taken; see above")));
    }
    watched
}

/// Options of a recipe, as they are typed, for a query.
pub(crate) fn recipe_query(options: &[String]) -> Outcome<Vec<(String, String)>> {
    let pair = |option: &String| match option.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Refusal::Input(format!("option {option:?}: write NAME=VALUE, as quality=fine"))),
    };
    options.iter().map(pair).collect()
}

async fn send_file(
    client: &Client,
    file: &Path,
    name: &str,
    query: &[(String, String)],
) -> Outcome<(JobId, Value)> {
    let bytes = tokio::fs::read(file).await.map_err(|e| Refusal::Input(format!("read it: {e}")))?;
    send_picture(client, name, bytes, query).await
}

/// Makes a job of a picture; gives its id, and what the gateway says of it.
pub(crate) async fn send_picture(
    client: &Client,
    name: &str,
    bytes: impl Into<reqwest::Body>,
    query: &[(String, String)],
) -> Outcome<(JobId, Value)> {
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
            let tell = |letter: Value| {
                print_answer(&letter, json, || letter_line(&letter));
                ControlFlow::Continue(())
            };
            each_letter(&Client::new(&args)?, tell).await
        }
        DeadLetterCommand::Show(args) => {
            let job = job_id(&args.job)?.to_string();
            let client = Client::new(&args.server)?;
            let mut found = None;
            let seek = |letter: Value| {
                if letter["task"]["job"].as_str() != Some(&job) {
                    return ControlFlow::Continue(());
                }
                found = Some(letter);
                ControlFlow::Break(())
            };
            each_letter(&client, seek).await?;
            let letter = found.ok_or_else(|| Refusal::Input(format!("job {job} is not set aside")))?;
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

/// All letters, page by page, until somebody has heard enough.
async fn each_letter(client: &Client, mut each: impl FnMut(Value) -> ControlFlow<()>) -> Outcome<()> {
    let first = format!("/api/dead-letters?limit={LETTERS_PER_PAGE}");
    let mut path = first.clone();
    for _ in 0..LETTER_PAGES_MAX {
        let page = client.json(Method::GET, &path, ANSWER_MAX).await?;
        for letter in page["dead_letters"].as_array().into_iter().flatten() {
            if each(letter.clone()).is_break() {
                return Ok(());
            }
        }
        // A page may be empty and not the last one: the gateway reads only so much for one call.
        let Some(next) = page["next"].as_str() else { return Ok(()) };
        path = format!("{first}&cursor={next}");
    }
    Err(Refusal::Unavailable("the list of dead letters has no end".to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    /// Answers each call with the next of these pages; gives what was asked.
    async fn gateway(pages: Vec<Value>) -> (Client, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for page in pages {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut head = vec![0; 4096];
                let count = socket.read(&mut head).await.expect("a request");
                let head = String::from_utf8_lossy(&head[..count]).into_owned();
                asked.push(head.split_whitespace().nth(1).unwrap_or_default().to_owned());
                let (body, close) = (page.to_string(), "connection: close");
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{close}\r\n\r\n{body}");
                socket.write_all(answer.as_bytes()).await.expect("an answer");
            }
            asked
        });
        let args = ServerArgs { server, token_file: None };
        (Client::new(&args).expect("a client"), serving)
    }

    fn page(jobs: &[&str], next: Option<&str>) -> Value {
        let letters: Vec<Value> = jobs.iter().map(|job| json!({"task": {"job": job}})).collect();
        json!({"dead_letters": letters, "next": next})
    }

    #[tokio::test]
    async fn letters_are_read_to_the_last_page_and_no_further_than_somebody_listens() {
        let first = "/api/dead-letters?limit=200";
        let pages = || vec![page(&["a", "b"], Some("9-x")), page(&[], Some("9-x")), page(&["c"], None)];
        let mut found = Vec::new();
        let (client, serving) = gateway(pages()).await;
        let each = |letter: Value| {
            found.push(letter["task"]["job"].as_str().unwrap_or_default().to_owned());
            ControlFlow::Continue(())
        };
        each_letter(&client, each).await.expect("letters");
        assert_eq!(found, ["a", "b", "c"]);
        let next = format!("{first}&cursor=9-x");
        assert_eq!(serving.await.expect("a gateway"), [first, &next, &next]);

        let (client, serving) = gateway(pages()[..1].to_vec()).await;
        each_letter(&client, |_| ControlFlow::Break(())).await.expect("letters");
        assert_eq!(serving.await.expect("a gateway"), [first]);
    }
}
