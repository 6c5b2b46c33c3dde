//! A link that a test can stop, cut, slow down, or let lie: a TCP forwarder on loopback.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Most bytes read at a time; an answer's head comes in one piece.
const PIECE: usize = 64 << 10;

/// How much of what a client sent is remembered: longer than any pattern that is looked for.
const PATTERN_BYTES_MAX: usize = 256;

/// How well the link forwards, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// How long each piece is on its way.
    pub latency: Duration,
    /// Bytes per second of each connection.
    pub rate: Option<u32>,
    /// Most bytes that arrive at once.
    pub slice: usize,
}

impl Default for Weather {
    /// As good as loopback.
    fn default() -> Weather {
        Weather { latency: Duration::ZERO, rate: None, slice: PIECE }
    }
}

/// What the link does besides forwarding.
#[derive(Debug, Default)]
struct Rules {
    weather: Mutex<Weather>,
    /// What the client must send to be held.
    hold: Mutex<Option<String>>,
    /// Replaced in pieces from the server.
    rewrite: Mutex<Vec<Rewrite>>,
    /// How many connections are held.
    held: watch::Sender<usize>,
    /// Raised by every release and every cut.
    released: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
}

/// What is replaced in answers.
#[derive(Debug)]
struct Rewrite {
    /// Only in answers to requests that contain this.
    asked: Option<String>,
    from: String,
    to: String,
}

/// What a client has sent since its server last said something.
#[derive(Debug, Default)]
struct Asked {
    bytes: Vec<u8>,
    is_answered: bool,
}

impl Asked {
    /// The next piece: it begins a request when the one before has an answer.
    fn hear(&mut self, piece: &[u8]) {
        if std::mem::take(&mut self.is_answered) {
            self.bytes.clear();
        }
        let room = PIECE.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// What the answer that begins or goes on now is an answer to.
    fn answered(&mut self) -> &[u8] {
        self.is_answered = true;
        &self.bytes
    }
}

/// A link to a server. It forwards until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<Rules>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and forwards to `server`, as `127.0.0.1:9000`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(server: &str) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a proxy")?;
        let address = listener.local_addr()?;
        let rules = Arc::new(Rules::default());
        let (server, shared) = (server.to_owned(), rules.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, rules) = (server.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&server).await {
                        forward(client, server, rules).await;
                    }
                });
            }
        });
        Ok(Proxy { address, rules, accepting })
    }

    /// Where it listens, as `127.0.0.1:12345`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Holds the next request whose head contains `pattern`, until [`Proxy::release`].
    pub fn hold(&self, pattern: &str) {
        *locked(&self.rules.hold) = Some(pattern.to_owned());
    }

    /// Waits until a request is held.
    ///
    /// # Errors
    /// None is within `limit`.
    pub async fn held(&self, limit: Duration) -> Result<()> {
        let mut held = self.rules.held.subscribe();
        let waited = tokio::time::timeout(limit, held.wait_for(|held| *held > 0)).await;
        // The sender lives as long as `self`.
        let seen = waited.with_context(|| format!("no request was held within {} s", limit.as_secs_f32()))?;
        seen.map(drop).context("the link is gone")
    }

    /// Lets go what is held, and holds nothing more.
    pub fn release(&self) {
        *locked(&self.rules.hold) = None;
        self.rules.released.send_modify(|times| *times += 1);
    }

    /// From now on replaces the first `from` of each piece by `to` in what the server says, besides what is
    /// replaced already.
    pub fn rewrite(&self, from: &str, to: &str) {
        let (from, to) = (from.to_owned(), to.to_owned());
        locked(&self.rules.rewrite).push(Rewrite { asked: None, from, to });
    }

    /// As [`Proxy::rewrite`], only in answers to requests in which `asked` occurs: for protocols in which a
    /// client waits for an answer before it asks again.
    pub fn rewrite_answers_to(&self, asked: &str, from: &str, to: &str) {
        let (asked, from, to) = (Some(asked.to_owned()), from.to_owned(), to.to_owned());
        locked(&self.rules.rewrite).push(Rewrite { asked, from, to });
    }

    /// Forwards like this from now on, on open connections too.
    pub fn set_weather(&self, weather: Weather) {
        *locked(&self.rules.weather) = weather;
    }

    /// Cuts every open connection, and loses what is held. New ones are forwarded.
    pub fn cut(&self) {
        self.rules.cuts.send_modify(|times| *times += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn forward(client: TcpStream, server: TcpStream, rules: Arc<Rules>) {
    let mut cuts = rules.cuts.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asked = Mutex::new(Asked::default());
    let asking = async {
        let mut piece = vec![0; PIECE];
        // A pattern may arrive in two pieces: the end of what went before is looked at too.
        let mut before = Vec::new();
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            // Before the look at the pattern: a release in between is not missed.
            let mut released = rules.released.subscribe();
            let taken = locked(&rules.hold).take_if(|pattern| arrives(&before, &piece[..length], pattern));
            before.extend_from_slice(&piece[..length]);
            before.drain(..before.len().saturating_sub(PATTERN_BYTES_MAX));
            locked(&asked).hear(&piece[..length]);
            if taken.is_some() {
                let _held = Held::new(&rules);
                // The sender lives in `rules`.
                let _changed = released.changed().await;
            }
            if send(&mut to_server, &piece[..length], &rules).await.is_err() {
                break;
            }
        }
    };
    let answering = async {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            let answer = rewritten(&piece[..length], locked(&asked).answered(), &rules);
            if send(&mut to_client, &answer, &rules).await.is_err() {
                break;
            }
        }
    };
    // Either side's end is the end of both, as it is with a cable.
    tokio::select! {
        () = asking => {}
        () = answering => {}
        _ = cuts.changed() => {}
    }
}

