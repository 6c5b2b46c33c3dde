//! Friendly copies and outcomes over a store in memory.

use crate::publish;
use crate::steps::Steps;
use async_trait::async_trait;
use bytes::Bytes as Payload;
use domain::{
    Artifact, AttemptId, Bytes, Class, Consumer, Ending, EngineVersion, JobRecord, Life, Manifest, Marks,
    Outcome, Recipe, Sha256, Site, Stage, Times, Timestamp, Upload, artifact_key, life_key, manifest_key,
    outcome_key, task_subject,
};
use ports::{
    Condition, GetOptions, Got, Ledger, Listed, Object, ObjectInfo, Page, PortError, PortResult, Ports,
    PutOptions, Store, Stored, SystemClock,
    lives::{self, Wish},
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Objects by bucket and key: content, and a number that is the etag.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<(String, String), (Payload, usize)>>,
    /// PUTs that are still to fail.
    away: Mutex<usize>,
    /// A PUT of this key finds that something else was written just before.
    just_before: Mutex<Option<(String, Before)>>,
}

/// What somebody else writes.
struct Before {
    bucket: &'static str,
    key: String,
    body: Payload,
}

fn info((body, etag): &(Payload, usize)) -> ObjectInfo {
    ObjectInfo {
        etag: etag.to_string(),
        size: Bytes(body.len() as u64),
        last_modified_s: *etag as u64,
        version_id: None,
        content_type: None,
        metadata: BTreeMap::new(),
    }
}

impl Memory {
    fn found(&self, bucket: &str, key: &str) -> Option<(Payload, usize)> {
        let objects = self.objects.lock().expect("no test panics with it");
        objects.get(&(bucket.to_owned(), key.to_owned())).cloned()
    }

    fn write_just_before(&self, key: String, before: Before) {
        *self.just_before.lock().expect("no test panics with it") = Some((key, before));
    }

    fn text(&self, bucket: &str, key: &str) -> Option<String> {
        self.found(bucket, key).map(|(body, _)| String::from_utf8_lossy(&body).into_owned())
    }
}

#[async_trait]
impl Store for Memory {
    async fn head(&self, bucket: &str, key: &str) -> PortResult<Option<ObjectInfo>> {
        Ok(self.found(bucket, key).as_ref().map(info))
    }

    async fn get(&self, bucket: &str, key: &str, _options: &GetOptions) -> PortResult<Got> {
        let object = |found| Got::Found(Object { info: info(&found), body: found.0 });
        Ok(self.found(bucket, key).map_or(Got::Absent, object))
    }

    async fn put(&self, bucket: &str, key: &str, body: Payload, options: &PutOptions) -> PortResult<Stored> {
        {
            let mut away = self.away.lock().expect("no test panics with it");
            if *away > 0 {
                *away -= 1;
                return Err(PortError::Unavailable("503 slow down".to_owned()));
            }
        }
        let mut objects = self.objects.lock().expect("no test panics with it");
        let other = self.just_before.lock().expect("no test panics with it").take_if(|(of, _)| of == key);
        if let Some((_, other)) = other {
            objects.insert((other.bucket.to_owned(), other.key), (other.body, 999));
        }
        let (place, etag) = ((bucket.to_owned(), key.to_owned()), objects.len() + 1);
        let before = objects.get(&place).map(|(_, etag)| etag.to_string());
        let holds = match &options.condition {
            Condition::Always => true,
            Condition::IfAbsent => before.is_none(),
            Condition::IfMatch(etag) => before.as_ref() == Some(etag),
        };
        if !holds {
            return Ok(Stored::ConditionFailed);
        }
        let etag = etag + before.map_or(0, |_| 1000);
        objects.insert(place, (body, etag));
        Ok(Stored::Written(etag.to_string()))
    }

    async fn list(&self, bucket: &str, prefix: &str, _next: Option<String>) -> PortResult<Page> {
        let objects = self.objects.lock().expect("no test panics with it");
        let below = objects.iter().filter(|((of, key), _)| of == bucket && key.starts_with(prefix));
        let listed = below.map(|((_, key), found)| Listed {
            key: key.clone(),
            etag: info(found).etag,
            size: info(found).size,
            last_modified: Timestamp(info(found).last_modified_s * 1000),
        });
        Ok(Page { objects: listed.collect(), next: None })
    }

    async fn delete(&self, bucket: &str, keys: &[String]) -> PortResult<()> {
        let mut objects = self.objects.lock().expect("no test panics with it");
        objects.retain(|(of, key), _| of != bucket || !keys.contains(key));
        Ok(())
    }

    async fn abort_uploads(&self, _bucket: &str, _begun_before: Timestamp) -> PortResult<usize> {
        unreachable!("there are no multipart uploads here")
    }
}

struct World {
    store: Arc<Memory>,
    steps: Steps,
}

