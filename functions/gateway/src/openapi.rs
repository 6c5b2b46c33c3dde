//! The API in OpenAPI 3.1. Shapes of answers and messages come from the types themselves.

use crate::operation::{
    Operation, answer, binary, content, cursor_parameters, matching, millis, parameter, schema, text,
};
use crate::timings::WINDOW_MAX;
use crate::webhooks::WebhookMessage;
use crate::{Gateway, actions, capabilities, create, devices, gpu, jobs, performance, system};
use axum::Json;
use axum::extract::State;
use domain::{Event, Recipe, RecipeOption, Takes};
use profile::{PipelineProfile, Report};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Operations that whoever made a job may go on with.
const OF_A_JOB: [&str; 5] = [
    "get_jobs_id",
    "get_jobs_id_upload",
    "get_jobs_id_profile",
    "get_jobs_id_explain",
    "post_jobs_id_cancel",
];

fn link(operation: &str) -> Value {
    json!({"operationId": operation, "parameters": {"id": "$response.body#/id"}})
}

/// A name for generated clients, as `get_jobs_id`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api").split(['/', '-', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}']));
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// A picture that is sent: nothing at all is none.
fn picture() -> Value {
    json!({"type": "string", "format": "binary", "minLength": 1})
}

/// What an option of a recipe takes. Which go together, a schema does not say.
fn taken(takes: &Takes) -> Value {
    match takes {
        Takes::Word(words) => json!({"type": "string", "enum": words}),
        Takes::Words(words) => {
            let one = words.join("|");
            matching(&format!("^({one})(,({one}))*$"))
        }
        Takes::Whole { range, .. } => {
            json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
        }
        Takes::Length(um) => {
            let [min, max] = [um.start(), um.end()].map(|um| f64::from(*um) / 1_000.0);
            json!({"type": "number", "minimum": min, "maximum": max})
        }
    }
}

fn create_job() -> Value {
    let what = "the same key, picture or object, and recipe again are the same job";
    let once = parameter("Idempotency-Key", "header", matching("^[ -~]{1,255}$"), what);
    let options = || Recipe::options().into_iter();
    let option = |of: RecipeOption| parameter(of.name, "query", taken(&of.takes), of.what);
    let mut parameters: Vec<Value> = options().map(option).collect();
    let mut fields: Map<String, Value> = options().map(|of| (of.name.to_owned(), taken(&of.takes))).collect();
    fields.insert("image".to_owned(), picture());
    parameters.push(parameter("name", "query", text(), "the last part of the upload's key"));
    parameters.push(parameter("bucket", "query", text(), "an input bucket; the first unless said"));
    parameters.push(once);
    let key = json!({"type": "string", "minLength": 1, "maxLength": 1024});
    let body = json!({"required": true, "content": {
        "application/octet-stream": {"schema": picture()}, "image/png": {"schema": picture()},
        "multipart/form-data": {"schema": {"type": "object", "required": ["image"],
            "additionalProperties": false, "properties": fields}},
        "application/json": {"schema": {"type": "object", "required": ["bucket", "key"],
            "additionalProperties": false, "properties": {"bucket": text(), "key": key}}}}});
    let mut accepted = answer("it is on its way", "Made");
    accepted["headers"] = json!({"Location": {"schema": text(), "description": "where the job is shown"}});
    accepted["links"] = OF_A_JOB.map(|id| (id.to_owned(), link(id))).into_iter().collect();
    let create =
        Operation::closed("Makes a job of a picture, or of an object that is there", "202", accepted)
            .with(parameters)
            .or("400", "no picture, or a name that the store does not take")
            .or("404", "no such bucket or object")
            .or("408", "the body did not arrive in time")
            .or("413", "too large")
            .or("429", "the tenant's jobs of this minute are made; `Retry-After` says when to try again")
            .or("507", "the disk is full")
            .or("422", "a recipe that makes no sense, or an Idempotency-Key that was used otherwise");
    create.takes(body).json()
}

fn file(summary: &'static str) -> Operation {
    let kind = "*/*";
    Operation::of_job(summary, "200", content("the file, under its own type", kind, binary()))
        .with(vec![
            parameter("Range", "header", text(), "one range of bytes"),
            parameter("If-None-Match", "header", text(), "the ETag of what the caller has"),
        ])
        .answers("206", content("a range of it", kind, binary()))
        .answers("304", json!({"description": "the caller has it"}))
        .or("416", "a range outside the file")
}

