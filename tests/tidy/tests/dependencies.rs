//! Who may depend on whom. A new edge is a decision: it comes with an entry under "Decisions" of the README.

use std::collections::BTreeSet;
use tidy::{Finding, PURE, crates, report};

/// Crate, and the crates of ours that it may be built with.
const OURS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("stage", &["domain"]),
    ("planning", &["domain"]),
    ("profile", &["domain"]),
    ("replay", &["domain", "planning", "profile"]),
    ("ports", &["domain"]),
    ("mesh", &[]),
    ("nn", &[]),
    ("preprocess", &["domain", "stage", "mesh", "nn"]),
    ("shape", &["domain", "stage", "mesh", "nn"]),
    ("generator", &["shape"]),
    ("texture", &["domain", "stage", "mesh", "nn"]),
    ("export", &["domain", "stage", "mesh", "nn"]),
    ("embedded", &["domain", "ports"]),
    ("nats", &["domain", "ports"]),
    ("s3", &["domain", "ports"]),
    ("gpu", &["domain", "ports"]),
    ("otlp", &["domain", "ports"]),
    ("worker", &["domain", "ports", "stage"]),
    ("ingest", &["domain", "ports"]),
    ("planner", &["domain", "ports", "planning"]),
    ("gateway", &["domain", "ports", "planning", "profile"]),
];

/// The composition root may use every crate but those of `tests/`.
const ROOT: &str = "meshwright";

/// What tests of any crate may use besides.
const FOR_TESTS: &[&str] = &["embedded", "fake_nvml", "gpu", "harness", "s3"];

/// Name of a foreign crate (`*` at the end: all that begin so), and the crates that may name it. Crates of
/// `tests/` may use any of them: they are the stranger who looks at the real server.
const FOREIGN: &[(&str, &[&str])] = &[
    ("async-nats", &["nats"]),
    ("aws-*", &["s3"]),
    ("s3s*", &["embedded"]),
    ("nvml-wrapper*", &["gpu"]),
    ("cudarc", &["gpu", "nn"]),
    ("tract-*", &["nn"]),
    ("opentelemetry*", &["otlp"]),
    ("pprof", &["meshwright"]),
    ("prost*", &["otlp"]),
];

/// What pure crates must not be built with.
const IMPURE: &[&str] =
    &["tokio", "tokio-util", "tokio-stream", "async-trait", "futures", "rand", "uuid", "tracing", "metrics"];

#[test]
fn crates_depend_only_on_crates_that_they_may() {
    let all = crates();
    let mut findings = Vec::new();
    for (name, of) in &all {
        if of.folder.starts_with("tests/") {
            continue;
        }
        let manifest = format!("{}/Cargo.toml", of.folder);
        let allowed: BTreeSet<&str> = match OURS.iter().find(|(of, _)| of == name) {
            Some((_, allowed)) => allowed.iter().copied().collect(),
            None if name == ROOT => {
                let outside_tests = all.values().filter(|of| !of.folder.starts_with("tests/"));
                outside_tests.map(|of| of.name.as_str()).collect()
            }
            None => {
                let advice = "new crate: enter it into OURS in tests/tidy/tests/dependencies.rs";
                findings.push(Finding::new(&manifest, 1, advice));
                continue;
            }
        };
        let built = of.dependencies.iter().map(|edge| (edge, false));
        for ((to, line), in_tests) in built.chain(of.dev_dependencies.iter().map(|edge| (edge, true))) {
            let fine = allowed.contains(to.as_str()) || (in_tests && FOR_TESTS.contains(&to.as_str()));
            if all.contains_key(to) && !fine {
                let advice = format!(
                    "{name} must not depend on {to}: pass values or a port instead, or decide on a new edge"
                );
                findings.push(Finding::new(&manifest, *line, advice));
            }
        }
    }
    report(findings);
}

#[test]
fn the_table_names_only_crates_that_exist() {
    let all = crates();
    let named = OURS.iter().flat_map(|(of, to)| to.iter().chain([of]));
    let named = named.chain(FOREIGN.iter().flat_map(|(_, users)| users.iter())).chain(PURE).chain(FOR_TESTS);
    report(named.filter(|name| !all.contains_key(**name)).map(|name| {
        Finding::new(
            "tests/tidy/tests/dependencies.rs",
            0,
            format!("there is no crate {name}: remove it here"),
        )
    }));
}

#[test]
fn foreign_crates_are_named_only_where_they_are_at_home() {
    let mut findings = Vec::new();
    for of in crates().values().filter(|of| !of.folder.starts_with("tests/")) {
        for (to, line) in of.dependencies.iter().chain(&of.dev_dependencies) {
            let matching = |pattern: &str| match pattern.strip_suffix('*') {
                Some(start) => to.starts_with(start),
                None => to == pattern,
            };
            let home = FOREIGN.iter().find(|(pattern, _)| matching(pattern));
            if let Some((_, users)) = home.filter(|(_, users)| !users.contains(&of.name.as_str())) {
                let advice =
                    format!("only {} may name {to}: use its port or types instead", users.join(", "));
                findings.push(Finding::new(&format!("{}/Cargo.toml", of.folder), *line, advice));
            }
        }
    }
    report(findings);
}

#[test]
fn pure_crates_are_built_without_clock_scheduler_and_chance() {
    let mut findings = Vec::new();
    for of in crates().values().filter(|of| PURE.contains(&of.name.as_str())) {
        for (to, line) in of.dependencies.iter().filter(|(to, _)| IMPURE.contains(&to.as_str())) {
            let advice = format!("{} is pure, {to} is not: take what it gives as an argument", of.name);
            findings.push(Finding::new(&format!("{}/Cargo.toml", of.folder), *line, advice));
        }
    }
    report(findings);
}
