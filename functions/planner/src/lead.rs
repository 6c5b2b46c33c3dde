//! One term of leadership: subscribes, draws, proposes, and hands every answer to the core.

use crate::lease::HeldLease;
use crate::tokens::Tokens;
use crate::{Settings, learned};
use domain::{
    Batch, BatchEnded, BatchReply, BatchTask, CALL_SUBJECT, Consumer, ENDED_SUBJECT, Ending,
    Event as JobEvent, EventKind, INTERMEDIATES_KEPT, OFFER_SUBJECT, Offer, Outcome, Stop, Task, WorkerId,
    event_subject, run_subject, stop_subject,
};
use futures::StreamExt;
use planning::{Decision, Event, Limits, Planner};
use ports::{Answer, Decided, Delivery, Ledger, Message, PortResult, Ports};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

/// Longest pull. A pull returns as soon as there is a task, so this bounds only how long an idle one stands.
const PULL_WAIT: Duration = Duration::from_secs(20);
/// A failed pull is tried again after this long.
const PULL_AGAIN: Duration = Duration::from_secs(1);
/// Most items of a batch.
const BATCH_MAX: usize = 64;

/// What comes back from calls that the driver does not wait for.
enum News {
    Drawn(Consumer, Vec<BatchTask>),
    Answered(Batch, WorkerId, Reply),
}

/// How a proposal ended.
enum Reply {
    Heard(BatchReply),
    /// Nobody listens: the worker is gone, and has seen nothing.
    Gone,
    /// It was stopped in time, whether it had begun or not.
    Stopped,
    /// Nobody knows: the tokens may be in use.
    Unknown,
}

struct Driver<'a> {
    ports: &'a Ports,
    settings: &'a Settings,
    core: Planner,
    tokens: Tokens,
    news: mpsc::Sender<News>,
    calls: JoinSet<()>,
    lost: CancellationToken,
}

/// Leads until shutdown or until the lease is lost.
pub(crate) async fn lead(
    ports: &Ports,
    settings: &Settings,
    lease: &HeldLease,
    shutdown: &CancellationToken,
) -> PortResult<()> {
    let mut offers = ports.wire.subscribe(OFFER_SUBJECT).await?;
    let mut ends = ports.wire.subscribe(ENDED_SUBJECT).await?;
    // The workers' last words were for another leader, or for nobody.
    ports.wire.publish(CALL_SUBJECT, bytes::Bytes::new()).await?;
    let limits = Limits {
        batch_max: BATCH_MAX,
        hold_max: settings.times.ack_wait * 3,
        tenants: settings.site.tenants().into_iter().collect(),
    };
    let learned = learned::load(ports).await.unwrap_or_default();
    let (sender, mut news) = mpsc::channel(1024);
    let mut driver = Driver {
        ports,
        settings,
        core: Planner::new(limits, lease.epoch(), learned),
        tokens: Tokens::new(ports.queue.clone(), settings.times),
        news: sender,
        calls: JoinSet::new(),
        lost: lease.lost.clone(),
    };
    let mut extend = interval(settings.times.extend_every);
    let mut tick = interval(settings.times.renew_every);
    loop {
        tokio::select! {
            biased;
            () = lease.lost.cancelled() => return Ok(()),
            () = shutdown.cancelled() => break,
            Some(news) = news.recv() => driver.take_news(news),
            Some(message) = offers.next() => driver.hear_offer(&message),
            Some(message) = ends.next() => driver.hear_end(&message),
            _ = extend.tick() => driver.extend().await,
            _ = tick.tick() => driver.handle(Event::Tick),
            Some(_ended) = driver.calls.join_next() => {}
        }
        driver.act();
    }
    for token in driver.tokens.all() {
        driver.tokens.give_back(token);
    }
    Ok(())
}

