//! The guide, the rules of Prometheus and the dashboards say what the code says: the page of metrics is made
//! from the table, only metrics of the table are asked for, and each alert has its runbook and its tests.

use domain::metrics::{METRICS, Metric, MetricKind, MetricUnit};
use std::collections::BTreeSet;
use std::path::Path;
use tidy::{Finding, report, root};

/// The page that is made from the table.
const PAGE: &str = "infra/guide/src/metrics.md";
/// What a label says whose values the table does not list.
const OPEN: &str = "named by the configuration, or by the table of routes";
/// Set when the page is to be written anew.
const WRITE: &str = "MESHWRIGHT_WRITE_GUIDE";
const SUMMARY: &str = "infra/guide/src/SUMMARY.md";
const ALERTS: &str = "infra/prometheus/rules/alerts.yml";

/// Files below a folder whose names end so: path from the root, and text.
fn files(folder: &str, end: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root().join(folder), end, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} has files that end in {end}");
    found
}

fn walk(folder: &Path, end: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            walk(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            let file = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            found.push((file, std::fs::read_to_string(&path).expect("a text")));
        }
    }
}

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Made from shared/domain/src/metrics.rs by tests/tidy/tests/guide.rs. -->\n\n\
         Everything that the processes of Meshwright count. Units are base units, and labels come from\n\
         closed sets: no key of an upload and no text from outside makes a series. A series appears with\n\
         its first event. A histogram `NAME` is there as `NAME_bucket`, `NAME_sum` and `NAME_count`.\n",
    );
    METRICS.iter().for_each(|metric| page += &section(metric));
    page
}

fn section(metric: &Metric) -> String {
    let kind = match metric.kind {
        MetricKind::Counter => "Counter",
        MetricKind::Gauge => "Gauge",
        MetricKind::Histogram(_) => "Histogram",
    };
    let unit = match metric.unit {
        MetricUnit::Count => "a number",
        MetricUnit::Seconds => "seconds",
        MetricUnit::Bytes => "bytes",
        MetricUnit::Ratio => "a share, 0 to 1",
    };
    let mut section = format!("\n## `{}`\n\n{kind}, {unit}: {}.\n", metric.name, metric.help);
    let mut items = Vec::new();
    for label in metric.labels {
        let values: Vec<String> = label.values.iter().map(|value| format!("`{value}`")).collect();
        let values = if values.is_empty() { OPEN.to_owned() } else { values.join(", ") };
        items.push(format!("- `{}`: {values}\n", label.name));
    }
    if let MetricKind::Histogram(bounds) = metric.kind {
        let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
        items.push(format!("- bounds of its buckets: {}\n", bounds.join(", ")));
    }
    if !items.is_empty() {
        section += &format!("\n{}", items.concat());
    }
    section
}

#[test]
fn the_page_of_metrics_is_the_table() {
    let made = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(root().join(PAGE), &made).expect("a page");
    }
    let found = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    let differs = found.lines().zip(made.lines()).position(|(found, made)| found != made);
    let line = differs.unwrap_or(found.lines().count().min(made.lines().count())) + 1;
    let advice = format!("differs from the table: run `{WRITE}=1 cargo test -p tidy --test guide`");
    report((found != made).then(|| Finding::new(PAGE, line, advice)));
}

/// Names of our metrics in a line; names of recorded series have a colon and are not among them.
fn asked_for(line: &str) -> Vec<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '-' || c == '.');
    let ours = concat!("mesh", "wright_");
    line.split(word).filter(|name| name.starts_with(ours) && !name.contains([':', '.', '-'])).collect()
}

/// Whether the table has the series, and whether it is of the kind that its end says.
fn exists(series: &str) -> bool {
    METRICS.iter().any(|metric| match (metric.kind, series.strip_prefix(metric.name)) {
        (MetricKind::Histogram(_), Some(end)) => ["_bucket", "_sum", "_count"].contains(&end),
        (_, end) => end == Some(""),
    })
}

#[test]
fn rules_and_dashboards_ask_only_for_metrics_that_exist() {
    let groups = rule_groups();
    let mut asked = 0;
    let mut findings = Vec::new();
    for (file, text) in files("infra/prometheus", ".yml").into_iter().chain(files("infra/grafana", ".json")) {
        for (at, line) in text.lines().enumerate() {
            for series in asked_for(line).into_iter().filter(|name| !groups.contains(*name)) {
                asked += 1;
                if !exists(series) {
                    let advice = format!("there is no {series} in shared/domain/src/metrics.rs");
                    findings.push(Finding::new(&file, at + 1, advice));
                }
            }
        }
    }
    assert!(asked > 50, "only {asked} series were found in rules and dashboards");
    report(findings);
}

