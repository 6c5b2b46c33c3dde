//! A set-up that cannot work ends with one sentence that says what to do, and an exit code that a script can
//! tell apart, before anything is bound.

use anyhow::{Context, Result, ensure};
use harness::{Child, NatsServer, Proxy, Scratch, Stack, StackConfig, meshwright};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const CONFIG: i32 = 78;
const UNAVAILABLE: i32 = 69;

/// What is wrong with a set-up.
#[derive(Clone, Default)]
struct Wrong {
    nats_url: Option<String>,
    s3_url: Option<String>,
    secret_key: Option<&'static str>,
    site: Option<&'static str>,
    /// More of the configuration.
    more: &'static str,
    listen: Option<&'static str>,
}

struct Parts {
    stack: Stack,
    scratch: Scratch,
}

const SITE: &str = "store = 'minio'\nstate = 'state'\nmodels = 'models'\n[[site.inputs]]\n\
                    bucket = 'uploads'\ntenant = 'shop'\n";

impl Parts {
    async fn start() -> Parts {
        let buckets = vec!["uploads".to_owned(), "state".to_owned(), "models".to_owned()];
        let config = StackConfig { event_buckets: Vec::new(), buckets, ..StackConfig::default() };
        let stack = Stack::start(config, async |_| Ok(())).await.expect("servers");
        Parts { stack, scratch: Scratch::new("refusals").expect("a folder") }
    }

    /// Starts a process of this set-up and waits for its end.
    async fn check(&self, name: &str, wrong: Wrong, code: i32, sentence: &str) {
        self.run(name, wrong, code, sentence).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }

