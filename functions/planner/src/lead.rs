//! One term of leadership: subscribes, draws, proposes, and hands every answer to the core.

use crate::calls::{self, Reply};
use crate::tokens::{Answers, Lost, Tokens};
use crate::{Settings, asked, learned, telemetry};
use domain::{
    BATCH_ITEMS_MAX, Batch, BatchEnded, BatchReply, BatchTask, CALL_SUBJECT, Consumer, ENDED_SUBJECT,
    OFFER_SUBJECT, Offer, PLAN_SUBJECT, TenantId, WorkerId, planned_span, unknown_stages,
};
use futures::StreamExt;
use planning::{Advisors, Decision, Event, Footprint, FootprintKey, Limits, Planner};
use ports::lease::HeldLease;
use ports::{Message, PortError, PortResult, Ports, tell_spans};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// As many workers are desired as finish what waits in this time: long enough that a worker's start pays.
const DRAIN_TARGET: Duration = Duration::from_secs(60);

/// Stages of newer workers that are named in the log: each once, and no more than this.
const UNKNOWN_STAGES_MAX: usize = 64;

/// What comes back from calls that the driver does not wait for.
enum News {
    Drawn(Consumer, Vec<BatchTask>),
    Answered(Batch, WorkerId, Reply),
    Waiting(Vec<(Consumer, u64)>),
    Extended(Answers),
    Kept,
}

struct Driver<'a> {
    ports: &'a Ports,
    settings: &'a Settings,
    core: Planner,
    advisors: Advisors,
    tokens: Tokens,
    news: mpsc::Sender<News>,
    /// What only a changed configuration mends.
    refusals: mpsc::Sender<PortError>,
    calls: JoinSet<()>,
    lost: CancellationToken,
    tenants: Vec<TenantId>,
    /// A look at the backlogs is under way.
    looking: bool,
    /// Proposals whose answers are to come.
    asked: usize,
    /// What was learned and is not written yet: the latest of each key.
    unkept: BTreeSet<FootprintKey>,
    /// A write of it is under way.
    keeping: bool,
    /// Stages that offers named and nobody knows here.
    unknown_stages: BTreeSet<String>,
}

