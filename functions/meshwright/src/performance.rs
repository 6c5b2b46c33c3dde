//! `bottleneck` and `profile`: what a gateway says about where the time goes, as tables and waterfalls. It
//! reckons nothing.

use crate::cli::{BottleneckArgs, ProfileArgs};
use crate::client::{job_id, print_answer};
use crate::http::{ANSWER_MAX, Client};
use crate::refusal::{Outcome, Refusal};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use domain::Phase;
use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;

/// Characters of a waterfall's bars.
const WIDTH: usize = 48;
/// The longest window that a gateway keeps.
const WINDOW_MAX_S: u64 = 24 * 3600;

/// Reads `90s`, `30m`, `1h`, `1d` as seconds.
pub(crate) fn window(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(factor).and_then(|(n, factor)| n.checked_mul(factor));
    let seconds = seconds.filter(|seconds| (1..=WINDOW_MAX_S).contains(seconds));
    seconds.ok_or_else(|| "write 90s, 30m or 1h; at most 1d".to_owned())
}

/// An empty table with this head.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(head);
    table
}

pub(crate) fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// `bottleneck`
pub(crate) async fn bottleneck(args: BottleneckArgs, json: bool) -> Outcome<()> {
    let path = format!("/api/performance/bottlenecks?window_s={}", args.window);
    let answer = Client::new(&args.server)?.json(Method::GET, &path, ANSWER_MAX).await?;
    print_answer(&answer, json, || bottleneck_text(&answer));
    Ok(())
}

fn bottleneck_text(answer: &Value) -> String {
    let limit = &answer["limit"];
    if limit.is_null() {
        return "no task was measured in this time: submit pictures, or ask for a longer --window".to_owned();
    }
    let mut told = vec![text(&limit["text"])];
    let mut changes = table(&["change", "jobs/h", "gain", "limits then"]);
    for of in rows(&limit["predictions"]) {
        changes.add_row([
            change_text(of),
            format!("{}{:.1}", if of["at_least"] == true { ">= " } else { "" }, number(&of["jobs_per_hour"])),
            format!("{:+.0} %", number(&of["gain_percent"])),
            text(&of["limits_then"]),
        ]);
    }
    told.push(changes.to_string());
    // One more worker is in the table whole; the others rest on something.
    let rests = rows(&limit["predictions"]).filter(|of| of["change"] != "add_lane");
    told.extend(rests.map(|of| text(&of["text"])));
    let mut stages = table(&["stage", "lanes", "items/h", "ms per item", "batch", "busy", "waited ms"]);
    for of in rows(&limit["stages"]) {
        stages.add_row([
            text(&of["stage"]),
            of["lanes"].to_string(),
            format!(
                "{}{:.1}",
                if of["at_least"] == true { ">= " } else { "" },
                number(&of["items_per_hour"])
            ),
            format!("{:.1}", number(&of["item_ms"])),
            format!("{:.1}", number(&of["batch_items"])),
            format!("{:.0} %", number(&of["busy_percent"])),
            format!("{:.0}", number(&of["waited_ms"])),
        ]);
    }
    told.push(stages.to_string());
    told.extend(rows(&answer["bottlenecks"]).map(severity_text));
    told.join("\n")
}

/// What a prediction changes.
fn change_text(prediction: &Value) -> String {
    let stage = text(&prediction["stage"]);
    match prediction["change"].as_str().unwrap_or_default() {
        "add_lane" => format!("one more {stage} worker"),
        "batch_size" => format!("{stage} in batches of {}", prediction["items"]),
        "half_precision" => format!("half precision at {stage}"),
        "fewer_steps" => format!("{} steps at {stage}", prediction["steps"]),
        "warm_model" => format!("a model kept warm at {stage}"),
        other => format!("{other} at {stage}"),
    }
}

fn severity_text(of: &Value) -> String {
    format!("{:>8}  {}", text(&of["severity"]), text(&of["evidence"]))
}

