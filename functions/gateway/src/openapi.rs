//! The API in OpenAPI 3.1. Shapes of messages come from the types themselves.

use axum::Json;
use axum::extract::State;
use domain::{Event, Recipe};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::sync::Arc;

fn job_parameter() -> Value {
    let schema = json!({"type": "string", "pattern": "^[0-9a-f]{32}$"});
    json!({"name": "id", "in": "path", "required": true, "schema": schema})
}

fn problem(what: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": what, "content": {"application/problem+json": {"schema": schema}}})
}

fn good(what: &str, kind: &str, schema: Value) -> Value {
    json!({"description": what, "content": {kind: {"schema": schema}}})
}

fn of_job(method: &str, summary: &str, status: &str, answer: Value) -> Value {
    let mut operation = json!({"summary": summary, "parameters": [job_parameter()], "responses": {
        "401": problem("no token"), "404": problem("no such job"),
        "503": problem("store or broker do not answer")}});
    operation["responses"][status] = answer;
    if method == "post" {
        operation["responses"]["409"] = problem("the job's state does not allow it");
    }
    json!({method: operation})
}

fn paths() -> Value {
    let any = json!({"type": "object"});
    let text = json!({"type": "string"});
    let binary = json!({"type": "string", "format": "binary"});
    let recipe = ["engine", "quality", "formats", "size-mm", "texture-px", "name", "bucket"];
    let recipe: Vec<Value> =
        recipe.map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})).into();
    let body = json!({"required": true, "content": {
        "application/octet-stream": {"schema": binary}, "image/png": {"schema": binary},
        "multipart/form-data": {"schema": {"type": "object", "properties": {"image": binary}}},
        "application/json": {"schema": {"type": "object", "required": ["bucket", "key"],
            "properties": {"bucket": text, "key": text}}}}});
    let create = json!({"summary": "Makes a job of a picture, or of an object that is there",
        "parameters": recipe,
        "requestBody": body, "responses": {"202": good("accepted", "application/json", any.clone()),
        "400": problem("no picture"), "401": problem("no token"), "404": problem("no such bucket or object"),
        "413": problem("too large"), "422": problem("a recipe that makes no sense"),
        "503": problem("store or broker do not answer")}});
    let query = |name: &str, kind: &str| json!({"name": name, "in": "query", "schema": {"type": kind}});
    let list = json!({"summary": "All jobs, newest first", "parameters": [query("cursor", "string"),
        query("limit", "integer"), query("state", "string")], "responses": {
        "200": good("a page", "application/json", any.clone()), "400": problem("a bad cursor or limit"),
        "401": problem("no token")}});
    let events = good("events", "text/event-stream", text.clone());
    let file = of_job(
        "get",
        "A file of the job",
        "200",
        good("the file", "application/octet-stream", binary.clone()),
    );
    let mut artifact = file.clone();
    let name = json!({"name": "name", "in": "path", "required": true, "schema": text});
    artifact["get"]["parameters"] = json!([job_parameter(), name]);
    artifact["get"]["responses"]["206"] = good("a range of it", "application/octet-stream", binary);
    artifact["get"]["responses"]["304"] = json!({"description": "unchanged"});
    artifact["get"]["responses"]["416"] = problem("a range outside the file");
    let accepted = good("it is so", "application/json", any.clone());
    let simple = |summary: &str, kind: &str, schema: Value| {
        let answer = good(summary, kind, schema);
        json!({"get": {"summary": summary, "responses": {"200": answer}}})
    };
    json!({
        "/api/jobs": {"post": create, "get": list},
        "/api/jobs/{id}": of_job("get", "One job", "200", good("the job", "application/json", any.clone())),
        "/api/jobs/{id}/upload": file,
        "/api/jobs/{id}/artifacts/{name}": artifact,
        "/api/jobs/{id}/events": of_job("get", "What happens to it, as it happens", "200", events.clone()),
        "/api/events": simple("What happens, as it happens", "text/event-stream", text.clone()),
        "/api/jobs/{id}/cancel": of_job("post", "Ends the job", "202", accepted.clone()),
        "/api/jobs/{id}/redrive": of_job("post", "Starts an ended job again", "202", accepted.clone()),
        "/api/jobs/{id}/retry": of_job("post", "The same as redrive", "202", accepted.clone()),
        "/api/dead-letters": simple("Tasks set aside for a person", "application/json", any.clone()),
        "/api/sweep": {"post": {"summary": "Looks for jobs that nothing would finish", "responses": {
            "200": accepted, "503": problem("no ingest answers")}}},
        "/api/version": simple("The version", "application/json", any.clone()),
        "/api/capabilities": simple("Engines, formats, options", "application/json", any),
        "/livez": simple("Alive", "text/plain", text.clone()),
        "/readyz": {"get": {"summary": "Ready", "responses": {
            "200": good("ready", "text/plain", text.clone()),
            "503": problem("store or broker do not answer")}}},
        "/metrics": simple("Metrics for Prometheus", "text/plain", text),
    })
}

/// `GET /api/openapi.json`
pub(crate) async fn document(State(gateway): State<Arc<crate::Gateway>>) -> Json<Value> {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let (recipe, event) = (generator.subschema_for::<Recipe>(), generator.subschema_for::<Event>());
    drop((recipe, event));
    let mut schemas = json!(generator.take_definitions(true));
    schemas["Problem"] = json!({"type": "object", "required": ["type", "title", "status"], "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}}});
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Meshwright", "version": gateway.settings.version,
                 "license": {"name": "Apache-2.0"}},
        "paths": paths(),
        "components": {"schemas": schemas},
    }))
}
