//! Manifests of the workspace's crates, as far as the dependency rules need them.

use crate::root;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// One crate of the workspace.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name, which is also its folder's.
    pub name: String,
    /// Its folder from the root, as `shared/domain`.
    pub folder: String,
    /// What its manifest says it is.
    pub description: String,
    /// Whether the workspace's lints are its own.
    pub has_workspace_lints: bool,
    /// Crates that it is built with, including those for some platforms only and for build scripts; with
    /// their line.
    pub dependencies: BTreeMap<String, usize>,
    /// Crates that its tests are built with; with their line.
    pub dev_dependencies: BTreeMap<String, usize>,
}

/// All crates, by name.
///
/// # Panics
/// A manifest cannot be read.
pub fn crates() -> BTreeMap<String, Manifest> {
    let mut found = BTreeMap::new();
    for group in ["functions", "functions/shape/training", "shared", "tests", "tests/bench"] {
        let folder = std::fs::read_dir(root().join(group)).expect("the crate groups exist");
        for entry in folder.map(|entry| entry.expect("a readable folder")) {
            let file = entry.path().join("Cargo.toml");
            if let Ok(text) = std::fs::read_to_string(&file) {
                let folder = format!("{group}/{}", entry.file_name().to_string_lossy());
                let manifest = parse(&folder, &text);
                found.insert(manifest.name.clone(), manifest);
            }
        }
    }
    found
}

fn parse(folder: &str, text: &str) -> Manifest {
    let table: Table = text.parse().unwrap_or_else(|e| panic!("{folder}/Cargo.toml: {e}"));
    let said = |key: &str| {
        let value = table.get("package").and_then(|package| package.get(key));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (mut dependencies, mut dev_dependencies) = (BTreeMap::new(), BTreeMap::new());
    let targets = table.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = targets.filter_map(|(_, target)| target.as_table()).chain([&table]);
    for table in tables {
        collect(table, "dependencies", text, &mut dependencies);
        collect(table, "build-dependencies", text, &mut dependencies);
        collect(table, "dev-dependencies", text, &mut dev_dependencies);
    }
    let lints = table.get("lints").and_then(|lints| lints.get("workspace"));
    Manifest {
        name: said("name"),
        folder: folder.to_owned(),
        description: said("description"),
        has_workspace_lints: lints.and_then(Value::as_bool) == Some(true),
        dependencies,
        dev_dependencies,
    }
}

fn collect(table: &Table, section: &str, text: &str, into: &mut BTreeMap<String, usize>) {
    for (key, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
        let name = value.get("package").and_then(Value::as_str).unwrap_or(key);
        let line = text.lines().position(|line| line.starts_with(key.as_str())).map_or(0, |at| at + 1);
        into.insert(name.to_owned(), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_every_section_and_under_their_real_name() {
        let text = r#"[package]
name = "a"
[dependencies]
b.workspace = true
c = { package = "real", version = "1" }
[target.'cfg(unix)'.dependencies]
d = "1"
[build-dependencies]
e = "1"
[dev-dependencies]
f = "1"
"#;
        let manifest = parse("shared/a", text);
        assert!(!manifest.has_workspace_lints);
        assert!(parse("shared/a", &format!("[lints]\nworkspace = true\n{text}")).has_workspace_lints);
        let names: Vec<_> = manifest.dependencies.into_iter().collect();
        let expect = [("b", 4), ("d", 7), ("e", 9), ("real", 5)].map(|(n, line)| (n.to_owned(), line));
        assert_eq!(names, expect);
        assert_eq!(manifest.dev_dependencies.into_iter().collect::<Vec<_>>(), [("f".to_owned(), 11)]);
    }
}
