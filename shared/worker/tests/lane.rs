//! A lane with a real runner: this test binary itself, started again with the argument `runner`. Its stage
//! function does what an item's only file says, so that every way in which a runner can end is tried on real
//! processes.

use domain::{Bytes, EngineVersion, Recipe, Stage};
use libtest_mimic::{Arguments, Failed, Trial};
use stage::{Context, File, Input, Output, StageError, StageFunction};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use worker::{ItemEnd, ItemSay, Lane, LaneReport, RunnerCommand, Work};

/// Does what it is told.
struct Scripted;

impl StageFunction for Scripted {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        EngineVersion { name: "scripted".to_owned(), version: "1".to_owned() }
    }

    fn memory_hint(&self, _recipe: &Recipe) -> f64 {
        1.0
    }

    fn run(&mut self, input: &Input, _cx: &Context<'_>) -> Output {
        let text = String::from_utf8_lossy(input.file("do")?).into_owned();
        match text.split_once(' ').unwrap_or((text.as_str(), "")) {
            ("ok", _) => Ok(input.files.clone()),
            ("reject", why) => Err(StageError::Rejected(why.to_owned())),
            ("fail", why) => Err(StageError::Failed(why.to_owned())),
            ("abort", _) => std::process::abort(),
            ("exit", code) => std::process::exit(code.parse().unwrap_or(1)),
            ("take", mib) => {
                let mib: usize = mib.parse().map_err(|_| StageError::Failed("a number".to_owned()))?;
                let taken = vec![1u8; mib << 20];
                let sum: u64 = taken.iter().step_by(4096).map(|byte| u64::from(*byte)).sum();
                Ok(vec![File { bytes: sum.to_le_bytes().to_vec(), ..input.files[0].clone() }])
            }
            ("hang", _) => loop {
                std::thread::park();
            },
            (other, _) => Err(StageError::Failed(format!("unknown word {other}"))),
        }
    }
}

fn item(what: &str) -> Input {
    let file = File { name: "do".to_owned(), content_type: String::new(), bytes: what.as_bytes().to_vec() };
    Input { recipe: Recipe::default(), files: vec![file] }
}

fn lane() -> Lane {
    let program = std::env::current_exe().expect("this test binary");
    Lane::new(RunnerCommand { program, args: vec!["runner".into()] })
}

/// Each item's end in a word.
fn word(end: &ItemEnd) -> &'static str {
    match end {
        ItemEnd::Files { .. } => "files",
        ItemEnd::Rejected(_) => "rejected",
        ItemEnd::Failed(_) => "failed",
        ItemEnd::OutOfMemory => "oom",
        ItemEnd::Cancelled => "cancelled",
    }
}

struct Ran {
    ends: Vec<&'static str>,
    starts: Vec<usize>,
    report: LaneReport,
}

/// Runs a batch on the lane. `cancel_at_start` cancels an item once it has started.
async fn run_on(lane: &mut Lane, items: &[&str], mib: u64, cancel_at_start: Option<usize>) -> Ran {
    let (cancel, cancelled) = watch::channel(BTreeSet::new());
    let inputs = items.iter().map(|what| item(what)).collect();
    let stall = Duration::from_secs(if items.contains(&"stall") { 1 } else { 2 });
    let work = Work { stage: Stage::Shape, reservation: Bytes::mib(mib), inputs, stall, cancelled };
    let (heard, mut hear) = mpsc::channel(64);
    let listen = async {
        let (mut ends, mut starts) = (vec![""; items.len()], Vec::new());
        while let Some((item, say)) = hear.recv().await {
            match say {
                ItemSay::Ended(end) => {
                    assert_eq!(ends[item], "", "item {item} ended twice");
                    ends[item] = word(&end);
                }
                ItemSay::Started => {
                    starts.push(item);
                    if cancel_at_start == Some(item) {
                        cancel.send_modify(|items| items.extend([item]));
                    }
                }
                ItemSay::Progress { .. } => {}
            }
        }
        (ends, starts)
    };
    let run = async {
        let report = lane.run(work, &heard).await;
        drop(heard);
        report
    };
    let (report, (ends, starts)) = tokio::join!(run, listen);
    Ran { ends, starts, report }
}

