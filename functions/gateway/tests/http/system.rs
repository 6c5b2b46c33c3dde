//! Whether it lives, what it can do, who may call, and what every answer carries.

use crate::world::{METRICS_TEXT, World, json, problem, sent};
use domain::Quality;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

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
    assert_eq!(metrics.text().await.expect("text"), METRICS_TEXT);
    let version = json(world.get("/api/version").await, StatusCode::OK).await;
    assert_eq!(version, serde_json::json!({"name": "meshwright", "version": "1.2.3"}));

    // Every option that it names is taken.
    let can = json(world.get("/api/capabilities").await, StatusCode::OK).await;
    assert_eq!(can["upload_bytes_max"], 1000);
    assert_eq!((&can["preview"], &can["matting"]), (&"preview.png".into(), &false.into()));
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
async fn what_a_form_needs_is_told_and_taken() {
    let mut world = World::new().await;
    world.site.inputs[0].recipe.quality = Quality::Draft;
    world.restart_gateway().await;
    let can = json(world.get("/api/capabilities").await, StatusCode::OK).await;
    let options = can["recipe"].as_array().expect("options");
    let option = |name: &str| options.iter().find(|option| option["name"] == name).expect("an option");
    assert_eq!(option("quality")["default"], "draft");
    assert_eq!(option("size-mm")["formats"], json!(["stl", "ply", "3mf"]));
    let (depth, mask) = (option("depth-mm"), option("mask"));
    assert_eq!(
        (&depth["minimum"], &depth["step"], &depth["unit"]),
        (&json!(0.1), &json!(0.001), &json!("mm"))
    );
    assert_eq!((&depth["engines"], &depth["rare"]), (&json!(["relief"]), &json!(true)));
    assert_eq!(depth["default_with_curve"], json!({"raised": "3", "lithophane": "2.2"}));
    assert_eq!((&mask["words"], &mask["default"]), (&json!(["alpha", "plain", "whole"]), &Value::Null));
    for option in options {
        let words = option["words"].as_array().into_iter().flatten();
        let words = words.map(|word| word.as_str().expect("a word").to_owned());
        let ends = [&option["minimum"], &option["maximum"]].into_iter().filter_map(Value::as_f64);
        let (name, engine) = (&option["name"], &option["engines"][0]);
        for value in words.chain(ends.map(|end| end.to_string())) {
            let [name, engine] = [name, engine].map(|word| word.as_str().expect("a word"));
            let said = if name == "engine" { String::new() } else { format!("&engine={engine}") };
            let path = format!("/api/jobs?{name}={value}{said}");
            json(world.post(&path, "p").await, StatusCode::ACCEPTED).await;
        }
    }
    assert_eq!(
        (&can["networks"][0]["name"], &can["networks"][0]["licence"]),
        (&json!("cutter"), &json!("MIT"))
    );
    let limits = &can["limits"];
    assert_eq!((&limits["upload_bytes_max"], &limits["jobs_per_minute_max"]), (&json!(1000), &Value::Null));
    assert_eq!(limits["picture_pixels_max"], 40_000_000);
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
        (Method::GET, format!("{job}/profile")),
        (Method::GET, "/api/performance/summary".to_owned()),
        (Method::GET, "/api/performance/bottlenecks".to_owned()),
        (Method::GET, "/api/performance/recommendations".to_owned()),
        (Method::GET, "/api/devices".to_owned()),
        (Method::GET, "/metrics".to_owned()),
        (Method::GET, "/debug/pprof/profile".to_owned()),
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
    assert_eq!(world.get("/icon.svg").await.headers()["content-type"], "image/svg+xml");
    let parts = [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")];
    for (path, kind) in parts {
        let answer = world.get(path).await;
        assert_eq!(answer.headers()["content-type"], format!("{kind}; charset=utf-8"));
        assert!(!answer.text().await.expect("text").is_empty());
    }
}

#[tokio::test]
async fn without_its_bucket_it_is_not_ready() {
    let mut world = World::new().await;
    world.site.state = "nowhere".to_owned();
    world.restart_gateway().await;
    let detail = problem(world.get("/readyz").await, 503, "unavailable").await;
    assert!(detail.contains("bucket"), "{detail}");
    assert_eq!(world.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_and_reads_nothing_under_a_borrowed_name() {
    let world = World::new().await;
    let post = async |headers: &[(&str, &str)]| {
        let call = world.call(Method::POST, "/api/jobs").body("picture");
        sent(headers.iter().fold(call, |call, (name, value)| call.header(*name, *value))).await
    };
    for foreign in ["https://evil.example", "http://127.0.0.1:1", "http://localhost", "null"] {
        problem(post(&[("origin", foreign)]).await, 403, "foreign-origin").await;
    }
    problem(post(&[("sec-fetch-site", "cross-site")]).await, 403, "foreign-origin").await;
    let own = format!("http://{}", world.address());
    for ours in [own.as_str(), "https://models.example.org"] {
        assert_eq!(post(&[("origin", ours)]).await.status(), StatusCode::ACCEPTED, "{ours}");
    }
    // A name that somebody else points to this machine.
    for (method, path) in [(Method::GET, "/api/jobs"), (Method::POST, "/api/sweep"), (Method::GET, "/")] {
        let call = world.call(method, path).header("host", "rebound.example:80");
        problem(sent(call).await, 421, "foreign-host").await;
    }
    let get = async |path: &str, host: &str| {
        sent(world.call(Method::GET, path).header("host", host)).await.status()
    };
    assert_eq!(get("/livez", "10.1.2.3").await, StatusCode::OK);
    for ours in ["localhost:9", "[::1]", "models.example.org:443"] {
        assert_eq!(get("/api/jobs", ours).await, StatusCode::OK, "{ours}");
    }
    // Who has the token is no stranger, whatever proxy stands between.
    let world = World::with_token(Some(TOKEN)).await;
    let call = world.call(Method::POST, "/api/jobs").body("picture").bearer_auth(TOKEN);
    let call = call.header("host", "behind.example").header("origin", "https://elsewhere.example");
    assert_eq!(sent(call).await.status(), StatusCode::ACCEPTED);
}
