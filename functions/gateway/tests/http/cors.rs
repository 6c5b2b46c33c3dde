//! Pages of other origins: only those that are configured, and what they are told.

use crate::world::{World, problem, sent};
use reqwest::{Method, Response, StatusCode};

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// As a browser asks for a page of another site.
async fn from_page(world: &World, origin: &str, method: Method, headers: &[(&str, &str)]) -> Response {
    let path = if method == Method::GET { "/api/jobs" } else { "/api/jobs?name=a.png" };
    let call = world.call(method, path).header("origin", origin);
    let call = call.header("sec-fetch-site", "cross-site").body("picture");
    sent(headers.iter().fold(call, |call, (name, value)| call.header(*name, *value))).await
}

async fn preflight(world: &World, origin: &str) -> Response {
    let asks = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,idempotency-key"),
    ];
    from_page(world, origin, Method::OPTIONS, &asks).await
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().expect("text"))
}

fn allows(answer: &Response) -> Option<&str> {
    header(answer, "access-control-allow-origin")
}

#[tokio::test]
async fn unless_origins_are_configured_no_answer_tells_of_any() {
    let world = World::new().await;
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let answer = from_page(&world, SHOP, method, &[]).await;
        let foreign = |name: &str| name.starts_with("access-control-") || name == "vary";
        assert!(!answer.headers().keys().any(|name| foreign(name.as_str())), "{answer:?}");
    }
    problem(preflight(&world, SHOP).await, 405, "wrong-method").await;
}

#[tokio::test]
async fn a_named_origin_may_call_and_read_and_another_may_not() {
    let mut world = World::new().await;
    world.open_to(&[SHOP, "http://localhost:3000"], None).await;
    let asked = preflight(&world, SHOP).await;
    assert_eq!((asked.status(), allows(&asked)), (StatusCode::OK, Some(SHOP)));
    let may_send = header(&asked, "access-control-allow-headers").expect("headers").to_owned();
    for name in ["authorization", "content-type", "idempotency-key", "last-event-id"] {
        assert!(may_send.split(',').any(|of| of.trim() == name), "{may_send}");
    }
    assert_eq!(header(&asked, "access-control-allow-methods"), Some("GET,POST"));
    assert_eq!(header(&asked, "access-control-allow-credentials"), None);

    let made = from_page(&world, SHOP, Method::POST, &[]).await;
    assert_eq!((made.status(), allows(&made)), (StatusCode::ACCEPTED, Some(SHOP)));
    assert!(header(&made, "access-control-expose-headers").is_some_and(|names| names.contains("location")));
    for (origin, expect) in [(SHOP, Some(SHOP)), (EVIL, None)] {
        let read = from_page(&world, origin, Method::GET, &[]).await;
        assert_eq!((read.status(), allows(&read)), (StatusCode::OK, expect));
        // A cache between must not give one origin what another was told.
        assert!(header(&read, "vary").is_some_and(|vary| vary.contains("origin")), "{read:?}");
    }
    assert_eq!(allows(&preflight(&world, EVIL).await), None);
    let origins =
        [EVIL, "https://shop.example.evil.example", "http://shop.example", "https://shop.example:8443"];
    for origin in origins.into_iter().chain(["null"]) {
        let refused = from_page(&world, origin, Method::POST, &[]).await;
        assert_eq!(allows(&refused), None, "{origin}");
        problem(refused, 403, "foreign-origin").await;
    }
    // Also a page that may call does so under a name of ours.
    let rebound = from_page(&world, SHOP, Method::POST, &[("host", "rebound.example")]).await;
    problem(rebound, 421, "foreign-host").await;
}

#[tokio::test]
async fn a_page_that_may_call_needs_the_token_and_may_read_that_it_does() {
    let mut world = World::new().await;
    world.open_to(&[SHOP], Some(TOKEN)).await;
    // A browser asks beforehand without it.
    assert_eq!(allows(&preflight(&world, SHOP).await), Some(SHOP));
    let refused = from_page(&world, SHOP, Method::POST, &[]).await;
    assert_eq!(allows(&refused), Some(SHOP));
    problem(refused, 401, "unauthorized").await;
    let bearer = format!("Bearer {TOKEN}");
    let made = from_page(&world, SHOP, Method::POST, &[("authorization", &bearer)]).await;
    assert_eq!((made.status(), allows(&made)), (StatusCode::ACCEPTED, Some(SHOP)));
    let bad = sent(world.call(Method::GET, "/api/jobs?colour=red").header("origin", SHOP).bearer_auth(TOKEN));
    let bad = bad.await;
    assert_eq!(allows(&bad), Some(SHOP));
    problem(bad, 400, "bad-request").await;
}