async fn send(to: &mut OwnedWriteHalf, piece: &[u8], rules: &Rules) -> std::io::Result<()> {
    let Weather { latency, rate, slice } = *locked(&rules.weather);
    let mut arrives = Instant::now() + latency;
    for part in piece.chunks(slice.max(1)) {
        if let Some(rate) = rate {
            arrives += Duration::from_secs_f64(part.len() as f64 / f64::from(rate));
        }
        sleep_until(arrives).await;
        to.write_all(part).await?;
    }
    Ok(())
}

/// A connection that is held, for as long as this lives: a cut ends it too.
struct Held<'a>(&'a Rules);

impl Held<'_> {
    fn new(rules: &Rules) -> Held<'_> {
        rules.held.send_modify(|held| *held += 1);
        Held(rules)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.send_modify(|held| *held -= 1);
    }
}

/// Whether a pattern ends in this piece; it may have begun before.
fn arrives(before: &[u8], piece: &[u8], pattern: &str) -> bool {
    let from = before.len().saturating_sub(pattern.len().saturating_sub(1));
    contains(&[&before[from..], piece].concat(), pattern)
}

fn contains(piece: &[u8], pattern: &str) -> bool {
    piece.windows(pattern.len().max(1)).any(|window| window == pattern.as_bytes())
}

fn rewritten(piece: &[u8], request: &[u8], rules: &Rules) -> Vec<u8> {
    let mut piece = piece.to_vec();
    for Rewrite { asked, from, to } in locked(&rules.rewrite).iter() {
        if asked.as_ref().is_some_and(|asked| !contains(request, asked)) {
            continue;
        }
        let at = piece.windows(from.len().max(1)).position(|window| window == from.as_bytes());
        if let Some(at) = at {
            piece.splice(at..at + from.len(), to.bytes());
        }
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, piece: &str, expect: bool) {
        assert_eq!(arrives(before.as_bytes(), piece.as_bytes(), "PUT /m/"), expect, "{before:?} {piece:?}");
    }

    #[test]
    fn a_pattern_is_seen_in_one_piece_or_over_two_and_once() {
        check("", "PUT /m/a HTTP/1.1", true);
        check("GET / HTTP/1.1\r\n\r\nPUT", " /m/a HTTP/1.1", true);
        check("PUT /m", "/", true);
        check("PUT /m/", "a HTTP/1.1", false);
        check("", "PUT /a/", false);
        check("PUT /m", "", false);
    }
}
