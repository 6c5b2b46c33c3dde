//! A disk that is full while work is under way: nothing is lost, whoever asks is told, the log does not
//! flood, and everything goes on once there is room again.

use anyhow::{Context, Result};
use e2e::picture;
use harness::{Child, Scratch, Spec, meshwright, until};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(90);
/// Room for the pictures and models of this test, and the least that does not count as full.
const DISK_MIB: usize = 64;

/// `up` on a small disk of its own, which goes with the process.
struct Small {
    child: Child,
    data: PathBuf,
    page: String,
}

impl Small {
    async fn start(scratch: &Scratch) -> Result<Small> {
        let data = scratch.path().join("data");
        std::fs::create_dir(&data)?;
        let up = meshwright("up", Vec::<String>::new())?;
        let mount = format!("mount -t tmpfs -o size={DISK_MIB}m small \"$1\" && shift && exec \"$@\"");
        let spec = Spec::new("up", "unshare").args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"]);
        let spec = spec.arg(&data).arg(up.program()).args(["up", "--s3", "127.0.0.1:0"]);
        let spec = spec.args(["--listen", "127.0.0.1:0", "--data"]).arg(&data).folder(scratch.path());
        let mut child = Child::spawn(spec)?;
        child.wait_for_line("its last line", WITHIN, |line| line.starts_with("Ctrl-C")).await?;
        let said = child.stdout();
        let page = said.lines().find_map(|line| line.strip_prefix("Page and HTTP API"));
        let page = page.context("its first line")?.trim().to_owned();
        Ok(Small { child, data, page })
    }

    /// The file that takes all the room, seen from outside.
    fn filler(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.pid()));
        root.join(self.data.strip_prefix("/").unwrap_or(&self.data)).join("filler")
    }

    fn fill(&self) -> Result<()> {
        let mut filler = std::fs::File::create(self.filler())?;
        for chunk in [1 << 20, 1 << 12] {
            while filler.write_all(&vec![0; chunk]).is_ok() {}
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(u16, String)> {
        let answer = reqwest::get(format!("{}/readyz", self.page)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn post(&self, n: u32) -> Result<(u16, serde_json::Value)> {
        let url = format!("{}/api/jobs?name=small-{n}.png", self.page);
        let post = reqwest::Client::new().post(url).header("content-type", "image/png").body(picture(n));
        let answer = post.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn done(&self, count: usize) -> Result<()> {
        until("models", WITHIN, async || {
            let listed = reqwest::get(format!("{}/api/jobs?state=done", self.page)).await?;
            let listed: serde_json::Value = listed.json().await?;
            Ok(listed["jobs"].as_array().is_some_and(|jobs| jobs.len() == count).then_some(()))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_says_so_once_and_work_goes_on_when_there_is_room() {
    let scratch = Scratch::new("full").expect("a folder");
    let small = Small::start(&scratch).await.expect("a start on a small disk");
    assert_eq!(small.ready().await.expect("an answer").0, 200);
    for n in 0..4 {
        assert_eq!(small.post(n).await.expect("an answer").0, 202);
    }
    // In the middle of their work, or right behind it.
    small.fill().expect("a full disk");
    let (status, why) = small.ready().await.expect("an answer");
    assert!(status == 503 && why.contains("is full") && why.contains("make room"), "{status} {why}");
    let (status, problem) = small.post(9).await.expect("an answer");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(status == 507 && detail.contains("make room"), "{status} {problem}");
    let full = "the disk of";
    small_says(&small, full).await.expect("a word in the log");
    std::fs::remove_file(small.filler()).expect("room again");
    assert_eq!(small.ready().await.expect("an answer").0, 200);
    assert_eq!(small.post(10).await.expect("an answer").0, 202);
    small.done(5).await.expect("five models");
    small_says(&small, "the disk has room again").await.expect("a word in the log");
    let log = small.child.stderr();
    assert_eq!(log.matches(full).count(), 1, "{log}");
    assert!(log.lines().count() < 60, "{log}");
}

async fn small_says(small: &Small, words: &str) -> Result<()> {
    until(words, WITHIN, async || Ok(small.child.stderr().contains(words).then_some(()))).await
}
