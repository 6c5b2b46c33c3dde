//! HTTP with a gateway: calls, problems as sentences, and event streams that go on after a break.

use crate::cli::ServerArgs;
use crate::config::environment;
use crate::refusal::{Outcome, Refusal};
use domain::Event;
use futures::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Longest wait for an answer that is not a stream.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Times that a broken stream is taken up again without an event in between.
const RESUMES_MAX: u32 = 6;
/// The pause before the first of them; each doubles it.
const RESUME_PAUSE: Duration = Duration::from_millis(250);

/// A gateway.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// Where a stream of events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// With all that the gateway still has.
    Beginning,
    /// With what comes.
    Now,
}

/// Whether a stream may end behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// More must come: an end here is a break.
    Part,
    /// All that matters so far.
    All,
}

/// How far a stream has been heard.
#[derive(Debug, Default)]
struct Place {
    last_event_id: Option<String>,
    opened: bool,
    all_heard: bool,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> Outcome<Client> {
        let token = match &args.token_file {
            None => environment("MESHWRIGHT_GATEWAY_TOKEN"),
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|e| Refusal::Config(format!("read {}: {e}", file.display())))?;
                Some(text.trim().to_owned())
            }
        };
        let base = args.server.trim_end_matches('/').to_owned();
        let url = reqwest::Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if url.is_none() {
            return Err(Refusal::Config(format!("server is {base:?}; use a URL, as http://127.0.0.1:8787")));
        }
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|e| Refusal::Io(format!("make an HTTP client: {e}")))?;
        Ok(Client { http, base, token })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Outcome<Response> {
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
        // A problem's detail is a whole sentence; what is no problem document came from somebody in between.
        let detail = problem["detail"].as_str().map(str::to_owned);
        let text = detail.unwrap_or_else(|| format!("{} answers {status}", self.base));
        Err(if status.is_server_error() { Refusal::Unavailable(text) } else { Refusal::Input(text) })
    }

    pub(crate) async fn json(&self, method: Method, path: &str, wait: Duration) -> Outcome<Value> {
        let response = self.send(self.request(method, path).timeout(wait)).await?;
        response.json().await.map_err(|error| Refusal::Unavailable(format!("read the answer: {error}")))
    }

    /// Events until the gateway ends the stream behind one that `each` takes for the last. A stream that
    /// breaks off is taken up where it broke, a few times. One that cannot be opened is not tried again.
    pub(crate) async fn follow(
        &self,
        path: &str,
        since: Since,
        each: impl FnMut(Event) -> Heard,
    ) -> Outcome<()> {
        self.follow_opened(path, since, || {}, each).await
    }

    /// The same; says each time that the stream is open: from then on nothing is missed.
    pub(crate) async fn follow_opened(
        &self,
        path: &str,
        since: Since,
        opened: impl Fn(),
        mut each: impl FnMut(Event) -> Heard,
    ) -> Outcome<()> {
        let last_event_id = (since == Since::Beginning).then(|| "0".to_owned());
        let mut place = Place { last_event_id, ..Place::default() };
        let mut resumes = 0;
        loop {
            let mut hear = |event: Event| {
                resumes = 0;
                each(event)
            };
            let broke = match self.follow_once(path, &mut place, &opened, &mut hear).await {
                Ok(()) => return Ok(()),
                Err(error @ Refusal::Unavailable(_)) if place.opened => error,
                Err(error) => return Err(error),
            };
            if resumes == RESUMES_MAX {
                return Err(broke);
            }
            tokio::time::sleep(RESUME_PAUSE * 2u32.pow(resumes)).await;
            resumes += 1;
        }
    }

    async fn follow_once(
        &self,
        path: &str,
        place: &mut Place,
        opened: &impl Fn(),
        each: &mut impl FnMut(Event) -> Heard,
    ) -> Outcome<()> {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = &place.last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = self.send(request).await?;
        place.opened = true;
        opened();
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        let mut lines = SseLines::default();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|e| Refusal::Unavailable(format!("the event stream broke: {e}")))?;
            for SseEvent { id, data } in lines.feed(&chunk) {
                place.last_event_id = id.or(place.last_event_id.take());
                let event = data.and_then(|data| serde_json::from_str::<Event>(&data).ok());
                if let Some(event) = event {
                    place.all_heard = each(event) == Heard::All;
                }
            }
        }
        let early = || Refusal::Unavailable("the event stream ended early".to_owned());
        place.all_heard.then_some(()).ok_or_else(early)
    }
}

