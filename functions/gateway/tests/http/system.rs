//! Whether it lives, what it can do, who may call, and what every answer carries.

use crate::world::{World, json, problem, sent};
use reqwest::{Method, StatusCode};

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn it_says_that_it_lives_is_ready_what_it_measures_and_what_it_can_do() {
    let world = World::new().await;
    for path in ["/livez", "/readyz"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status(), answer.text().await.expect("text").as_str()), (StatusCode::OK, "ok"));
    }
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(metrics.text().await.expect("text"), "meshwright_test_total 1\n");
    let version = json(world.get("/api/version").await, StatusCode::OK).await;
    assert_eq!(version, serde_json::json!({"name": "meshwright", "version": "1.2.3"}));

    // Every option that it names is taken.
    let can = json(world.get("/api/capabilities").await, StatusCode::OK).await;
    assert_eq!(can["upload_bytes_max"], 1000);
    for (name, values) in can["options"].as_object().expect("options") {
        let range = values["minimum"].as_u64().into_iter().chain(values["maximum"].as_u64());
        let range = range.map(|value| value.to_string());
        let words = values.as_array().into_iter().flatten();
        let words = words.map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        for value in range.chain(words) {
            json(world.post(&format!("/api/jobs?{name}={value}"), "p").await, StatusCode::ACCEPTED).await;
        }
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_told_or_done() {
    let world = World::with_token(Some(TOKEN)).await;
    let job = "/api/jobs/0123456789abcdef0123456789abcdef";
    let closed = [
        (Method::GET, "/api/jobs".to_owned()),
        (Method::POST, "/api/jobs".to_owned()),
        (Method::GET, job.to_owned()),
        (Method::GET, format!("{job}/upload")),
        (Method::GET, format!("{job}/events")),
        (Method::GET, format!("{job}/artifacts/model.glb")),
        (Method::POST, format!("{job}/cancel")),
        (Method::POST, format!("{job}/redrive")),
        (Method::POST, format!("{job}/retry")),
        (Method::GET, "/api/events".to_owned()),
        (Method::GET, "/api/dead-letters".to_owned()),
        (Method::POST, "/api/dead-letters/x/redrive".to_owned()),
        (Method::POST, "/api/sweep".to_owned()),
        (Method::GET, "/metrics".to_owned()),
    ];
    let almost = format!("Bearer {}", &TOKEN[1..]);
    for (method, path) in closed {
        for said in ["", "Bearer", "Bearer ", &almost, TOKEN, "Basic 0123"] {
            let call = world.call(method.clone(), &path);
            let call = if said.is_empty() { call } else { call.header("authorization", said) };
            let answer = sent(call).await;
            assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{method} {path}");
            problem(answer, 401, "unauthorized").await;
        }
    }
    let in_query = world.get(&format!("/api/jobs?token={TOKEN}")).await;
    problem(in_query, 401, "unauthorized").await;
    let answer = sent(world.call(Method::GET, "/api/jobs").bearer_auth(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    for open in ["/", "/app.js", "/style.css", "/livez", "/readyz", "/api/version", "/api/openapi.json"] {
        assert_eq!(world.get(open).await.status(), StatusCode::OK, "{open}");
    }
}

#[tokio::test]
async fn every_answer_forbids_guessing_framing_and_foreign_content() {
    let world = World::with_token(Some(TOKEN)).await;
    let paths = ["/", "/app.js", "/livez", "/api/jobs", "/api/nothing", "/nothing.html", "/api/openapi.json"];
    for (method, path) in paths.map(|path| (Method::GET, path)).into_iter().chain([(Method::DELETE, "/")]) {
        let answer = sent(world.call(method, path)).await;
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(
            policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_address_or_method_is_a_problem() {
    let world = World::new().await;
    for path in ["/api", "/api/nothing", "/index.php", "/api/jobs/", "//", "/..%2f..%2fetc/passwd"] {
        problem(world.get(path).await, 404, "not-found").await;
    }
    for (method, path) in [(Method::DELETE, "/api/jobs"), (Method::PUT, "/"), (Method::GET, "/api/sweep")] {
        let answer = sent(world.call(method, path)).await;
        assert!(answer.headers().contains_key("allow"), "{path}");
        problem(answer, 405, "wrong-method").await;
    }
}

#[tokio::test]
async fn the_page_and_its_parts_have_their_types() {
    let world = World::new().await;
    let parts = [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")];
    for (path, kind) in parts {
        let answer = world.get(path).await;
        assert_eq!(answer.headers()["content-type"], format!("{kind}; charset=utf-8"));
        assert!(!answer.text().await.expect("text").is_empty());
    }
}
