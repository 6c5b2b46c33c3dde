//! Visits worlds and prints what was found: those of the tests, or with `large` those that take minutes.
//!
//! `sim [large] [part of a name ...]`; ends with 1 if a property is violated.
//!
//! `sim cluster [jobs] [jobs of the large cluster]` simulates clusters with the real planner, prints its
//! figures and writes them to `figures/sim.json` in the target folder; a bar that does not hold is shown.
#![forbid(unsafe_code)]

use sim::check::{Visit, visit};
use sim::copies::Copies;
use sim::protocol::worlds;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut parts: Vec<String> = std::env::args().skip(1).collect();
    if parts.first().is_some_and(|part| part == "cluster") {
        return cluster(&parts);
    }
    let large = parts.iter().any(|part| part == "large");
    parts.retain(|part| part != "large");
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()));
    let mut holds = true;
    let worlds = if large { worlds::large() } else { worlds::all() };
    for world in worlds.into_iter().filter(|world| wanted(world.name)) {
        let begun = Instant::now();
        holds &= print(world.name, &visit(world.clone()), begun);
    }
    let (name, workers) = if large { ("copies, three workers", 3) } else { ("copies", 2) };
    if wanted(name) {
        let begun = Instant::now();
        holds &= print(name, &visit(Copies { workers, fault: None }), begun);
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cluster(parts: &[String]) -> ExitCode {
    let number =
        |n: usize, otherwise: u64| parts.get(n).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let report = sim::cluster::figures::measure(number(1, 10_000), number(2, 2_500_000));
    match figures::folder().and_then(|folder| report.write(&folder)) {
        Ok(()) => {
            println!("{}", figures::table(&[report]));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(name: &str, visit: &Visit, begun: Instant) -> bool {
    let secs = begun.elapsed().as_secs_f64();
    println!("{name}: {} states, depth {}, {secs:.1} s", visit.states, visit.depth);
    for (property, way) in &visit.violated {
        println!("  violated: {property}\n    {}", way.join("\n    "));
    }
    visit.violated.is_empty()
}
