//! One trace per job, whoever had a part in it; and a collector that is away is in nobody's way.

use anyhow::{Context, Result};
use domain::metrics::SPANS_TOTAL;
use domain::{JobId, Stage};
use e2e::{Cluster, Collector, EACH_ITS_OWN, Expect, Setup, Told, Wanted, check, picture};
use harness::until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(90);
/// Marks are whole milliseconds, of which two may be rounded.
const ROUNDED_NS: u64 = 2_000_000;
/// Of whom our caller is a part.
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Sends a picture through the gateway, as a part of another trace.
async fn submit(cluster: &Cluster) -> Result<JobId> {
    let url = format!("{}/api/jobs?name=1.png", cluster.gateway_url()?);
    let call = cluster.http().post(url).header("traceparent", CALLER).body(picture(1));
    let made: Value = serde_json::from_slice(&call.send().await?.error_for_status()?.bytes().await?)?;
    made["id"].as_str().context("an id")?.parse().context("a job")
}

/// The spans of a job once its root is there, and all that its spans are parts of.
async fn whole(collector: &Collector) -> Result<Vec<Told>> {
    until("a whole trace", WITHIN, async || {
        let told = collector.told();
        let ids: BTreeSet<&[u8]> = told.iter().map(|told| told.span.span_id.as_slice()).collect();
        let is_known = |told: &Told| {
            let parent = told.span.parent_span_id.as_slice();
            parent.is_empty() || ids.contains(parent)
        };
        let has = |name: &str| told.iter().any(|told| told.span.name == name);
        let processed = told.iter().filter(|told| told.span.name.starts_with("process ")).count();
        let planned = told.iter().filter(|told| told.span.name == "planned").count();
        let all_there = has("job") && has("accept upload") && has("POST /api/jobs");
        let is_whole = all_there && processed == 4 && planned == 4 && told.iter().all(is_known);
        Ok(is_whole.then(|| told.clone()))
    })
    .await
}

fn named<'a>(told: &'a [Told], name: &str) -> Vec<&'a Told> {
    told.iter().filter(|told| told.span.name == name).collect()
}

fn one<'a>(told: &'a [Told], name: &str) -> &'a Told {
    let found = named(told, name);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0]
}

/// No span begins before the one that it is a part of, but the call: it comes before the acceptance.
fn check_nested(told: &[Told]) {
    let by_id: BTreeMap<&[u8], &Told> =
        told.iter().map(|told| (told.span.span_id.as_slice(), told)).collect();
    assert_eq!(by_id.len(), told.len(), "each id stands once");
    for Told { span, .. } in told.iter().filter(|told| told.span.name != "POST /api/jobs") {
        let (begin, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        assert!(begin <= end, "{span:?}");
        let Some(parent) = by_id.get(span.parent_span_id.as_slice()).map(|told| &told.span) else { continue };
        assert!(begin + ROUNDED_NS >= parent.start_time_unix_nano, "{span:?} begins before {parent:?}");
        // What follows the outcome ends after it: the acknowledgement.
        let is_below_root = parent.parent_span_id.is_empty();
        let ends_within = end <= parent.end_time_unix_nano + ROUNDED_NS;
        assert!(is_below_root || span.name == "planned" || ends_within, "{span:?} ends after {parent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_one_trace_through_seven_processes_with_every_parent_known_and_in_time_order() {
    let collector = Collector::start().await.expect("a collector");
    let otlp = Some(collector.url().to_owned());
    let setup = Setup { processes: EACH_ITS_OWN.into(), lanes: 1, otlp, ..Setup::default() };
    let cluster = Cluster::start(setup).await.expect("a cluster");
    let job = submit(&cluster).await.expect("a job");
    check(&cluster, &Wanted::from([(job, Expect::Done)]), WITHIN).await.expect("the oracle");
    let told = whole(&collector).await.unwrap_or_else(|error| panic!("{error:#}: {:#?}", collector.told()));

    let traces: BTreeSet<&[u8]> = told.iter().map(|told| told.span.trace_id.as_slice()).collect();
    assert_eq!(traces, BTreeSet::from([job.0.as_slice()]), "the trace is the job");
    let roots: Vec<_> = told.iter().filter(|told| told.span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!(roots[0].says("meshwright.outcome").as_deref(), Some("done"));
    check_nested(&told);

    let call = one(&told, "POST /api/jobs");
    assert_eq!(call.service, "meshwright-gateway");
    let [link] = call.span.links.as_slice() else { panic!("{call:?}") };
    assert!(link.span_id.starts_with(&[0x00, 0xf0, 0x67]) && link.trace_id.starts_with(&[0x4b, 0xf9]));
    let accepts = named(&told, "accept upload");
    assert!(accepts.iter().all(|told| told.service == "meshwright-ingest"), "{accepts:?}");
    let mut before = call.span.start_time_unix_nano;
    for stage in Stage::ALL {
        let stage = stage.as_str();
        let task = one(&told, &format!("process {stage}"));
        let of_stage = |name: &str| {
            let found = named(&told, name).into_iter();
            let found: Vec<_> =
                found.filter(|told| told.says("meshwright.stage").as_deref() == Some(stage)).collect();
            assert_eq!(found.len(), 1, "{name} of {stage}: {found:?}");
            found[0].clone()
        };
        let (planned, compute) = (of_stage("planned"), of_stage("compute"));
        assert_eq!((&*planned.service, &*task.service), ("meshwright-planner", "meshwright-worker"));
        assert_eq!(task.says("meshwright.outcome").as_deref(), Some("committed"));
        assert_eq!(task.says("messaging.batch.message_count").as_deref(), Some("1"));
        assert_eq!(compute.span.parent_span_id, task.span.span_id);
        let begins = [&task.span, &planned.span, &compute.span].map(|span| span.start_time_unix_nano);
        assert!(before <= begins[0] + ROUNDED_NS && begins.is_sorted_by(|a, b| *a <= b + ROUNDED_NS));
        before = compute.span.end_time_unix_nano;
    }
    let computes = named(&told, "compute");
    let is_inside = |told: &&Told| computes.iter().any(|of| of.span.span_id == told.span.parent_span_id);
    assert!(told.iter().filter(is_inside).count() > 4, "what stage functions do inside is told too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_stops_no_work_and_what_it_misses_is_counted() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let setup = Setup { otlp: Some(format!("http://{address}")), ..Setup::default() };
    let cluster = Cluster::start(setup).await.expect("a cluster");
    let job = submit(&cluster).await.expect("a job");
    check(&cluster, &Wanted::from([(job, Expect::Done)]), WITHIN).await.expect("the oracle");
    let url = format!("{}/metrics", cluster.gateway_url().expect("an address"));
    let series = format!("{}{{result=\"dropped\"}} ", SPANS_TOTAL.name);
    let dropped = until("dropped spans", WITHIN, async || {
        let text = cluster.http().get(&url).send().await?.text().await?;
        let line = text.lines().find_map(|l| l.strip_prefix(&series));
        Ok(line.and_then(|count| count.parse::<u64>().ok()).filter(|count| *count > 0))
    });
    dropped.await.expect("they are counted");
    let said = cluster.processes["gateway"].stderr();
    assert_eq!(said.matches("the collector does not take spans; they are dropped").count(), 1, "{said}");
}
