//! A lane with a real runner: this test binary itself, started again with the argument `runner`. Its stage
//! function does what an item's only file says, so that every way in which a runner can end is tried on real
//! processes.

use domain::{Bytes, EngineVersion, Recipe, Stage, Synthetic};
use libtest_mimic::{Arguments, Failed, Trial};
use stage::{Context, File, Input, Output, StageError, StageFunction};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use worker::{ItemEnd, ItemSay, Lane, LaneReport, Loaded, RunnerCommand, Spent, Work};

/// Does what it is told.
#[derive(Default)]
struct Scripted {
    /// Items that this process has begun.
    begun: usize,
}

impl StageFunction for Scripted {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        EngineVersion { name: "scripted".to_owned(), version: "1".to_owned() }
    }

    fn run(&mut self, input: &Input, _cx: &Context<'_>) -> Output {
        let text = String::from_utf8_lossy(input.file("do")?).into_owned();
        self.begun += 1;
        match text.split_once(' ').unwrap_or((text.as_str(), "")) {
            ("ok", _) => Ok(input.files.clone()),
            ("reject", why) => Err(StageError::Rejected(why.to_owned())),
            ("fail", why) => Err(StageError::Failed(why.to_owned())),
            ("lack", _) => Err(StageError::OutOfMemory(Bytes::gib(1))),
            ("crowd", _) if self.begun > 1 => Err(StageError::OutOfMemory(Bytes::gib(1))),
            ("crowd", _) => Ok(input.files.clone()),
            ("garble", _) => {
                println!("this is no frame of ours");
                loop {
                    std::thread::park();
                }
            }
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
    lane_of("runner")
}

/// This binary, as a runner of this kind.
fn lane_of(kind: &str) -> Lane {
    let program = std::env::current_exe().expect("this test binary");
    Lane::new(RunnerCommand { program, args: vec![kind.into()] })
}

/// A runner that says it is ready and never reads.
fn deaf() -> ! {
    let said = worker::frames::say(&mut std::io::stdout(), &worker::frames::Say::Ready, &[]);
    assert!(said.is_ok(), "nobody listens");
    loop {
        std::thread::park();
    }
}

/// Each item's end in a word.
fn word(end: &ItemEnd) -> &'static str {
    match end {
        ItemEnd::Files { .. } => "files",
        ItemEnd::Rejected(_) => "rejected",
        ItemEnd::Failed(_) => "failed",
        ItemEnd::OutOfMemory => "oom",
        ItemEnd::Cancelled => "cancelled",
        ItemEnd::NotRun => "not run",
    }
}

struct Ran {
    ends: Vec<&'static str>,
    starts: Vec<usize>,
    spent: Vec<Spent>,
    report: LaneReport,
}

/// Runs a batch on the lane. `cancel_at_start` cancels an item once it has started.
async fn run_on(lane: &mut Lane, items: &[&str], mib: u64, cancel_at_start: Option<usize>) -> Ran {
    let inputs = items.iter().map(|what| item(what)).collect();
    let (cancel, cancelled) = watch::channel(BTreeSet::new());
    let stall = Duration::from_secs(2);
    let (stage, reservation, broken) = (Stage::Shape, Bytes::mib(mib), watch::channel(None).1);
    let work = Work { stage, reservation, inputs, stall, cancelled, broken };
    run_work(lane, work, cancel, cancel_at_start).await
}

async fn run_work(
    lane: &mut Lane,
    work: Work,
    cancel: watch::Sender<BTreeSet<usize>>,
    cancel_at_start: Option<usize>,
) -> Ran {
    let items = work.inputs.len();
    let (heard, mut hear) = mpsc::channel(64);
    let listen = async {
        let (mut ends, mut starts, mut spent) = (vec![""; items], Vec::new(), vec![None; items]);
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
                ItemSay::Spent(times) => {
                    assert!(spent[item].replace(times).is_none(), "item {item} spent its time twice");
                }
                ItemSay::Progress { .. } => {}
            }
        }
        (ends, starts, spent.into_iter().map(Option::unwrap_or_default).collect())
    };
    let run = async {
        let report = lane.run(work, &heard).await;
        drop(heard);
        report
    };
    let (report, (ends, starts, spent)) = tokio::join!(run, listen);
    Ran { ends, starts, spent, report }
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
    assert_eq!(ran.report.out_of_memory_at, Some(4), "of a group of four");
    assert_eq!(ran.report.peak, Bytes::mib(256));
}

async fn the_peak_of_a_batch_is_measured() {
    let ran = check(&["take 100"], 512, &["files"]).await;
    let peak = ran.report.peak;
    assert!(peak >= Bytes::mib(95) && peak < Bytes::mib(140), "{peak}");
}

async fn exit_70_is_a_broken_device_and_only_the_item_that_was_computed_is_charged() {
    let ran = check(&["ok", "exit 70", "ok", "ok"], 64, &["files", "failed", "not run", "not run"]).await;
    assert!(ran.report.device_broken && ran.report.is_unusable());
    assert_eq!(ran.starts, [0, 1]);
}

async fn an_item_that_lacks_memory_beside_others_is_asked_again_alone() {
    let ran = check(&["ok", "crowd", "ok"], 64, &["files", "files", "files"]).await;
    assert_eq!(ran.report.out_of_memory_at, Some(3));
    assert_eq!(ran.starts, [0, 1, 1, 2]);
}

