//! Spans in the words of OTLP.

use domain::{Span, SpanKind, SpanValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otel;
use std::collections::BTreeMap;
use std::time::Duration;

/// Flag of a span that is kept.
const SAMPLED: u32 = 1;

/// What a process says of itself with its spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The program's version.
    pub version: String,
    /// Which of the processes it is.
    pub instance: String,
    /// What else is to be said of it, as `deployment.environment.name`.
    pub attributes: Vec<(String, String)>,
}

/// One request for all of them; each function is a service of its own.
pub(crate) fn request(spans: &[Span], process: &Process) -> ExportTraceServiceRequest {
    let mut services: BTreeMap<&str, Vec<otel::Span>> = BTreeMap::new();
    for span in spans {
        services.entry(span.by).or_default().push(encoded(span));
    }
    let scope = InstrumentationScope {
        name: "meshwright".to_owned(),
        version: process.version.clone(),
        ..InstrumentationScope::default()
    };
    let of_service = |(service, spans)| otel::ResourceSpans {
        resource: Some(resource(service, process)),
        scope_spans: vec![otel::ScopeSpans {
            scope: Some(scope.clone()),
            spans,
            ..otel::ScopeSpans::default()
        }],
        ..otel::ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: services.into_iter().map(of_service).collect() }
}

fn resource(service: &str, process: &Process) -> Resource {
    let ours = [
        ("service.namespace", "meshwright".to_owned()),
        ("service.name", format!("meshwright-{service}")),
        ("service.version", process.version.clone()),
        ("service.instance.id", process.instance.clone()),
    ];
    let is_ours = |name: &str| ours.iter().any(|(own, _)| *own == name);
    let others = process.attributes.iter().filter(|(name, _)| !is_ours(name));
    let others = others.map(|(name, value)| attribute(name, Value::StringValue(value.clone())));
    let own = ours.iter().map(|(name, value)| attribute(name, Value::StringValue(value.clone())));
    Resource { attributes: own.chain(others).collect(), ..Resource::default() }
}

fn attribute(name: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

fn encoded(span: &Span) -> otel::Span {
    let kind = match span.kind {
        SpanKind::Internal => otel::span::SpanKind::Internal,
        SpanKind::Server => otel::span::SpanKind::Server,
        SpanKind::Consumer => otel::span::SpanKind::Consumer,
    };
    let value = |value: &SpanValue| match value {
        SpanValue::Text(text) => Value::StringValue(text.clone()),
        SpanValue::Number(number) => Value::IntValue(*number),
    };
    let error = |message: &String| otel::Status {
        message: message.clone(),
        code: otel::status::StatusCode::Error.into(),
    };
    let link = |context: domain::TraceContext| otel::span::Link {
        trace_id: context.trace.to_vec(),
        span_id: context.span.0.to_vec(),
        flags: u32::from(context.is_sampled),
        ..otel::span::Link::default()
    };
    otel::Span {
        trace_id: span.job.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: nanos(span.begin),
        end_time_unix_nano: nanos(span.end()),
        attributes: span.attributes.iter().map(|(name, of)| attribute(name, value(of))).collect(),
        links: span.link.map(link).into_iter().collect(),
        status: span.error.as_ref().map(error),
        ..otel::Span::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Ending, JobId, Life, Outcome, SpanId, Stage, Timestamp, TraceContext};
    use prost::Message;

    const JOB: JobId = JobId([7; 16]);

    #[test]
    fn spans_come_back_from_the_wire_each_with_its_service() {
        let caller = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let call = domain::call_span((JOB, "1"), caller, (Timestamp(5), Duration::from_nanos(1_500)));
        let ending = Ending::Dead { stage: Stage::Shape, error: "it broke".to_owned() };
        let (life, at) = (Life(0), Timestamp(9));
        let outcome = Outcome { job: JOB, life, ending, decided_at: at, intermediates_expire_at: at };
        let root = domain::life_span("worker", Timestamp(5), &outcome);
        let attributes = [("host.name", "box"), ("service.name", "other")];
        let process = Process {
            version: "1.2.3".to_owned(),
            instance: "box-1".to_owned(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let sent = request(&[call, root], &process).encode_to_vec();
        let read = ExportTraceServiceRequest::decode(sent.as_slice()).expect("our own words");
        let text = |of: &KeyValue| match of.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => format!("{}={text}", of.key),
            other => format!("{}: {other:?}", of.key),
        };
        let [gateway, worker] = read.resource_spans.as_slice() else { panic!("{read:?}") };
        let said = |of: &otel::ResourceSpans| {
            let resource = of.resource.as_ref().expect("a resource");
            resource.attributes.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        let of = |service: &str| {
            format!(
                "service.namespace=meshwright service.name=meshwright-{service} service.version=1.2.3 \
                 service.instance.id=box-1 host.name=box"
            )
        };
        assert_eq!((said(gateway), said(worker)), (of("gateway"), of("worker")));
        let call = &gateway.scope_spans[0].spans[0];
        assert_eq!((call.start_time_unix_nano, call.end_time_unix_nano), (5_000_000, 5_001_500));
        assert_eq!((call.trace_id.as_slice(), call.links[0].span_id[1]), (JOB.0.as_slice(), 0xf0));
        assert_eq!(call.parent_span_id, SpanId::of_life(JOB, Life(0)).0);
        let root = &worker.scope_spans[0].spans[0];
        assert!(root.parent_span_id.is_empty());
        let status = root.status.as_ref().expect("a status");
        assert_eq!((status.code, status.message.as_str()), (2, "it broke"));
    }
}
