//! Accepting: I1 and I2 of the protocol. An object in an input bucket becomes a job record and its first
//! task.
//!
//! The object itself is asked (HEAD); the event only says where to look. Each step repeats harmlessly after
//! a crash.

use crate::events::ObjectEvent;
use crate::telemetry::count_upload;
use domain::{
    Ending, Event, EventKind, FoundBy, INTERMEDIATES_KEPT, InputBucket, JOBS_PREFIX, JobId, JobRecord, Life,
    Outcome, Recipe, Site, Stage, StateKey, Timestamp, Upload, UploadId, accept_span, event_subject,
    life_span, parse_state_key, task_subject,
};
use ports::{Decided, Ledger, ObjectInfo, PortError, PortResult, Ports, Put, list_all, tell_spans};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How much the clocks of store and process may differ before a record of an earlier configuration is
/// overlooked.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(5);

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is a new job and its first task is queued.
    New,
    /// It was a job already and a task of it has been queued again.
    Requeued,
    /// It was a job already, and nothing needs to be done: it is queued or has ended.
    Known,
    /// It cannot become a model; the outcome says why.
    Rejected,
    /// There is no such object (any more).
    Gone,
    /// Another version stands under its key by now; that one has its own event.
    Stale,
    /// Its bucket is no input bucket.
    NotWatched,
    /// Its name ends in `/`: a folder as some tools mark it.
    Folder,
}

impl Accepted {
    /// As in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Accepted::New => "new",
            Accepted::Requeued => "requeued",
            Accepted::Known => "known",
            Accepted::Rejected => "rejected",
            Accepted::Gone => "gone",
            Accepted::Stale => "stale",
            Accepted::NotWatched => "not_watched",
            Accepted::Folder => "folder",
        }
    }
}

/// Since when an upload is looked at, and why.
#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    instant: Instant,
    found_by: FoundBy,
}

impl Begun {
    /// Tells what became of it as a span of the job's trace.
    fn tell(self, record: &JobRecord, life: Life, accepted: Accepted) {
        tell_spans(|| {
            let (job, took) = (record.job_id(), (self.at, self.instant.elapsed()));
            vec![accept_span((job, life, &record.upload), self.found_by, took, accepted.as_str())]
        });
    }
}

/// An object in an input bucket, as a HEAD found it.
struct Seen<'a> {
    input: &'a InputBucket,
    upload: Upload,
    info: &'a ObjectInfo,
    /// It may have jobs already.
    may_be_known: bool,
    begun: Begun,
}

/// Makes jobs of uploads.
pub struct Acceptor {
    ports: Ports,
    ledger: Ledger,
    site: Site,
    started_at: Timestamp,
}

impl Acceptor {
    /// For the input buckets of this site.
    pub fn new(ports: Ports, site: Site) -> Acceptor {
        let ledger = Ledger::new(ports.store.clone(), &site.state);
        let started_at = ports.clock.now();
        Acceptor { ports, ledger, site, started_at }
    }

    /// Takes the object that an event names. `redelivered`: this event may have been handled before.
    ///
    /// # Errors
    /// Those of the ports; the event is to be delivered again if they are transient.
    pub async fn event(&self, event: &ObjectEvent, redelivered: bool) -> PortResult<Accepted> {
        let accepted = self.take_event(event, redelivered, self.begin(FoundBy::Event)).await?;
        count_upload(accepted.as_str());
        Ok(accepted)
    }