    async fn run(&self, name: &str, wrong: Wrong, code: i32, sentence: &str) -> Result<()> {
        let endpoint = self.stack.minio.endpoint();
        let file = self.scratch.path().join(format!("{name}.toml"));
        let nats = wrong.nats_url.unwrap_or_else(|| self.stack.nats.url());
        let s3 = wrong.s3_url.unwrap_or_else(|| endpoint.url.clone());
        let site = wrong.site.unwrap_or(SITE);
        let secret = wrong.secret_key.unwrap_or(&endpoint.secret_key).to_owned();
        std::fs::write(
            &file,
            format!("[nats]\nurl = '{nats}'\n[s3]\nendpoint = '{s3}'\n[site]\n{site}{}", wrong.more),
        )?;
        let listen = wrong.listen.unwrap_or("127.0.0.1:0");
        let spec = meshwright(name, ["run", "ingest", "planner", "gateway", "--listen", listen])?
            .env("MESHWRIGHT_CONFIG", &file)
            .env("AWS_ACCESS_KEY_ID", &endpoint.access_key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .folder(self.scratch.path());
        let mut child = Child::spawn(spec)?;
        let status = child.wait(WITHIN).await.context("the process goes on")?;
        let said = child.stderr();
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("meshwright: ")).collect();
        ensure!(lines.len() == 1, "it said {said:?}");
        ensure!(lines[0].contains(sentence), "it said {said:?}, not {sentence:?}");
        ensure!(status.code() == Some(code), "it ended with {status}");
        ensure!(child.stdout().is_empty(), "it was bound: {}", child.stdout());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_with_a_sentence_and_an_exit_code() {
    let parts = Parts::start().await;
    let wrong = Wrong { secret_key: Some("not-the-secret"), ..Wrong::default() };
    parts.check("wrong-credentials", wrong, CONFIG, "bucket \"uploads\" cannot be used").await;
    let site = SITE.replace("'state'", "'nowhere'").leak();
    let wrong = Wrong { site: Some(site), ..Wrong::default() };
    parts.check("missing-bucket", wrong, CONFIG, "bucket \"nowhere\" cannot be used").await;
    let site = SITE.replace("models = 'models'", "models = 'uploads'").leak();
    let wrong = Wrong { site: Some(site), ..Wrong::default() };
    parts.check("overlapping-buckets", wrong, CONFIG, "bucket \"uploads\" is named twice").await;
    let site = SITE.replace("'shop'", "'Shop 1'").leak();
    let wrong = Wrong { site: Some(site), ..Wrong::default() };
    parts.check("bad-tenant", wrong, CONFIG, "TenantId must match [a-z0-9-]{1,32}").await;
    let wrong = Wrong { s3_url: Some("http://127.0.0.1:1".to_owned()), ..Wrong::default() };
    parts.check("no-store", wrong, UNAVAILABLE, "bucket \"uploads\" cannot be used").await;
    let wrong = Wrong { nats_url: Some("nats://127.0.0.1:1".to_owned()), ..Wrong::default() };
    parts.check("no-broker", wrong, UNAVAILABLE, "nats://127.0.0.1:1").await;
    let wrong = Wrong { listen: Some("0.0.0.0:0"), ..Wrong::default() };
    parts.check("open-gateway", wrong, CONFIG, "without a token").await;
    let wrong = Wrong { more: "[gateway]\ntoken = 'guess me'\n", ..Wrong::default() };
    parts.check("short-token", wrong, CONFIG, "token has 8 characters").await;
    let wrong = Wrong { more: "[ingest]\nkeep = 'much'\n", ..Wrong::default() };
    parts.check("no-size", wrong, CONFIG, "use a size, as 50GB").await;
}

/// A process without a gateway tells its surroundings how it is.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_has_metrics_where_it_is_told_to() {
    let parts = Parts::start().await;
    let endpoint = parts.stack.minio.endpoint();
    let file = parts.scratch.path().join("metrics.toml");
    let (nats, s3) = (parts.stack.nats.url(), &endpoint.url);
    std::fs::write(&file, format!("[nats]\nurl = '{nats}'\n[s3]\nendpoint = '{s3}'\n[site]\n{SITE}"))
        .expect("a file");
    let spec = meshwright("metrics", ["run", "planner", "shape", "--listen", "127.0.0.1:0", "--json"])
        .expect("the binary")
        .env("MESHWRIGHT_CONFIG", &file)
        .env("AWS_ACCESS_KEY_ID", &endpoint.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &endpoint.secret_key)
        .folder(parts.scratch.path());
    let mut child = Child::spawn(spec).expect("a start");
    let ready = |line: &str| line.contains("\"ready\":true");
    child.wait_for_line("that it is ready", WITHIN, ready).await.expect("a line");
    let said: serde_json::Value = serde_json::from_str(child.stdout().trim()).expect("one object");
    let base = said["metrics"].as_str().expect("an address").to_owned();
    for (path, part) in [("livez", "ok"), ("readyz", "ok"), ("metrics", "# TYPE ")] {
        let answer = reqwest::get(format!("{base}/{path}")).await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        assert!(answer.text().await.expect("a text").contains(part), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_keep_their_promises_are_refused() {
    let parts = Parts::start().await;
    // A real server that gives itself out as the one in Debian 12.
    let old = Proxy::start(&parts.stack.nats.address()).await.expect("a proxy");
    let version = version(&parts.stack.nats).await;
    old.rewrite(&format!("\"version\":\"{version}\""), "\"version\":\"2.9.10\"");
    let wrong = Wrong { nats_url: Some(format!("nats://{}", old.address())), ..Wrong::default() };
    parts.check("old-broker", wrong, CONFIG, "the NATS server is version 2.9.10").await;
    // A real store whose refusals of a second create arrive as successes, as from one that ignores them.
    let endpoint = parts.stack.minio.endpoint();
    let careless = Proxy::start(endpoint.url.trim_start_matches("http://")).await.expect("a proxy");
    careless.rewrite("HTTP/1.1 412 Precondition Failed", "HTTP/1.1 200 OK");
    careless.rewrite("<Error>", "<Fine_>");
    careless.rewrite("</Error>", "</Fine_>");
    let wrong = Wrong { s3_url: Some(format!("http://{}", careless.address())), ..Wrong::default() };
    parts.check("careless-store", wrong, CONFIG, "let 2 of 2 writers create the same object").await;
}

/// What the server gives itself out as.
async fn version(server: &NatsServer) -> String {
    let said = reqwest::get(format!("{}/varz", server.monitor_url())).await.expect("an answer");
    let varz: serde_json::Value = said.json().await.expect("a JSON answer");
    varz["version"].as_str().expect("a version").to_owned()
}