impl Driver<'_> {
    fn handle(&mut self, event: Event) {
        self.core.handle(self.ports.clock.now(), event);
    }

    fn hear_offer(&mut self, message: &Message) {
        match serde_json::from_slice::<Offer>(&message.payload) {
            Ok(offer) => self.handle(Event::OfferMade(offer)),
            Err(error) => tracing::warn!(%error, "an offer that cannot be read is ignored"),
        }
    }

    fn hear_end(&mut self, message: &Message) {
        match serde_json::from_slice::<BatchEnded>(&message.payload) {
            Ok(ended) => self.handle(Event::BatchEnded(ended)),
            Err(error) => tracing::warn!(%error, "the end of a batch that cannot be read is ignored"),
        }
    }

    async fn extend(&mut self) {
        for token in self.tokens.extend().await {
            tracing::info!("a token is older than the ack wait and is dropped");
            self.handle(Event::TaskGone(token));
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Drawn(consumer, tasks) => {
                for task in tasks {
                    self.tokens.hold(task.ack_token.clone());
                    self.handle(Event::TaskSeen(task));
                }
                self.handle(Event::DrawEnded(consumer));
            }
            News::Answered(batch, worker, reply) => self.take_answer(&batch, worker, reply),
        }
    }

    fn take_answer(&mut self, batch: &Batch, worker: WorkerId, reply: Reply) {
        let release =
            |tokens: &mut Tokens| batch.tasks.iter().for_each(|task| tokens.release(&task.ack_token));
        match reply {
            Reply::Heard(BatchReply::Accepted) => {
                release(&mut self.tokens);
                self.handle(Event::BatchAccepted(batch.id));
            }
            Reply::Heard(BatchReply::Refused { reading, reason }) => {
                tracing::debug!(%worker, ?reason, "a batch is refused");
                self.handle(Event::BatchRefused(batch.id, Some(reading)));
            }
            Reply::Gone | Reply::Stopped => {
                tracing::info!(%worker, "worker silent; its offer is dropped, the batch is cut again");
                self.handle(Event::BatchRefused(batch.id, None));
            }
            Reply::Unknown => {
                tracing::warn!(%worker, "a worker answers nothing; the batch's tokens are dropped");
                release(&mut self.tokens);
                self.handle(Event::BatchLost(batch.id));
            }
        }
    }

    /// Carries out what the core decided.
    fn act(&mut self) {
        while let Some(decision) = self.core.poll() {
            match decision {
                Decision::Draw(consumer, count) => self.draw(consumer, count),
                Decision::Propose(worker, batch) => self.propose(worker, batch),
                Decision::GiveBack(task) => self.tokens.give_back(task.ack_token),
                Decision::Reject(task, reason) => self.reject(task, reason),
                Decision::Learned(key, footprint) => {
                    self.calls.spawn(learned::keep(self.ports.clone(), key, footprint));
                }
            }
        }
    }

    fn draw(&mut self, consumer: Consumer, count: usize) {
        let (ports, news, lost) = (self.ports.clone(), self.news.clone(), self.lost.clone());
        self.calls.spawn(async move {
            let tasks = match ports.queue.take(&consumer, count, PULL_WAIT).await {
                Ok(deliveries) => read_tasks(&ports, deliveries).await,
                Err(error) => {
                    tracing::debug!(%error, "draw tasks");
                    tokio::time::sleep(PULL_AGAIN).await;
                    Vec::new()
                }
            };
            if lost.is_cancelled() {
                // Drawn for a leader that is none any more: fresh deliveries of our own.
                for task in &tasks {
                    let _left_to_redelivery = ports.queue.give_back(&task.ack_token).await;
                }
                return;
            }
            let _ended = news.send(News::Drawn(consumer, tasks)).await;
        });
    }

    fn propose(&mut self, worker: WorkerId, batch: Batch) {
        let (ports, news, wait) = (self.ports.clone(), self.news.clone(), self.settings.times.run_answer);
        self.calls.spawn(async move {
            let reply = ask(&ports, &worker, &batch, wait).await;
            let _ended = news.send(News::Answered(batch, worker, reply)).await;
        });
    }

    fn reject(&mut self, task: BatchTask, reason: String) {
        self.tokens.release(&task.ack_token);
        let (ports, state) = (self.ports.clone(), self.settings.site.state.clone());
        self.calls.spawn(async move {
            if let Err(error) = reject(&ports, &state, &task, reason).await {
                tracing::warn!(job = %task.task.job, %error, "reject a job: left to redelivery");
            }
        });
    }
}

/// Messages as tasks. One that cannot be read is removed: its job is found again by the sweep.
async fn read_tasks(ports: &Ports, deliveries: Vec<Delivery>) -> Vec<BatchTask> {
    let mut tasks = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match serde_json::from_slice::<Task>(&delivery.payload) {
            Ok(task) => tasks.push(BatchTask {
                task,
                ack_token: delivery.token,
                delivery: delivery.count,
                published_at: delivery.published_at,
                drawn_at: ports.clock.now(),
            }),
            Err(error) => {
                tracing::error!(subject = %delivery.subject, %error, "a task that cannot be read is removed");
                let _left_to_redelivery = ports.queue.done(&delivery.token).await;
            }
        }
    }
    tasks
}

async fn ask(ports: &Ports, worker: &WorkerId, batch: &Batch, wait: Duration) -> Reply {
    let Ok(body) = serde_json::to_vec(batch) else { return Reply::Gone };
    match ports.wire.request(&run_subject(worker), body.into(), wait).await {
        Ok(Answer::NoResponders) => return Reply::Gone,
        Ok(Answer::Reply(reply)) => {
            if let Ok(reply) = serde_json::from_slice(&reply) {
                return Reply::Heard(reply);
            }
        }
        Ok(Answer::TimedOut) | Err(_) => {}
    }
    let stop = Stop { batch: batch.id, epoch: batch.epoch };
    let Ok(body) = serde_json::to_vec(&stop) else { return Reply::Unknown };
    match ports.wire.request(&stop_subject(worker), body.into(), wait).await {
        Ok(Answer::Reply(_) | Answer::NoResponders) => Reply::Stopped,
        Ok(Answer::TimedOut) | Err(_) => Reply::Unknown,
    }
}

async fn reject(ports: &Ports, state_bucket: &str, given: &BatchTask, reason: String) -> PortResult<()> {
    let (ledger, job) = (Ledger::new(ports.store.clone(), state_bucket), given.task.job);
    let state = ledger.state(job).await?;
    let now = ports.clock.now();
    let ending = Ending::Rejected { reason: reason.clone() };
    let expire = now + INTERMEDIATES_KEPT;
    let outcome = Outcome { job, life: state.life, ending, decided_at: now, intermediates_expire_at: expire };
    if !state.has_outcome && ledger.decide(&outcome).await? == Decided::Mine {
        let kind = EventKind::Rejected { reason };
        let subject = event_subject(job, &kind);
        let event = JobEvent { job, life: state.life, at: now, kind };
        if let Ok(body) = serde_json::to_vec(&event) {
            ports.wire.publish(&subject, body.into()).await?;
        }
    }
    ports.queue.done(&given.ack_token).await
}