fn events(operation: Operation) -> Operation {
    let what = "Where the client was cut off. A place that the log does not have yet is of a log that was \
                lost, and what followed an old one may be gone: the first event is `reload` then, and the \
                log follows from where it begins";
    operation.with(vec![parameter("Last-Event-ID", "header", text(), what)])
}

fn event_stream() -> Value {
    let mut stream = content("server-sent events, each with an Event as data", "text/event-stream", text());
    stream["content"]["text/event-stream"]["x-event"] = schema("Event");
    stream
}

fn of_jobs() -> Value {
    let list = Operation::closed("All jobs, newest first", "200", answer("a page", "JobList"))
        .with(cursor_parameters())
        .with(vec![
            parameter("state", "query", schema("Shown"), "only those in this state"),
            parameter("tenant", "query", matching("^[a-z0-9-]{1,32}$"), "only this tenant's"),
            parameter("bucket", "query", text(), "only those whose upload lies in this bucket"),
            parameter("key", "query", text(), "only those whose upload's key begins so"),
            parameter("after_ms", "query", millis(), "only those with this `seen_at_ms` or a later one"),
            parameter("before_ms", "query", millis(), "only those with an earlier `seen_at_ms`"),
        ])
        .or("400", "a bad cursor, limit or filter");
    let show = Operation::of_job("One job", "200", answer("the job", "Job"));
    let name = parameter("name", "path", text(), "the file's name");
    let follow = Operation::of_job("What happens to a job, as it happens", "200", event_stream());
    let resume = parameter("last_event_id", "query", text(), "the `id` of the last message that was heard");
    let switched = json!({"description": "a WebSocket; each message is {id, event, data: Event}"});
    let socket = Operation::of_job("The same over a WebSocket", "101", switched)
        .with(vec![resume])
        .or("400", "no WebSocket was asked for");
    let follow = events(follow).answers("204", json!({"description": "the client has heard the end"}));
    let wish = |summary| {
        let granted = answer("it is so", "Granted");
        Operation::of_job(summary, "202", granted).or("409", "the job's state does not allow it").json()
    };
    json!({
        "/api/jobs": {"post": create_job(), "get": list.json()},
        "/api/jobs/{id}": {"get": show.json()},
        "/api/jobs/{id}/upload": {"get": file("The picture of a job").json()},
        "/api/jobs/{id}/artifacts/{name}": {"get": file("A file of a job").with(vec![name]).json()},
        "/api/jobs/{id}/events": {"get": follow.json()},
        "/api/jobs/{id}/ws": {"get": socket.json()},
        "/api/jobs/{id}/cancel": {"post": wish("Ends a job")},
        "/api/jobs/{id}/redrive": {"post": wish("Begins a dead or cancelled job again")},
        "/api/jobs/{id}/retry": {"post": wish("The same as redrive")},
        "/api/dead-letters/{id}/redrive": {"post": wish("The same as redrive of the job")},
    })
}

fn of_performance() -> Value {
    let seconds = json!({"type": "integer", "minimum": 1, "maximum": WINDOW_MAX.as_secs(), "default": 3600});
    let words = || {
        vec![
            parameter("window_s", "query", seconds.clone(), "how far back, in seconds"),
            parameter("stage", "query", schema("Stage"), "of this stage alone"),
        ]
    };
    let ask = |summary, shape| {
        let operation = Operation::closed(summary, "200", answer("as timings of late say", shape));
        operation.with(words()).or("422", "an option that there is not, or a value that makes no sense")
    };
    let percent = json!({"type": "number", "minimum": 0, "maximum": 100, "default": 20});
    let what = "stages with at least this share of the time, in percent";
    let bottlenecks = ask("Stages that take much of the time, what bounds the throughput", "Bottlenecks")
        .with(vec![parameter("threshold_percent", "query", percent, what)]);
    let lines = content("a Timing as JSON on each line", "application/x-ndjson", text());
    let timings = Operation::closed("The timings themselves, for a replay", "200", lines)
        .with(words())
        .or("422", "an option that there is not, or a value that makes no sense");
    let profile = answer("where its time went", "PipelineProfile");
    let profile = Operation::of_job("Where the time of a job went", "200", profile);
    json!({
        "/api/jobs/{id}/profile": {"get": profile.json()},
        "/api/performance/summary": {"get": ask("Where the time goes", "Report").json()},
        "/api/performance/bottlenecks": {"get": bottlenecks.json()},
        "/api/performance/timings": {"get": timings.json()},
        "/api/performance/recommendations": {"get": ask("What to try", "Recommendations").json()},
    })
}