impl World {
    fn new() -> World {
        let site = Site::simple("memory".parse().expect("a store name"));
        let store = Arc::new(Memory::default());
        let times = Times::PRODUCTION;
        let broker = embedded::MemoryBroker::new(times, Arc::new(SystemClock));
        let ports = Ports {
            queue: broker.queue(),
            boards: broker.boards(),
            wire: broker.wire(),
            store: store.clone(),
            clock: Arc::new(SystemClock),
        };
        let ledger = Ledger::new(store.clone(), &site.state);
        let steps = Steps { ports, ledger, site, times, worker: "w".to_owned() };
        World { store, steps }
    }

    async fn put(&self, bucket: &str, key: &str, text: &str) {
        let options = PutOptions::of("text/plain", Condition::Always);
        let body = Payload::copy_from_slice(text.as_bytes());
        self.store.put(bucket, key, body, &options).await.expect("a put");
    }

    /// A picture and the record of its job.
    async fn accept(&self, text: &str) -> JobRecord {
        let (bucket, key) = ("uploads", "red.png");
        self.put(bucket, key, text).await;
        let info = self.store.head(bucket, key).await.expect("a head").expect("the upload");
        let record = JobRecord {
            upload: Upload {
                store: self.steps.site.store.clone(),
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version_id: None,
                etag: info.etag,
                size_bytes: info.size,
                last_modified_s: info.last_modified_s,
            },
            tenant: "default".parse().expect("a tenant"),
            class: Class::Normal,
            recipe: Recipe::default(),
            accepted_at: Timestamp(7),
            secondary: false,
            traceparent: None,
        };
        self.steps.ledger.put_record(&record).await.expect("a record");
        record
    }

    /// Commits export with one file.
    async fn export(&self, record: &JobRecord, text: &str) -> Manifest {
        let (job, stage, attempt) = (record.job_id(), Stage::Export, AttemptId([1; 16]));
        let name = "model.glb".to_owned();
        let key = artifact_key(job, stage, attempt, &name);
        self.put("state", &key, text).await;
        let artifact = Artifact {
            name,
            key,
            sha256: Sha256("00".repeat(32)),
            size_bytes: Bytes(text.len() as u64),
            content_type: "model/gltf-binary".to_owned(),
        };
        let manifest = Manifest {
            job,
            stage,
            life: Life(0),
            attempt,
            inputs: vec![],
            artifacts: vec![artifact],
            engine: EngineVersion { name: "none".to_owned(), version: "1".to_owned() },
            marks: Marks::default(),
            batch: None,
            notes: Vec::new(),
            traceparent: None,
        };
        self.steps.commit(&manifest).await.expect("a commit");
        manifest
    }

    async fn go_on(&self, record: &JobRecord) -> Ending {
        self.steps.go_on(&record.task(Stage::Export), Life(0)).await.expect("the last step");
        let outcome = self.steps.ledger.outcome(record.job_id(), Life(0)).await.expect("a read");
        outcome.expect("an outcome").ending
    }

    fn published(&self) -> Option<String> {
        self.store.text("models", "red.png/red.glb")
    }
}

fn done(files: &[&str], unpublished: Option<&str>) -> Ending {
    let files = files.iter().map(|key| (*key).to_owned()).collect();
    Ending::Done { files, unpublished: unpublished.map(str::to_owned) }
}

const TAKEN: &str = "not published: red.png/red.glb: a newer version of the upload has its place";

#[tokio::test]
async fn an_outcome_names_the_files_that_hold_the_jobs_own_result_and_no_others() {
    let world = World::new();
    let old = world.accept("old").await;
    world.export(&old, "old model").await;
    assert_eq!(world.go_on(&old).await, done(&["red.png/red.glb"], None));
    // Overwritten twice before the second job ends: it publishes nothing, of itself or of the third.
    let second = world.accept("second").await;
    world.export(&second, "second model").await;
    let third = world.accept("third!").await;
    assert_eq!(world.go_on(&second).await, done(&[], Some(TAKEN)));
    assert_eq!(world.published().as_deref(), Some("old model"));
    world.export(&third, "third model").await;
    assert_eq!(world.go_on(&third).await, done(&["red.png/red.glb"], None));
    assert_eq!(world.published().as_deref(), Some("third model"));
}

#[tokio::test]
async fn a_newer_versions_file_is_published_in_passing_and_not_claimed() {
    let world = World::new();
    let old = world.accept("old").await;
    world.export(&old, "old model").await;
    let newer = world.accept("newer").await;
    world.export(&newer, "newer model").await;
    assert_eq!(world.go_on(&old).await, done(&[], Some(TAKEN)));
    assert_eq!(world.published().as_deref(), Some("newer model"));
}

