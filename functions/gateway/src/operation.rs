//! What operations of the API's document are made of.

use serde_json::{Value, json};

/// Problems that every call may meet, whatever it asks.
const ANY_CALL: [(&str, &str); 3] = [
    ("403", "a page of another site asks for a change"),
    ("421", "the server is not known under this name"),
    ("503", "store or broker do not answer, or too many ask at once; `Retry-After` says when to try again"),
];

pub(crate) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(crate) fn problem(what: &str) -> Value {
    json!({"description": what, "content": {"application/problem+json": {"schema": schema("Problem")}}})
}

pub(crate) fn content(what: &str, kind: &str, schema: Value) -> Value {
    json!({"description": what, "content": {kind: {"schema": schema}}})
}

pub(crate) fn answer(what: &str, name: &str) -> Value {
    content(what, "application/json", schema(name))
}

pub(crate) fn text() -> Value {
    json!({"type": "string"})
}

/// Milliseconds since 1970.
pub(crate) fn millis() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})
}

pub(crate) fn matching(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

pub(crate) fn binary() -> Value {
    json!({"type": "string", "format": "binary"})
}

pub(crate) fn parameter(name: &str, place: &str, schema: Value, what: &str) -> Value {
    json!({"name": name, "in": place, "required": place == "path", "schema": schema, "description": what})
}

pub(crate) fn job_parameter() -> Value {
    parameter("id", "path", matching("^[0-9a-f]{32}$"), "the job")
}

pub(crate) fn cursor_parameters() -> Vec<Value> {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 200});
    vec![
        parameter("cursor", "query", matching("^[0-9]{1,19}-[0-9a-f]{32}$"), "`next` of the page before"),
        parameter("limit", "query", limit, "rows of a page; 50 unless said"),
    ]
}

/// One operation. `closed`: it wants the token, if the server has one.
pub(crate) struct Operation {
    summary: &'static str,
    closed: bool,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Vec<(&'static str, Value)>,
}

impl Operation {
    pub(crate) fn closed(summary: &'static str, status: &'static str, answer: Value) -> Operation {
        let responses = vec![(status, answer)];
        Operation { summary, closed: true, parameters: Vec::new(), body: None, responses }
    }

    pub(crate) fn open(summary: &'static str, answer: Value) -> Operation {
        Operation { closed: false, ..Operation::closed(summary, "200", answer) }
    }

    pub(crate) fn of_job(summary: &'static str, status: &'static str, answer: Value) -> Operation {
        Operation::closed(summary, status, answer)
            .with(vec![job_parameter()])
            .or("404", "no such job, or it has no such thing")
    }

    pub(crate) fn with(mut self, mut parameters: Vec<Value>) -> Operation {
        self.parameters.append(&mut parameters);
        self
    }

    pub(crate) fn takes(self, body: Value) -> Operation {
        Operation { body: Some(body), ..self }
    }

    pub(crate) fn answers(mut self, status: &'static str, answer: Value) -> Operation {
        self.responses.push((status, answer));
        self
    }

    pub(crate) fn or(self, status: &'static str, what: &str) -> Operation {
        self.answers(status, problem(what))
    }

    pub(crate) fn json(self) -> Value {
        let mut responses = serde_json::Map::new();
        for (status, what) in ANY_CALL {
            responses.insert(status.to_owned(), problem(what));
        }
        if self.closed {
            responses.insert("401".to_owned(), problem("the token is missing or wrong"));
        }
        responses.extend(self.responses.into_iter().map(|(status, answer)| (status.to_owned(), answer)));
        let mut operation = json!({"summary": self.summary, "responses": responses});
        if !self.closed {
            operation["security"] = json!([]);
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = Value::Array(self.parameters);
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}
