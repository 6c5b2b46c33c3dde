//! Where things lie, and that the README says so: its code map and its decisions.

use std::collections::BTreeSet;
use tidy::{Finding, crates, report, root};

/// All that lies at the root, besides hidden files and cargo's `target`.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "functions",
    "infra",
    "justfile",
    "rust-toolchain.toml",
    "shared",
    "tests",
];

#[test]
fn nothing_lies_loose_at_the_root() {
    let entries = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let found: BTreeSet<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    let shown = found.iter().filter(|name| !name.starts_with('.') && *name != "target");
    let strange = shown.filter(|name| !TOP.contains(&name.as_str()));
    let missing = TOP.iter().filter(|name| !found.contains(**name));
    let move_it = "move it into the crate or into infra/ where it belongs";
    report(
        strange
            .map(|name| Finding::new(name, 0, move_it))
            .chain(missing.map(|name| Finding::new(name, 0, "it is missing: put it back"))),
    );
}

#[test]
fn a_crate_is_named_after_its_folder_and_says_what_it_is() {
    let mut findings = Vec::new();
    for of in crates().values() {
        let manifest = format!("{}/Cargo.toml", of.folder);
        if !of.folder.ends_with(&format!("/{}", of.name)) {
            findings.push(Finding::new(&manifest, 0, "folder and crate must have one name"));
        }
        if of.description.is_empty() {
            findings.push(Finding::new(&manifest, 0, "give it a `description`: its charter in one sentence"));
        }
    }
    report(findings);
}

#[test]
fn the_code_map_of_the_readme_names_every_crate_and_no_other() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let map = readme.lines().skip_while(|line| *line != "## Code map").skip(1);
    let map: Vec<&str> = map.take_while(|line| !line.starts_with("## ")).collect();
    // A row: | `shared/domain` | what it is |
    let row = |line: &&str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let named: BTreeSet<String> = map.iter().filter_map(row).collect();
    let exist: BTreeSet<String> = crates().into_values().map(|of| of.folder).collect();
    let missing =
        exist.difference(&named).map(|name| format!("add a row \"| `{name}` | … |\" to the code map"));
    let extra = named.difference(&exist).map(|name| format!("`{name}` is no crate: remove its row"));
    report(missing.chain(extra).map(|advice| Finding::new("README.md", 0, advice)));
}

#[test]
fn every_crate_is_under_the_lints_of_the_workspace() {
    let open = crates().into_values().filter(|of| !of.has_workspace_lints);
    let advice = "add `[lints]` with `workspace = true`";
    report(open.map(|of| Finding::new(&format!("{}/Cargo.toml", of.folder), 0, advice)));
}

/// First row of the table of decisions.
const DECISION_COLUMNS: &str = "| date | what | why | cost |";

/// What is wrong with the row of a decision.
fn decision_advice(row: &str) -> Option<&'static str> {
    let cells: Vec<&str> = row.trim().trim_matches('|').split(" | ").map(str::trim).collect();
    let is_date = |text: &str| {
        let parts: Vec<usize> = text.split('-').map(str::len).collect();
        parts == [4, 2, 2] && text.chars().all(|c| c.is_ascii_digit() || c == '-')
    };
    match cells.as_slice() {
        [date, ..] if !is_date(date) => Some("begin with the date, as 2026-11-25"),
        [_, what, why, cost] if [what, why, cost].iter().all(|cell| !cell.is_empty()) => None,
        _ => Some("give four cells: date, what, why, cost"),
    }
}

#[test]
fn the_readme_has_its_decisions_with_date_reason_and_cost() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let from = readme.lines().position(|line| line == "## Decisions");
    let Some(from) = from else {
        return report([Finding::new("README.md", 0, "add the section \"## Decisions\"")]);
    };
    let section = readme.lines().enumerate().skip(from + 1).take_while(|(_, line)| !line.starts_with("## "));
    let rows: Vec<(usize, &str)> = section.filter(|(_, line)| line.starts_with('|')).collect();
    if rows.first().is_none_or(|(_, row)| *row != DECISION_COLUMNS) || rows.len() < 3 {
        let advice = format!("keep decisions in a table that begins with \"{DECISION_COLUMNS}\"");
        return report([Finding::new("README.md", from + 1, advice)]);
    }
    let wrong = rows.iter().skip(2).filter_map(|(at, row)| Some((at, decision_advice(row)?)));
    report(wrong.map(|(at, advice)| Finding::new("README.md", at + 1, advice)));
}

#[test]
fn a_decision_has_a_date_and_three_cells() {
    assert_eq!(decision_advice("| 2026-11-25 | a | b | c |"), None);
    assert!(decision_advice("| yesterday | a | b | c |").is_some());
    assert!(decision_advice("| 2026-11-25 | a | b |").is_some());
    assert!(decision_advice("| 2026-11-25 | a | b |  |").is_some());
}

#[test]
fn locks_of_node_packages_name_no_registry() {
    let lock = "infra/tools/gltf-validator/package-lock.json";
    let text = std::fs::read_to_string(root().join(lock)).unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains("\"resolved\""));
    report(lines.map(|(at, _)| Finding::new(lock, at + 1, "remove it: `integrity` pins the package")));
}
