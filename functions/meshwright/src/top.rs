//! `top`: devices, queue and batches at a moment, again and again on a terminal, once elsewhere.

use crate::cli::ServerArgs;
use crate::http::{ANSWER_MAX, Client};
use crate::performance::{rows, table, text};
use crate::refusal::Outcome;
use domain::{Bytes, Stage};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two pictures on a terminal.
const REDRAW: Duration = Duration::from_secs(1);
/// Pages of jobs that are read for one picture, of 200 each; what is beyond is told as `+`.
const PAGES_MAX: usize = 5;
/// Jobs that are shown.
const JOBS_MAX: usize = 10;
/// To the upper left corner, and everything below it away.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";
const CLEAR: &str = "\x1b[2J";

/// `top`
pub(crate) async fn top(args: ServerArgs, as_json: bool) -> Outcome<()> {
    let client = Client::new(&args)?;
    let is_live = !as_json && std::io::stdout().is_terminal();
    if is_live {
        say!("{CLEAR}");
    }
    loop {
        let moment = Moment::read(&client).await?;
        if as_json {
            say!("{}", moment.json());
        } else if is_live {
            say!("{HOME_AND_CLEAR}{}", moment.text(now_ms()));
            let _ = std::io::stdout().flush();
        } else {
            say!("{}", moment.text(now_ms()));
        }
        if !is_live {
            return Ok(());
        }
        tokio::time::sleep(REDRAW).await;
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Jobs that have not ended, those first in line first, and whether there are more.
pub(crate) async fn open_jobs(client: &Client) -> Outcome<(Vec<Value>, bool)> {
    let (mut open, mut more) = (Vec::new(), false);
    for state in ["running", "queued"] {
        let mut cursor = String::new();
        for page in 0.. {
            let path = format!("/api/jobs?state={state}&limit=200{cursor}");
            let list = client.json(Method::GET, &path, ANSWER_MAX).await?;
            open.extend(rows(&list["jobs"]).cloned());
            let Some(next) = list["next"].as_str() else { break };
            if page + 1 == PAGES_MAX {
                more = true;
                break;
            }
            cursor = format!("&cursor={next}");
        }
    }
    open.sort_by_key(|job| job["queue_position"].as_u64());
    // One that began to run between the two questions is in both answers.
    open.dedup_by(|a, b| a["id"] == b["id"]);
    Ok((open, more))
}

/// What is shown.
struct Moment {
    devices: Value,
    /// Jobs that have not ended, those first in line first.
    open: Vec<Value>,
    /// There are more.
    more: bool,
}

impl Moment {
    async fn read(client: &Client) -> Outcome<Moment> {
        let mut answer = client.json(Method::GET, "/api/devices", ANSWER_MAX).await?;
        let (open, more) = open_jobs(client).await?;
        Ok(Moment { devices: answer["devices"].take(), open, more })
    }

    /// Waiting and running jobs of a stage.
    fn at(&self, stage: Stage) -> [usize; 2] {
        let mut counts = [0; 2];
        for job in &self.open {
            let open = rows(&job["stages"]).find(|of| of["state"] != "done");
            if open.is_some_and(|of| of["stage"] == stage.as_str()) {
                counts[usize::from(job["state"] == "running")] += 1;
            }
        }
        counts
    }

    fn json(&self) -> Value {
        let queue = Stage::ALL.map(|stage| {
            let [waiting, running] = self.at(stage);
            json!({"stage": stage, "waiting": waiting, "running": running})
        });
        json!({"devices": self.devices, "queue": queue, "queue_is_cut": self.more, "jobs": self.open})
    }

    fn text(&self, now_ms: u64) -> String {
        let columns =
            ["worker", "device", "memory", "reserved", "free", "busy", "lanes", "batches", "health"];
        let mut devices = table(&columns);
        for device in rows(&self.devices) {
            devices.add_row(device_row(device, now_ms));
        }
        let mut queue = table(&["stage", "waiting", "running"]);
        for stage in Stage::ALL {
            let [waiting, running] = self.at(stage);
            queue.add_row([
                stage.to_string(),
                format!("{waiting}{}", if self.more { "+" } else { "" }),
                running.to_string(),
            ]);
        }
        let mut jobs = table(&["#", "job", "picture", "done", "now", "left p50", "left p90"]);
        for job in self.open.iter().take(JOBS_MAX) {
            jobs.add_row(job_row(job));
        }
        let rest = self.open.len().saturating_sub(JOBS_MAX);
        let rest = if rest > 0 {
            format!("\nand {rest}{} more", if self.more { "+" } else { "" })
        } else {
            String::new()
        };
        format!("{devices}\n{queue}\n{jobs}{rest}")
    }
}

fn device_row(device: &Value, now_ms: u64) -> [String; 9] {
    let bytes = |value: &Value| Bytes(value.as_u64().unwrap_or_default()).to_string();
    let reading = &device["reading"];
    let running: Vec<String> = rows(&device["running"]).map(|batch| batch_text(batch, now_ms)).collect();
    let on_lanes = rows(&device["running"]).filter(|batch| batch["waits"] != true);
    [
        text(&device["worker"]),
        text(&device["device"]),
        format!("{} of {}", bytes(&reading["used_bytes"]), bytes(&reading["total_bytes"])),
        bytes(&device["reserved_bytes"]),
        bytes(&reading["free_bytes"]),
        busy_text(&device["activity"]),
        format!("{}/{}", on_lanes.count(), device["lanes"]),
        running.join("\n"),
        health_text(device),
    ]
}

/// As `93 %`: how much of its time it computes; nothing where that is not told.
fn busy_text(activity: &Value) -> String {
    activity["compute_percent"].as_u64().map(|percent| format!("{percent} %")).unwrap_or_default()
}

/// As `draining: Xid 48 …` or `healthy, slowed down by thermal`; nothing of a worker that does not tell.
pub(crate) fn health_text(device: &Value) -> String {
    let (state, reason) = (text(&device["health"]["state"]), text(&device["health"]["reason"]));
    let said = if reason.is_empty() { state } else { format!("{state}: {reason}") };
    let throttled: Vec<String> = rows(&device["activity"]["throttled"]).map(text).collect();
    if throttled.is_empty() { said } else { format!("{said}, slowed down by {}", throttled.join(", ")) }
}

/// As `shape x4 1.2 of 3.0 s`, or `shape x4 next` where it waits for a lane.
fn batch_text(batch: &Value, now_ms: u64) -> String {
    if batch["waits"] == true {
        return format!("{} x{} next", text(&batch["stage"]), rows(&batch["jobs"]).count());
    }
    let since = batch["since"].as_u64().unwrap_or(now_ms);
    let seconds = |to: u64| to.saturating_sub(since) as f64 / 1e3;
    let whole = batch["until"].as_u64().map(|until| format!(" of {:.1}", seconds(until)));
    let items = rows(&batch["jobs"]).count();
    format!("{} x{items} {:.1}{} s", text(&batch["stage"]), seconds(now_ms), whole.unwrap_or_default())
}

fn job_row(job: &Value) -> [String; 7] {
    let left = |name: &str| {
        job["eta"][name].as_u64().map_or_else(|| "?".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3))
    };
    let open = rows(&job["stages"]).find(|of| of["state"] != "done");
    let now = open
        .map_or_else(|| "ending".to_owned(), |of| format!("{} {}", text(&of["stage"]), text(&of["state"])));
    [
        job["queue_position"].to_string(),
        text(&job["id"]),
        text(&job["key"]),
        format!("{:.0} %", 100.0 * job["fraction"].as_f64().unwrap_or_default()),
        now,
        left("p50_ms"),
        left("p90_ms"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(position: u64, stage: usize, state: &str) -> Value {
        let stages = Stage::ALL.iter().enumerate().map(
            |(n, of)| json!({"stage": of, "state": if n < stage { "done" } else { state }, "fraction": 0.0}),
        );
        let eta = if position == 1 { json!({"p50_ms": 1_500, "p90_ms": 2_000}) } else { Value::Null };
        json!({"id": format!("job{position}"), "key": "red.png", "queue_position": position, "fraction": 0.25,
               "state": if state == "running" { "running" } else { "queued" }, "eta": eta,
               "stages": stages.collect::<Vec<_>>()})
    }

    #[test]
    fn a_moment_shows_devices_batches_the_queue_and_who_is_next() {
        let open: Vec<Value> =
            [job(1, 1, "running")].into_iter().chain((2..15).map(|n| job(n, 0, "waiting"))).collect();
        let reading = json!({"total_bytes": 2048, "used_bytes": 1024, "free_bytes": 1024});
        let running = json!([{"stage": "shape", "jobs": ["a", "b"], "since": 1_000, "until": 4_000},
                             {"stage": "shape", "jobs": ["c"], "since": 2_000, "waits": true}]);
        let health = json!({"state": "draining", "reason": "Xid 48"});
        let devices = json!([{"worker": "w", "device": "host", "lanes": 2, "reading": reading,
                              "reserved_bytes": 512, "running": running, "health": health,
                              "activity": {"compute_percent": 93, "throttled": ["thermal"]}}]);
        let moment = Moment { devices, open, more: false };
        assert_eq!((moment.at(Stage::Preprocess), moment.at(Stage::Shape)), ([13, 0], [0, 1]));
        let told = moment.text(2_200);
        for part in [
            "1.0 KiB of 2.0 KiB",
            "512 B",
            "1/2",
            "shape x2 1.2 of 3.0 s",
            "shape x1 next",
            "job1 ",
            "1.5 s",
            "and 4 more",
            "93 %",
            "draining: Xid 48, slowed down by thermal",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("job11"), "{told}");
        let queue = &moment.json()["queue"];
        assert_eq!(queue[0], json!({"stage": "preprocess", "waiting": 13, "running": 0}));
    }

    #[test]
    fn a_batch_of_which_nobody_knows_how_long_it_takes_tells_only_how_long_it_took() {
        let batch = json!({"stage": "export", "jobs": ["a"], "since": 1_000, "until": null});
        assert_eq!(batch_text(&batch, 1_500), "export x1 0.5 s");
    }
}