/// `profile`
pub(crate) async fn profile(args: ProfileArgs, json: bool) -> Outcome<()> {
    if let Some(file) = &args.flame {
        return crate::sampled::sampled(&args, file, json).await;
    }
    let job = args.job.as_deref().map(job_id).transpose()?;
    let client = Client::new(&args.server)?;
    if args.timings {
        return timings(&client, args.window).await;
    }
    let path = match job {
        Some(job) => format!("/api/jobs/{job}/profile"),
        None => format!("/api/performance/summary?window_s={}", args.window),
    };
    let answer = client.json(Method::GET, &path, ANSWER_MAX).await?;
    print_answer(&answer, json, || if job.is_some() { waterfall(&answer) } else { summary_text(&answer) });
    Ok(())
}

/// Prints the window's timings as they come.
async fn timings(client: &Client, window: u64) -> Outcome<()> {
    let path = format!("/api/performance/timings?window_s={window}");
    let mut answer = client.send(client.request(Method::GET, &path)).await?.bytes_stream();
    while let Some(piece) = answer.next().await {
        let piece = piece.map_err(|error| Refusal::Unavailable(format!("read the answer: {error}")))?;
        crate::say::bytes(&piece);
    }
    Ok(())
}

/// A job's stages and their phases, each under the time at which it was.
fn waterfall(profile: &Value) -> String {
    let us = |value: &Value| value.as_u64().unwrap_or_default();
    let whole = us(&profile["wall_us"]);
    let line = |name: &str, begins: u64, took: u64| {
        let seconds = took as f64 / 1e6;
        format!("{name:<14} {} {seconds:>9.3} s", bar(begins, took, whole))
    };
    let outcome = profile["metadata"]["outcome"].as_str().unwrap_or("none yet");
    let mut told = vec![format!(
        "{}  {}: {outcome} after {:.3} s{}",
        text(&profile["name"]),
        text(&profile["metadata"]["key"]),
        whole as f64 / 1e6,
        if profile["complete"] == true { "" } else { ", as far as its objects tell" },
    )];
    let intake = us(&profile["unaccounted_us"]);
    if intake > 0 {
        told.push(line("intake", 0, intake));
    }
    for stage in rows(&profile["stages"]) {
        let mut begins = us(&stage["begins_us"]);
        told.push(line(&text(&stage["name"]), begins, us(&stage["wall_us"])));
        for part in rows(&stage["parts"]) {
            let took = us(&part["us"]);
            if took > 0 {
                told.push(line(&format!("  {}", text(&part["name"])), begins, took));
            }
            begins = begins.saturating_add(took);
        }
    }
    told.join("\n")
}

/// A bar where it lies within the whole; at least one character, whatever it took.
fn bar(begins: u64, took: u64, whole: u64) -> String {
    let at = |us: u64| (us as f64 / whole.max(1) as f64 * WIDTH as f64).min(WIDTH as f64);
    let from = (at(begins).floor() as usize).min(WIDTH - 1);
    let to = (at(begins.saturating_add(took)).round() as usize).clamp(from + 1, WIDTH);
    format!("{}{}{}", " ".repeat(from), "█".repeat(to - from), " ".repeat(WIDTH - to))
}

