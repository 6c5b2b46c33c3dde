//! Where things lie, and that the README's code map says so.

use std::collections::BTreeSet;
use tidy::{Finding, crates, report, root, sources};

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

/// Names that say nothing; code under them belongs to what it works on.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "type", "types", "manager", "managers"];

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
fn modules_have_telling_names_in_shallow_folders() {
    let mut findings = Vec::new();
    for source in sources() {
        let Some((_, path)) = source.file.split_once("/src/") else { continue };
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        if parts.len() > 2 {
            findings.push(Finding::new(&source.file, 0, "one folder below src/ at most: move it up"));
        }
        if parts.last() == Some(&"mod") {
            findings.push(Finding::new(&source.file, 0, "name the file after its module, beside its folder"));
        }
        if let Some(name) = parts.iter().find(|name| EMPTY_NAMES.contains(name)) {
            findings.push(Finding::new(
                &source.file,
                0,
                format!("`{name}` says nothing: name what it is about"),
            ));
        }
    }
    report(findings);
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
fn locks_of_node_packages_name_no_registry() {
    let lock = "infra/tools/gltf-validator/package-lock.json";
    let text = std::fs::read_to_string(root().join(lock)).unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains("\"resolved\""));
    report(lines.map(|(at, _)| Finding::new(lock, at + 1, "remove it: `integrity` pins the package")));
}
