//! Prometheus as it is shipped scrapes a real run: every recording rule and every panel of the dashboards has
//! something to show, and exactly the alerts fire for which there is a reason.

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Setup, picture};
use harness::{Child, Spec, output, tool, until, until_every};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const WITHIN: Duration = Duration::from_secs(180);
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Building Prometheus, where it is missing, is done before; this is for promtool's own work.
const TOOL_WITHIN: Duration = Duration::from_secs(60);
/// How often all that still has nothing to show is asked for again, after one more upload.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A question to Prometheus, and who asks it.
struct Query {
    who: String,
    expression: String,
    shown: bool,
}

impl Query {
    fn new(who: String, expression: String) -> Query {
        Query { who, expression, shown: false }
    }
}

fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("rust-toolchain.toml").is_file());
    root.map(Path::to_owned).with_context(|| format!("{} lies in no checkout", here.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    ensure!(!files.is_empty(), "{} is empty", folder.display());
    Ok(files)
}

/// The shipped folder, with these addresses and a second between scrapes.
async fn configure(cluster: &Cluster, exporter: &str) -> Result<PathBuf> {
    let (shipped, ours) = (root()?.join("infra/prometheus"), cluster.scratch.path().join("prometheus"));
    for folder in ["rules", "targets"] {
        std::fs::create_dir_all(ours.join(folder))?;
    }
    for file in files(&shipped.join("rules"))? {
        std::fs::copy(&file, ours.join("rules").join(file.file_name().context("a name")?))?;
    }
    let config = std::fs::read_to_string(shipped.join("prometheus.yml"))?;
    ensure!(config.matches("_interval: 15s").count() == 2, "two intervals are to be shortened");
    std::fs::write(ours.join("prometheus.yml"), config.replace("_interval: 15s", "_interval: 1s"))?;

    let said = cluster.processes.values().map(|child| child.said_since_start()[0].clone());
    let listening = |said: String| {
        let address = said.lines().find_map(|line| line.split_once(" on http://"))?.1.to_owned();
        Some(address)
    };
    let processes: Vec<String> = said.filter_map(listening).collect();
    ensure!(processes.len() == cluster.processes.len(), "only {processes:?} say where they listen");
    let store = cluster.stack.minio.endpoint().url;
    let targets = [
        ("meshwright", processes.join(", ")),
        ("nats", exporter.to_owned()),
        ("minio", store.trim_start_matches("http://").to_owned()),
    ];
    for (job, addresses) in targets {
        ensure!(shipped.join(format!("targets/{job}.yml")).is_file(), "no example of targets for {job}");
        std::fs::write(ours.join(format!("targets/{job}.yml")), format!("- targets: [{addresses}]\n"))?;
    }
    let said = cluster.stack.minio.mc(["admin", "prometheus", "generate", "local"]).await?;
    let token = said.lines().find_map(|line| line.trim().strip_prefix("bearer_token: "));
    std::fs::write(ours.join("minio.token"), token.with_context(|| format!("no token in {said:?}"))?)?;
    Ok(ours)
}

async fn promtool(args: &[&str], paths: &[PathBuf]) -> Result<String> {
    let mut command = Command::new(tool("promtool")?);
    command.args(args).args(paths);
    output(command, TOOL_WITHIN).await
}

/// What `infra/prometheus/nats_exporter.py` serves for this broker, and where.
async fn start_exporter(monitor: &str) -> Result<(Child, String)> {
    let spec = Spec::new("nats-exporter", "python3")
        .arg(root()?.join("infra/prometheus/nats_exporter.py"))
        .args(["--listen", "127.0.0.1:0", "--monitor", monitor]);
    let mut child = Child::spawn(spec)?;
    let ready = |line: &str| line.starts_with("metrics on ");
    let line = child.wait_for_line("its address", READY_WITHIN, ready).await?;
    let address = line.rsplit("http://").next().context("an address")?.to_owned();
    Ok((child, address))
}

/// A Prometheus that scrapes.
struct Prometheus {
    _child: Child,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    async fn start(folder: &Path, http: reqwest::Client) -> Result<Prometheus> {
        let spec = Spec::new("prometheus", tool("prometheus")?)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .folder(folder);
        let mut child = Child::spawn(spec)?;
        let listening = |line: &str| line.contains("Listening on");
        let line = child.wait_for_line("its address", READY_WITHIN, listening).await?;
        let ready = |line: &str| line.contains("Server is ready to receive web requests");
        child.wait_for_line("readiness", READY_WITHIN, ready).await?;
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        let url = format!("http://{}", address.with_context(|| format!("no address in {line:?}"))?);
        Ok(Prometheus { _child: child, url, http })
    }

    /// `data` of an answer that succeeds.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let call = self.http.get(format!("{}/api/v1/{path}", self.url)).query(query);
        let mut answer: Value = serde_json::from_slice(&call.send().await?.bytes().await?)?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {answer}");
        Ok(answer["data"].take())
    }

    /// Whether there is something to show: at least one series whose value is a number.
    async fn shows(&self, expression: &str) -> Result<bool> {
        let data = self.ask("query", &[("query", expression)]).await?;
        let results = data["result"].as_array().context("a list of series")?;
        let number = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        Ok(results.iter().filter_map(number).any(f64::is_finite))
    }

    /// All rules of one type, `record` or `alert`.
    async fn rules(&self, kind: &str) -> Result<Vec<Value>> {
        let data = self.ask("rules", &[("type", kind)]).await?;
        let groups = data["groups"].as_array().context("groups")?;
        let rules: Vec<Value> =
            groups.iter().flat_map(|g| g["rules"].as_array()).flatten().cloned().collect();
        ensure!(!rules.is_empty(), "no rules of type {kind}");
        Ok(rules)
    }

    /// What each recording rule asks, and what it recorded.
    async fn recorded(&self) -> Result<Vec<Query>> {
        let mut queries = Vec::new();
        for rule in self.rules("record").await? {
            let name = rule["name"].as_str().context("a name")?;
            let labels = rule["labels"].as_object().into_iter().flatten();
            let labels: Vec<String> = labels.map(|(label, value)| format!("{label}={value}")).collect();
            let recorded = format!("{name}{{{}}}", labels.join(","));
            let asked = rule["query"].as_str().context("a query")?.to_owned();
            queries.push(Query::new(format!("rule {recorded}"), asked));
            queries.push(Query::new(format!("series {recorded}"), recorded));
        }
        Ok(queries)
    }

    /// The alerts that fire.
    async fn firing(&self) -> Result<BTreeSet<String>> {
        let alerts = self.rules("alert").await?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| Ok(alert["name"].as_str().context("a name")?.to_owned())).collect()
    }
}