async fn a_synthetic_batch_runs_out_by_its_size_and_is_halved_until_it_fits() {
    let check = async |load: &str, starts: &[usize]| {
        let recipe = Recipe { synthetic: Synthetic::parse(load).ok(), ..Recipe::default() };
        let inputs = vec![Input { recipe, ..item("ok") }; 8];
        let (cancel, cancelled) = watch::channel(BTreeSet::new());
        let (reservation, stall) = (Bytes::mib(64), Duration::from_secs(2));
        let broken = watch::channel(None).1;
        let work = Work { stage: Stage::Shape, reservation, inputs, stall, cancelled, broken };
        let ran = run_work(&mut lane_of("loaded"), work, cancel, None).await;
        assert_eq!((ran.ends, ran.starts.as_slice()), (vec!["files"; 8], starts), "{load}");
        assert_eq!(ran.report.out_of_memory_at, Some(8));
    };
    check("stage=shape,oom-at=5", &[0, 0, 1, 2, 3, 4, 5, 6, 7]).await;
    // No item is begun more often than there are halvings, and once more.
    check("stage=shape,oom-at=2", &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7]).await;
}

async fn an_item_that_lacks_memory_alone_is_out_of_memory_and_its_neighbours_run() {
    check(&["ok", "lack", "ok"], 64, &["files", "oom", "files"]).await;
    check(&["lack"], 64, &["oom"]).await;
}

async fn a_runner_that_speaks_another_language_and_lives_is_killed() {
    let ran = check(&["ok", "garble", "ok"], 64, &["files", "failed", "files"]).await;
    assert_eq!(ran.report.deaths, 1);
}

async fn a_runner_that_takes_no_batch_is_killed_and_its_item_fails() {
    let large = "x".repeat(1 << 20);
    let ran = run_on(&mut lane_of("deaf"), &[&large], 64, None).await;
    assert_eq!((ran.ends.as_slice(), ran.starts.len()), (["failed"].as_slice(), 0));
}

async fn a_batch_is_cancelled_while_it_is_handed_over() {
    let (cancel, cancelled) = watch::channel(BTreeSet::new());
    let inputs = vec![item(&"x".repeat(1 << 20))];
    let stall = Duration::from_secs(600);
    let (stage, reservation, broken) = (Stage::Shape, Bytes::mib(64), watch::channel(None).1);
    let work = Work { stage, reservation, inputs, stall, cancelled, broken };
    let mut lane = lane_of("deaf");
    lane.warm_up().await.expect("a runner");
    let told = cancel.clone();
    let telling = async move { told.send_modify(|items| items.extend([0])) };
    let (ran, ()) = tokio::join!(run_work(&mut lane, work, cancel, None), telling);
    assert_eq!(ran.ends, ["cancelled"]);
}

async fn a_runner_that_died_while_it_was_idle_costs_the_next_batch_nothing() {
    let mut lane = lane();
    assert_eq!(run_on(&mut lane, &["ok"], 64, None).await.ends, ["files"]);
    let pid = lane.pid().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)).expect("a runner");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
    let ran = run_on(&mut lane, &["ok", "ok"], 64, None).await;
    assert_eq!((ran.ends.as_slice(), ran.report.deaths), (["files", "files"].as_slice(), 0));
}

async fn each_item_says_how_its_time_was_spent_and_by_which_code() {
    let ran = check(&["ok", "take 64", "fail"], 256, &["files", "files", "failed"]).await;
    for (item, spent) in ran.spent.iter().enumerate() {
        assert!(spent.phases.load_us > 0, "item {item}: {spent:?}");
        assert_eq!((spent.engine.name.as_str(), spent.precision.as_str()), ("scripted", "f32"));
    }
    let [first, second, third] = [0, 1, 2].map(|item| ran.spent[item].phases);
    assert!(second.compute_us > 0, "{second:?} touches 64 MiB");
    assert!(second.wait_us >= first.compute_us, "{second:?} waits for {first:?}");
    assert!(third.wait_us >= first.compute_us + second.compute_us, "{third:?} waits for {second:?}");
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

async fn a_runner_that_cannot_start_charges_nobody_and_does_not_loop() {
    let mut lane = Lane::new(RunnerCommand { program: "/nonexistent/meshwright".into(), args: vec![] });
    let ran = run_on(&mut lane, &["ok", "ok"], 64, None).await;
    assert_eq!(ran.ends, ["not run", "not run"]);
    assert!(ran.report.no_runner && ran.report.is_unusable());
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
    match std::env::args().nth(1).as_deref() {
        Some("runner") => {
            let served = worker::runner::serve(|_| Box::<Scripted>::default());
            return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some("loaded") => {
            let served =
                worker::runner::serve(|stage| Box::new(Loaded::around(stage, Box::<Scripted>::default())));
            return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some("deaf") => deaf(),
        _ => {}
    }
    let tests = trials![
        one_bad_item_of_sixteen_costs_only_itself,
        rejections_and_failures_do_not_end_the_runner,
        memory_beyond_the_reservation_is_out_of_memory_and_only_for_the_item_that_takes_it,
        the_peak_of_a_batch_is_measured,
        exit_70_is_a_broken_device_and_only_the_item_that_was_computed_is_charged,
        an_item_that_lacks_memory_beside_others_is_asked_again_alone,
        a_synthetic_batch_runs_out_by_its_size_and_is_halved_until_it_fits,
        an_item_that_lacks_memory_alone_is_out_of_memory_and_its_neighbours_run,
        a_runner_that_speaks_another_language_and_lives_is_killed,
        a_runner_that_takes_no_batch_is_killed_and_its_item_fails,
        a_batch_is_cancelled_while_it_is_handed_over,
        a_runner_that_died_while_it_was_idle_costs_the_next_batch_nothing,
        each_item_says_how_its_time_was_spent_and_by_which_code,
        an_item_without_progress_is_killed_and_its_neighbours_run,
        a_cancelled_item_is_taken_out_while_it_runs,
        a_runner_serves_many_batches_and_its_limit_follows_each,
        a_runner_that_cannot_start_charges_nobody_and_does_not_loop,
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
