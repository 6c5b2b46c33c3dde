//! Where the time of some jobs went, stage by stage and phase by phase: of a few from their profiles, of many
//! from the timings of their tasks. A gateway measured it; here it is put together.

use crate::http::{ANSWER_MAX, Client};
use crate::performance::{rows, table, text};
use crate::refusal::{Outcome, Refusal};
use domain::{JobId, Phase, Stage, TaskEnd, Timing};
use futures::StreamExt;
use profile::Window;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Jobs whose profiles are read for one table, and how many at once.
const PROFILED_MAX: usize = 500;
const AT_ONCE: usize = 8;
/// A line longer than this is no timing.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Stands for time in a stage that has no manifest.
const ATTEMPTS: &str = "attempts";

/// The phases of these jobs as one object, from their profiles; nothing where no stage was measured.
pub(crate) async fn of_jobs(client: &Client, jobs: impl IntoIterator<Item = JobId>) -> Value {
    let ask = |job: JobId| async move {
        // A table without one of them is still a table.
        client.json(Method::GET, &format!("/api/jobs/{job}/profile"), ANSWER_MAX).await.ok()
    };
    let asked = futures::stream::iter(jobs.into_iter().take(PROFILED_MAX)).map(ask);
    let profiles: Vec<Value> = asked.buffer_unordered(AT_ONCE).filter_map(async |one| one).collect().await;
    summed(&profiles)
}

/// Mean milliseconds of each phase of each stage.
fn summed(profiles: &[Value]) -> Value {
    let us = |value: &Value| value.as_u64().unwrap_or_default();
    let stage = |stage: Stage| {
        let of = profiles.iter().flat_map(|profile| rows(&profile["stages"]));
        let of: Vec<&Value> = of.filter(|of| of["name"] == stage.as_str()).collect();
        let mean = |sum: u64| sum as f64 / of.len() as f64 / 1e3;
        let phase = |name: &str| {
            let parts = of.iter().flat_map(|of| rows(&of["parts"])).filter(|part| part["name"] == name);
            parts.map(|part| us(&part["us"])).reduce(u64::saturating_add)
        };
        let names = Phase::ALL.map(Phase::as_str).into_iter().chain([ATTEMPTS]);
        let phases: Map<String, Value> =
            names.filter_map(|name| Some((name.to_owned(), json!(mean(phase(name)?))))).collect();
        let all = of.iter().map(|of| us(&of["wall_us"])).fold(0, u64::saturating_add);
        (!of.is_empty())
            .then(|| json!({"stage": stage, "tasks": of.len(), "all_ms": mean(all), "phases_ms": phases}))
    };
    let stages: Vec<Value> = Stage::ALL.into_iter().filter_map(stage).collect();
    let intake = profiles.iter().map(|profile| us(&profile["unaccounted_us"])).fold(0, u64::saturating_add);
    let intake_ms = intake as f64 / profiles.len().max(1) as f64 / 1e3;
    json!({"kind": "phases", "jobs": profiles.len(), "intake_ms": intake_ms, "stages": stages})
}

/// Prints them as a table, or as one object; nothing where nothing was measured.
pub(crate) fn print(phases: &Value, json: bool) {
    match rows(&phases["stages"]).next() {
        None => {}
        Some(_) if json => say!("{phases}"),
        Some(_) => say!("{}", told(phases)),
    }
}

fn told(phases: &Value) -> String {
    let names = Phase::ALL.map(Phase::as_str).into_iter().chain([ATTEMPTS]);
    let is_there = |name: &&str| rows(&phases["stages"]).any(|of| !of["phases_ms"][*name].is_null());
    let names: Vec<&str> = names.filter(is_there).collect();
    let head = ["ms per task", "tasks"].into_iter().chain(names.iter().copied()).chain(["all"]);
    let mut all = table(&head.collect::<Vec<_>>());
    let ms = |value: &Value| value.as_f64().map_or_else(String::new, |ms| format!("{ms:.0}"));
    for of in rows(&phases["stages"]) {
        let mut cells = vec![text(&of["stage"]), of["tasks"].to_string()];
        cells.extend(names.iter().map(|name| ms(&of["phases_ms"][*name])));
        cells.push(ms(&of["all_ms"]));
        all.add_row(cells);
    }
    all.to_string()
}

/// Timings of the tasks of these jobs, of as many seconds as are asked for, and how many of them were
/// committed.
pub(crate) async fn window_of(
    client: &Client,
    jobs: &BTreeSet<JobId>,
    window_s: u64,
) -> Outcome<(Window, u64)> {
    let path = format!("/api/performance/timings?window_s={window_s}");
    let mut answer = client.send(client.request(Method::GET, &path)).await?.bytes_stream();
    let (mut window, mut committed, mut rest) = (Window::new(), 0, Vec::new());
    while let Some(piece) = answer.next().await {
        let broke = |error| Refusal::Unavailable(format!("read the timings: {error}"));
        rest.extend_from_slice(&piece.map_err(broke)?);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let timing = serde_json::from_slice::<Timing>(&line).ok();
            if let Some(timing) = timing.filter(|timing| jobs.contains(&timing.job)) {
                committed += u64::from(timing.end == TaskEnd::Committed);
                window.add(&timing);
            }
        }
        if rest.len() > LINE_BYTES_MAX {
            return Err(Refusal::Unavailable("read the timings: a line has no end".to_owned()));
        }
    }
    Ok((window, committed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(intake: u64, stages: &[(&str, &[(&str, u64)])]) -> Value {
        let part = |(name, us): &(&str, u64)| json!({"name": name, "us": us});
        let stage = |(name, parts): &(&str, &[(&str, u64)])| {
            let wall: u64 = parts.iter().map(|(_, us)| us).sum();
            json!({"name": name, "wall_us": wall, "parts": parts.iter().map(part).collect::<Vec<_>>()})
        };
        json!({"unaccounted_us": intake, "stages": stages.iter().map(stage).collect::<Vec<_>>()})
    }

    #[test]
    fn phases_are_means_over_the_tasks_of_their_stage() {
        let whole = profile(
            2_000,
            &[
                ("preprocess", &[("queued", 4_000), ("compute", 200_000)]),
                ("shape", &[("queued", 1_000), ("compute", 800_000)]),
            ],
        );
        let died = profile(
            0,
            &[("preprocess", &[("queued", 2_000), ("compute", 100_000)]), ("shape", &[("attempts", 5_000)])],
        );
        let phases = summed(&[whole, died]);
        assert_eq!((&phases["jobs"], &phases["intake_ms"]), (&json!(2), &json!(1.0)));
        let first = &phases["stages"][0];
        assert_eq!(first["phases_ms"], json!({"queued": 3.0, "compute": 150.0}));
        assert_eq!((&first["tasks"], &first["all_ms"]), (&json!(2), &json!(153.0)));
        let told = told(&phases);
        for part in ["ms per task", "queued", "compute", "attempts", "preprocess", "153", "150"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("store") && !told.contains("texture"), "{told}");
    }
}
