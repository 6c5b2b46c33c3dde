//! The protocol's steps of one task, S2 to S6: look, fetch, store, commit, go on. Each repeats harmlessly
//! after a crash.
//!
//! Nothing here computes or holds a token; `batch` calls these in their order.

use crate::markers::Attempts;
use crate::publish;
use bytes::Bytes as Payload;
use domain::{
    Artifact, AttemptId, BatchTask, DeadLetter, Ending, Event, EventKind, INTERMEDIATES_KEPT, InputFrom,
    InputHash, JobId, JobRecord, Life, Manifest, Outcome, Sha256, Site, Stage, StateKey, Task, Times,
    artifact_key, dead_subject, event_subject, life_span, parse_state_key, task_subject,
};
use ports::{
    Condition, Decided, GetOptions, Got, Ledger, PortError, PortResult, Ports, PutOptions, Stored, list_all,
    tell_spans,
};
use sha2::{Digest, Sha256 as Hasher};
use stage::{File, Input};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// First pause before a write is tried again; doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Longest pause.
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// Attempts at a task in one life before it is set aside for a person.
pub(crate) const ATTEMPTS_MAX: usize = 5;

/// What S2 finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The life has an outcome: nothing is left to do.
    Ended,
    /// The stage is committed: go on with S6.
    Committed(Life),
    /// The attempts of this life are used up: how many there were, and how the last one failed.
    Exhausted(Life, usize, String),
    /// Compute it.
    Todo(Life),
}

/// What S3 brings.
#[derive(Debug)]
pub(crate) enum Fetch {
    /// The inputs with their hashes.
    Ready(Input, Vec<InputHash>),
    /// The upload is gone or another one stands under its key.
    Superseded,
    /// Something that an earlier stage committed is missing or damaged.
    Broken(String),
}

/// Everything that the steps act through.
#[derive(Clone)]
pub(crate) struct Steps {
    pub(crate) ports: Ports,
    pub(crate) ledger: Ledger,
    pub(crate) site: Site,
    pub(crate) times: Times,
    pub(crate) worker: String,
}

impl Steps {
    /// S2: what the bucket says of this task.
    pub(crate) async fn look(&self, given: &BatchTask) -> PortResult<Look> {
        let task = &given.task;
        let state = self.ledger.state(task.job).await?;
        if state.has_outcome {
            return Ok(Look::Ended);
        }
        if state.committed.contains(&task.stage) {
            return Ok(Look::Committed(state.life));
        }
        if given.delivery > 1 {
            let Attempts { count, last_error } = self.attempts(task, state.life).await?;
            if count >= ATTEMPTS_MAX {
                return Ok(Look::Exhausted(state.life, count, last_error));
            }
        }
        Ok(Look::Todo(state.life))
    }

