//! A set-up that cannot work ends with one sentence that says what to do, and an exit code that a script can
//! tell apart, before anything is bound. `doctor` says the same of each part alone.

use anyhow::{Context, Result, ensure};
use e2e::Said;
use harness::{
    Child, NatsConfig, NatsServer, Proxy, ROLE_PASSWORD, Scratch, Spec, Stack, StackConfig, meshwright,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const CONFIG: i32 = 78;
const UNAVAILABLE: i32 = 69;
const IO: i32 = 74;

/// A secret that is wrong.
const NOT_THE_SECRET: &str = "not-the-secret";
/// What Rust programs say to their authors.
const FOR_AUTHORS: [&str; 6] = [" {", "{ ", "Some(", "Err(", "Error(", "Failure("];

/// What is wrong with a set-up.
#[derive(Clone, Default)]
struct Wrong {
    nats_url: Option<String>,
    nats_password: Option<&'static str>,
    s3_url: Option<String>,
    secret_key: Option<&'static str>,
    site: Option<String>,
    /// More of the configuration.
    more: &'static str,
    listen: Option<&'static str>,
}

struct Parts {
    stack: Stack,
    scratch: Scratch,
    /// Has the port that every process is told to listen on: whoever comes so far says so.
    somebody: TcpListener,
}

const SITE: &str = "store = 'minio'\nstate = 'state'\nmodels = 'models'\n[[site.inputs]]\n\
                    bucket = 'uploads'\ntenant = 'shop'\n";

impl Parts {
    async fn start() -> Parts {
        let config = StackConfig {
            nats: NatsConfig::with_roles().expect("a checkout"),
            store_user: Some(("store".to_owned(), ROLE_PASSWORD.to_owned())),
            buckets: ["state", "models"].map(str::to_owned).into(),
            ..StackConfig::default()
        };
        let stack = Stack::start(config, async |_| Ok(())).await.expect("servers");
        let somebody = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Parts { stack, scratch: Scratch::new("refusals").expect("a folder"), somebody }
    }

    /// A process of this set-up.
    fn spec(&self, name: &str, words: &[&str], wrong: &Wrong) -> Result<Spec> {
        let endpoint = self.stack.minio.endpoint();
        let file = self.scratch.path().join(format!("{name}.toml"));
        let nats = wrong.nats_url.clone().unwrap_or_else(|| self.stack.nats.url());
        let s3 = wrong.s3_url.as_ref().unwrap_or(&endpoint.url);
        let (site, more) = (wrong.site.as_deref().unwrap_or(SITE), wrong.more);
        std::fs::write(
            &file,
            format!("[nats]\nurl = '{nats}'\n[s3]\nendpoint = '{s3}'\n[site]\n{site}{more}"),
        )?;
        let spec = meshwright(name, words.iter().map(|word| (*word).to_owned()))?
            .env("MESHWRIGHT_CONFIG", &file)
            .env("MESHWRIGHT_NATS_USER", "admin")
            .env("MESHWRIGHT_NATS_PASSWORD", wrong.nats_password.unwrap_or(ROLE_PASSWORD))
            .env("AWS_ACCESS_KEY_ID", &endpoint.access_key)
            .env("AWS_SECRET_ACCESS_KEY", wrong.secret_key.unwrap_or(&endpoint.secret_key));
        Ok(spec.folder(self.scratch.path()))
    }

    /// Starts a process of this set-up and waits for its end.
    async fn check(&self, name: &str, wrong: Wrong, code: i32, sentence: &[&str]) {
        self.run(name, wrong, code, sentence).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }

    async fn run(&self, name: &str, wrong: Wrong, code: i32, sentence: &[&str]) -> Result<()> {
        let taken = self.somebody.local_addr()?.to_string();
        let listen = wrong.listen.unwrap_or(&taken);
        let words = ["run", "ingest", "planner", "gateway", "--listen", listen];
        let said = Said::of(self.spec(name, &words, &wrong)?).await?;
        let lines: Vec<&str> = said.err.lines().filter(|line| line.starts_with("meshwright: ")).collect();
        ensure!(lines.len() == 1, "it said {said:?}");
        for part in sentence {
            ensure!(lines[0].contains(part), "it said {:?}, not {part:?}", lines[0]);
        }
        check_words(lines[0])?;
        check_secrets(&said)?;
        ensure!(said.code == Some(code), "it ended with {:?}", said.code);
        ensure!(said.out.is_empty(), "it was bound: {}", said.out);
        Ok(())
    }

    /// What `doctor` finds, by what it looked at: whether it is well, and the text.
    async fn doctor(&self, name: &str, wrong: Wrong, code: i32) -> Result<BTreeMap<String, (bool, String)>> {
        let said = Said::of(self.spec(name, &["doctor", "--json"], &wrong)?).await?;
        ensure!(said.code == Some(code), "{said:?}");
        check_secrets(&said)?;
        let verdict = said.err.lines().last().unwrap_or_default();
        ensure!(code == 0 || verdict.contains(&format!("\"exit_code\":{code}")), "{said:?}");
        let mut found = BTreeMap::new();
        for of in said.objects()? {
            let text = |name: &str| of[name].as_str().map(str::to_owned).with_context(|| format!("{of}"));
            check_words(&text("text")?)?;
            found.insert(text("check")?, (of["ok"] == true, text("text")?));
        }
        Ok(found)
    }
}

/// A sentence is for a person.
fn check_words(sentence: &str) -> Result<()> {
    for part in FOR_AUTHORS {
        ensure!(!sentence.contains(part), "{part:?} is in {sentence:?}");
    }
    Ok(())
}

/// Not even a wrong secret is told, nor logged.
fn check_secrets(said: &Said) -> Result<()> {
    for secret in [NOT_THE_SECRET, ROLE_PASSWORD] {
        ensure!(!said.out.contains(secret) && !said.err.contains(secret), "{secret} is in {said:?}");
    }
    Ok(())
}

/// A set-up with one part that is wrong.
fn wrong(change: impl FnOnce(&mut Wrong)) -> Wrong {
    let mut wrong = Wrong::default();
    change(&mut wrong);
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_with_a_sentence_and_an_exit_code_before_anything_is_bound() {
    let parts = Parts::start().await;
    let unusable = |bucket: &str| format!("bucket {bucket:?} cannot be used: ");
    let (uploads, nowhere) = (&*unusable("uploads"), &*unusable("nowhere"));

    let set = wrong(|wrong| wrong.secret_key = Some(NOT_THE_SECRET));
    let sentence = [uploads, "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let that user list it"];
    parts.check("wrong-secret", set, CONFIG, &sentence).await;
    let set = wrong(|wrong| wrong.site = Some(SITE.replace("'state'", "'nowhere'")));
    let sentence = [nowhere, "make it, or correct its name under [site]"];
    parts.check("missing-bucket", set, CONFIG, &sentence).await;
    let set = wrong(|wrong| wrong.s3_url = Some("http://127.0.0.1:1".to_owned()));
    let sentence = [uploads, "start the store at http://127.0.0.1:1, or correct s3.endpoint"];
    parts.check("no-store", set, UNAVAILABLE, &sentence).await;
    let set = wrong(|wrong| wrong.nats_url = Some("nats://127.0.0.1:1".to_owned()));
    let sentence = ["no NATS server answers at nats://127.0.0.1:1", "start one, or correct nats.url"];
    parts.check("no-broker", set, UNAVAILABLE, &sentence).await;
    let set = wrong(|wrong| wrong.nats_password = Some(NOT_THE_SECRET));
    let sentence = ["refuses these credentials", "correct nats.user and nats.password"];
    parts.check("wrong-password", set, CONFIG, &sentence).await;
    let set = wrong(|wrong| wrong.site = Some(SITE.replace("models = 'models'", "models = 'uploads'")));
    parts.check("overlapping-buckets", set, CONFIG, &["bucket \"uploads\" is named twice"]).await;
    let set = wrong(|wrong| wrong.site = Some(SITE.replace("'shop'", "'Shop 1'")));
    parts.check("bad-tenant", set, CONFIG, &["TenantId must match [a-z0-9-]{1,32}"]).await;
    let set = wrong(|wrong| wrong.listen = Some("0.0.0.0:0"));
    parts.check("open-gateway", set, CONFIG, &["without a token"]).await;
    let set = wrong(|wrong| wrong.more = "[gateway]\ntoken = 'guess me'\n");
    parts.check("short-token", set, CONFIG, &["token has 8 characters"]).await;
    let set = wrong(|wrong| wrong.more = "[ingest]\nkeep = 'much'\n");
    parts.check("no-size", set, CONFIG, &["use a size, as 50GB"]).await;
    // All these came before the port, which is somebody else's: with nothing wrong it is the next to be told.
    let sentence = ["listen on 127.0.0.1:", "choose another address with --listen"];
    parts.check("taken-port", Wrong::default(), IO, &sentence).await;
}

/// Whether `doctor` finds this and no more, and says these words of it.
fn check_found(found: &BTreeMap<String, (bool, String)>, bad: &str, words: &[&str]) {
    let of_here = ["memory", "GPU", "runner", "matting", "configuration"];
    let parts: Vec<&str> = of_here.into_iter().chain(["object store", "bucket events", "NATS"]).collect();
    for part in parts.iter().copied() {
        let (is_well, text) = found.get(part).unwrap_or_else(|| panic!("nothing of {part} in {found:?}"));
        assert_eq!(*is_well, part != bad, "{part}: {text}");
        assert!(part != bad || words.iter().all(|word| text.contains(word)), "{part}: {text}");
    }
    assert_eq!(found.len(), parts.len(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_of_each_part_whether_it_is_well_and_what_to_do() {
    let mut parts = Parts::start().await;
    let found = parts.doctor("well", Wrong::default(), 0).await.expect("findings");
    check_found(&found, "nothing", &[]);
    assert!(found["configuration"].1.contains("uploads") && found["configuration"].1.contains("models"));
    assert!(found["object store"].1.contains("conditional writes are atomic"), "{found:?}");
    assert!(found["NATS"].1.contains("it lets us in"), "{found:?}");
    let set = wrong(|wrong| wrong.secret_key = Some(NOT_THE_SECRET));
    let found = parts.doctor("secret", set, CONFIG).await.expect("findings");
    check_found(&found, "object store", &["bucket \"uploads\"", "correct AWS_ACCESS_KEY_ID"]);
    parts.stack.minio.remove_events("uploads").await.expect("an answer");
    let found = parts.doctor("events", Wrong::default(), CONFIG).await.expect("findings");
    check_found(&found, "bucket events", &["uploads tells nobody", "subject s3ev.minio"]);
    parts.stack.minio.add_events("uploads").await.expect("an answer");
    let set = wrong(|wrong| wrong.nats_password = Some(NOT_THE_SECRET));
    let found = parts.doctor("password", set, CONFIG).await.expect("findings");
    check_found(&found, "NATS", &["refuses these credentials"]);
    parts.stack.nats.kill().expect("killed");
    let found = parts.doctor("broker", Wrong::default(), UNAVAILABLE).await.expect("findings");
    let url = parts.stack.nats.url();
    check_found(&found, "NATS", &["no NATS server answers", &url, "start one"]);
    parts.stack.nats.restart().await.expect("started");
    parts.stack.minio.kill().expect("killed");
    let found = parts.doctor("store", Wrong::default(), UNAVAILABLE).await.expect("findings");
    let url = parts.stack.minio.endpoint().url;
    check_found(&found, "object store", &["bucket \"uploads\"", &format!("start the store at {url}")]);
}

/// A process without a gateway tells its surroundings how it is.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_has_metrics_where_it_is_told_to() {
    let parts = Parts::start().await;
    let words = ["run", "planner", "shape", "--listen", "127.0.0.1:0", "--json"];
    let spec = parts.spec("metrics", &words, &Wrong::default()).expect("the binary");
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

/// A link to the store.
async fn link(parts: &Parts) -> Proxy {
    let endpoint = parts.stack.minio.endpoint();
    Proxy::start(endpoint.url.trim_start_matches("http://")).await.expect("a proxy")
}

/// Refusals of a conditional write, and what they become.
const CARELESS: [(&str, &str); 3] = [
    ("HTTP/1.1 412 Precondition Failed", "HTTP/1.1 200 OK"),
    ("<Error>", "<Fine_>"),
    ("</Error>", "</Fine_>"),
];

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_keep_their_promises_are_refused() {
    let parts = Parts::start().await;
    // A real server that gives itself out as the one in Debian 12.
    let old = Proxy::start(&parts.stack.nats.address()).await.expect("a proxy");
    let version = version(&parts.stack.nats).await;
    old.rewrite(&format!("\"version\":\"{version}\""), "\"version\":\"2.9.10\"");
    let set = wrong(|wrong| wrong.nats_url = Some(format!("nats://{}", old.address())));
    parts
        .check("old-broker", set, CONFIG, &["the NATS server is version 2.9.10", "use 2.14.3 or newer"])
        .await;
    // A real store whose refusals of a second create arrive as successes, as from one that ignores them.
    let careless = link(&parts).await;
    CARELESS.iter().for_each(|(from, to)| careless.rewrite(from, to));
    let set = wrong(|wrong| wrong.s3_url = Some(format!("http://{}", careless.address())));
    let sentence = ["let 2 of 2 writers create the same object", "does not honour `If-None-Match: *`"];
    parts.check("careless-store", set, CONFIG, &sentence).await;
    // One that takes creates seriously, and overwrites whatever etag was asked for.
    let careless = link(&parts).await;
    CARELESS.iter().for_each(|(from, to)| careless.rewrite_answers_to("\r\nif-match: ", from, to));
    let set = wrong(|wrong| wrong.s3_url = Some(format!("http://{}", careless.address())));
    let sentence = ["bucket \"state\"", "does not honour `If-Match` on PUT"];
    parts.check("overwriting-store", set, CONFIG, &sentence).await;
}

/// What the server gives itself out as.
async fn version(server: &NatsServer) -> String {
    let said = reqwest::get(format!("{}/varz", server.monitor_url())).await.expect("an answer");
    let varz: serde_json::Value = said.json().await.expect("a JSON answer");
    varz["version"].as_str().expect("a version").to_owned()
}
