//! `gpu` and `explain`: what the leading planner says of devices and of a job, as tables and sentences.

use crate::cli::{GpuArgs, JobArgs};
use crate::client::{job_id, print_answer};
use crate::http::{ANSWER_MAX, Client};
use crate::performance::{rows, table, text};
use crate::refusal::Outcome;
use crate::top::health_text;
use domain::Bytes;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::time::Duration;

/// Between two looks.
const AGAIN: Duration = Duration::from_secs(2);
/// Pages of reports that are read for one look.
const PAGES_MAX: usize = 128;

/// `gpu`
pub(crate) async fn gpu(args: GpuArgs, json: bool) -> Outcome<()> {
    let client = Client::new(&args.server)?;
    if args.optimize_cache {
        let path = path("/api/gpu/optimize-cache", &[("device", args.device.clone())]);
        let answer = client.json(Method::POST, &path, ANSWER_MAX).await?;
        print_answer(&answer, json, || caches_text(&answer));
        return Ok(());
    }
    loop {
        match args.image_size {
            Some(side) => {
                let answer = client.json(Method::GET, &size_path(&args, side), ANSWER_MAX).await?;
                print_answer(&answer, json, || sizes_text(&answer));
            }
            None => {
                let answer = all_reports(&client, &args).await?;
                print_answer(&answer, json, || reports_text(&answer));
            }
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The path with those options that are there.
fn path(path: &str, options: &[(&str, Option<String>)]) -> String {
    // Only the query matters; a URL needs a host.
    let mut url = Url::parse("http://gateway").expect("a constant");
    let given = options.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    url.query_pairs_mut().extend_pairs(given);
    match url.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn size_path(args: &GpuArgs, side: u32) -> String {
    let options = [
        ("image_size", Some(side.to_string())),
        ("inference_steps", Some(args.inference_steps.to_string())),
        ("queue_size", args.queue_size.map(|size| size.to_string())),
        ("device", args.device.clone()),
        ("stage", args.stage.clone()),
    ];
    path("/api/gpu/batch-size", &options)
}

/// The reports of all pages.
async fn all_reports(client: &Client, args: &GpuArgs) -> Outcome<Value> {
    let (mut devices, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let options = [("device", args.device.clone()), ("stage", args.stage.clone()), ("cursor", cursor)];
        let page = client.json(Method::GET, &path("/api/gpu/summary", &options), ANSWER_MAX).await?;
        devices.extend(rows(&page["devices"]).cloned());
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let known = client.json(Method::GET, "/api/devices", ANSWER_MAX).await?;
    Ok(json!({ "devices": devices, "unwell": unwell(&known, args.device.as_deref()) }))
}

/// Devices that are not used, or slowed down, as sentences.
fn unwell(known: &Value, only: Option<&str>) -> Vec<String> {
    let asked = rows(&known["devices"]).filter(|of| only.is_none_or(|only| of["device"] == only));
    let told = asked.map(|of| (text(&of["device"]), health_text(of)));
    let unwell = told.filter(|(_, health)| !health.is_empty() && health != "healthy");
    unwell.map(|(device, health)| format!("{device} is {health}")).collect()
}

fn bytes(value: &Value) -> String {
    Bytes(value.as_u64().unwrap_or_default()).to_string()
}

fn reports_text(answer: &Value) -> String {
    let mut devices =
        table(&["device", "stage", "used of MiB", "trend", "batches", "per item", "confidence"]);
    let mut told: Vec<String> = rows(&answer["unwell"]).map(text).collect();
    for report in rows(&answer["devices"]) {
        let memory = &report["memory"];
        let per = |of: &Value| {
            let name = |kind: &Value| format!("{} px", kind["image_size"]);
            (
                format!("{}: {} of {}", name(of), of["recommended_size"], of["max_safe_size"]),
                bytes(&of["estimated_vram_per_image"]),
            )
        };
        let sizes: Vec<(String, String)> = rows(&report["batch_sizes"]).map(per).collect();
        let confidence =
            |of: &Value| format!("{:.0} %", 100.0 * of["confidence"].as_f64().unwrap_or_default());
        devices.add_row([
            text(&report["device"]),
            text(&report["stage"]),
            format!(
                "{} of {} ({:.0} %)",
                memory["used_mb"],
                memory["total_mb"],
                memory["utilization_percent"].as_f64().unwrap_or_default()
            ),
            trend_text(&report["trend"]),
            sizes.iter().map(|(size, _)| size.as_str()).collect::<Vec<_>>().join("\n"),
            sizes.iter().map(|(_, item)| item.as_str()).collect::<Vec<_>>().join("\n"),
            rows(&report["batch_sizes"]).map(confidence).collect::<Vec<_>>().join("\n"),
        ]);
        let of = format!("{} at {}", text(&report["device"]), text(&report["stage"]));
        if report["should_reduce_batch_size"] == true {
            told.push(format!("{of}: the next batch should be smaller than the last one"));
        }
        told.extend(rows(&report["recommendations"]).map(|advice| advice_text(&of, advice)));
    }
    if devices.is_empty() {
        told.push("no device is offered: start workers with `meshwright run shape`".to_owned());
    } else {
        told.insert(0, devices.to_string());
    }
    told.join("\n")
}

fn trend_text(trend: &Value) -> String {
    let Some(way) = trend["trend"].as_str() else { return String::new() };
    let mib = trend["slope_bytes_per_s"].as_f64().unwrap_or_default() * 60.0 / 1_048_576.0;
    if way == "stable" { way.to_owned() } else { format!("{way}, {mib:+.0} MiB a minute") }
}

fn advice_text(of: &str, advice: &Value) -> String {
    format!(
        "{of}: {}, since {}. Then {}. How: {}",
        text(&advice["what"]),
        text(&advice["evidence"]),
        text(&advice["expected_effect"]),
        text(&advice["command"])
    )
}

fn sizes_text(answer: &Value) -> String {
    let mut told: Vec<String> = rows(&answer["sizes"])
        .map(|of| {
            format!(
                "{} at {}: {} now, {} at most, {} for each ({:.0} % of such predictions held). {}",
                text(&of["device"]),
                text(&answer["stage"]),
                of["recommended_size"],
                of["max_safe_size"],
                bytes(&of["estimated_vram_per_image"]),
                100.0 * of["confidence"].as_f64().unwrap_or_default(),
                text(&of["reasoning"])
            )
        })
        .collect();
    if told.is_empty() {
        told.push(format!("no worker offers {}", text(&answer["stage"])));
    }
    told.join("\n")
}

fn caches_text(answer: &Value) -> String {
    let of = |device: &Value| match device["runners"].as_u64() {
        None => format!("{}: {} does not answer", text(&device["device"]), text(&device["worker"])),
        Some(runners) => format!(
            "{}: {runners} idle {} ended, {} free instead of {}",
            text(&device["device"]),
            if runners == 1 { "runner" } else { "runners" },
            bytes(&device["free_after_bytes"]),
            bytes(&device["free_before_bytes"])
        ),
    };
    let told: Vec<String> = rows(&answer["devices"]).map(of).collect();
    if told.is_empty() { "no worker is there".to_owned() } else { told.join("\n") }
}

/// `explain JOB`
pub(crate) async fn explain(args: JobArgs, json: bool) -> Outcome<()> {
    let job = job_id(&args.job)?;
    let path = format!("/api/jobs/{job}/explain");
    let answer = Client::new(&args.server)?.json(Method::GET, &path, ANSWER_MAX).await?;
    print_answer(&answer, json, || explain_text(&answer));
    Ok(())
}

fn explain_text(answer: &Value) -> String {
    let batch = |of: &Value| {
        format!(
            "{}: in a batch of {} on {} with {} reserved: {}",
            text(&of["stage"]),
            of["items"],
            text(&of["worker"]),
            bytes(&of["bytes"]),
            text(&of["why"])
        )
    };
    let told = rows(&answer["batches"]).map(batch).chain([text(&answer["text"])]);
    told.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_carries_what_is_given_and_nothing_else() {
        let options = [("device", Some("gpu 0&x".to_owned())), ("stage", None)];
        assert_eq!(path("/api/gpu/summary", &options), "/api/gpu/summary?device=gpu+0%26x");
        assert_eq!(path("/api/gpu/summary", &options[1..]), "/api/gpu/summary");
    }

    #[test]
    fn each_device_is_a_row_and_each_advice_a_sentence() {
        let report = json!({"device": "host-a", "stage": "shape",
            "memory": {"used_mb": 512, "total_mb": 1024, "utilization_percent": 50.0},
            "trend": {"trend": "increasing", "slope_bytes_per_s": 1_048_576.0},
            "batch_sizes": [{"image_size": 512, "recommended_size": 3, "max_safe_size": 8,
                             "estimated_vram_per_image": 104_857_600, "confidence": 0.93}],
            "should_reduce_batch_size": true,
            "recommendations": [{"what": "do this", "evidence": "that is so",
                                 "expected_effect": "it is better",
                                 "command": "`such`"}]});
        let told = reports_text(&json!({"devices": [report]}));
        for part in
            ["512 of 1024 (50 %)", "increasing, +60 MiB a minute", "512 px: 3 of 8", "100.0 MiB", "93 %"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(told.contains("the next batch should be smaller"), "{told}");
        assert!(told.ends_with("host-a at shape: do this, since that is so. Then it is better. How: `such`"));
        assert!(reports_text(&json!({"devices": []})).starts_with("no device is offered"));
    }

    #[test]
    fn a_device_that_is_not_used_says_why_even_if_it_is_not_offered() {
        let known = json!({"devices": [
            {"device": "a", "health": {"state": "dead", "reason": "Xid 79"}},
            {"device": "b", "health": {"state": "healthy"}, "activity": {"throttled": ["power_cap"]}},
            {"device": "c", "health": {"state": "healthy"}, "activity": null},
            {"device": "d"}]});
        let all = ["a is dead: Xid 79", "b is healthy, slowed down by power_cap"];
        assert_eq!(unwell(&known, None), all);
        assert_eq!(unwell(&known, Some("b")), all[1..]);
        let told = reports_text(&json!({"devices": [], "unwell": unwell(&known, Some("a"))}));
        assert!(told.starts_with("a is dead: Xid 79\nno device is offered"), "{told}");
    }

    #[test]
    fn a_job_is_explained_stage_by_stage() {
        let answer = json!({"text": "texture: its turn is next", "batches": [
            {"stage": "shape", "items": 4, "worker": "w-1", "bytes": 104_857_600, "why": "4 of 9 waiting"}]});
        let expect = "shape: in a batch of 4 on w-1 with 100.0 MiB reserved: 4 of 9 waiting\n\
                      texture: its turn is next";
        assert_eq!(explain_text(&answer), expect);
        let caches = json!({"devices": [
            {"device": "a", "worker": "w", "runners": 2, "free_before_bytes": 0,
             "free_after_bytes": 1_048_576},
            {"device": "b", "worker": "v"}]});
        let expect = "a: 2 idle runners ended, 1.0 MiB free instead of 0 B\nb: v does not answer";
        assert_eq!(caches_text(&caches), expect);
    }
}
