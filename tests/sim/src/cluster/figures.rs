//! The figures of the planner, as a table and as `figures/sim.json` in the target folder.

use super::settings::Settings;
use super::speed;
use super::world::{BEGIN, Seen, World};
use super::yardstick::{Rule, fixed_caps, steady_rate, upper_bound, whole_rate};
use figures::{Bar, Report};
use std::time::{Duration, Instant};

/// The seed of the figures; the tests use others.
const SEED: u64 = 77_001;

/// Batches whose events are timed.
const BATCHES: usize = 20_000;

/// Measures all of them; `jobs` of the large cluster, each with four tasks.
pub fn measure(jobs: u64, large_jobs: u64) -> Report {
    let mut figures = Report::new("sim");
    // First, while the process is small: memory is measured too.
    decisions(&mut figures);
    cluster(&mut figures, jobs);
    if large_jobs > 0 {
        let mut settings = Settings::saturated(SEED, large_jobs);
        settings.devices = (0..1_000).map(|n| [8, 16, 24, 80, 141][n % 5]).collect();
        let begun = Instant::now();
        let seen = World::new(settings).run();
        let took = begun.elapsed().as_secs_f64();
        let name = format!("1,000 devices, {} tasks: tasks done", large_jobs * 4);
        figures.add(name, seen.done_at.len() as f64 * 4.0, "tasks", Bar::AtLeast(large_jobs as f64 * 4.0));
        figures.add("1,000 devices: wall time of the simulation", took, "s", Bar::None);
    }
    figures
}

fn cluster(figures: &mut Report, jobs: u64) {
    let settings = Settings::saturated(SEED, jobs);
    let devices = settings.devices.clone();
    let seen = World::new(settings).run();
    let (batches, ran_out) = seen.after_warm_up;
    let share = 100.0 * ran_out as f64 / (batches as f64).max(1.0);
    figures.add("batches after warm-up", batches as f64, "batches", Bar::None);
    figures.add("batches out of memory after warm-up", share, "%", Bar::AtMost(0.1));
    let done = done_s(&seen);
    let (ours, bound) = (steady_rate(&done), upper_bound(&devices));
    figures.add("jobs per second, 10 devices, saturated", ours, "jobs/s", Bar::None);
    figures.add("upper bound (fluid, no planner code)", bound, "jobs/s", Bar::None);
    figures.add("throughput against the upper bound", 100.0 * ours / bound, "%", Bar::AtLeast(95.0));
    let with = |rule| whole_rate(&fixed_caps(&devices, jobs, SEED, rule));
    let (whole, latest, loaded) = (whole_rate(&done), with(Rule::LatestStage), with(Rule::LoadedFirst));
    figures.add("whole run", whole, "jobs/s", Bar::None);
    figures.add("whole run, fixed caps, latest stage first", latest, "jobs/s", Bar::None);
    figures.add("whole run, fixed caps, loaded runners first", loaded, "jobs/s", Bar::None);
    figures.add(
        "throughput against the better fixed caps",
        whole / latest.max(loaded),
        "x",
        Bar::AtLeast(1.0),
    );
    let all = devices.len() as f64 * done.last().copied().unwrap_or(0.0) * 1_000.0;
    let [computing, starting, ran_out, smaller] = seen.device_ms;
    let idle = all - seen.device_ms.iter().sum::<f64>();
    for (name, ms) in [
        ("computing, as in the best batches", computing),
        ("smaller batches than the best", smaller),
        ("starting runners", starting),
        ("lost to running out of memory", ran_out),
        ("idle", idle),
    ] {
        figures.add(format!("device time: {name}"), 100.0 * ms / all.max(1.0), "%", Bar::None);
    }
    for (stage, count) in &seen.starts {
        figures.add(format!("starts of runners: {stage}"), *count as f64, "starts", Bar::None);
    }
    let held = seen.held_longest.as_secs_f64();
    figures.add("longest time that a task was held", held, "s (simulated)", Bar::None);
}

fn done_s(seen: &Seen) -> Vec<f64> {
    seen.done_at.iter().map(|at| at.since(BEGIN).as_secs_f64()).collect()
}

fn decisions(figures: &mut Report) {
    let micros = |span: Duration| span.as_secs_f64() * 1e6;
    for (waiting, bars) in [(100_000, (Bar::AtMost(5.0), Bar::AtMost(50.0))), (1_000, (Bar::None, Bar::None))]
    {
        let speed = speed::measure(64, waiting, BATCHES);
        let at = |share: f64| {
            let place = ((speed.decisions.len() as f64 * share) as usize).min(speed.decisions.len() - 1);
            micros(speed.decisions[place])
        };
        let name = format!("time of an event, 64 devices, {waiting} queued");
        figures.add(format!("{name}, p50"), at(0.50), "us", bars.0);
        figures.add(format!("{name}, p99"), at(0.99), "us", bars.1);
        if waiting == 100_000 {
            figures.add("tasks scheduled, one thread", speed.tasks_per_s, "tasks/s", Bar::AtLeast(1e6));
            figures.add("memory per task in view", speed.bytes_per_task, "B", Bar::AtMost(200.0));
        }
    }
}
