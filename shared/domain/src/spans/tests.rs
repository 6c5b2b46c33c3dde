//! Spans of made-up timings and outcomes.

use super::*;
use crate::{
    AckToken, BatchId, Bytes, Class, DeviceClass, EngineVersion, Epoch, PhaseTimes, Recipe, Task, UploadId,
};

const JOB: JobId = JobId([7; 16]);
const BATCH: BatchId = BatchId([9; 16]);

fn span_time(name: &str, us: u64) -> SpanTime {
    SpanTime { name: name.to_owned(), us }
}

/// A task that was published at 1,000 ms and left its worker 100 ms later.
fn timing(end: TaskEnd, spans: Vec<SpanTime>) -> Timing {
    Timing {
        job: JOB,
        life: Life(1),
        stage: Stage::Texture,
        kind: String::new(),
        end,
        batch: BATCH,
        batch_items: 3,
        delivery: 2,
        worker: "box-1".parse().expect("a name"),
        device_class: DeviceClass("host".to_owned()),
        engine: EngineVersion { name: "bake".to_owned(), version: "4".to_owned() },
        precision: "f32".to_owned(),
        phases: PhaseTimes {
            queued_us: 10_000,
            planned_us: 5_000,
            fetch_us: 8_000,
            compute_us: 50_000,
            store_us: 12_000,
            commit_us: 14_000,
            ..PhaseTimes::default()
        },
        wall_us: 100_000,
        unaccounted_us: 1_000,
        spans,
        peak_bytes: Bytes(64),
        at: Timestamp(1_100),
    }
}

/// Name, begin and end in milliseconds, and the name of the span above.
fn drawn(spans: &[Span]) -> Vec<(&str, u128, u128, &str)> {
    let name = |id| spans.iter().find(|span| Some(span.id) == id).map_or("", |span| span.name.as_str());
    let ms = |at: Duration| at.as_micros() / 1_000;
    let line = |span: &'_ Span| (ms(span.begin), ms(span.end()), span.parent);
    let lines = spans.iter().map(|span| (span.name.as_str(), line(span)));
    lines.map(|(own, (begin, end, parent))| (own, begin, end, name(parent))).collect()
}

fn says(span: &Span, name: &str) -> Option<SpanValue> {
    span.attributes.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone())
}

#[test]
fn a_task_is_its_phases_in_their_order_and_compute_is_what_was_opened_in_it() {
    let told = vec![span_time("bake/dilate", 10_000), span_time("bake", 30_000), span_time("pack", 15_000)];
    let spans = task_spans(&timing(TaskEnd::Committed, told));
    let expect = [
        ("process texture", 1_000, 1_100, ""),
        ("queued", 1_000, 1_010, "process texture"),
        ("fetch", 1_015, 1_023, "process texture"),
        ("compute", 1_023, 1_073, "process texture"),
        ("bake", 1_023, 1_053, "compute"),
        ("pack", 1_053, 1_068, "compute"),
        ("dilate", 1_023, 1_033, "bake"),
        ("store", 1_073, 1_085, "process texture"),
        ("commit", 1_085, 1_099, "process texture"),
    ];
    assert_eq!(drawn(&spans), expect);
    let task = &spans[0];
    assert_eq!(task.parent, Some(SpanId::of_life(JOB, Life(1))));
    assert_eq!((task.kind, &task.error), (SpanKind::Consumer, &None));
    assert_eq!(says(task, "messaging.batch.message_count"), Some(SpanValue::Number(3)));
    assert_eq!(says(task, "meshwright.device.class"), Some("host".into()));
    assert_eq!(says(task, "meshwright.outcome"), Some("committed".into()));
    let ids: std::collections::BTreeSet<SpanId> = spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), spans.len());
    assert!(spans.iter().all(|span| span.job == JOB && span.by == "worker"));
}

#[test]
fn a_span_whose_parent_was_not_told_stands_in_the_nearest_above_and_none_is_longer_than_that() {
    let told = vec![span_time("a/b/c", 20_000), span_time("d", 90_000), span_time("d/e", 95_000)];
    let spans = task_spans(&timing(TaskEnd::Committed, told));
    let inner: Vec<_> = drawn(&spans).into_iter().filter(|line| line.0.len() == 1).collect();
    // Those of the least depth come first.
    let expect = [("d", 1_023, 1_073, "compute"), ("e", 1_023, 1_073, "d"), ("c", 1_073, 1_073, "compute")];
    assert_eq!(inner, expect);
}