fn of_devices() -> Value {
    let device = || parameter("device", "query", matching("^[a-z0-9-]{1,64}$"), "this device alone");
    let stage = |what| parameter("stage", "query", schema("Stage"), what);
    let alone = "this stage alone";
    let number = |least: u32, most: u32| json!({"type": "integer", "minimum": least, "maximum": most});
    let side = number(1, gpu::IMAGE_SIZE_MAX);
    let mut side = parameter("image_size", "query", side, "side of the pictures in pixels");
    side["required"] = json!(true);
    let (steps, queue) = (number(1, gpu::STEPS_MAX), number(0, gpu::QUEUE_SIZE_MAX));
    let ask = |summary, shape| {
        let operation = Operation::closed(summary, "200", answer("as the leading planner says", shape));
        operation.or("400", "an option that there is not, or a value that makes no sense")
    };
    let summary =
        ask("Memory, trend, batches and advice of each device and stage", "DeviceReports").with(vec![
            device(),
            stage(alone),
            parameter("cursor", "query", text(), "`next` of the page before"),
        ]);
    let size = ask("The batch that would be cut now", "DeviceBatchSizes")
        .with(vec![
            side,
            parameter("inference_steps", "query", steps, "steps of inference; 50 unless said"),
            parameter("queue_size", "query", queue, "how many wait; those that do unless said"),
            device(),
            stage("of this stage; shape unless said"),
        ])
        .or("422", "a number out of its range");
    let advice =
        ask("What could be done about devices", "GpuRecommendations").with(vec![device(), stage(alone)]);
    let caches = answer("what each gave back", "CachesGivenBack");
    let caches = Operation::closed("Ends idle runners, with what they cached", "200", caches)
        .with(vec![device()])
        .or("400", "an option that there is not")
        .or("404", "no such device");
    let devices = Operation::closed("Memory, lanes and batches", "200", answer("the devices", "DeviceList"));
    let why =
        Operation::of_job("Why a job waits, and why its batches were so", "200", answer("why", "Explained"));
    json!({
        "/api/devices": {"get": devices.json()},
        "/api/gpu/summary": {"get": summary.json()},
        "/api/gpu/batch-size": {"get": size.json()},
        "/api/gpu/recommendations": {"get": advice.json()},
        "/api/gpu/optimize-cache": {"post": caches.json()},
        "/api/jobs/{id}/explain": {"get": why.json()},
    })
}

/// All paths.
pub(crate) fn paths() -> Value {
    let letters =
        Operation::closed("Tasks set aside for a person", "200", answer("a page", "DeadLetterList"))
            .with(cursor_parameters())
            .or("400", "a bad cursor or limit");
    let follow = events(Operation::closed("What happens, as it happens", "200", event_stream()));
    let sweep = "Looks for jobs that nothing would finish";
    let sweep = Operation::closed(sweep, "200", answer("what it found", "Sweep"))
        .answers("202", answer("it takes long and goes on", "SweepGoesOn"));
    let metrics =
        Operation::closed("Metrics for Prometheus", "200", content("metrics", "text/plain", text()));
    let plain = |summary| Operation::open(summary, content("ok", "text/plain", text())).json();
    let version = Operation::open("Which program answers", answer("its version", "Version"));
    let can = Operation::open(
        "Engines, networks, limits, formats, options",
        answer("what it can do", "Capabilities"),
    );
    let any = json!({"type": "object"});
    let document = Operation::open("This document", content("OpenAPI 3.1", "application/json", any));
    let mut paths = of_jobs();
    for more in [of_performance(), of_devices()] {
        for (path, operations) in more.as_object().into_iter().flatten() {
            paths[path] = operations.clone();
        }
    }
    for (path, method, operation) in [
        ("/api/events", "get", follow.json()),
        ("/api/dead-letters", "get", letters.json()),
        ("/api/sweep", "post", sweep.json()),
        ("/api/version", "get", version.json()),
        ("/api/capabilities", "get", can.json()),
        ("/api/openapi.json", "get", document.json()),
        ("/metrics", "get", metrics.json()),
        ("/livez", "get", plain("Whether it lives")),
        ("/readyz", "get", plain("Whether store and broker answer")),
    ] {
        paths[path] = json!({method: operation});
    }
    for (path, operations) in paths.as_object_mut().into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            operation["operationId"] = operation_id(method, path).into();
        }
    }
    paths
}