/// What the panels and variables of all dashboards ask. Variables stand for everything.
fn dashboards() -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for file in files(&root()?.join("infra/grafana/dashboards"))? {
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let title = dashboard["title"].as_str().context("a title")?;
        let mut names = Vec::new();
        for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
            let (name, asks) = (&variable["name"], &variable["query"]["query"]);
            let asks = asks.as_str().and_then(|asks| asks.strip_prefix("label_values(")?.strip_suffix(')'));
            let (series, label) =
                asks.and_then(|asks| asks.split_once(", ")).context("label_values(a, b)")?;
            names.push(format!("${}", name.as_str().context("a name")?));
            let expression = format!("count by ({label}) ({series}{{{label}!=\"\"}})");
            queries.push(Query::new(format!("{title}: variable {name}"), expression));
        }
        for panel in dashboard["panels"].as_array().context("panels")?.iter().filter(|p| p["type"] != "row") {
            let who = format!("{title}: {}", panel["title"]);
            let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty());
            for target in targets.with_context(|| format!("{who} asks nothing"))? {
                let asked =
                    target["expr"].as_str().with_context(|| format!("{who} has no query"))?.to_owned();
                let expression = names.iter().fold(asked, |asked, name| asked.replace(name, ".+"));
                ensure!(!expression.contains('$'), "{who} has a variable that is not there: {expression}");
                queries.push(Query::new(who.clone(), expression));
            }
        }
    }
    Ok(queries)
}

/// Uploads that become models, and one for each thing that goes wrong: a runner that always dies, a device
/// that breaks, a picture that needs more memory than the least reservation.
async fn run_badly(cluster: &Cluster) -> Result<()> {
    let loads = ["stage=shape,end=abort", "stage=texture,end=broken", "stage=preprocess,per-item=400MiB"];
    for (n, load) in (0..).zip(loads) {
        cluster.put_with(picture(n), &format!("bad/{n}.png"), ("synthetic", load)).await?;
    }
    cluster.sweep(true).await?;
    Ok(())
}

