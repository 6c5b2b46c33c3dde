//! `replay`: recorded timings under another set-up, as a table beside what was recorded.

use crate::cli::ReplayArgs;
use crate::client::print_answer;
use crate::performance::table;
use crate::refusal::{Outcome, Refusal};
use domain::Bytes;
use replay::{Outcome as Run, Recording, SetUp, WorkerKind};
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// Largest recording that is read: a million tasks or so.
const BYTES_MAX: u64 = 1 << 30;

/// `replay FILE`
pub(crate) fn replay(args: &ReplayArgs, json: bool) -> Outcome<()> {
    let text = read(&args.file)?;
    let bad = |error: &dyn std::fmt::Display| Refusal::Input(format!("{}: {error}", args.file.display()));
    let recording = Recording::read(text.lines()).map_err(|error| bad(&error))?;
    let as_recorded = SetUp { workers: recorded_workers(&recording), batch_max: usize::from(args.batch_max) };
    let set_up = match args.workers.as_slice() {
        [] => as_recorded,
        words => {
            let workers = words.iter().map(|word| word.parse::<WorkerKind>()).collect::<Result<_, _>>();
            let workers = workers.map_err(|error| Refusal::Input(error.to_string()))?;
            SetUp { workers, ..as_recorded }
        }
    };
    let set_up = set_up.checked(&recording).map_err(|error| Refusal::Input(error.to_string()))?;
    let then = replay::replay(&recording, &set_up);
    let answer = json!({"recorded": recording.outcome(), "set_up": set_up, "replayed": then});
    print_answer(&answer, json, || told(recording.outcome(), &set_up, &then));
    Ok(())
}

fn read(file: &Path) -> Outcome<String> {
    let failed = |error: std::io::Error| Refusal::Input(format!("read {}: {error}", file.display()));
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut text = String::new();
    let read = source.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)? as u64;
    if read > BYTES_MAX {
        return Err(Refusal::Input(format!("{} is larger than {}", file.display(), Bytes(BYTES_MAX))));
    }
    Ok(text)
}

/// The workers that were seen, with as many lanes as they were seen to be busy with.
fn recorded_workers(recording: &Recording) -> Vec<WorkerKind> {
    let pools = recording.lanes().pools.iter();
    let kind = |pool: &profile::Pool| {
        let lanes = pool.lanes.div_ceil(pool.workers.max(1));
        WorkerKind { count: pool.workers, ..WorkerKind::new(pool.stages.clone(), lanes) }
    };
    pools.map(kind).collect()
}

fn told(recorded: &Run, set_up: &SetUp, then: &Run) -> String {
    let mut runs =
        table(&["", "jobs", "jobs/h", "latency p50 s", "latency p95 s", "batches of", "lanes busy"]);
    for (name, run) in [("recorded", recorded), ("replayed", then)] {
        let of = |number: fn(&replay::StageOutcome) -> f64| {
            let lines = run.stages.iter().map(|of| format!("{} {:.1}", of.stage, number(of)));
            lines.collect::<Vec<_>>().join("\n")
        };
        runs.add_row([
            name.to_owned(),
            run.jobs.to_string(),
            format!("{:.1}", run.jobs_per_hour),
            format!("{:.2}", run.latency_p50_s),
            format!("{:.2}", run.latency_p95_s),
            of(|of| of.items_mean),
            of(|of| of.lanes_busy),
        ]);
    }
    let workers = set_up.workers.iter().map(|kind| {
        let stages = kind.stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join("+");
        format!("{} x {stages} with {} lanes", kind.count, kind.lanes)
    });
    let workers = workers.collect::<Vec<_>>().join(", ");
    format!("{runs}\nreplayed with {workers}, batches of at most {}", set_up.batch_max)
}