    /// S3: the attempt marker (from the second delivery on), then the inputs.
    pub(crate) async fn fetch(&self, given: &BatchTask, life: Life, attempt: AttemptId) -> PortResult<Fetch> {
        let task = &given.task;
        self.mark_attempt(given, life, attempt).await?;
        let (mut files, mut hashes) = (Vec::new(), Vec::new());
        for (name, from) in task.stage.inputs() {
            let bytes = match from {
                InputFrom::Upload => self.fetch_upload(task).await?,
                InputFrom::Artifact(stage, artifact) => {
                    self.fetch_artifact(task.job, *stage, artifact).await?
                }
            };
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(fetch) => return Ok(fetch),
            };
            hashes.push(InputHash { name: (*name).to_owned(), sha256: sha256(&bytes) });
            files.push(File { name: (*name).to_owned(), content_type: String::new(), bytes: bytes.into() });
        }
        Ok(Fetch::Ready(Input { recipe: task.recipe.clone(), files }, hashes))
    }

    async fn fetch_upload(&self, task: &Task) -> PortResult<Result<Payload, Fetch>> {
        let Some(record) = self.ledger.record(task.upload, task.job).await? else {
            return Ok(Err(Fetch::Broken(format!("no record of job {}", task.job))));
        };
        let upload = record.upload;
        let options = GetOptions {
            version_id: upload.version_id,
            if_match: Some(upload.etag),
            range: None,
            size_max: self.site.upload_bytes_max,
        };
        Ok(match self.ports.store.get(&upload.bucket, &upload.key, &options).await? {
            Got::Found(object) if object.info.last_modified_s == upload.last_modified_s => Ok(object.body),
            Got::Found(_) | Got::Absent | Got::Changed => Err(Fetch::Superseded),
        })
    }

    async fn fetch_artifact(
        &self,
        job: JobId,
        stage: Stage,
        name: &str,
    ) -> PortResult<Result<Payload, Fetch>> {
        let broken = |what: &str| Ok(Err(Fetch::Broken(format!("{what} {name} of {stage} of job {job}"))));
        let Some(manifest) = self.ledger.manifest(job, stage).await? else {
            return broken("no manifest for");
        };
        let Some(artifact) = manifest.artifact(name) else { return broken("the manifest does not name") };
        let options = GetOptions::default();
        match self.ports.store.get(self.ledger.bucket(), &artifact.key, &options).await? {
            Got::Found(object) if sha256(&object.body) == artifact.sha256 => Ok(Ok(object.body)),
            Got::Found(_) => broken("wrong hash of"),
            Got::Absent | Got::Changed => broken("missing"),
        }
    }

    /// S4: the artifacts, under this attempt.
    pub(crate) async fn store(
        &self,
        task: &Task,
        attempt: AttemptId,
        files: Vec<File>,
    ) -> PortResult<Vec<Artifact>> {
        let puts = files.into_iter().map(|file| async move {
            let artifact = Artifact {
                key: artifact_key(task.job, task.stage, attempt, &file.name),
                sha256: sha256(&file.bytes),
                size_bytes: domain::Bytes(file.bytes.len() as u64),
                content_type: file.content_type,
                name: file.name,
            };
            let options = PutOptions::of(&artifact.content_type, Condition::Always);
            let (store, bucket, bytes) = (&self.ports.store, self.ledger.bucket(), Payload::from(file.bytes));
            self.persist(|| store.put(bucket, &artifact.key, bytes.clone(), &options)).await?;
            Ok(artifact)
        });
        futures::future::try_join_all(puts).await
    }

    /// Writes what was computed, through an outage of two ack waits: a result is dear, and the token is
    /// extended meanwhile. A longer one is left to redelivery.
    async fn persist<T, F: Future<Output = PortResult<T>>>(&self, write: impl Fn() -> F) -> PortResult<T> {
        let (begun, mut pause) = (Instant::now(), AGAIN_AFTER);
        loop {
            match write().await {
                Err(error) if error.is_transient() && begun.elapsed() < 2 * self.times.ack_wait => {
                    tracing::debug!(%error, "write a result: tried again");
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_MAX);
                }
                written => return written,
            }
        }
    }

    /// S5: the commit. When another attempt won, the own artifacts are deleted and work goes on with the
    /// winner's.
    pub(crate) async fn commit(&self, manifest: &Manifest) -> PortResult<()> {
        // The ledger reads what stands there after a PUT whose answer was lost.
        if let Decided::Already(winner) = self.persist(|| self.ledger.commit(manifest)).await? {
            tracing::info!(winner = %winner.attempt, "another attempt won");
            let keys: Vec<String> = manifest.artifacts.iter().map(|artifact| artifact.key.clone()).collect();
            self.ports.store.delete(self.ledger.bucket(), &keys).await?;
        }
        Ok(())
    }

    /// S6: the next stage's task; after export the friendly copies, then outcome `done`.
    pub(crate) async fn go_on(&self, task: &Task, life: Life) -> PortResult<()> {
        self.tell(task.job, life, EventKind::StageDone { stage: task.stage }).await;
        if let Some(next) = task.stage.next() {
            let task = task.at_stage(next);
            let body = serde_json::to_vec(&task).map_err(|e| PortError::Invalid(e.to_string()))?;
            self.ports.queue.put_if_absent(&task_subject(&task), body.into()).await?;
            return Ok(());
        }
        let Some(record) = self.ledger.record(task.upload, task.job).await? else {
            return Err(PortError::Missing(format!("the record of job {}", task.job)));
        };
        // Whatever ended this life meanwhile: a cancelled job publishes nothing, a done one has published.
        let state = self.ledger.state(task.job).await?;
        if state.has_outcome || state.life != life {
            return Ok(());
        }
        let copies = publish::friendly_copies(self, &record).await?;
        let done = Ending::Done { files: copies.keys(), unpublished: copies.unpublished.clone() };
        match self.decide(task, life, done).await? {
            Decided::Mine => crate::telemetry::time_job(self.ports.clock.now().since(record.accepted_at)),
            Decided::Already(Outcome { ending: Ending::Done { .. }, .. }) => {}
            Decided::Already(_) => publish::withdraw(self, &record, life, &copies).await?,
        }
        Ok(())
    }

    /// Decides how this life ends, and tells people if it was decided here.
    pub(crate) async fn decide(
        &self,
        task: &Task,
        life: Life,
        ending: Ending,
    ) -> PortResult<Decided<Outcome>> {
        let (job, now) = (task.job, self.ports.clock.now());
        let kind = match &ending {
            Ending::Done { .. } => EventKind::Finished,
            Ending::Rejected { reason } => EventKind::Rejected { reason: reason.clone() },
            Ending::Dead { stage, error } => EventKind::Dead { stage: *stage, error: error.clone() },
            Ending::Cancelled { reason } => EventKind::Cancelled { reason: reason.clone() },
        };
        let expire = now + INTERMEDIATES_KEPT;
        let outcome = Outcome { job, life, ending, decided_at: now, intermediates_expire_at: expire };
        let decided = self.ledger.decide(&outcome).await?;
        if decided == Decided::Mine {
            crate::telemetry::count_job(&outcome.ending);
            tell_spans(|| vec![life_span("worker", task.accepted_at, &outcome)]);
            self.tell(job, life, kind).await;
        }
        Ok(decided)
    }

    /// Sets the task aside for a person: the letter first, then the outcome.
    pub(crate) async fn bury(
        &self,
        task: &Task,
        life: Life,
        attempts: usize,
        error: String,
    ) -> PortResult<()> {
        let at = self.ports.clock.now();
        let letter =
            DeadLetter { task: task.clone(), life, attempts: attempts as u32, error: error.clone(), at };
        let body = serde_json::to_vec(&letter).map_err(|e| PortError::Invalid(e.to_string()))?;
        self.ports.wire.append(&dead_subject(task.stage, task.job), body.into()).await?;
        crate::telemetry::count_dead_letter(task.stage);
        self.decide(task, life, Ending::Dead { stage: task.stage, error }).await.map(drop)
    }

    /// Tells people. Nobody waits for it, and a lost event loses no result.
    pub(crate) async fn tell(&self, job: JobId, life: Life, kind: EventKind) {
        let subject = event_subject(job, &kind);
        let event = Event { job, life, at: self.ports.clock.now(), kind };
        let Ok(body) = serde_json::to_vec(&event) else { return };
        if let Err(error) = self.ports.wire.publish(&subject, body.into()).await {
            tracing::debug!(%error, "publish an event");
        }
    }

    /// Puts a friendly copy if the object is still the one with `etag` (or still absent). Its new etag; none
    /// if somebody else wrote.
    pub(crate) async fn put_friendly(
        &self,
        key: &str,
        etag: Option<String>,
        artifact: &Artifact,
    ) -> PortResult<Option<String>> {
        let bytes =
            match self.ports.store.get(self.ledger.bucket(), &artifact.key, &GetOptions::default()).await? {
                Got::Found(object) => object.body,
                Got::Absent | Got::Changed => return Err(PortError::Missing(artifact.key.clone())),
            };
        let condition = etag.map_or(Condition::IfAbsent, Condition::IfMatch);
        let options = PutOptions::of(&artifact.content_type, condition);
        let stored = self.ports.store.put(&self.site.models, key, bytes, &options).await?;
        Ok(match stored {
            Stored::Written(etag) => Some(etag),
            Stored::ConditionFailed => None,
        })
    }

    /// The record of the upload's own job, for whatever version stands under the key now.
    pub(crate) async fn own_record(&self, upload: domain::UploadId) -> PortResult<Option<JobRecord>> {
        let prefix = format!("{}{upload}/", domain::JOBS_PREFIX);
        for object in list_all(&*self.ports.store, self.ledger.bucket(), &prefix).await? {
            if let Some(StateKey::JobRecord(upload, job)) = parse_state_key(&object.key) {
                let record = self.ledger.record(upload, job).await?;
                if record.as_ref().is_some_and(|record| !record.secondary) {
                    return Ok(record);
                }
            }
        }
        Ok(None)
    }
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(hex::encode(Hasher::digest(bytes)))
}
