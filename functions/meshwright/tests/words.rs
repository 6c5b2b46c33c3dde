//! The command line as a person and as a script meet it: help, version, completions, and what is said when
//! nobody is there.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program without anything that the environment may say of it.
fn meshwright(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MESHWRIGHT_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().expect("the program starts")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

const COMMANDS: [&[&str]; 26] = [
    &[],
    &["demo"],
    &["up"],
    &["run"],
    &["submit"],
    &["watch"],
    &["load"],
    &["bottleneck"],
    &["profile"],
    &["replay"],
    &["tune"],
    &["top"],
    &["gpu"],
    &["explain"],
    &["sweep"],
    &["cancel"],
    &["dead-letter"],
    &["dead-letter", "list"],
    &["dead-letter", "show"],
    &["dead-letter", "redrive"],
    &["models"],
    &["models", "list"],
    &["models", "install"],
    &["models", "verify"],
    &["doctor"],
    &["completions"],
];

/// A change of the command line is a change of this file: copy what the test has written.
#[test]
fn help_says_what_it_said() {
    let mut found = String::new();
    for command in COMMANDS {
        let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let output = meshwright(&arguments);
        assert!(output.status.success(), "{command:?}");
        let heading = format!("$ meshwright {}\n", arguments.join(" "));
        found.push_str(&format!("{heading}{}\n", said(&output).0));
    }
    let golden = Path::new("tests/golden/help.txt");
    let expect = std::fs::read_to_string(golden).unwrap_or_default();
    if found != expect {
        let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join("help.txt");
        std::fs::write(&written, found).expect("a writable folder");
        panic!("the help has changed; compare and copy {} to {}", written.display(), golden.display());
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = meshwright(&["--version"]);
    assert_eq!(said(&output).0, format!("meshwright {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = said(&meshwright(&["completions", shell]));
        for word in ["demo", "submit", "dead-letter", "keep-days"] {
            assert!(script.contains(word), "{word} is not in the script for {shell}");
        }
    }
}

#[test]
fn nobody_there_is_said_to_people_and_to_scripts() {
    let away = "http://127.0.0.1:1";
    let job = "0123456789abcdef0123456789abcdef";
    let commands: [&[&str]; 16] = [
        &["load", "--jobs", "1"],
        &["bottleneck"],
        &["profile"],
        &["profile", job],
        &["top"],
        &["gpu"],
        &["gpu", "--image-size", "512"],
        &["gpu", "--optimize-cache"],
        &["explain", job],
        &["sweep"],
        &["cancel", job],
        &["watch"],
        &["watch", job],
        &["dead-letter", "list"],
        &["dead-letter", "show", job],
        &["dead-letter", "redrive", job],
    ];
    for command in commands {
        let arguments: Vec<&str> = command.iter().copied().chain(["--server", away]).collect();
        let output = meshwright(&arguments);
        let (out, err) = said(&output);
        assert_eq!(output.status.code(), Some(69), "{command:?}: {err}");
        assert!(err.starts_with("meshwright: no answer from http://127.0.0.1:1 "), "{command:?}: {err}");
        assert!(out.is_empty(), "{command:?}: {out}");
        let arguments: Vec<&str> = arguments.into_iter().chain(["--json"]).collect();
        let (_, err) = said(&meshwright(&arguments));
        let error: serde_json::Value = serde_json::from_str(err.trim()).expect("one object");
        assert_eq!(error["exit_code"], 69);
        assert!(error["error"].as_str().is_some_and(|text| text.contains("no answer")), "{error}");
    }
}

#[test]
fn what_is_no_job_is_refused_without_asking_anybody() {
    let output = meshwright(&["cancel", "chair.png", "--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(said(&output).1.contains("a job is 32 hex digits"));
}

#[test]
fn a_window_that_makes_no_sense_is_refused_without_asking_anybody() {
    let job = "0123456789abcdef0123456789abcdef";
    for wrong in [
        &["bottleneck", "--window", "2d"][..],
        &["profile", "--window", "x"],
        &["profile", job, "--window", "1h"],
    ] {
        let output = meshwright(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(said(&output).1.contains("--window"), "{:?}", said(&output));
    }
}

#[test]
fn a_load_that_makes_no_sense_is_refused_without_asking_anybody() {
    let check = |words: &[&str], code: i32, part: &str| {
        let output = meshwright(&[&["load", "--server", "http://127.0.0.1:1"][..], words].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(said(&output).1.contains(part), "{words:?}: {output:?}");
    };
    check(&["--rate", "0/s"], 2, "write 5/s, 30/m or 600/h");
    check(&["--ramp", "20..1"], 2, "write 1..20 or 1..20/m, rising");
    check(&["--rate", "1/s", "--ramp", "1..2"], 2, "--ramp");
    check(&["--jobs", "5", "--for", "5s"], 2, "--for");
    check(&["--rate", "1000/s", "--for", "1d"], 65, "a load has 100000 jobs at most");
    check(&["-o", "quality"], 65, "write NAME=VALUE");
    check(&["--images", "/none/such"], 65, "/none/such");
}

#[test]
fn a_stage_is_sampled_here_and_a_flame_needs_no_window() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let flame = root.path().join("flame.svg").display().to_string();
    let words = ["profile", "--flame", &flame, "--stage", "shape", "--seconds", "1", "--json"];
    let (out, err) = said(&meshwright(&words));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert!(answer["samples"].as_u64() > Some(0) && answer["busiest"].is_array(), "{answer}");
    let svg = std::fs::read_to_string(&flame).expect("a picture");
    assert!(svg.contains("shape::"), "{svg}");
    for wrong in [
        &["profile", "--flame", "f.svg", "--window", "1h"][..],
        &["profile", "--flame", "f.svg", "--seconds", "61"],
        &["profile", "--stage", "shape"],
        &["profile", "--flame", "f.svg", "--image", "chair.png"],
    ] {
        assert_eq!(meshwright(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let away = ["profile", "--flame", &flame, "--server", "http://127.0.0.1:1"];
    assert_eq!(meshwright(&away).status.code(), Some(69));
}

#[test]
fn folders_that_feed_on_each_other_are_refused_before_anything_starts() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| root.path().join(name).display().to_string();
    std::fs::create_dir(path("in")).expect("a folder");
    let (images, out, data) = (path("in"), path("in/out"), path("data"));
    let output = meshwright(&["up", "--images", &images, "--out", &out, "--data", &data]);
    assert_eq!(output.status.code(), Some(65));
    assert!(said(&output).1.contains("take in its own results"), "{:?}", said(&output));
    assert!(!Path::new(&data).exists() && !Path::new(&out).exists());
    let none = path("none");
    let output = meshwright(&["demo", "--images", &none, "--data", &data]);
    assert_eq!(output.status.code(), Some(65));
    assert!(!Path::new(&data).exists());
}

/// What a person types before `| head`, and into a file on a full disk.
#[test]
fn nobody_to_read_it_is_a_quiet_end_and_a_full_disk_is_told() {
    for arguments in [&["completions", "bash"][..], &["doctor", "--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
        let output = command.args(arguments).stdout(writer).output().expect("the program starts");
        assert_eq!((output.status.code(), said(&output).1), (Some(0), String::new()), "{arguments:?}");
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is full");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    let output = command.args(["completions", "bash"]).stdout(full).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(74));
    assert!(said(&output).1.contains("write the result: No space left"), "{:?}", said(&output));
}

#[test]
fn an_open_gateway_wants_a_token() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let data = root.path().join("data").display().to_string();
    let output = meshwright(&["up", "--listen", "0.0.0.0:0", "--s3", "127.0.0.1:0", "--data", &data]);
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).1.contains("without a token"), "{:?}", said(&output));
    assert!(!Path::new(&data).exists());
}

#[test]
fn without_a_configuration_the_doctor_looks_at_this_machine() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    for name in ["MESHWRIGHT_CONFIG", "MESHWRIGHT_NATS_URL", "MESHWRIGHT_S3_ENDPOINT"] {
        command.env_remove(name);
    }
    let command =
        command.args(["doctor", "--json"]).current_dir(root.path()).env("XDG_DATA_HOME", root.path());
    let output = command.output().expect("the program starts");
    let (out, _) = said(&output);
    let findings: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("one object per line")).collect();
    let ok = |what: &str| findings.iter().find(|finding| finding["check"] == what).map(|f| f["ok"] == true);
    for what in ["memory", "runner", "matting", "data folder", "disk"] {
        assert_eq!(ok(what), Some(true), "{what}: {out}");
    }
    // Whose the two ports are depends on the machine; everything else is well.
    assert!(ok("S3 port").is_some() && ok("page port").is_some(), "{out}");
    assert_eq!(findings.iter().filter(|finding| finding["check"] == "NATS").count(), 0);
    assert_eq!(std::fs::read_dir(root.path()).expect("a folder").count(), 0, "it wrote something");
}
