//! Every message and every object that processes leave for each other, as JSON: nobody changes a promise by
//! accident.
//!
//! For each type `tests/golden/messages` has samples, which are read and written again to the same bytes,
//! and the JSON Schema. After a change that is meant, `MESHWRIGHT_GOLDEN=write cargo test -p domain --test
//! messages` writes both anew, from the samples that are there: add a sample of what is new by hand.

use domain::{
    Batch, BatchEnded, BatchReply, Control, DeadLetter, DeviceEntry, Event, JobRecord, Lease, LifeStart,
    Manifest, Offer, Outcome, PlanQuestion, Released, Stop, Task, Timing,
};
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::PathBuf;

fn place(name: &str) -> PathBuf {
    PathBuf::from("tests/golden/messages").join(name)
}

fn golden(name: &str) -> String {
    std::fs::read_to_string(place(name)).unwrap_or_default()
}

/// Compares with the file, or writes it where that is asked for.
fn check_text(name: &str, text: &str) {
    if std::env::var("MESHWRIGHT_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(place(name), text).expect("a writable folder");
    }
    assert_eq!(text, golden(name), "{name}: is the change meant? See the head of this test");
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}

/// The same with a field of a newer version in every object, recipes aside: those carry it along.
fn newer(value: &Value) -> Value {
    match value {
        Value::Array(all) => all.iter().map(newer).collect(),
        Value::Object(fields) => {
            let of = |(name, value): (&String, &Value)| {
                (name.clone(), if name == "recipe" { value.clone() } else { newer(value) })
            };
            let added = ("of_a_newer_version".to_owned(), serde_json::json!({"more": [1]}));
            Value::Object(fields.iter().map(of).chain([added]).collect())
        }
        plain => plain.clone(),
    }
}

fn check<T: Serialize + DeserializeOwned + JsonSchema>(name: &str) {
    let (file, schema) = (format!("{name}.json"), format!("{name}.schema.json"));
    let samples: Vec<T> = serde_json::from_str(&golden(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert!(!samples.is_empty(), "{file} has no sample");
    check_text(&file, &pretty(&samples));
    check_text(&schema, &pretty(&schema_for!(T)));
    let with_more = newer(&serde_json::to_value(&samples).expect("JSON"));
    let read: Vec<T> = serde_json::from_value(with_more).unwrap_or_else(|e| panic!("{name}, newer: {e}"));
    assert_eq!(pretty(&read), pretty(&samples), "{name}: unknown fields are ignored");
}

#[test]
fn what_the_planner_and_workers_say_to_each_other_is_as_promised() {
    check::<Task>("task");
    check::<Offer>("offer");
    check::<Batch>("batch");
    check::<BatchReply>("batch_reply");
    check::<Stop>("stop");
    check::<BatchEnded>("batch_ended");
    check::<DeviceEntry>("device_entry");
    check::<Lease>("lease");
}

#[test]
fn what_is_asked_on_behalf_of_a_person_is_as_promised() {
    check::<PlanQuestion>("plan_question");
    check::<Released>("released");
}

#[test]
fn what_is_told_of_jobs_is_as_promised() {
    check::<Control>("control");
    check::<Event>("event");
    check::<Timing>("timing");
    check::<DeadLetter>("dead_letter");
}

#[test]
fn what_the_state_bucket_holds_is_as_promised() {
    check::<JobRecord>("job_record");
    check::<Manifest>("manifest");
    check::<Outcome>("outcome");
    check::<LifeStart>("life_start");
}
