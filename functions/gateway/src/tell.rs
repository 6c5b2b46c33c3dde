//! Tells webhooks how jobs ended: at least once, by one gateway at a time (a lease), until the listener
//! answers with 2xx. Events tell at once; the look at the bucket finds what no event told, and what an
//! earlier gateway left. That a listener was told stands in the bucket.

use crate::follow::Told as Heard;
use crate::telemetry::count_told;
use crate::webhooks::{Listener, TOLD_WITHIN, WebhookMessage, pause};
use crate::{Gateway, jobs};
use domain::{JobId, Life, StateKey, Timestamp, Told, parse_state_key};
use ports::lease::{Claim, acquire};
use ports::{Listed, PortResult};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Calls to one listener at once.
const CALLS_MAX: usize = 8;
/// Endings that wait for one listener; further ones are found by a later look.
const WAITING_MAX: usize = 10_000;
/// A listener that asks for more than this is asked again after it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// An ending.
type End = (JobId, Life);

/// Endings of the last day, and who was told of them, as a walk over the bucket's names finds them.
#[derive(Default)]
pub(crate) struct Endings {
    young: BTreeSet<End>,
    told: BTreeSet<(End, u32)>,
}

impl Endings {
    /// Takes a page in.
    pub(crate) fn add(&mut self, page: &[Listed], now: Timestamp) {
        for object in page {
            match parse_state_key(&object.key) {
                Some(StateKey::Outcome(job, life)) if now.since(object.last_modified) < TOLD_WITHIN => {
                    self.young.insert((job, life));
                }
                // After its outcome, in the order of names.
                Some(StateKey::Told(job, life, listener)) if self.young.contains(&(job, life)) => {
                    self.told.insert(((job, life), listener));
                }
                _ => {}
            }
        }
    }

    /// What a listener was not told of.
    fn of(&self, listener: u32) -> impl Iterator<Item = End> {
        self.young.iter().copied().filter(move |end| !self.told.contains(&(*end, listener)))
    }
}

/// What became of a try.
enum Tried {
    /// It is told, was told before, or is none of its business.
    Settled,
    /// Again, after no less than this pause; and why, for a person.
    Again(Duration, String),
    /// It wants to hear nothing any more.
    Gone,
}

/// What is known of an ending.
#[derive(Default)]
struct Known {
    tries: u32,
    is_settled: bool,
}

/// Tells all listeners until shutdown.
pub(crate) async fn tell(gateway: Arc<Gateway>) {
    if gateway.settings.listeners.is_empty() {
        return;
    }
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_MAX)
        .user_agent(format!("meshwright/{}", gateway.settings.version))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "webhooks are told nothing: no client"),
    };
    let claim = Claim {
        key: "gateway.webhooks".to_owned(),
        holder: uuid::Uuid::new_v4().to_string(),
        renew_every: gateway.settings.times.renew_every,
    };
    loop {
        match acquire(&gateway.ports, &claim, || (), &gateway.shutdown).await {
            Ok(Some(lease)) => {
                let telling = gateway.settings.listeners.iter().map(|listener| {
                    Teller::new(gateway.clone(), client.clone(), listener.clone()).run(&lease.lost)
                });
                futures::future::join_all(telling).await;
                lease.give_up(&gateway.ports).await;
            }
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "webhooks are told nothing: the lease is denied"),
        }
    }
}

/// What is told to one listener.
struct Teller {
    gateway: Arc<Gateway>,
    client: Client,
    listener: Listener,
    /// What waits, by when it is due.
    due: BTreeSet<(Instant, End)>,
    known: BTreeMap<End, Known>,
    calls: JoinSet<(End, Tried)>,
    is_failing: bool,
}

impl Teller {
    fn new(gateway: Arc<Gateway>, client: Client, listener: Listener) -> Teller {
        let (due, known, calls) = (BTreeSet::new(), BTreeMap::new(), JoinSet::new());
        Teller { gateway, client, listener, due, known, calls, is_failing: false }
    }