/// What listeners get.
fn webhooks() -> Value {
    let header = |name, schema, what| {
        let mut header = parameter(name, "header", schema, what);
        header["required"] = json!(true);
        header
    };
    let id = matching("^[0-9a-f]{32}[.][0-9]+$");
    let heard = |what: &str| json!({"description": what});
    let responses = json!({
        "2XX": heard("it was heard"),
        "410": heard("the listener wants to hear nothing any more"),
        "default": heard("it is told again: after `Retry-After`, or later each time, for a day"),
    });
    json!({"job-ended": {"post": {
        "summary": "A job ended",
        "description": "At least once; signed as Standard Webhooks 1.0 says",
        "operationId": "job_ended",
        "security": [],
        "parameters": [
            header("webhook-id", id, "the job and its life: the same in every try"),
            header("webhook-timestamp", matching("^[0-9]+$"), "when it is said, in seconds since 1970"),
            header("webhook-signature", text(), "`v1,` and the HMAC-SHA256 of id, timestamp and body"),
        ],
        "requestBody": {"required": true, "content": {
            "application/json": {"schema": schema("WebhookMessage")}}},
        "responses": responses,
    }}})
}

fn schemas() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    generator.subschema_for::<Recipe>();
    generator.subschema_for::<Event>();
    generator.subschema_for::<create::Made>();
    generator.subschema_for::<jobs::List>();
    generator.subschema_for::<jobs::Job>();
    generator.subschema_for::<actions::Granted>();
    generator.subschema_for::<actions::Letters>();
    generator.subschema_for::<actions::SweepGoesOn>();
    generator.subschema_for::<Report>();
    generator.subschema_for::<PipelineProfile>();
    generator.subschema_for::<performance::Bottlenecks>();
    generator.subschema_for::<performance::Recommendations>();
    generator.subschema_for::<devices::List>();
    generator.subschema_for::<planning::DeviceReports>();
    generator.subschema_for::<planning::DeviceBatchSizes>();
    generator.subschema_for::<gpu::Recommendations>();
    generator.subschema_for::<gpu::CacheAnswer>();
    generator.subschema_for::<gpu::Explained>();
    generator.subschema_for::<system::Version>();
    generator.subschema_for::<capabilities::Capabilities>();
    generator.subschema_for::<WebhookMessage>();
    let mut schemas = json!(generator.take_definitions(true));
    schemas["Problem"] = json!({"description": "What is wrong, as RFC 9457 has it", "type": "object",
        "required": ["type", "title", "status", "detail"], "properties": {
        "type": {"type": "string", "pattern": "^urn:meshwright:problem:"}, "title": text(),
        "status": {"type": "integer"}, "detail": text()}});
    let count = json!({"type": "integer", "minimum": 0});
    schemas["Sweep"] = json!({"description": "What a sweep found", "type": "object",
        "required": ["queued", "accepted"], "properties": {"queued": count, "accepted": count,
        "failed": count, "collected": count, "error": text()}});
    schemas
}

/// `GET /api/openapi.json`
pub(crate) async fn document(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Meshwright", "version": gateway.settings.version,
                 "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "security": [{"token": []}, {}],
        "paths": paths(),
        "webhooks": webhooks(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_shape_that_is_named_is_there() {
        let schemas = schemas();
        let mut found = Vec::new();
        references(&paths(), &mut found);
        references(&webhooks(), &mut found);
        references(&schemas, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a shape");
            assert!(schemas.get(name).is_some(), "{reference}");
        }
    }
}