async fn check(items: &[&str], mib: u64, expect: &[&str]) -> Ran {
    let ran = run_on(&mut lane(), items, mib, None).await;
    assert_eq!(ran.ends, expect, "{items:?} {:?}", ran.report);
    ran
}

async fn one_bad_item_of_sixteen_costs_only_itself() {
    let mut items = ["ok"; 16];
    let mut expect = ["files"; 16];
    (items[5], expect[5]) = ("exit 3", "failed");
    let ran = check(&items, 64, &expect).await;
    assert_eq!(ran.report.deaths, 1);
    // 16 starts: those behind the bad one are resent, those before it are not computed again.
    assert_eq!(ran.starts.len(), 16);
}

async fn rejections_and_failures_do_not_end_the_runner() {
    let ran =
        check(&["ok", "reject no subject", "fail once", "ok"], 64, &["files", "rejected", "failed", "files"]);
    assert_eq!(ran.await.report.deaths, 0);
}

async fn memory_beyond_the_reservation_is_out_of_memory_and_only_for_the_item_that_takes_it() {
    let ran =
        check(&["take 8", "take 900", "take 8", "take 8"], 256, &["files", "oom", "files", "files"]).await;
    assert_eq!(ran.report.out_of_memory_at, Some(3));
    assert_eq!(ran.report.peak, Bytes::mib(256));
}

async fn the_peak_of_a_batch_is_measured() {
    let ran = check(&["take 100"], 512, &["files"]).await;
    let peak = ran.report.peak;
    assert!(peak >= Bytes::mib(95) && peak < Bytes::mib(140), "{peak}");
}

async fn exit_70_is_a_broken_device_and_nothing_is_tried_again() {
    let ran = check(&["ok", "exit 70", "ok"], 64, &["files", "failed", "failed"]).await;
    assert!(ran.report.device_broken);
    assert_eq!(ran.starts, [0, 1]);
}

async fn an_item_without_progress_is_killed_and_its_neighbours_run() {
    let ran = check(&["ok", "hang", "ok"], 64, &["files", "failed", "files"]).await;
    assert_eq!(ran.starts, [0, 1, 2]);
}

async fn a_cancelled_item_is_taken_out_while_it_runs() {
    let ran = run_on(&mut lane(), &["ok", "hang", "ok"], 64, Some(1)).await;
    assert_eq!(ran.ends, ["files", "cancelled", "files"]);
}

async fn a_runner_serves_many_batches_and_its_limit_follows_each() {
    let mut lane = lane();
    assert_eq!(run_on(&mut lane, &["take 200"], 64, None).await.ends, ["oom"]);
    assert_eq!(run_on(&mut lane, &["take 200"], 512, None).await.ends, ["files"]);
    let first = lane.pid();
    assert_eq!(run_on(&mut lane, &["take 200"], 512, None).await.ends, ["files"]);
    assert_eq!(lane.pid(), first);
    lane.rest().await;
    assert_eq!(lane.pid(), None);
}

async fn a_runner_that_cannot_start_fails_its_items_and_does_not_loop() {
    let mut lane = Lane::new(RunnerCommand { program: "/nonexistent/meshwright".into(), args: vec![] });
    let ran = run_on(&mut lane, &["ok", "ok"], 64, None).await;
    assert_eq!(ran.ends, ["failed", "failed"]);
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| Failed::from(error.to_string()))?.block_on(test());
        Ok(())
    })
}

macro_rules! trials {
    ($($test:ident),* $(,)?) => { vec![$(trial(stringify!($test), $test)),*] };
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("runner") {
        let served = worker::runner::serve(|_| Box::new(Scripted));
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let tests = trials![
        one_bad_item_of_sixteen_costs_only_itself,
        rejections_and_failures_do_not_end_the_runner,
        memory_beyond_the_reservation_is_out_of_memory_and_only_for_the_item_that_takes_it,
        the_peak_of_a_batch_is_measured,
        exit_70_is_a_broken_device_and_nothing_is_tried_again,
        an_item_without_progress_is_killed_and_its_neighbours_run,
        a_cancelled_item_is_taken_out_while_it_runs,
        a_runner_serves_many_batches_and_its_limit_follows_each,
        a_runner_that_cannot_start_fails_its_items_and_does_not_loop,
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
