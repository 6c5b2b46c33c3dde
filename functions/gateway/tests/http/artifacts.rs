//! Files of a job.

use crate::world::{World, problem, sent};
use domain::{Ending, Stage};
use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, StatusCode};

const GLB: &[u8] = b"0123456789abcdef";

async fn world() -> (World, String) {
    let world = World::new().await;
    let job = world.job("/api/jobs?name=a.png", b"\x89PNG picture").await.job_id();
    world.commit(job, Stage::Shape, &[("mesh.glb", "model/gltf-binary", b"raw mesh")]).await;
    let files: [(&str, &str, &[u8]); 4] = [
        ("model.glb", "model/gltf-binary", GLB),
        ("model.stl", "model/stl", b"solid"),
        ("preview.png", "image/png", b"\x89PNG preview"),
        ("empty.txt", "text/plain", b""),
    ];
    world.commit(job, Stage::Export, &files).await;
    world.decide(job, 0, Ending::Done { files: vec![], unpublished: None }).await;
    (world, format!("/api/jobs/{job}"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_file_has_its_type_length_and_etag() {
    let (world, job) = world().await;
    let check = async |name: &str, kind: &str, content: &[u8]| {
        let path = format!("{job}/artifacts/{name}");
        let answer = world.get(&path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        let headers = answer.headers().clone();
        assert_eq!(text(&headers, "content-type"), kind, "{name}");
        assert_eq!(text(&headers, "content-length"), content.len().to_string(), "{name}");
        assert_eq!(text(&headers, "accept-ranges"), "bytes");
        assert_eq!(answer.bytes().await.expect("a body"), content, "{name}");

        let head = sent(world.call(Method::HEAD, &path)).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(text(head.headers(), "content-length"), content.len().to_string(), "HEAD {name}");
        headers
    };
    let glb = check("model.glb", "model/gltf-binary", GLB).await;
    assert_eq!(text(&glb, "content-disposition"), "attachment; filename=\"model.glb\"");
    let stl = check("model.stl", "model/stl", b"solid").await;
    assert_ne!(text(&glb, "etag"), text(&stl, "etag"));
    let preview = check("preview.png", "image/png", b"\x89PNG preview").await;
    assert_eq!(text(&preview, "content-disposition"), "");
    check("mesh.glb", "model/gltf-binary", b"raw mesh").await;
    check("empty.txt", "text/plain", b"").await;
}

#[tokio::test]
async fn a_file_that_the_caller_has_is_not_sent_again() {
    let (world, job) = world().await;
    let path = format!("{job}/artifacts/model.glb");
    let etag = text(world.get(&path).await.headers(), "etag").to_owned();
    let check = async |said: &str, status: StatusCode| {
        let answer = sent(world.call(Method::GET, &path).header("if-none-match", said)).await;
        assert_eq!((answer.status(), text(answer.headers(), "etag")), (status, etag.as_str()), "{said}");
    };
    check(&etag, StatusCode::NOT_MODIFIED).await;
    check(&format!("\"x\", W/{etag}"), StatusCode::NOT_MODIFIED).await;
    check("*", StatusCode::NOT_MODIFIED).await;
    check("\"x\"", StatusCode::OK).await;
}

#[tokio::test]
async fn ranges_are_sent_as_the_standard_says() {
    let (world, job) = world().await;
    let path = format!("{job}/artifacts/model.glb");
    let check = async |range: &str, said: &str, content: &[u8]| {
        let answer = sent(world.call(Method::GET, &path).header(RANGE, range)).await;
        let status = if said.is_empty() { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(text(answer.headers(), "content-range"), said, "{range}");
        assert_eq!(text(answer.headers(), "content-length"), content.len().to_string(), "{range}");
        assert_eq!(answer.bytes().await.expect("a body"), content, "{range}");
    };
    check("bytes=0-3", "bytes 0-3/16", b"0123").await;
    check("bytes=10-", "bytes 10-15/16", b"abcdef").await;
    check("bytes=-2", "bytes 14-15/16", b"ef").await;
    check("bytes=10-99", "bytes 10-15/16", b"abcdef").await;
    check("bytes=3-1", "", GLB).await;
    check("bytes=0-1,4-5", "", GLB).await;

    let refused = sent(world.call(Method::GET, &path).header(RANGE, "bytes=16-")).await;
    assert_eq!(text(refused.headers(), "content-range"), "bytes */16");
    problem(refused, 416, "bad-range").await;

    let etag = text(world.get(&path).await.headers(), "etag").to_owned();
    for (said, status) in [(etag.as_str(), StatusCode::PARTIAL_CONTENT), ("\"old\"", StatusCode::OK)] {
        let call = world.call(Method::GET, &path).header(RANGE, "bytes=0-3").header("if-range", said);
        assert_eq!(sent(call).await.status(), status, "{said}");
    }
}

#[tokio::test]
async fn a_large_file_arrives_whole() {
    let world = World::new().await;
    let job = world.job("/api/jobs", b"picture").await.job_id();
    // Longer than two pieces, and no two parts of it alike.
    let content: Vec<u8> = (0u32..2_500_000).flat_map(u32::to_le_bytes).collect();
    world.commit(job, Stage::Export, &[("model.glb", "model/gltf-binary", &content)]).await;
    let path = format!("/api/jobs/{job}/artifacts/model.glb");
    let answer = world.get(&path).await;
    assert_eq!(text(answer.headers(), "content-length"), content.len().to_string());
    assert!(answer.bytes().await.expect("a body") == content);
    let middle = sent(world.call(Method::GET, &path).header(RANGE, "bytes=1000-9000000")).await;
    assert!(middle.bytes().await.expect("a body") == content[1000..=9_000_000]);
}

#[tokio::test]
async fn a_wrong_name_is_a_problem_and_never_a_page() {
    let (world, job) = world().await;
    let names = ["model.obj", "start", "..%2fmodel.glb", "..%2f..%2fstate.json", "index.html", "a/b", ""];
    let tricks = ["..", "%2e%2e", "..%5cmodel.glb", "model.glb%00", "%2fetc%2fpasswd", "model.glb%2f..", "."];
    let names = names.into_iter().chain(tricks);
    for name in names {
        problem(world.get(&format!("{job}/artifacts/{name}")).await, 404, "not-found").await;
    }
}

#[tokio::test]
async fn a_file_that_was_collected_is_a_problem() {
    let (world, job) = world().await;
    let listed = ports::list_all(&*world.ports.store, "state", "a/").await.expect("a list");
    let keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    world.ports.store.delete("state", &keys).await.expect("deleted");
    let detail = problem(world.get(&format!("{job}/artifacts/model.glb")).await, 404, "not-found").await;
    assert!(detail.contains("collected"), "{detail}");
}

#[tokio::test]
async fn an_upload_is_served_as_a_file_is() {
    let (world, job) = world().await;
    let path = format!("{job}/upload");
    let whole = world.get(&path).await;
    let headers = whole.headers().clone();
    let content = whole.bytes().await.expect("a body");
    assert_eq!(text(&headers, "content-length"), content.len().to_string());
    assert!(text(&headers, "cache-control").contains("immutable"));
    let etag = text(&headers, "etag");
    let again = sent(world.call(Method::GET, &path).header("if-none-match", etag)).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let part = sent(world.call(Method::GET, &path).header(RANGE, "bytes=1-3")).await;
    assert_eq!(
        (part.status(), text(part.headers(), "content-type")),
        (StatusCode::PARTIAL_CONTENT, "image/png")
    );
    assert_eq!(part.bytes().await.expect("a body"), &content[1..=3]);
}

/// The record names it, and no limit of this server says that its own upload cannot be looked at.
#[tokio::test]
async fn an_upload_that_was_rejected_as_too_large_can_be_looked_at() {
    let world = World::new().await;
    let record = world.job("/api/jobs?name=a.png", b"picture").await;
    static LARGE: [u8; 5_000] = [7; 5_000];
    world.put("large.png", &LARGE).await;
    let info = world.ports.store.head("uploads", "large.png").await.expect("a head").expect("an object");
    let mut rejected = record;
    rejected.upload.key = "large.png".to_owned();
    (rejected.upload.etag, rejected.upload.size_bytes) = (info.etag, info.size);
    rejected.upload.last_modified_s = info.last_modified_s;
    world.decide(rejected.job_id(), 0, Ending::Rejected { reason: "too large".into() }).await;
    world.ledger().put_record(&rejected).await.expect("written");
    let answer = world.get(&format!("/api/jobs/{}/upload", rejected.job_id())).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.bytes().await.expect("a body").len(), LARGE.len());
}

#[tokio::test]
async fn files_that_retention_removed_are_not_shown() {
    let (world, job) = world().await;
    let names = async || {
        let shown = crate::world::json(world.get(&job).await, StatusCode::OK).await;
        let files = shown["artifacts"].as_array().expect("files").clone();
        files.iter().map(|file| file["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert!(names().await.contains(&"mesh.glb".to_owned()));
    let listed = ports::list_all(&*world.ports.store, "state", "a/").await.expect("a list");
    let keys = listed
        .into_iter()
        .map(|object| object.key)
        .filter(|key| key.ends_with("mesh.glb"))
        .collect::<Vec<_>>();
    world.ports.store.delete("state", &keys).await.expect("deleted");
    let left = names().await;
    assert!(left.contains(&"model.glb".to_owned()) && !left.contains(&"mesh.glb".to_owned()), "{left:?}");
}

#[tokio::test]
async fn an_upload_is_shown_as_the_picture_that_it_is() {
    let (world, job) = world().await;
    let answer = world.get(&format!("{job}/upload")).await;
    assert_eq!(text(answer.headers(), "content-type"), "image/png");
    assert_eq!(answer.bytes().await.expect("a body"), &b"\x89PNG picture"[..]);
    // A page that calls itself a picture is no page here.
    let page = world.job("/api/jobs?name=a.html", b"<script>alert(1)</script>").await.job_id();
    let answer = world.get(&format!("/api/jobs/{page}/upload")).await;
    assert_eq!(text(answer.headers(), "content-type"), "application/octet-stream");
    assert_eq!(text(answer.headers(), "x-content-type-options"), "nosniff");
}