    /// Takes an upload that a LIST shows and no record names.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn listed(&self, listed: &Upload) -> PortResult<Accepted> {
        let Some(input) = self.site.input(&listed.bucket) else { return Ok(Accepted::NotWatched) };
        let begun = self.begin(FoundBy::Sweep);
        let accepted = match self.ports.store.head(&listed.bucket, &listed.key).await? {
            None => Accepted::Gone,
            Some(info) => {
                let upload = self.upload(input, &listed.key, &info);
                // Another version came since the LIST: its record may exist.
                let may_be_known = upload.id() != listed.id();
                let seen = Seen { input, upload, info: &info, may_be_known, begun };
                self.take(seen).await?
            }
        };
        count_upload(accepted.as_str());
        Ok(accepted)
    }

    /// Queues what a job without outcome needs next. True if it was not queued already.
    ///
    /// # Errors
    /// Those of the queue.
    pub async fn queue(&self, record: &JobRecord, stage: Stage) -> PortResult<bool> {
        let task = record.task(stage);
        Ok(self.ports.queue.put_if_absent(&task_subject(&task), json(&task)?).await? == Put::Stored)
    }

    async fn take_event(&self, event: &ObjectEvent, redelivered: bool, begun: Begun) -> PortResult<Accepted> {
        let Some(input) = self.site.input(&event.bucket) else { return Ok(Accepted::NotWatched) };
        let mut accepted = Accepted::Gone;
        for (n, key) in event.key_candidates.iter().enumerate() {
            if n == 0 && key.ends_with('/') {
                return Ok(Accepted::Folder);
            }
            let info = match self.ports.store.head(&event.bucket, key).await {
                Ok(Some(info)) => info,
                // A reading of the key that the store takes for no key at all.
                Ok(None) | Err(PortError::Invalid(_)) => continue,
                Err(error) => return Err(error),
            };
            if !is_meant(event, &info) {
                accepted = Accepted::Stale;
                continue;
            }
            let upload = self.upload(input, key, &info);
            let may_be_known = redelivered || self.is_older_than_configuration(&upload);
            return self.take(Seen { input, upload, info: &info, may_be_known, begun }).await;
        }
        Ok(accepted)
    }

    fn begin(&self, found_by: FoundBy) -> Begun {
        Begun { at: self.ports.clock.now(), instant: Instant::now(), found_by }
    }

    /// Whether a process with another default recipe may have made a job of it. Only then the records of an
    /// upload are listed, so that an edited default never makes a second job of an old upload (stores
    /// repeat events, some after hours), and the healthy path pays nothing.
    fn is_older_than_configuration(&self, upload: &Upload) -> bool {
        upload.last_modified_s < (self.started_at + CLOCKS_DIFFER_MAX).whole_seconds()
    }

    fn upload(&self, input: &InputBucket, key: &str, info: &ObjectInfo) -> Upload {
        Upload {
            store: self.site.store.clone(),
            bucket: input.bucket.clone(),
            key: key.to_owned(),
            version_id: info.version_id.clone().filter(|version| !matches!(version.as_str(), "" | "null")),
            etag: info.etag.clone(),
            size_bytes: info.size,
            last_modified_s: info.last_modified_s,
        }
    }

    async fn take(&self, seen: Seen<'_>) -> PortResult<Accepted> {
        let Seen { input, upload, info, may_be_known, begun } = seen;
        if may_be_known && let Some(accepted) = self.resume_known(upload.id(), begun).await? {
            return Ok(accepted);
        }
        let verdict = verdict(&self.site, input, info);
        let recipe = verdict.as_ref().unwrap_or(&input.recipe).clone();
        let record = JobRecord {
            upload,
            tenant: input.tenant.clone(),
            class: input.class,
            recipe,
            accepted_at: begun.at,
            secondary: false,
            traceparent: None,
        };
        match verdict {
            Ok(_) => self.start(record, begun).await,
            Err(reason) => self.reject(record, reason, begun).await,
        }
    }

    async fn start(&self, record: JobRecord, begun: Begun) -> PortResult<Accepted> {
        match self.ledger.put_record(&record).await? {
            Decided::Already(record) => self.resume(&record, begun).await,
            Decided::Mine => {
                self.queue(&record, Stage::Preprocess).await?;
                begun.tell(&record, Life(0), Accepted::New);
                self.tell_accepted(&record).await;
                Ok(Accepted::New)
            }
        }
    }

    /// The outcome first: a record without outcome would be started by the sweep.
    async fn reject(&self, record: JobRecord, reason: String, begun: Begun) -> PortResult<Accepted> {
        let (job, now) = (record.job_id(), self.ports.clock.now());
        let outcome = Outcome {
            job,
            life: Life(0),
            ending: Ending::Rejected { reason: reason.clone() },
            decided_at: now,
            intermediates_expire_at: now + INTERMEDIATES_KEPT,
        };
        let decided = self.ledger.decide(&outcome).await?;
        self.ledger.put_record(&record).await?;
        if decided == Decided::Mine {
            crate::telemetry::count_rejected();
            begun.tell(&record, Life(0), Accepted::Rejected);
            tell_spans(|| vec![life_span("ingest", record.accepted_at, &outcome)]);
            // The record was written: who only hears events learns here whose end follows.
            self.tell_accepted(&record).await;
            self.tell(job, EventKind::Rejected { reason }).await;
        }
        Ok(Accepted::Rejected)
    }

    /// Goes on with the jobs that this upload has; none if it has none of its own (jobs beside that one do
    /// not count).
    async fn resume_known(&self, upload: UploadId, begun: Begun) -> PortResult<Option<Accepted>> {
        let mut accepted = None;
        let prefix = format!("{JOBS_PREFIX}{upload}/");
        for object in list_all(&*self.ports.store, self.ledger.bucket(), &prefix).await? {
            let Some(StateKey::JobRecord(upload, job)) = parse_state_key(&object.key) else { continue };
            let Some(record) = self.ledger.record(upload, job).await? else { continue };
            let resumed = self.resume(&record, begun).await?;
            if !record.secondary {
                accepted = Some(resumed);
            }
        }
        Ok(accepted)
    }

    async fn resume(&self, record: &JobRecord, begun: Begun) -> PortResult<Accepted> {
        let state = self.ledger.state(record.job_id()).await?;
        if state.has_outcome || !self.queue(record, state.next_stage()).await? {
            begun.tell(record, state.life, Accepted::Known);
            return Ok(Accepted::Known);
        }
        begun.tell(record, state.life, Accepted::Requeued);
        if state.life == Life(0) && state.committed.is_empty() {
            // Whoever wrote the record may have ended before it told anybody.
            self.tell_accepted(record).await;
        }
        Ok(Accepted::Requeued)
    }

    async fn tell_accepted(&self, record: &JobRecord) {
        let (upload, Upload { bucket, key, .. }) = (Some(record.upload.id()), record.upload.clone());
        self.tell(record.job_id(), EventKind::Accepted { bucket, key, upload }).await;
    }

    /// Tells people. Nobody waits for it, and a lost event loses no result.
    async fn tell(&self, job: JobId, kind: EventKind) {
        let subject = event_subject(job, &kind);
        let event = Event { job, life: Life(0), at: self.ports.clock.now(), kind };
        let Ok(body) = json(&event) else { return };
        if let Err(error) = self.ports.wire.publish(&subject, body).await {
            tracing::debug!(%error, "publish an event");
        }
    }
}