/// Where the time of a window went.
fn summary_text(report: &Value) -> String {
    if report["stages"]["tasks"] == 0 {
        return "no task was measured in this time: submit pictures, or ask for a longer --window".to_owned();
    }
    let phases = Phase::ALL.map(|phase| format!("{} %", phase.as_str()));
    let head = ["stage", "tasks", "p50 ms", "p90 ms", "p99 ms"].into_iter();
    let head: Vec<&str> = head.chain(phases.iter().map(String::as_str)).collect();
    let mut stages = table(&head);
    for row in rows(&report["stages"]["rows"]) {
        let mut cells = vec![text(&row["stage"]), row["tasks"].to_string()];
        cells.extend(["p50_ms", "p90_ms", "p99_ms"].map(|name| format!("{:.0}", number(&row["wall"][name]))));
        cells.extend(rows(&row["phases"]).map(|phase| format!("{:.1}", number(&phase["share_percent"]))));
        stages.add_row(cells);
    }
    let mut told = vec![stages.to_string()];
    let unaccounted = number(&report["stages"]["unaccounted_percent"]);
    told.push(format!("{unaccounted:.2} % of the time is in no phase"));
    told.extend(report["limit"]["text"].as_str().map(str::to_owned));
    told.extend(rows(&report["bottlenecks"]).map(severity_text));
    let changes = rows(&report["trends"]).flat_map(|trend| rows(&trend["changes"]));
    told.extend(changes.map(|change| text(&change["text"])));
    told.extend(rows(&report["recommendations"]).map(|of| {
        format!(
            "try at {}: {} ({}). {}",
            text(&of["stage"]),
            text(&of["lever"]),
            text(&of["setting"]),
            text(&of["text"])
        )
    }));
    told.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_window_is_read_with_its_unit() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(window(text).ok(), expect, "{text}");
        check("90s", Some(90));
        check("30m", Some(1_800));
        check("1h", Some(3_600));
        check("1d", Some(86_400));
        for wrong in ["", "1", "h", "0s", "2d", "-1h", "1.5h", "99999999999999999999h", "1 h"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_bar_lies_where_its_time_was_and_is_never_nothing() {
        assert_eq!(bar(0, 100, 100), "█".repeat(WIDTH));
        assert_eq!(bar(50, 25, 100), format!("{}{}{}", " ".repeat(24), "█".repeat(12), " ".repeat(12)));
        assert_eq!(bar(0, 0, 100), format!("█{}", " ".repeat(WIDTH - 1)));
        // Clocks may disagree about the end.
        assert_eq!(bar(200, 100, 100), format!("{}█", " ".repeat(WIDTH - 1)));
        assert_eq!(bar(0, 0, 0).chars().count(), WIDTH);
    }

    #[test]
    fn a_waterfall_shows_each_phase_that_took_time_after_the_one_before() {
        let profile = json!({
            "name": "ab", "metadata": {"key": "red.png", "outcome": "done"}, "complete": true,
            "wall_us": 2_000_000, "unaccounted_us": 0, "stages": [
                {"name": "shape", "begins_us": 0, "wall_us": 2_000_000, "parts": [
                    {"name": "queued", "us": 1_000_000}, {"name": "load", "us": 0},
                    {"name": "compute", "us": 1_000_000}]}]});
        let (half, none) = ("█".repeat(24), " ".repeat(24));
        let lines = [
            "ab  red.png: done after 2.000 s".to_owned(),
            format!("shape          {half}{half}     2.000 s"),
            format!("  queued       {half}{none}     1.000 s"),
            format!("  compute      {none}{half}     1.000 s"),
        ];
        assert_eq!(waterfall(&profile), lines.join("\n"));
    }

    #[test]
    fn the_bottleneck_is_a_sentence_and_every_prediction_a_row() {
        let limit = json!({
            "text": "shape limits you at 41 jobs/h; one more shape worker gives 68 (texture then limits)",
            "predictions": [
                {"change": "add_lane", "stage": "shape", "jobs_per_hour": 68.0, "gain_percent": 65.9,
                 "limits_then": "texture", "at_least": true, "text": "t1"},
                {"change": "batch_size", "stage": "shape", "items": 8, "jobs_per_hour": 50.0,
                 "gain_percent": 22.0, "limits_then": "shape", "at_least": false, "text": "t2"}],
            "stages": [{"stage": "shape", "lanes": 1, "items_per_hour": 41.0, "item_ms": 87_800.0,
                        "batch_items": 1.0, "busy_percent": 99.0, "waited_ms": 5.0, "at_least": false}]});
        let told = bottleneck_text(&json!({"limit": limit, "bottlenecks": [
            {"severity": "critical", "evidence": "shape took it"}]}));
        assert!(told.starts_with("shape limits you at 41 jobs/h; one more shape worker gives 68"), "{told}");
        for part in
            ["one more shape worker", ">= 68.0", "+66 %", "shape in batches of 8", "+22 %", "t2", "99 %"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(told.ends_with("critical  shape took it"), "{told}");
        let nothing = bottleneck_text(&json!({"limit": null, "bottlenecks": []}));
        assert!(nothing.starts_with("no task was measured"), "{nothing}");
    }
}
