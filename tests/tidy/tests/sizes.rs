//! Sizes that keep code readable. Clippy holds those of functions (`.clippy.toml`), rustfmt those of code
//! lines.

use tidy::{Finding, report, root, sources};

/// Lines of a file, its tests included.
const FILE_LINES_MAX: usize = 500;
/// Characters of a line; rustfmt leaves comments and long strings alone.
const LINE_CHARS_MAX: usize = 110;
/// Methods of a trait: an implementation, a twin and a fault decorator each have to write them all.
const TRAIT_METHODS_MAX: usize = 6;
/// Numbers that clippy holds, as `.clippy.toml` must have them.
const CLIPPY: &[&str] = &["too-many-lines-threshold = 70", "too-many-arguments-threshold = 5"];

#[test]
fn files_are_short() {
    report(sources().iter().filter(|source| source.text.lines().count() > FILE_LINES_MAX).map(|source| {
        let lines = source.text.lines().count();
        Finding::new(&source.file, lines, format!("split it: more than {FILE_LINES_MAX} lines"))
    }));
}

#[test]
fn lines_are_short() {
    report(sources().iter().flat_map(|source| {
        let long = |line: &str| line.chars().count() > LINE_CHARS_MAX;
        let lines = source.text.lines().enumerate().filter(|(_, line)| long(line));
        let advice = format!("wrap it: more than {LINE_CHARS_MAX} characters");
        lines.map(|(at, _)| Finding::new(&source.file, at + 1, advice.clone())).collect::<Vec<_>>()
    }));
}

#[test]
fn traits_are_small() {
    report(sources().iter().flat_map(|source| {
        let large = source.traits().into_iter().filter(|(_, _, methods)| *methods > TRAIT_METHODS_MAX);
        let findings = large.map(|(line, name, methods)| {
            let advice = format!("trait {name} has {methods} methods of {TRAIT_METHODS_MAX}: split it");
            Finding::new(&source.file, line, advice)
        });
        findings.collect::<Vec<_>>()
    }));
}

/// What would switch a number off. Written in two halves, so that this file passes.
const SWITCHES: &[&str] = &[concat!("clippy::too_", "many_"), concat!("clippy::cognitive", "_complexity")];

#[test]
fn nobody_switches_a_number_off() {
    report(sources().iter().flat_map(|source| {
        let switch = |line: &str| SWITCHES.iter().any(|switch| line.contains(switch));
        let lines = source.code().filter(|(_, line)| switch(line));
        let advice = "split it: the numbers hold for all code";
        lines.map(|(at, _)| Finding::new(&source.file, at, advice)).collect::<Vec<_>>()
    }));
}

#[test]
fn clippy_is_told_the_same_numbers() {
    let text = std::fs::read_to_string(root().join(".clippy.toml")).unwrap();
    let missing = CLIPPY.iter().filter(|line| !text.lines().any(|l| l == **line));
    report(missing.map(|line| Finding::new(".clippy.toml", 0, format!("put back the line `{line}`"))));
}