    async fn run(mut self, lost: &CancellationToken) {
        let gateway = self.gateway.clone();
        let (mut live, _) = gateway.hub.join(None);
        let mut looks = gateway.hub.endings();
        looks.mark_changed();
        loop {
            let next = self.due.first().map(|(at, _)| *at).filter(|_| self.calls.len() < CALLS_MAX);
            let wake = async { if let Some(at) = next { sleep_until(at).await } else { pending().await } };
            tokio::select! {
                () = lost.cancelled() => return,
                () = gateway.shutdown.cancelled() => return,
                heard = live.recv() => match heard {
                    Ok(Heard::Event(_, event)) if event.kind.is_end() => self.add((event.job, event.life)),
                    // What was missed is found by the next look.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                Ok(()) = looks.changed() => {
                    let endings = looks.borrow_and_update().clone();
                    self.look(&endings);
                }
                () = wake => self.call(),
                Some(joined) = self.calls.join_next() => match joined {
                    Ok((end, tried)) => if self.take(end, tried) {
                        break;
                    },
                    Err(error) => tracing::error!(%error, "tell a webhook"),
                },
            }
        }
        // Who would return here would begin anew with the lease, and ask again.
        tokio::select! {
            () = lost.cancelled() => {}
            () = gateway.shutdown.cancelled() => {}
        }
    }

    fn add(&mut self, end: End) {
        if self.due.len() < WAITING_MAX && !self.known.contains_key(&end) {
            self.known.insert(end, Known::default());
            self.due.insert((Instant::now(), end));
        }
    }

    fn look(&mut self, endings: &Endings) {
        // Of what no look shows any more nobody asks again.
        self.known.retain(|end, known| !known.is_settled || endings.young.contains(end));
        for end in endings.of(self.listener.id()) {
            self.add(end);
        }
    }

    fn call(&mut self) {
        let Some((_, end)) = self.due.pop_first() else { return };
        self.known.entry(end).or_default().tries += 1;
        let (gateway, client, listener) = (self.gateway.clone(), self.client.clone(), self.listener.clone());
        self.calls.spawn(async move {
            let tried = attempt(&gateway, &client, &listener, end).await;
            (
                end,
                tried.unwrap_or_else(|error| match error.is_transient() {
                    true => Tried::Again(Duration::ZERO, error.to_string()),
                    false => {
                        tracing::warn!(%error, job = %end.0, "a webhook is not told");
                        Tried::Settled
                    }
                }),
            )
        });
    }

    /// Takes in what became of a try; whether it was the last of all.
    fn take(&mut self, end: End, tried: Tried) -> bool {
        let (known, to) = (self.known.entry(end).or_default(), self.listener.place());
        match tried {
            Tried::Settled => {
                known.is_settled = true;
                self.is_failing = false;
            }
            Tried::Again(asked, why) => {
                let pause = pause(self.gateway.settings.limits.webhook_pause, known.tries, end.0).max(asked);
                self.due.insert((Instant::now() + pause, end));
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(to, why, job = %end.0, "tell a webhook; trying again");
                }
            }
            Tried::Gone => {
                tracing::warn!(to, "the webhook is gone (410): it is told nothing more");
                return true;
            }
        }
        false
    }
}

/// Tells a listener of an ending, unless it was told.
async fn attempt(
    gateway: &Gateway,
    client: &Client,
    listener: &Listener,
    (job, life): End,
) -> PortResult<Tried> {
    let ledger = &gateway.ledger;
    if ledger.was_told(job, life, listener.id()).await? {
        return Ok(Tried::Settled);
    }
    // What is gone by now was removed with its job.
    let Some(outcome) = ledger.outcome(job, life).await? else { return Ok(Tried::Settled) };
    let Some(record) = jobs::find(gateway, job).await? else { return Ok(Tried::Settled) };
    let message = WebhookMessage::of(&record, &outcome).filter(|message| listener.wants(message));
    let now = gateway.ports.clock.now();
    let Some((headers, body)) = message.and_then(|message| listener.signed(&message, now)) else {
        return Ok(Tried::Settled);
    };
    if now.since(outcome.decided_at) >= TOLD_WITHIN {
        count_told("given_up");
        tracing::warn!(to = listener.place(), %job, "a webhook was not told within a day; not tried again");
        return Ok(Tried::Settled);
    }
    let again = |after, why| {
        count_told("failed");
        Ok(Tried::Again(after, why))
    };
    match client.post(listener.url.clone()).headers(headers).body(body).send().await {
        Ok(answer) if answer.status().is_success() => {
            let (to, at) = (listener.place(), gateway.ports.clock.now());
            ledger.put_told(&Told { job, life, listener: listener.id(), to, at }).await?;
            count_told("told");
            Ok(Tried::Settled)
        }
        Ok(answer) if answer.status() == StatusCode::GONE => {
            count_told("failed");
            Ok(Tried::Gone)
        }
        Ok(answer) => {
            let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let after = Duration::from_secs(after.unwrap_or(0)).min(RETRY_AFTER_MAX);
            again(after, format!("it answers {}", answer.status()))
        }
        // Without its address: that may hold a token.
        Err(error) => again(Duration::ZERO, error.without_url().to_string()),
    }
}