#[tokio::test]
async fn a_job_that_was_cancelled_after_its_export_publishes_nothing() {
    let world = World::new();
    let record = world.accept("picture").await;
    world.export(&record, "model").await;
    let cancelled = Ending::Cancelled { reason: "requested".to_owned() };
    world.steps.decide(&record.task(Stage::Export), Life(0), cancelled.clone()).await.expect("a decision");
    assert_eq!(world.go_on(&record).await, cancelled);
    assert_eq!(world.published(), None);
}

#[tokio::test]
async fn copies_of_a_job_that_is_cancelled_while_they_are_made_are_taken_back_and_nobody_elses() {
    let cancelled = Ending::Cancelled { reason: "requested".to_owned() };
    let outcome = |job| {
        let (ending, at) = (cancelled.clone(), Timestamp(9));
        let outcome = Outcome { job, life: Life(0), ending, decided_at: at, intermediates_expire_at: at };
        let body = serde_json::to_vec(&outcome).expect("plain words").into();
        Before { bucket: "state", key: outcome_key(job, Life(0)), body }
    };
    let world = World::new();
    let record = world.accept("picture").await;
    world.export(&record, "model").await;
    world.store.write_just_before("red.png/red.glb".to_owned(), outcome(record.job_id()));
    assert_eq!(world.go_on(&record).await, cancelled);
    assert_eq!(world.published(), None);
    // The next life has published the same bytes by then.
    let world = World::new();
    let record = world.accept("picture").await;
    world.export(&record, "model").await;
    world.store.write_just_before("red.png/red.glb".to_owned(), outcome(record.job_id()));
    world.put("state", &life_key(record.job_id(), Life(1)), "{}").await;
    let copies = publish::friendly_copies(&world.steps, &record).await.expect("copies");
    publish::withdraw(&world.steps, &record, Life(0), &copies).await.expect("a look");
    assert_eq!(world.published().as_deref(), Some("model"));
    // Somebody has written over it.
    world.put("models", "red.png/red.glb", "another").await;
    publish::withdraw(&world.steps, &record, Life(1), &copies).await.expect("a look");
    assert_eq!(world.published().as_deref(), Some("another"));
}

#[tokio::test(start_paused = true)]
async fn a_redrive_queues_what_is_uncommitted_once_its_life_has_begun_or_says_that_it_could_not() {
    let world = World::new();
    let (ports, ledger) = (&world.steps.ports, &world.steps.ledger);
    let record = world.accept("picture").await;
    let job = record.job_id();
    let end = async |life| {
        let cancelled = Ending::Cancelled { reason: "requested".to_owned() };
        world.steps.decide(&record.task(Stage::Export), life, cancelled).await.expect("a decision");
    };
    let take = async |stage| {
        let consumer = Consumer::of_task(&record.task(stage));
        ports.queue.take(&consumer, 9, Duration::ZERO).await.expect("a take")
    };
    end(Life(0)).await;
    // A worker of the first life commits while the second begins.
    let manifest =
        Before { bucket: "state", key: manifest_key(job, Stage::Preprocess), body: Payload::new() };
    world.store.write_just_before(life_key(job, Life(1)), manifest);
    assert_eq!(lives::redrive(ports, ledger, &record).await, Ok(Wish::Granted(Life(1))));
    assert_eq!((take(Stage::Preprocess).await.len(), take(Stage::Shape).await.len()), (0, 1));
    // That task is still held when the third life begins.
    end(Life(1)).await;
    let queue = ports.queue.clone();
    let held = queue.put_if_absent(&task_subject(&record.task(Stage::Shape)), "held".into()).await;
    assert_eq!(held, Ok(ports::Put::AlreadyThere));
    let redriven = lives::redrive(ports, ledger, &record).await;
    assert!(redriven.as_ref().is_err_and(|error| error.is_transient()), "{redriven:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_store_costs_no_result() {
    let world = World::new();
    let record = world.accept("picture").await;
    *world.store.away.lock().expect("no test panics with it") = 3;
    let files = vec![stage::File {
        name: "model.glb".to_owned(),
        content_type: "model/gltf-binary".to_owned(),
        bytes: b"model".to_vec(),
    }];
    let task = record.task(Stage::Export);
    let stored = world.steps.store(&task, AttemptId([1; 16]), files.clone()).await.expect("it is back");
    assert_eq!(world.store.text("state", &stored[0].key).as_deref(), Some("model"));
    // A long one is given up: the token would not hold.
    *world.store.away.lock().expect("no test panics with it") = usize::MAX;
    let begun = tokio::time::Instant::now();
    let stored = world.steps.store(&task, AttemptId([2; 16]), files).await;
    assert!(stored.is_err_and(|error| error.is_transient()));
    assert!(begun.elapsed() <= 3 * Times::PRODUCTION.ack_wait, "{:?}", begun.elapsed());
}
