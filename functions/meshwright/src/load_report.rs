//! What a load has shown: one JSON document, a table made of it, and a picture. It measures nothing.

use crate::arrivals::Arrivals;
use crate::performance::{rows, table, text as string};
use crate::plot::{self, Line, Panel};
use crate::saturation::{Slice, Spread, saturation, slices};
use crate::tally::Tally;
use profile::{Grouping, Window};
use serde_json::{Value, json};
use std::time::Duration;

/// Of what was asked for, so much is done by whoever keeps pace.
const PACE: f64 = 0.9;

/// A load that is over.
pub(crate) struct Watched<'a> {
    pub(crate) arrivals: &'a Arrivals,
    pub(crate) tally: &'a Tally,
    /// From the first intended beginning until nothing more was waited for.
    pub(crate) took: Duration,
    /// A person ended it.
    pub(crate) early: bool,
}

impl Watched<'_> {
    /// How long jobs began.
    fn until(&self) -> Duration {
        self.arrivals.span().min(self.took)
    }

    fn slices(&self) -> Vec<Slice> {
        slices(&self.tally.lives(), self.until())
    }

    /// Jobs that ended, per second, until the last end.
    fn throughput_per_s(&self) -> Option<f64> {
        let lives = self.tally.lives();
        let last = lives.iter().filter_map(|(_, end)| *end).max()?.as_secs_f64();
        let ended = lives.iter().filter(|(_, end)| end.is_some()).count();
        (last > 0.0).then_some(ended as f64 / last)
    }

    fn saturation(&self) -> Value {
        let found = match self.arrivals.is_ramp() {
            true => saturation(&self.tally.lives(), self.until(), self.took),
            false => None,
        };
        found.map_or(Value::Null, |per_s| json!({"per_s": per_s, "at_s": self.arrivals.reaches_s(per_s)}))
    }
}

/// All of it; stages as far as their timings are there.
pub(crate) fn json(watched: &Watched<'_>, timings: Option<&Window>) -> Value {
    let tally = watched.tally;
    let spread = |all| Spread::of(all).map(|spread| spread.json());
    let (from, to) = watched.arrivals.rates();
    let stages = timings.map(|window| window.breakdown(Grouping::default()));
    json!({
        "rate_per_s": {"from": from, "to": to},
        "planned": watched.arrivals.jobs(),
        "ended_early": watched.early,
        "began_for_s": watched.until().as_secs_f64(),
        "took_s": watched.took.as_secs_f64(),
        "jobs": tally.counts(),
        "reasons": tally.reasons(),
        "throughput_per_s": watched.throughput_per_s(),
        "latency": spread(tally.latencies()),
        "answer": spread(tally.answers()),
        "late_max_ms": tally.late_max().as_secs_f64() * 1e3,
        "stages": stages.map_or_else(Vec::new, |stages| stages.rows),
        "saturation": watched.saturation(),
        "slices": watched.slices().iter().map(Slice::json).collect::<Vec<_>>(),
    })
}

/// The document for a person.
pub(crate) fn text(report: &Value) -> String {
    let mut told = vec![times(report), jobs_line(&report["jobs"])];
    told.extend(report["reasons"].as_object().into_iter().flatten().map(|(why, n)| format!("  {n} x {why}")));
    told.push(pace_line(report));
    if !report["saturation"].is_null() {
        let of = |name: &str| report["saturation"][name].as_f64().unwrap_or_default();
        told.push(format!(
            "saturated at {:.2} jobs/s, which were asked for after {:.0} s",
            of("per_s"),
            of("at_s")
        ));
    } else if report["rate_per_s"]["from"] != report["rate_per_s"]["to"] {
        told.push("not saturated, as far as this load tells: ask for more with --ramp".to_owned());
    }
    if report["ended_early"] == true {
        told.push(format!("ended early, of {} jobs", report["planned"]));
    }
    told.join("\n")
}

fn cells(name: &str, count: &Value, spread: &Value, share: Option<f64>) -> [String; 6] {
    let ms = |name: &str| spread[name].as_f64().map_or_else(String::new, |ms| format!("{ms:.0}"));
    let share = share.map_or_else(String::new, |share| format!("{share:.1}"));
    [name.to_owned(), count.to_string(), ms("p50_ms"), ms("p90_ms"), ms("p99_ms"), share]
}

/// Latency in all, then by stage and phase.
fn times(report: &Value) -> String {
    let mut all = table(&["", "count", "p50 ms", "p90 ms", "p99 ms", "% of stage"]);
    for (name, what) in [("answer", "accepted"), ("latency", "in all")] {
        if !report[name].is_null() {
            all.add_row(cells(what, &report[name]["count"], &report[name], None));
        }
    }
    for stage in rows(&report["stages"]) {
        all.add_row(cells(&string(&stage["stage"]), &stage["tasks"], &stage["wall"], None));
        for phase in rows(&stage["phases"]).filter(|phase| phase["us"].as_u64() > Some(0)) {
            let name = format!("  {}", string(&phase["phase"]));
            let share = phase["share_percent"].as_f64();
            all.add_row(cells(&name, &phase["times"]["count"], &phase["times"], share));
        }
    }
    all.to_string()
}