#[test]
fn a_task_that_failed_says_so_and_one_that_was_not_computed_has_no_engine() {
    let failed = task_spans(&timing(TaskEnd::OutOfMemory, Vec::new()));
    assert_eq!(failed[0].error.as_deref(), Some("out of memory"));
    assert_eq!(says(&failed[0], "error.type"), Some("out_of_memory".into()));
    let mut idle = timing(TaskEnd::NotRun, vec![span_time("bake", 1)]);
    (idle.engine, idle.phases) = (EngineVersion::default(), PhaseTimes::default());
    let idle = task_spans(&idle);
    assert_eq!(idle.len(), 1, "phases that did not happen have no span");
    assert_eq!((says(&idle[0], "meshwright.engine.name"), &idle[0].error), (None, &None));
}

#[test]
fn the_planner_tells_a_phase_of_the_task_that_the_worker_will_tell() {
    let task = Task {
        job: JOB,
        upload: UploadId([1; 16]),
        stage: Stage::Texture,
        class: Class::Normal,
        tenant: "shop".parse().expect("a name"),
        recipe: Recipe::default(),
        size_bytes: Bytes::ZERO,
        accepted_at: Timestamp(900),
        deadline: None,
    };
    let (published_at, drawn_at) = (Timestamp(1_000), Timestamp(1_010));
    let ack_token = AckToken("token".to_owned());
    let given = BatchTask { task, ack_token, delivery: 1, published_at, drawn_at };
    let batch = Batch {
        id: BATCH,
        epoch: Epoch(1),
        stage: Stage::Texture,
        tasks: vec![given.clone()],
        bytes: Bytes(256),
        why: "all that waits".to_owned(),
        held_ms: None,
        expected_ms: None,
    };
    let planned = planned_span(&batch, &given, Timestamp(1_015));
    let task = &task_spans(&timing(TaskEnd::Committed, Vec::new()))[0];
    assert_eq!(planned.parent, Some(task.id));
    assert!(planned.begin >= task.begin && planned.end() <= task.end());
    assert_eq!(planned.length, Duration::from_millis(5));
    assert_eq!(says(&planned, "meshwright.batch.why"), Some("all that waits".into()));
}

fn upload() -> Upload {
    Upload {
        store: "minio".parse().expect("a store name"),
        bucket: "uploads".to_owned(),
        key: "red chair.png".to_owned(),
        version_id: None,
        etag: "e".to_owned(),
        size_bytes: Bytes(3),
        last_modified_s: 1,
    }
}

#[test]
fn what_accepts_a_job_stands_below_its_root_and_what_asked_for_it_is_linked() {
    let root = SpanId::of_life(JOB, Life(0));
    let upload = upload();
    let when = (Timestamp(900), Duration::from_micros(1_500));
    let by_event = accept_span((JOB, Life(0), &upload), FoundBy::Event, when, "new");
    assert_eq!((by_event.parent, by_event.kind), (Some(root), SpanKind::Consumer));
    assert_eq!(says(&by_event, "aws.s3.key"), Some("red chair.png".into()));
    let by_sweep = accept_span((JOB, Life(0), &upload), FoundBy::Sweep, when, "new");
    assert_eq!(by_sweep.kind, SpanKind::Internal);
    let caller = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let call = call_span((JOB, "1"), caller, when);
    assert_eq!((call.parent, call.link, call.kind), (Some(root), caller, SpanKind::Server));
    assert_ne!(call.id, call_span((JOB, "2"), None, when).id);
}

#[test]
fn a_life_lasts_from_acceptance_to_outcome_and_a_dead_one_is_an_error() {
    let ended = |ending| Outcome {
        job: JOB,
        life: Life(0),
        ending,
        decided_at: Timestamp(3_000),
        intermediates_expire_at: Timestamp(9_000),
    };
    let done = life_span("worker", Timestamp(900), &ended(Ending::Done { files: vec![], unpublished: None }));
    assert_eq!((done.parent, done.id), (None, SpanId::of_life(JOB, Life(0))));
    assert_eq!((done.length, done.error), (Duration::from_millis(2_100), None));
    let (stage, error) = (Stage::Shape, "it broke".to_owned());
    let dead = life_span("worker", Timestamp(900), &ended(Ending::Dead { stage, error }));
    assert_eq!(dead.error.as_deref(), Some("it broke"));
    let reason = "no picture".to_owned();
    let rejected = life_span("ingest", Timestamp(900), &ended(Ending::Rejected { reason }));
    assert_eq!((says(&rejected, "meshwright.reason"), rejected.error), (Some("no picture".into()), None));
}
