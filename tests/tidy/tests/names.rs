//! Names that say nothing: of files, modules and types.

use tidy::{Finding, Source, report, sources};

/// Names of modules that say nothing; code under them belongs to what it works on.
const EMPTY: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "type", "types", "manager", "managers"];

/// Last words of a type's name that say nothing.
const EMPTY_ENDS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils"];

/// Names that begin as a getter's would, each with its reason.
const GET_ALLOWED: &[(&str, &str)] = &[
    ("get_bucket_location", "an operation of S3, named by s3s"),
    ("get_object", "an operation of S3, named by s3s"),
    ("get_changed", "the answer to S3's GET"),
    ("get_head_and_list_agree", "GET, HEAD and LIST of S3"),
    ("get_performance_summary", "named by the callers that it is made for"),
    ("get_optimization_recommendations", "named by the callers that it is made for"),
];

/// The word after a keyword at a line's beginning, whatever its visibility and qualifiers.
fn named<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let qualifiers = ["pub", "crate", "super", "self", "async", "unsafe", "const", "extern", "in"];
    let first = words.by_ref().find(|word| !qualifiers.contains(word))?;
    if first == keyword { words.next() } else { None }
}

fn advice(line: &str) -> Option<String> {
    if let Some(name) = named(line, "mod").filter(|name| EMPTY.contains(name)) {
        return Some(format!("`{name}` says nothing: name what it is about"));
    }
    for keyword in ["struct", "enum", "trait", "type", "union"] {
        let name = named(line, keyword);
        if let Some(name) = name.filter(|name| EMPTY_ENDS.iter().any(|end| name.ends_with(end))) {
            return Some(format!("`{name}` says nothing: name what it does"));
        }
    }
    let getter = named(line, "fn").filter(|name| name.starts_with("get_"));
    let getter = getter.filter(|name| GET_ALLOWED.iter().all(|(allowed, _)| allowed != name))?;
    Some(format!("`{getter}`: name what is got, without `get_`"))
}

#[test]
fn files_have_telling_names_in_shallow_folders() {
    let mut findings = Vec::new();
    for source in sources() {
        let below = source.file.split_once("/src/").or(source.file.rsplit_once("/tests/"));
        let Some((_, path)) = below else { continue };
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        if parts.len() > 2 {
            findings.push(Finding::new(&source.file, 0, "one folder below src/ at most: move it up"));
        }
        if parts.last() == Some(&"mod") {
            findings.push(Finding::new(&source.file, 0, "name the file after its module, beside its folder"));
        }
        if let Some(name) = parts.iter().find(|name| EMPTY.contains(name)) {
            let advice = format!("`{name}` says nothing: name what it is about");
            findings.push(Finding::new(&source.file, 0, advice));
        }
    }
    report(findings);
}

#[test]
fn modules_and_types_have_telling_names_and_nothing_is_called_a_getter() {
    report(sources().iter().flat_map(|source: &Source| {
        let found = |(at, line): (usize, &str)| Some(Finding::new(&source.file, at, advice(line)?));
        source.code().filter_map(found).collect::<Vec<_>>()
    }));
}

#[test]
fn the_names_that_are_allowed_are_in_use() {
    let all = sources();
    let used = |name: &str| all.iter().any(|s| s.code().any(|(_, line)| named(line, "fn") == Some(name)));
    let unused = GET_ALLOWED.iter().filter(|(name, _)| !used(name));
    let advice = |name: &str| format!("nothing is called {name}: remove it here");
    report(unused.map(|(name, _)| Finding::new("tests/tidy/tests/names.rs", 0, advice(name))));
}

#[test]
fn a_name_is_found_behind_any_visibility() {
    let check = |line: &str, expect: bool| assert_eq!(advice(line).is_some(), expect, "{line}");
    check(concat!("mod util", "s {"), true);
    check(concat!("    pub(crate) mod common", ";"), true);
    check("mod utilisation;", false);
    check(concat!("pub struct RunnerManag", "er {"), true);
    check(concat!("pub(super) enum UploadHelp", "er;"), true);
    check(concat!("type DeskUt", "il = u8;"), true);
    check("struct Managed;", false);
    check(concat!("    pub async fn get_", "size(&self)"), true);
    check("    async fn get_object(&self)", false);
    check("    let get_size = 1;", false);
    check("fn forget_it()", false);
}