/// The recipe of an upload, or why it cannot become a model: what a HEAD alone can tell. Its content type
/// is no reason: it is a label that many tools get wrong, and the picture itself is judged by preprocess.
fn verdict(site: &Site, input: &InputBucket, info: &ObjectInfo) -> Result<Recipe, String> {
    if info.size.0 == 0 {
        return Err("the file is empty".to_owned());
    }
    if info.size > site.upload_bytes_max {
        let (has, max) = (info.size.0, site.upload_bytes_max.0);
        return Err(format!("the file has {has} bytes; at most {max} are taken"));
    }
    let metadata = info.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let recipe = input.recipe.with_metadata(metadata).and_then(|recipe| site.permit(recipe));
    recipe.map_err(|error| format!("recipe: {error}"))
}

/// Whether the object is the one that the event tells of, as far as the event tells.
fn is_meant(event: &ObjectEvent, info: &ObjectInfo) -> bool {
    event.etag.as_ref().is_none_or(|etag| *etag == info.etag)
        && event.size.is_none_or(|size| size == info.size)
}

pub(crate) fn json<T: Serialize>(value: &T) -> PortResult<bytes::Bytes> {
    serde_json::to_vec(value).map(Into::into).map_err(|e| PortError::Invalid(format!("write a message: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Bytes, Quality};

    fn check(size: u64, metadata: &[(&str, &str)], expect: Result<Quality, &str>) {
        let site = Site::simple("minio".parse().expect("a store name"));
        let info = ObjectInfo {
            etag: "e".to_owned(),
            size: Bytes(size),
            last_modified_s: 0,
            version_id: None,
            content_type: None,
            metadata: metadata.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        let verdict = verdict(&site, &site.inputs[0], &info).map(|recipe| recipe.quality);
        assert_eq!(verdict, expect.map_err(str::to_owned));
    }

    #[test]
    fn a_head_tells_the_recipe_or_why_there_is_none() {
        check(1, &[], Ok(Quality::Standard));
        check(25_000_000, &[("meshwright-quality", "fine"), ("other", "x")], Ok(Quality::Fine));
        check(0, &[], Err("the file is empty"));
        check(25_000_001, &[], Err("the file has 25000001 bytes; at most 25000000 are taken"));
        check(
            1,
            &[("meshwright-quality", "best")],
            Err("recipe: quality is \"best\"; use one of draft, standard, fine"),
        );
        check(
            1,
            &[("meshwright-synthetic", "stage=shape")],
            Err("recipe: synthetic loads are for tests and are off here; leave the option out"),
        );
    }
}
