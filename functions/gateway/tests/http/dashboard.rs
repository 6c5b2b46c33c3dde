//! The page and its parts as a browser asks for them, whether the program was built with the dashboard or
//! not.

use crate::world::{World, problem, sent};
use reqwest::{Method, StatusCode};

/// Addresses on this server that a page names.
fn named(html: &str) -> Vec<&str> {
    html.split('"').filter(|word| word.starts_with('/') && word.contains('.')).collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_names_is_served_from_here_and_runs_nothing_inline() {
    let world = World::new().await;
    let page = world.get("/").await;
    let header = |name: &str| page.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        (header("cache-control").as_str(), header("x-content-type-options").as_str()),
        ("no-cache", "nosniff")
    );
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.expect("a page");
    assert!(!html.contains("<style") && !html.contains("style=") && !html.contains("://"), "{html}");
    for script in html.match_indices("<script") {
        assert!(html[script.0..].split('>').next().is_some_and(|tag| tag.contains("src=")), "{html}");
    }
    let names = named(&html);
    assert!(names.len() >= 3, "{html}");
    for name in names {
        let part = world.get(name).await;
        assert_eq!(part.status(), StatusCode::OK, "{name}");
        let cache = part.headers()["cache-control"].to_str().expect("text").to_owned();
        assert_eq!(cache.contains("immutable"), name.starts_with("/assets/"), "{name}: {cache}");
        if let Some(etag) = part.headers().get("etag") {
            let again = sent(world.call(Method::GET, name).header("if-none-match", etag)).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
            assert_eq!(again.text().await.expect("nothing"), "", "{name}");
        }
    }
}

#[tokio::test]
async fn a_part_that_is_not_there_is_a_problem_and_never_a_page() {
    let world = World::new().await;
    for name in ["old-1a2b3c4d.js", "..%2findex.html", "index.html"] {
        problem(world.get(&format!("/assets/{name}")).await, 404, "not-found").await;
    }
}
