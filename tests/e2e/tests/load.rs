//! A load on a running service, what it says of it, and which functions compute meanwhile, read by somebody
//! else's tool.

use anyhow::{Context, Result, ensure};
use e2e::{Said, picture, say};
use harness::{Child, Scratch, Signal, meshwright, output, until};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const WITHIN: Duration = Duration::from_secs(90);

/// A running service, and the address of its page.
async fn up(scratch: &Scratch) -> Result<(Child, String)> {
    let data = scratch.path().join("data").display().to_string();
    let words = ["up", "--s3", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--data", &data];
    let mut child = Child::spawn(meshwright("up", words.map(str::to_owned))?.folder(scratch.path()))?;
    child.wait_for_line("its last line", WITHIN, |line: &str| line.starts_with("Ctrl-C")).await?;
    let said = child.stdout();
    let page = said.lines().find_map(|line| line.strip_prefix("Page and HTTP API"));
    let page = page.with_context(|| format!("no page in {said}"))?.trim().to_owned();
    Ok((child, page))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_says_how_long_its_jobs_took_by_stage_and_phase() {
    let scratch = Scratch::new("load").expect("a folder");
    let (_child, page) = up(&scratch).await.expect("a start");
    let plot = scratch.path().join("load.svg").display().to_string();
    let words = ["load", "--json", "--ramp", "2..6", "--jobs", "8", "-o", "quality=draft", "--plot", &plot];
    let said = say(&page, &words).await.expect("an end");
    let told = said.objects().expect("one object");
    let report = &told[0];
    assert_eq!((said.code, told.len()), (Some(0), 1), "{said:?}");
    assert_eq!((&report["jobs"]["sent"], &report["jobs"]["done"]), (&8.into(), &8.into()), "{report}");
    assert_eq!(report["latency"]["count"], 8, "{report}");
    assert!(report["throughput_per_s"].as_f64() > Some(0.0), "{report}");
    let stages = report["stages"].as_array().expect("stages");
    let tasks: Vec<_> = stages.iter().map(|stage| stage["tasks"].as_u64()).collect();
    assert_eq!(tasks, [Some(8); 4], "{report}");
    let drawn = std::fs::read_to_string(&plot).expect("a picture");
    assert!(drawn.starts_with("<svg") && drawn.contains("asked for"), "{drawn}");

    // With a picture that is none, and for a person.
    let images = scratch.path().join("images");
    std::fs::create_dir(&images).expect("a folder");
    std::fs::write(images.join("a.png"), picture(1)).expect("a picture");
    std::fs::write(images.join("b.png"), "no picture").expect("a file");
    let images = images.display().to_string();
    let said = say(&page, &["load", "--rate", "5/s", "--jobs", "4", "--images", &images]).await;
    let said = said.expect("an end");
    for part in [
        "in all",
        "p99 ms",
        "  compute",
        "4 sent, 2 done, 2 rejected",
        "2 x this is no picture",
        "late at most",
    ] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_load_with_its_table() {
    let scratch = Scratch::new("load_ends").expect("a folder");
    let (_child, page) = up(&scratch).await.expect("a start");
    let words = ["load", "--rate", "2/s", "--for", "1h", "--server", &page];
    let spec = meshwright("load", words.map(str::to_owned)).expect("a binary").folder(scratch.path());
    let mut load = Child::spawn(spec).expect("a start");
    until("a line about jobs that are done", WITHIN, async || {
        let is_done = |line: &str| line.contains(" sent, ") && !line.contains(", 0 done");
        Ok(load.stderr().lines().any(is_done).then_some(()))
    })
    .await
    .expect("in time");
    load.signal(Signal::INT).expect("a signal");
    let status = load.wait(WITHIN).await.expect("an end");
    let out = load.stdout();
    assert_eq!(status.code(), Some(0), "{out}");
    assert!(out.contains("ended early, of 7200 jobs") && out.contains("  compute"), "{out}");
}

/// What is drawn, and what was told beside it.
async fn flame(page: &str, scratch: &Scratch, words: &[&str]) -> Result<(String, Said)> {
    let file = scratch.path().join("flame.svg").display().to_string();
    let said = say(page, &[&["profile", "--flame", &file, "--seconds", "1"][..], words].concat()).await?;
    ensure!(said.code == Some(0), "{words:?}: {said:?}");
    Ok((std::fs::read_to_string(&file)?, said))
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_compute_are_named_here_and_by_a_foreign_tool() {
    let scratch = Scratch::new("sampled").expect("a folder");
    let (_child, page) = up(&scratch).await.expect("a start");
    let (svg, said) = flame(&page, &scratch, &["--stage", "shape"]).await.expect("a picture");
    assert!(svg.contains("shape::") && said.out.contains("flame graph: "), "{said:?}");
    let chair = scratch.path().join("chair.png");
    std::fs::write(&chair, picture(4)).expect("a picture");
    let chair = chair.display().to_string();
    let (svg, _) =
        flame(&page, &scratch, &["--stage", "preprocess", "--image", &chair]).await.expect("a picture");
    // What is inlined is named without its crate.
    assert!(svg.contains("letterbox"), "{svg}");

    let sent = say(&page, &["submit", "--json", "--watch", &chair]).await.expect("a job");
    let told = sent.objects().expect("one object per line");
    let job = told[0]["id"].as_str().expect("a job").to_owned();
    assert_eq!(told.last().expect("a last line")["kind"], "phases", "{sent:?}");
    let (svg, said) = flame(&page, &scratch, &[&job, "--json"]).await.expect("a picture");
    assert!(svg.contains("texture::") && svg.contains("export::"), "{said:?}");
    let answer = &said.objects().expect("one object")[0];
    assert!(answer["samples"].as_u64() > Some(0) && answer["busiest"].is_array(), "{answer}");

    // The service itself, while it has something to do.
    let load = ["load", "--rate", "10/s", "--jobs", "30", "-o", "quality=draft"];
    let (loaded, profile) = tokio::join!(say(&page, &load), sampled(&page, scratch.path()));
    assert_eq!(loaded.expect("an end").code, Some(0));
    let top = profile.expect("a profile");
    assert!(top.contains("Showing nodes accounting for") && top.contains("flat%"), "{top}");
}

/// What `go tool pprof` makes of the service's own profile.
async fn sampled(page: &str, folder: &Path) -> Result<String> {
    let answer = reqwest::get(format!("{page}/debug/pprof/profile?seconds=2")).await?.error_for_status()?;
    let file = folder.join("profile.pb.gz");
    std::fs::write(&file, answer.bytes().await?)?;
    let mut go = Command::new("go");
    go.args(["tool", "pprof", "-top"]).arg(&file);
    output(go, WITHIN).await
}
