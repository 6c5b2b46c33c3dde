//! Words that must not be in the code, each with what to write instead.

use tidy::{Finding, PURE, Source, report, sources};

/// What makes a result depend on more, in code that runs outside tests.
const IMPURE: &[(&str, &str)] = &[
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
    ("Instant::now", "take the time as an argument"),
    ("std::time::Instant", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("std::env", "take the value as an argument"),
    ("std::fs", "take the bytes as an argument"),
    ("thread::sleep", "this crate never waits"),
    ("rand::", "take a seed as an argument"),
];

/// Unfinished or hidden work, anywhere. Written in two halves, so that this file passes.
const UNFINISHED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it, or say in the README what does not hold"),
    (concat!("FIX", "ME"), "mend it, or say in the README what does not hold"),
    (concat!("to", "do!("), "write it"),
    (concat!("unimpl", "emented!("), "write it"),
    (concat!("#[ign", "ore"), "make the test fast and certain, or remove it"),
];

/// The crates that may hold unsafe code: `gpu` calls C libraries, `fake_nvml` plays one. Every other one
/// forbids it at its root.
const UNSAFE_ALLOWED: &[&str] = &["gpu", "fake_nvml"];

#[test]
fn pure_crates_depend_on_their_arguments_alone() {
    report(sources().iter().filter(|source| PURE.contains(&source.crate_name())).flat_map(|source| {
        let found = |(at, line): (usize, &str)| {
            let (word, advice) = IMPURE.iter().find(|(word, _)| line.contains(word))?;
            Some(Finding::new(&source.file, at, format!("`{word}` in a pure crate: {advice}")))
        };
        source.live_code().filter_map(found).collect::<Vec<_>>()
    }));
}

#[test]
fn nothing_is_left_unfinished_or_hidden() {
    report(sources().iter().flat_map(|source| {
        let found = |(at, line): (usize, &str)| {
            let (word, advice) = UNFINISHED.iter().find(|(word, _)| line.contains(word))?;
            Some(Finding::new(&source.file, at + 1, format!("`{word}`: {advice}")))
        };
        source.text.lines().enumerate().filter_map(found).collect::<Vec<_>>()
    }));
}

/// Where every name of a metric stands, and nowhere else.
const METRICS: &str = "shared/domain/src/metrics.rs";

#[test]
fn names_of_metrics_stand_in_one_table() {
    let start = concat!("\"mesh", "wright_");
    report(sources().iter().filter(|source| source.file != METRICS).flat_map(|source| {
        let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(start));
        let advice = format!("take the name from the table in {METRICS}, or enter it there");
        lines.map(|(at, _)| Finding::new(&source.file, at + 1, advice.clone())).collect::<Vec<_>>()
    }));
}

/// Whether a line of test code sleeps. On a paused clock sleeping is exact and costs nothing, but a thread
/// never has one.
fn sleeps(line: &str, paused: bool) -> bool {
    let call = concat!("sle", "ep(");
    line.contains(call) && (!paused || line.contains(concat!("thread::sle", "ep")))
}

#[test]
fn tests_wait_for_events_and_never_for_time() {
    report(sources().iter().flat_map(|source| {
        let paused = source.text.contains("start_paused = true") || source.text.contains("time::pause()");
        let lines = source.test_code().filter(|(_, line)| sleeps(line, paused));
        let advice = "a test that sleeps is slow or wrong: await the event, or pause tokio's clock";
        lines.map(|(at, _)| Finding::new(&source.file, at, advice)).collect::<Vec<_>>()
    }));
}

#[test]
fn every_other_crate_forbids_unsafe_code() {
    let is_root = |file: &str| file.ends_with("/src/lib.rs") || file.ends_with("/src/main.rs");
    let all = sources();
    let roots = all.iter().filter(|source| is_root(&source.file) && source.file.matches('/').count() == 3);
    let open = roots.filter(|source| !UNSAFE_ALLOWED.contains(&source.crate_name()));
    report(
        open.filter(|source| !source.text.contains("#![forbid(unsafe_code)]"))
            .map(|source| Finding::new(&source.file, 1, "add #![forbid(unsafe_code)]")),
    );
}

#[test]
fn every_file_says_what_it_is() {
    report(
        sources()
            .iter()
            .filter(|source| !source.text.starts_with("//!"))
            .map(|source| Finding::new(&source.file, 1, "open it with `//!`: what it is, where it stands")),
    );
}

#[test]
fn a_paused_clock_excuses_tokio_and_no_thread() {
    let line = |text| sleeps(text, true);
    assert!(!line(concat!("tokio::time::sle", "ep(SECOND).await;")));
    assert!(line(concat!("std::thread::sle", "ep(SECOND);")));
    assert!(sleeps(concat!("sle", "ep(SECOND).await;"), false));
    assert_eq!(Source::new("shared/a/src/b.rs", "").crate_name(), "a");
}