/// One server-sent event, or a place alone.
#[derive(Debug, PartialEq, Eq)]
struct SseEvent {
    id: Option<String>,
    data: Option<String>,
}

/// Reads server-sent events; our gateway writes one line of data per event.
#[derive(Default)]
struct SseLines {
    rest: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
}

impl SseLines {
    fn feed(&mut self, chunk: &[u8]) -> Vec<SseEvent> {
        self.rest.extend_from_slice(chunk);
        let mut found = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if line.is_empty() {
                let (id, data) = (self.id.take(), self.data.take());
                if id.is_some() || data.is_some() {
                    found.push(SseEvent { id, data });
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data = Some(data.trim_start().to_owned());
            } else if let Some(id) = line.strip_prefix("id:") {
                self.id = Some(id.trim_start().to_owned());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{EventKind, JobId, Life, Timestamp};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn events_are_read_across_chunk_borders() {
        let mut lines = SseLines::default();
        assert!(lines.feed(b"id: 4\nda").is_empty());
        assert!(lines.feed(b"ta: {\"a\":1}\n").is_empty());
        let event = SseEvent { id: Some("4".to_owned()), data: Some("{\"a\":1}".to_owned()) };
        assert_eq!(lines.feed(b"\n: keep-alive\n\n"), [event]);
        // Where a client is before it hears anything.
        assert_eq!(lines.feed(b"id: 9\n\n"), [SseEvent { id: Some("9".to_owned()), data: None }]);
        assert!(lines.feed(b"\xff\xfe\n").is_empty());
    }

    /// Answers each connection with the next of these bodies, and breaks all but the last one off; gives what
    /// was asked.
    async fn gateway(bodies: Vec<String>) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move {
            let (mut asked, last) = (Vec::new(), bodies.len() - 1);
            for (n, body) in bodies.into_iter().enumerate() {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut head = vec![0; 4096];
                let count = socket.read(&mut head).await.expect("a request");
                asked.push(String::from_utf8_lossy(&head[..count]).to_lowercase());
                let length = body.len() + if n == last { 0 } else { 100 };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                socket.write_all(answer.as_bytes()).await.expect("an answer");
            }
            asked
        });
        let args = ServerArgs { server, token_file: None };
        (Client::new(&args).expect("a client"), serving)
    }

    fn sse(id: u64, kind: EventKind) -> String {
        let event = Event { job: JobId([1; 16]), life: Life(0), at: Timestamp(1), kind };
        format!("id: {id}\ndata: {}\n\n", serde_json::to_string(&event).expect("JSON"))
    }

    #[tokio::test]
    async fn a_broken_stream_goes_on_where_it_broke() {
        let accepted = EventKind::Accepted { bucket: "b".to_owned(), key: "k".to_owned(), upload: None };
        let bodies = vec![sse(7, accepted), String::new(), sse(9, EventKind::Finished)];
        let (client, gateway) = gateway(bodies).await;
        let mut heard = Vec::new();
        let each = |event: Event| {
            heard.push(event.kind.as_str());
            if event.kind.is_end() { Heard::All } else { Heard::Part }
        };
        client.follow("/api/jobs/x/events", Since::Beginning, each).await.expect("an end");
        assert_eq!(heard, ["accepted", "finished"]);
        let asked = gateway.await.expect("a gateway");
        let places = ["last-event-id: 0\r\n", "last-event-id: 7\r\n", "last-event-id: 7\r\n"];
        for (asked, place) in asked.iter().zip(places) {
            assert!(asked.contains(place), "{asked}");
        }
    }

    #[tokio::test]
    async fn what_comes_from_now_on_has_no_place_to_begin_at() {
        let (client, gateway) = gateway(vec![sse(3, EventKind::Finished)]).await;
        client.follow("/api/events", Since::Now, |_| Heard::All).await.expect("an end");
        assert!(!gateway.await.expect("a gateway")[0].contains("last-event-id"));
    }

    #[tokio::test]
    async fn nobody_there_is_told_at_once() {
        let args = ServerArgs { server: "http://127.0.0.1:1".to_owned(), token_file: None };
        let client = Client::new(&args).expect("a client");
        let refused = client.follow("/api/events", Since::Now, |_| Heard::Part).await;
        assert_eq!(refused.expect_err("a closed port").exit_code(), 69);
    }
}