/// Leads until shutdown or until the lease is lost.
///
/// # Errors
/// The broker cannot be reached at the beginning, or denies what a planner needs.
pub(crate) async fn lead(
    ports: &Ports,
    settings: &Settings,
    lease: &HeldLease,
    shutdown: &CancellationToken,
) -> PortResult<()> {
    let learned = tokio::select! {
        biased;
        () = lease.lost.cancelled() => return Ok(()),
        () = shutdown.cancelled() => return Ok(()),
        learned = learned::load(&*ports.boards) => learned?,
    };
    let mut offers = ports.wire.subscribe(OFFER_SUBJECT).await?;
    let mut ends = ports.wire.subscribe(ENDED_SUBJECT).await?;
    let mut questions = ports.wire.subscribe(PLAN_SUBJECT).await?;
    // The workers' last words were for another leader, or for nobody.
    ports.wire.publish(CALL_SUBJECT, bytes::Bytes::new()).await?;
    settings.ready.notify_one();
    let (sender, mut news) = mpsc::channel(1024);
    let (refuse, mut refusals) = mpsc::channel(1);
    let mut refused = Ok(());
    let limits = limits(settings);
    let mut driver = Driver {
        ports,
        settings,
        tenants: limits.tenants.clone(),
        core: Planner::new(limits, lease.epoch(), learned.footprints),
        advisors: Advisors::default(),
        tokens: Tokens::new(ports.queue.clone(), settings.times),
        news: sender,
        refusals: refuse,
        calls: JoinSet::new(),
        lost: lease.lost.clone(),
        looking: false,
        asked: 0,
        unkept: BTreeSet::new(),
        keeping: false,
        unknown_stages: BTreeSet::new(),
    };
    driver.core.remember(learned.strained);
    let mut extend = interval(settings.times.extend_every);
    let mut tick = interval(settings.times.renew_every);
    let mut look = interval(settings.times.offer_every);
    loop {
        let deadline = driver.deadline();
        tokio::select! {
            biased;
            () = lease.lost.cancelled() => return Ok(()),
            () = shutdown.cancelled() => break,
            Some(error) = refusals.recv() => {
                refused = Err(error);
                break;
            }
            // Before all that may come without end: a token that is not extended in time is lost.
            _ = extend.tick() => driver.extend(),
            Some(news) = news.recv() => driver.take_news(news),
            Some(message) = offers.next() => driver.hear_offer(&message),
            Some(message) = ends.next() => driver.hear_end(&message),
            Some(message) = questions.next() => driver.answer(&message),
            _ = tick.tick() => {
                driver.keep();
                driver.handle(Event::Tick);
            }
            _ = look.tick() => driver.look(),
            () = until(deadline) => driver.handle(Event::Tick),
            Some(_ended) = driver.calls.join_next() => {}
        }
        driver.act();
    }
    driver.drain(news).await;
    refused
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        batch_max: BATCH_ITEMS_MAX,
        batch_rule: settings.batch_rule.clone(),
        hold_max: settings.times.ack_wait * 3,
        patience: settings.times.ack_wait,
        drain_target: DRAIN_TARGET,
        tenants: settings.site.tenants().into_iter().collect(),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

impl Driver<'_> {
    fn handle(&mut self, event: Event) {
        self.core.handle(self.ports.clock.now(), event);
    }

    /// When the core is to be told the time. A little late, so that the moment has surely come by its clock.
    fn deadline(&self) -> Option<Instant> {
        let wait = self.core.next_deadline()?.since(self.ports.clock.now());
        Some(Instant::now() + wait + Duration::from_millis(1))
    }

    fn hear_offer(&mut self, message: &Message) {
        match serde_json::from_slice::<Offer>(&message.payload) {
            Ok(offer) => {
                self.name_unknown_stages(message, &offer.worker);
                self.advisors.hear_offer(&self.core, &offer);
                self.handle(Event::OfferMade(offer));
            }
            Err(error) => tracing::warn!(%error, "an offer that cannot be read is ignored"),
        }
    }

    /// The stages of a newer worker's offer that were left out when it was read.
    fn name_unknown_stages(&mut self, message: &Message, worker: &WorkerId) {
        for stage in unknown_stages(&message.payload) {
            if self.unknown_stages.len() < UNKNOWN_STAGES_MAX && self.unknown_stages.insert(stage.clone()) {
                tracing::warn!(stage, %worker, "a worker offers a stage that this planner does not know");
            }
        }
    }

    fn hear_end(&mut self, message: &Message) {
        match serde_json::from_slice::<BatchEnded>(&message.payload) {
            Ok(ended) => {
                self.advisors.hear_end(&self.core, &ended);
                self.handle(Event::BatchEnded(ended));
            }
            Err(error) => tracing::warn!(%error, "the end of a batch that cannot be read is ignored"),
        }
    }

    fn answer(&mut self, message: &Message) {
        let now = self.ports.clock.now();
        let answer = asked::answer(&self.core, &mut self.advisors, now, &message.payload);
        let (Some(answer), Some(reply)) = (answer, message.reply.clone()) else { return };
        let wire = self.ports.wire.clone();
        self.calls.spawn(async move {
            if let Err(error) = wire.publish(&reply, answer.into()).await {
                tracing::debug!(%error, "answer a question about the plan");
            }
        });
    }

    fn extend(&mut self) {
        let (lost, asking) = self.tokens.extend();
        self.forget(lost);
        let news = self.news.clone();
        self.calls.spawn(async move {
            let _ended = news.send(News::Extended(asking.await)).await;
        });
    }

    fn forget(&mut self, lost: Vec<Lost>) {
        for (stage, job, token) in lost {
            tracing::info!(%job, %stage, "a token is older than the ack wait and is dropped");
            self.handle(Event::TaskGone(stage, job, token));
        }
    }

    /// Writes down what was learned, one write at a time and each key once, however often it changed.
    fn keep(&mut self) {
        if self.keeping || self.unkept.is_empty() {
            return;
        }
        self.keeping = true;
        let keeping = learned::keep(self.ports.boards.clone(), self.take_unkept());
        let news = self.news.clone();
        self.calls.spawn(async move {
            keeping.await;
            let _ended = news.send(News::Kept).await;
        });
    }

    fn take_unkept(&mut self) -> BTreeMap<FootprintKey, Footprint> {
        let keys = std::mem::take(&mut self.unkept);
        let known = |key: FootprintKey| Some((key.clone(), self.core.footprint(&key)?.clone()));
        keys.into_iter().filter_map(known).collect()
    }

    /// The end of a term that nobody took away: what is held goes back at once, and so does what comes back
    /// from workers meanwhile. A draw that is on its way is left to redelivery.
    async fn drain(mut self, mut news: mpsc::Receiver<News>) {
        let end = Instant::now() + self.settings.times.run_answer * 2;
        while self.asked > 0 {
            let Ok(Some(news)) = timeout_at(end, news.recv()).await else { break };
            self.take_news(news);
        }
        while let Ok(news) = news.try_recv() {
            self.take_news(news);
        }
        self.tokens.give_all_back().await;
        let keeping = learned::keep(self.ports.boards.clone(), self.take_unkept());
        let _lost_at_worst = timeout(self.settings.times.run_answer * 2, keeping).await;
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Drawn(consumer, tasks) => {
                for task in tasks {
                    self.tokens.hold(&task);
                    self.handle(Event::TaskSeen(task));
                }
                self.handle(Event::DrawEnded(consumer));
            }
            News::Answered(batch, worker, reply) => {
                self.asked -= 1;
                self.take_answer(&batch, worker, reply);
            }
            News::Waiting(seen) => {
                self.looking = false;
                for (consumer, waiting) in seen {
                    telemetry::waiting(&consumer, waiting);
                    self.handle(Event::BacklogSeen(consumer, waiting));
                }
            }
            News::Extended(answers) => {
                let lost = self.tokens.extended(answers);
                self.forget(lost);
            }
            News::Kept => self.keeping = false,
        }
    }

    fn take_answer(&mut self, batch: &Batch, worker: WorkerId, reply: Reply) {
        let kept = matches!(reply, Reply::Heard(BatchReply::Refused { .. }) | Reply::Gone | Reply::Stopped);
        for task in &batch.tasks {
            if kept {
                self.tokens.show(&task.ack_token, false);
            } else {
                self.tokens.release(&task.ack_token);
            }
        }
        let (id, stage, tasks) = (batch.id, batch.stage, batch.tasks.len());
        match reply {
            Reply::Heard(BatchReply::Accepted) => {
                telemetry::answered("accepted");
                let now = self.ports.clock.now();
                tell_spans(|| batch.tasks.iter().map(|task| planned_span(batch, task, now)).collect());
                self.handle(Event::BatchAccepted(batch.id));
            }
            Reply::Heard(BatchReply::Refused { reading, reason }) => {
                telemetry::answered("refused");
                tracing::debug!(batch = %id, %stage, tasks, %worker, ?reason, "a batch is refused");
                self.handle(Event::BatchRefused(batch.id, Some((reading, reason))));
            }
            Reply::Gone | Reply::Stopped => {
                telemetry::answered("silent");
                let what = "worker silent; its offer is dropped, the batch is cut again";
                tracing::info!(batch = %id, %stage, tasks, %worker, "{what}");
                self.handle(Event::BatchRefused(batch.id, None));
            }
            Reply::Unknown => {
                telemetry::answered("unknown");
                let what = "a worker answers nothing; the batch's tokens are dropped";
                tracing::warn!(batch = %id, %stage, tasks, %worker, "{what}");
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
                Decision::Learned(key) => drop(self.unkept.insert(key)),
                Decision::Strained(stage, job, had) => {
                    let boards = self.ports.boards.clone();
                    self.calls.spawn(learned::keep_strained(boards, stage, job, had));
                }
                Decision::Desire { stage, workers } => {
                    tracing::debug!(%stage, workers, "desired");
                    telemetry::desire(stage, workers);
                }
            }
        }
    }

    fn draw(&mut self, consumer: Consumer, count: usize) {
        let (ports, news, lost) = (self.ports.clone(), self.news.clone(), self.lost.clone());
        let refusals = self.refusals.clone();
        self.calls.spawn(async move {
            let drawn = calls::draw(&ports, &consumer, count, &lost).await;
            let tasks = drawn.unwrap_or_else(|error| {
                let _first_counts = refusals.try_send(error);
                Vec::new()
            });
            let _ended = news.send(News::Drawn(consumer, tasks)).await;
        });
    }

    fn look(&mut self) {
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        let (ports, news, tenants) = (self.ports.clone(), self.news.clone(), self.tenants.clone());
        self.calls.spawn(async move {
            let seen = calls::backlogs(&ports, &tenants).await;
            let _ended = news.send(News::Waiting(seen)).await;
        });
    }

    fn propose(&mut self, worker: WorkerId, mut batch: Batch) {
        self.asked += 1;
        batch.held_ms = self.tokens.oldest(&batch.tasks).map(|age| age.as_millis() as u64);
        for task in &batch.tasks {
            self.tokens.show(&task.ack_token, true);
        }
        let (ports, news, wait) = (self.ports.clone(), self.news.clone(), self.settings.times.run_answer);
        self.calls.spawn(async move {
            let reply = calls::ask(&ports, &worker, &batch, wait).await;
            let _ended = news.send(News::Answered(batch, worker, reply)).await;
        });
    }

    fn reject(&mut self, task: BatchTask, reason: String) {
        self.tokens.release(&task.ack_token);
        let (ports, state) = (self.ports.clone(), self.settings.site.state.clone());
        self.calls.spawn(async move {
            if let Err(error) = calls::reject(&ports, &state, &task, reason).await {
                let (job, stage) = (task.task.job, task.task.stage);
                tracing::warn!(%job, %stage, %error, "reject a job: left to redelivery");
            }
        });
    }
}