fn jobs_line(jobs: &Value) -> String {
    let names = ["sent", "done", "rejected", "failed", "cancelled", "refused", "unanswered", "open"];
    let is_worth = |name: &&str| matches!(*name, "sent" | "done") || jobs[*name].as_u64() > Some(0);
    let told: Vec<String> =
        names.into_iter().filter(is_worth).map(|name| format!("{} {name}", jobs[name])).collect();
    told.join(", ")
}

/// What was asked for and what was done, and how far the figures can be trusted.
fn pace_line(report: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let (sent, began_for) = (number(&report["jobs"]["sent"]), number(&report["began_for_s"]));
    let asked = if began_for > 0.0 { sent / began_for } else { 0.0 };
    let done = number(&report["throughput_per_s"]);
    let behind = if done < PACE * asked { ": more were asked for than are done" } else { "" };
    let late = number(&report["late_max_ms"]);
    format!("{done:.2} jobs/s of {asked:.2}{behind}; this side was {late:.0} ms late at most")
}

/// Rates and latencies over the time of the load.
pub(crate) fn plot(watched: &Watched<'_>) -> String {
    let slices = watched.slices();
    let line = |name: &str, of: &dyn Fn(&Slice) -> Option<f64>| {
        let points =
            slices.iter().filter_map(|slice| Some(((slice.from_s + slice.until_s) / 2.0, of(slice)?)));
        Line { name: name.to_owned(), points: points.collect() }
    };
    let latency = |of: fn(&Spread) -> Duration| {
        move |slice: &Slice| slice.latency.as_ref().map(|spread| of(spread).as_secs_f64())
    };
    plot::panels(&[
        Panel {
            title: "Jobs per second",
            axes: ("s", "jobs/s"),
            lines: vec![
                line("asked for", &|slice| Some(slice.offered_per_s)),
                line("done", &|slice| Some(slice.done_per_s)),
            ],
        },
        Panel {
            title: "Latency from the intended beginning",
            axes: ("s", "s"),
            lines: vec![
                line("p50", &latency(|spread| spread.p50)),
                line("p90", &latency(|spread| spread.p90)),
                line("p99", &latency(|spread| spread.p99)),
            ],
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Event, EventKind, JobId, Life, Timestamp};

    /// A server that begins two jobs per second and takes half a second for each, under a ramp.
    fn overrun() -> (Arrivals, Tally, Duration) {
        let arrivals = Arrivals::of_jobs("1..7".parse().expect("a ramp"), 120);
        let (mut tally, mut free_at, mut last) = (Tally::default(), Duration::ZERO, Duration::ZERO);
        for (n, at) in (0..).map_while(|n| arrivals.at(n)).enumerate() {
            let number = tally.call(at, at);
            let mut id = [0; 16];
            id[0] = n as u8;
            tally.answered(number, JobId(id), at + Duration::from_millis(3));
            let begun = at.max(free_at);
            free_at = begun + Duration::from_millis(500);
            last = free_at;
            let kind = match n {
                7 => EventKind::Rejected { reason: "no picture".to_owned() },
                _ => EventKind::Finished,
            };
            tally.hear(&Event { job: JobId(id), life: Life(0), at: Timestamp(0), kind }, last);
        }
        (arrivals, tally, last)
    }

    #[test]
    fn a_load_that_was_too_much_says_how_much_would_not_have_been() {
        let (arrivals, tally, took) = overrun();
        let watched = Watched { arrivals: &arrivals, tally: &tally, took, early: false };
        let report = json(&watched, None);
        assert_eq!((&report["jobs"]["sent"], &report["jobs"]["rejected"]), (&json!(120), &json!(1)));
        let saturated = report["saturation"]["per_s"].as_f64().expect("a limit");
        assert!((saturated - 2.0).abs() < 0.2, "{saturated}");
        let told = text(&report);
        for part in ["p99 ms", "in all", "120 sent, 119 done, 1 rejected", "1 x no picture", "saturated at "]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(told.contains("more were asked for than are done"), "{told}");
        assert!(!told.contains("refused") && !told.contains("ended early"), "{told}");
        let svg = plot(&watched);
        for part in ["asked for", "done", "p99", "Latency"] {
            assert!(svg.contains(part), "{part}");
        }
    }

    #[test]
    fn stages_and_phases_are_rows_with_their_percentiles() {
        let times = |ms: f64| json!({"count": 4, "p50_ms": ms, "p90_ms": ms + 1.0, "p99_ms": ms + 2.0});
        let phases = json!([
            {"phase": "compute", "us": 5, "share_percent": 87.5, "times": times(30.0)},
            {"phase": "wait", "us": 0, "share_percent": 0.0, "times": times(0.0)}]);
        let stage = json!({"stage": "shape", "tasks": 4, "wall": times(40.0), "phases": phases});
        let told = super::times(&json!({"stages": [stage], "latency": times(70.0), "answer": null}));
        for part in ["shape", "  compute", "87.5", "32", "in all", "72"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("wait") && !told.contains("accepted"), "{told}");
    }

    #[test]
    fn nothing_that_was_made_is_a_report_too() {
        let arrivals = Arrivals::of_jobs("1..7".parse().expect("a ramp"), 120);
        let tally = Tally::default();
        let watched = Watched { arrivals: &arrivals, tally: &tally, took: Duration::ZERO, early: true };
        let told = text(&json(&watched, None));
        assert!(told.contains("0 sent, 0 done") && told.contains("ended early, of 120 jobs"), "{told}");
        assert!(plot(&watched).starts_with("<svg"));
    }
}
