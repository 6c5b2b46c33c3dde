//! A real `meshwright up` used by other people's programs: the dashboard by Chromium (what it does and looks
//! at is in `browser/`), the API by schemathesis.

use anyhow::Result;
use e2e::picture;
use harness::{Child, Scratch, meshwright, output, tool};
use std::time::Duration;
use tokio::process::Command;

const WITHIN: Duration = Duration::from_secs(90);
/// Starting a browser and going through every view twice, on two cores that compile or test something else.
const BROWSER_WITHIN: Duration = Duration::from_secs(300);

/// Some thousand calls.
const CALLS_WITHIN: Duration = Duration::from_secs(240);
/// Every call that the document allows, and many that it forbids. Streams have no end to judge.
const CALLS: [&str; 13] = [
    "--checks",
    "all",
    "--phases",
    "examples,coverage,fuzzing,stateful",
    "--max-examples",
    "10",
    "--seed",
    "1",
    "--request-timeout",
    "20",
    "--no-color",
    "--exclude-path-regex",
    "(events|/ws)$",
];

/// The address of the page, once it is served.
async fn page(child: &mut Child) -> Result<String> {
    let first = |line: &str| line.starts_with("Page and HTTP API");
    let line = child.wait_for_line("its page", WITHIN, first).await?;
    Ok(line.trim_start_matches("Page and HTTP API").trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_drops_a_picture_sees_it_become_a_model_and_turns_it() {
    let scratch = Scratch::new("browser").expect("a folder");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (data, file) = (path("data"), path("duck.png"));
    let args = ["up", "--s3", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--data", &data];
    let spec = meshwright("up", args).expect("the binary").folder(scratch.path());
    let mut child = Child::spawn(spec).expect("a start");
    let page = page(&mut child).await.expect("a page");
    std::fs::write(&file, picture(5)).expect("a picture");
    let script = std::env::current_dir().expect("the checkout").join("browser/dashboard.mjs");
    let mut browser = Command::new(tool("browser").expect("the browser"));
    browser.arg(script).args([&page, &file, &path("")]);
    let said = output(browser, BROWSER_WITHIN).await.expect("what the steps assert");
    println!("{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_made_from_the_apis_document_find_no_fault() {
    let scratch = Scratch::new("calls").expect("a folder");
    let data = scratch.path().join("data").display().to_string();
    let args = ["up", "--s3", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--data", &data];
    let spec = meshwright("up", args).expect("the binary").folder(scratch.path());
    let mut child = Child::spawn(spec).expect("a start");
    let page = page(&mut child).await.expect("a page");
    let judged = std::env::current_dir().expect("the checkout").join("calls.toml");
    let mut calls = Command::new(tool("schemathesis").expect("schemathesis"));
    calls
        .arg("--config-file")
        .arg(judged)
        .arg("run")
        .arg(format!("{page}/api/openapi.json"))
        .args(CALLS)
        .current_dir(scratch.path());
    output(calls, CALLS_WITHIN).await.expect("no fault in what it prints");
}