/// Groups of rules are named as metrics are, and their tests name them.
fn rule_groups() -> BTreeSet<String> {
    let rules = files("infra/prometheus/rules", ".yml");
    let lines = rules.iter().flat_map(|(_, text)| text.lines());
    lines.filter_map(|line| line.trim().strip_prefix("- name: ")).map(str::to_owned).collect()
}

/// Name and runbook of each alert, with its line.
fn alerts() -> Vec<(usize, String, String)> {
    let text = text(ALERTS);
    let mut found: Vec<(usize, String, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            found.push((at + 1, name.to_owned(), String::new()));
        } else if let Some(page) = line.trim().strip_prefix("runbook: ") {
            found.last_mut().expect("an alert before its runbook").2 = page.to_owned();
        }
    }
    assert!(found.len() >= 8, "only {} alerts were found", found.len());
    found
}

#[test]
fn each_alert_has_a_runbook_that_names_it_and_each_runbook_has_an_alert() {
    let mut findings = Vec::new();
    for (line, name, page) in alerts() {
        let names_it = std::fs::read_to_string(root().join(&page)).is_ok_and(|text| text.contains(&name));
        if !page.starts_with("infra/guide/src/runbooks/") || !names_it {
            let advice = format!("{name}: name a page of infra/guide/src/runbooks that names the alert");
            findings.push(Finding::new(ALERTS, line, advice));
        }
    }
    for (file, _) in files("infra/guide/src/runbooks", ".md") {
        if alerts().iter().all(|(_, _, page)| *page != file) {
            findings.push(Finding::new(&file, 0, "no alert leads here: remove it or name it"));
        }
    }
    report(findings);
}

/// Whether a test tries the alert where it fires, and whether one tries it where it must not.
fn tried(name: &str, tests: &[(String, String)]) -> (bool, bool) {
    let lines: Vec<&str> = tests.iter().flat_map(|(_, text)| text.lines()).map(str::trim).collect();
    let quiet = format!("alertname: {name}, exp_alerts: []");
    let loud = format!("alertname: {name}");
    let fires =
        lines.windows(3).any(|w| w[0] == loud && w[1] == "exp_alerts:" && w[2].starts_with("- exp_labels"));
    (fires, lines.iter().any(|line| line.contains(&quiet)))
}

#[test]
fn each_alert_is_tried_where_it_fires_and_where_it_must_not() {
    let tests = files("infra/prometheus/tests", ".yml");
    let untried = |(line, name, _): (usize, String, String)| match tried(&name, &tests) {
        (true, true) => None,
        (false, _) => Some(Finding::new(ALERTS, line, format!("{name} fires in no test"))),
        (true, false) => Some(Finding::new(ALERTS, line, format!("no test keeps {name} from firing"))),
    };
    report(alerts().into_iter().filter_map(untried));
}

#[test]
fn every_page_of_the_guide_is_in_its_summary_and_every_link_leads_somewhere() {
    let mut findings = Vec::new();
    let summary = text(SUMMARY);
    for (file, text) in files("infra/guide/src", ".md") {
        let below = file.strip_prefix("infra/guide/src/").expect("listed below it");
        if file != SUMMARY && !summary.contains(&format!("]({below})")) {
            findings.push(Finding::new(SUMMARY, 0, format!("name {below}: mdBook leaves it out otherwise")));
        }
        let folder = root().join(&file);
        let folder = folder.parent().expect("a file in a folder");
        for (at, line) in text.lines().enumerate() {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let lost = targets.filter(|to| !to.contains("://") && !folder.join(to).is_file());
            findings.extend(lost.map(|to| Finding::new(&file, at + 1, format!("{to} leads nowhere"))));
        }
    }
    report(findings);
}

#[test]
fn series_are_found_in_a_line_and_judged_by_their_metric() {
    let ours = concat!("mesh", "wright_");
    let line = format!("sum(rate({ours}a_total[5m])) / {ours}b{{x=\"y\"}} or {}", "meshwright:c:d");
    assert_eq!(asked_for(&line), [format!("{ours}a_total"), format!("{ours}b")]);
    let histogram = METRICS.iter().find(|metric| matches!(metric.kind, MetricKind::Histogram(_)));
    let name = histogram.expect("a histogram in the table").name;
    assert!(exists(&format!("{name}_bucket")) && !exists(name) && !exists(&format!("{name}_total")));
}