/// Uploads and asks until everything has shown something once.
async fn all_show(cluster: &Cluster, prometheus: &Prometheus, mut queries: Vec<Query>) -> Result<()> {
    let mut uploads = 0;
    let waited = until_every(ASK_EVERY, "data in every rule and panel", WITHIN, async || {
        uploads += 1;
        cluster.put(picture(uploads), &format!("good/{uploads}.png")).await?;
        for query in queries.iter_mut().filter(|query| !query.shown) {
            query.shown = prometheus.shows(&query.expression).await?;
        }
        Ok(queries.iter().all(|query| query.shown).then_some(()))
    });
    let waited = waited.await;
    let silent = queries.iter().filter(|query| !query.shown);
    let silent: Vec<String> = silent.map(|q| format!("{}: {}", q.who, q.expression)).collect();
    waited.with_context(|| format!("nothing to show:\n{}", silent.join("\n")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_and_panel_has_data_from_a_real_run_and_the_right_alerts_fire() {
    // Before anything runs: where Prometheus is missing, it is built now.
    tool("prometheus").expect("Prometheus");
    let cluster = Cluster::start(Setup { synthetic: true, ..Setup::default() }).await.expect("a cluster");
    let monitor = cluster.stack.nats.monitor_url();
    let (_exporter, exporter) = start_exporter(&monitor).await.expect("an exporter");
    let folder = configure(&cluster, &exporter).await.expect("a configuration");
    let config = folder.join("prometheus.yml");
    promtool(&["check", "config"], &[config]).await.expect("a good configuration");
    let prometheus = Prometheus::start(&folder, cluster.http()).await.expect("Prometheus");

    // What happened before the first scrape is no news to it.
    let count = cluster.processes.len() + 2;
    until("a scrape of every target", WITHIN, async || {
        Ok(prometheus.shows(&format!("count(up == 1) == {count}")).await?.then_some(()))
    })
    .await
    .expect("targets that answer");

    // A client that follows, for as long as its answer is held.
    let url = cluster.gateway_url().expect("an address");
    let _following = reqwest::get(format!("{url}/api/events")).await.expect("a stream of events");
    run_badly(&cluster).await.expect("uploads");
    let mut queries = dashboards().expect("dashboards");
    assert!(queries.len() > 50, "only {} queries in the dashboards", queries.len());
    queries.extend(prometheus.recorded().await.expect("rules"));
    all_show(&cluster, &prometheus, queries).await.expect("data everywhere");

    let due: BTreeSet<String> = ["MeshwrightDeadLetters", "MeshwrightDeviceLost"].map(str::to_owned).into();
    let fire = until("the alerts that are due", WITHIN, async || {
        let firing: BTreeSet<String> = prometheus.firing().await?;
        ensure!(firing.is_subset(&due), "{firing:?} fire, and {due:?} are due");
        Ok((firing == due).then_some(()))
    });
    fire.await.expect("alerts");
    for kind in ["record", "alert"] {
        for rule in prometheus.rules(kind).await.expect("rules") {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_valid_and_each_alert_passes_its_unit_tests() {
    let folder = root().expect("a checkout").join("infra/prometheus");
    let (rules, tests) = (files(&folder.join("rules")), files(&folder.join("tests")));
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &rules.expect("rules")).await.expect("rules");
    promtool(&["test", "rules"], &tests.expect("tests")).await.expect("tests that pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_whose_broker_is_gone_says_so_and_goes_on_when_it_is_back() {
    let mut nats = harness::NatsServer::start(harness::NatsConfig::default()).await.expect("a server");
    let (_exporter, address) = start_exporter(&nats.monitor_url()).await.expect("an exporter");
    let http = reqwest::Client::builder().timeout(READY_WITHIN).build().expect("a client");
    let status = async |path: &str| {
        let answer = http.get(format!("http://{address}{path}")).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    let (code, text) = status("/metrics").await;
    assert!(code == 200 && text.contains("gnatsd_varz_connections{server_id="), "{code} {text}");
    assert_eq!(status("/other").await.0, 404);
    nats.kill().expect("killed");
    assert_eq!(status("/metrics").await.0, 502);
    nats.restart().await.expect("started");
    assert_eq!(status("/metrics").await.0, 200);
}

/// Lines of the guide that a person is told to type, without the prompt of anybody.
fn commands(page: &str) -> Vec<Vec<String>> {
    let (mut found, mut shell) = (Vec::new(), false);
    for line in page.lines() {
        if line.starts_with("```") {
            shell = line == "```sh";
        } else if let Some(args) = line.strip_prefix("meshwright ").filter(|_| shell) {
            found.push(args.split_whitespace().map(str::to_owned).collect());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_runbooks_exists() {
    let guide = root().expect("a checkout").join("infra/guide/src");
    let pages = files(&guide.join("runbooks")).expect("pages");
    let mut told = BTreeSet::new();
    for page in pages.into_iter().chain([guide.join("runbooks.md")]) {
        told.extend(commands(&std::fs::read_to_string(&page).expect("a page")));
    }
    assert!(told.len() >= 8, "{told:?}");
    // One that does not exist is found out: help is given only where all that stands before it is known.
    let wrong = ["dead-letter mend JOB", "run shape --devices host", "sweep JOB"];
    let wrong = wrong.map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    for (args, known) in told.iter().map(|args| (args, true)).chain(wrong.iter().map(|args| (args, false))) {
        let spec = harness::meshwright("help", args.iter().cloned().chain(["--help".to_owned()]));
        let mut child = Child::spawn(spec.expect("a binary")).expect("started");
        let status = child.wait(READY_WITHIN).await.expect("an end");
        assert_eq!(status.success(), known, "meshwright {}", args.join(" "));
    }
}
