//! What nobody should say, and somebody will: each is taken for as much of it as can be true, or not at all.

use crate::samples::{given, job, limits, offer, tell};
use crate::{Decision, Event, Footprint, Planner};
use domain::{
    Batch, BatchEnd, BatchEnded, BatchId, Bytes, Class, Consumer, DeviceClass, EngineVersion, Epoch, JobId,
    Offer, Reading, RefusedReason, Stage, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_000_000);

fn planner(epoch: u64) -> Planner {
    Planner::new(limits(1), Epoch(epoch), BTreeMap::new())
}

fn see(planner: &mut Planner, now: Timestamp, n: u64) -> Vec<Decision> {
    let given = given(n, 0, Class::Normal, now);
    let consumer = Consumer::of_task(&given.task);
    let mut decisions = tell(planner, now, Event::TaskSeen(given));
    decisions.extend(tell(planner, now, Event::DrawEnded(consumer)));
    decisions
}

fn batches(decisions: &[Decision]) -> Vec<Batch> {
    let proposed = decisions.iter().filter_map(|decision| match decision {
        Decision::Propose(_, batch) => Some(batch.clone()),
        _ => None,
    });
    proposed.collect()
}

/// One batch of one, on worker `a`, running.
fn running(planner: &mut Planner, n: u64) -> Batch {
    let mut decisions = see(planner, NOW, n);
    decisions.extend(tell(planner, NOW, Event::OfferMade(offer("a", 16, 1))));
    let batch = batches(&decisions).remove(0);
    tell(planner, NOW, Event::BatchAccepted(batch.id));
    batch
}

fn ended(batch: &Batch, end: BatchEnd) -> BatchEnded {
    BatchEnded {
        batch: batch.id,
        worker: "a".parse().expect("a name"),
        device_class: DeviceClass("host".to_owned()),
        stage: batch.stage,
        end,
        items: batch.tasks.len() as u32,
        peak_bytes: Bytes::mib(100),
        reserved_bytes: batch.bytes,
        lane_us: 1_000_000,
        ran_out: Vec::new(),
        engine: EngineVersion::default(),
        precision: String::new(),
        load_ms: 0,
    }
}

/// What is reserved for the next task after a batch of one ended like this.
fn next_after(change: impl FnOnce(BatchEnded) -> BatchEnded) -> Batch {
    let mut planner = planner(3);
    let batch = running(&mut planner, 1);
    let over = change(ended(&batch, BatchEnd::Done));
    tell(&mut planner, NOW, Event::BatchEnded(over));
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    batches(&see(&mut planner, NOW, 2)).remove(0)
}

#[test]
fn a_measurement_that_cannot_be_is_none() {
    let prior = next_after(|over| BatchEnded { items: 0, ..over });
    assert_eq!(prior.bytes, Bytes::mib(256 + 64), "the prior");
    let absurd_peak = next_after(|over| BatchEnded { peak_bytes: Bytes(u64::MAX), ..over });
    let more_than_the_device = next_after(|over| BatchEnded { peak_bytes: Bytes::gib(17), ..over });
    let for_ever = next_after(|over| BatchEnded { lane_us: u64::MAX, load_ms: u64::MAX, ..over });
    for batch in [absurd_peak, more_than_the_device, for_ever] {
        assert_eq!((batch.bytes, batch.tasks.len()), (prior.bytes, 1), "{}", batch.why);
    }
}

#[test]
fn a_batch_cannot_have_computed_more_items_than_it_had() {
    let said = next_after(|over| BatchEnded { items: u32::MAX, ..over });
    let true_one = next_after(|over| over);
    assert_eq!(said.bytes, true_one.bytes, "else each would be taken to need nearly nothing");
    let ran_out = next_after(|over| BatchEnded { end: BatchEnd::OutOfMemory { at_items: u32::MAX }, ..over });
    assert!(ran_out.bytes > true_one.bytes, "{}", ran_out.why);
}

#[test]
fn numbers_that_are_none_never_reach_a_footprint_from_its_board() {
    let read = |text: &str| serde_json::from_str::<Footprint>(text).expect("a footprint");
    let of = |peak: &str, ms: &str, load: &str| {
        read(&format!(
            r#"{{"proven":4,"out_of_memory":null,"count":1,"load_ms":{load},
            "within":{{"judged":-1.0,"held":7.0}},"beyond":{{"judged":1e300,"held":1e300}},
            "sizes":{{"0":{{"seen":[{{"peak":1,"ms":1.0}}],"last":1}},
            "4":{{"seen":[{{"peak":{peak},"ms":{ms}}}],"last":1}}}}}}"#
        ))
    };
    let good = of("1000", "250.0", "12.0");
    assert!(good.is_measured() && good.load_time() == Duration::from_millis(12));
    assert_eq!((good.confidence(), good.confidence_for(5)), (0.5, 0.5), "what cannot be was not judged");
    for (peak, ms) in [("1000", "-1.0"), ("1000", "1e308"), ("18446744073709551615", "1.0")] {
        let bad = of(peak, ms, "1e308");
        assert!(!bad.is_measured(), "{peak} {ms}");
        assert_eq!((bad.load_time(), bad.time(4)), (Duration::ZERO, Duration::ZERO));
        assert_eq!(bad.reservation(1, Bytes::mib(500), NOW), Bytes::mib(564), "its prior");
    }
    assert!(serde_json::from_str::<Footprint>(r#"{"proven":1,"load_ms":NaN}"#).is_err());
}

#[test]
fn readings_that_lie_promise_nothing_and_break_nothing() {
    let lie = |total: u64, used: u64, own: u64, idle: u64| Reading {
        total_bytes: Bytes(total),
        used_bytes: Bytes(used),
        own_bytes: Bytes(own),
        reclaimable_bytes: Bytes(idle),
        read_at: NOW,
    };
    let (gib, all) = (1u64 << 30, u64::MAX);
    for (reading, runs) in [
        (lie(0, 0, 0, 0), false),
        (lie(0, all, all, all), false),
        // More in use than there is: nothing free.
        (lie(16 * gib, 40 * gib, 0, 0), false),
        // More is ours than is in use, and more than all of it could be given back.
        (lie(16 * gib, gib, 12 * gib, 0), true),
        (lie(16 * gib, 0, 0, all), false),
        (lie(all, 0, 0, 0), true),
    ] {
        let mut planner = planner(3);
        see(&mut planner, NOW, 1);
        let word = Offer { reading, ..offer("a", 16, 1) };
        let found = batches(&tell(&mut planner, NOW, Event::OfferMade(word)));
        assert_eq!(!found.is_empty(), runs, "{reading:?}");
        assert!(found.iter().all(|batch| batch.bytes <= reading.total_bytes), "{reading:?}");
    }
}

#[test]
fn a_device_that_shrinks_under_what_runs_on_it_gets_nothing_more() {
    let mut planner = planner(3);
    let batch = running(&mut planner, 1);
    let tiny = Reading { total_bytes: Bytes::mib(100), ..Reading::default() };
    let running = vec![batch.id];
    let word = Offer { reading: tiny, lanes: 2, reserved_bytes: batch.bytes, running, ..offer("a", 16, 1) };
    tell(&mut planner, NOW, Event::OfferMade(word));
    assert!(batches(&see(&mut planner, NOW, 2)).is_empty());
    let over = ended(&batch, BatchEnd::DeviceLost);
    assert!(batches(&tell(&mut planner, NOW, Event::BatchEnded(over))).is_empty());
}

#[test]
fn more_free_lanes_than_lanes_and_a_word_for_ever_are_not_believed() {
    let mut planner = planner(3);
    let word = Offer { lanes: 1, lanes_free: u32::MAX, valid_for_ms: u64::MAX, ..offer("a", 16, 1) };
    tell(&mut planner, NOW, Event::OfferMade(word));
    let count = (1..9).map(|n| batches(&see(&mut planner, NOW, n)).len()).sum::<usize>();
    assert_eq!(count, 1, "one lane, one batch");
    let due = planner.next_deadline().expect("the word ends");
    assert!(due <= NOW + Duration::from_secs(60), "{due:?}");
    let many = Offer { lanes: u32::MAX, lanes_free: u32::MAX, ..offer("b", 16, 1) };
    let draws = tell(&mut planner, NOW, Event::OfferMade(many));
    let drawn = draws.iter().map(|decision| match decision {
        Decision::Draw(_, count) => *count,
        _ => 0,
    });
    assert!(drawn.sum::<usize>() <= 2 * 2 * 3 * (1024 + 1), "{} decisions", draws.len());
}

/// A newer worker's word may name stages that this planner does not know: none of them is left after reading.
#[test]
fn an_offer_of_no_stage_that_is_known_takes_nothing_and_holds_nobody_up() {
    let mut planner = planner(3);
    let word = || Event::OfferMade(Offer { stages: Vec::new(), ..offer("a", 16, 1) });
    tell(&mut planner, NOW, word());
    assert!(batches(&see(&mut planner, NOW, 1)).is_empty());
    let mut back = 0;
    for secs in (0..=30).step_by(5) {
        let decisions = tell(&mut planner, NOW + Duration::from_secs(secs), word());
        back += decisions.iter().filter(|decision| matches!(decision, Decision::GiveBack(_))).count();
    }
    assert_eq!(back, 1);
    let more = tell(&mut planner, NOW + Duration::from_secs(31), Event::OfferMade(offer("b", 16, 1)));
    assert!(more.iter().any(|decision| matches!(decision, Decision::Draw(..))), "others are not affected");
}

#[test]
fn a_task_without_a_footprint_of_its_key_runs_with_its_prior_alone() {
    let mut planner = planner(3);
    for n in 1..6 {
        see(&mut planner, NOW, n);
    }
    let class = DeviceClass("a class that nobody has seen / \u{1F4A5}".to_owned());
    let word = Offer { device_class: class, ..offer("a", 16, 1) };
    let batch = batches(&tell(&mut planner, NOW, Event::OfferMade(word))).remove(0);
    assert_eq!((batch.tasks.len(), batch.bytes), (1, Bytes::mib(256 + 64)), "{}", batch.why);
    assert!(batch.why.contains("prior footprint"), "{}", batch.why);
}

#[test]
fn words_about_batches_and_tasks_that_nobody_proposed_change_nothing() {
    let mut planner = planner(3);
    let batch = running(&mut planner, 1);
    let foreign = Batch { id: BatchId([9; 16]), ..batch.clone() };
    let reading = Reading { total_bytes: Bytes::gib(16), ..Reading::default() };
    let words = [
        Event::BatchAccepted(foreign.id),
        Event::BatchRefused(foreign.id, Some((reading, RefusedReason::Memory))),
        Event::BatchRefused(foreign.id, None),
        Event::BatchLost(foreign.id),
        Event::BatchEnded(ended(&foreign, BatchEnd::Done)),
        Event::TaskGone(Stage::Export, JobId([9; 16]), given(1, 0, Class::Low, NOW).ack_token),
        Event::OfferWithdrawn("nobody".parse().expect("a name")),
    ];
    for word in words {
        let said = format!("{word:?}");
        assert_eq!(tell(&mut planner, NOW, word), [], "{said}");
    }
    let all = tell(&mut planner, NOW, Event::BatchEnded(ended(&batch, BatchEnd::Done)));
    assert!(matches!(all[0], Decision::Learned(..)), "the real one still counts");
    let twice = tell(&mut planner, NOW, Event::BatchEnded(ended(&batch, BatchEnd::Done)));
    assert!(!twice.iter().any(|decision| matches!(decision, Decision::Learned(..))), "once");
}

/// Two leaders for a moment, both with the same task and the same word of a worker. The worker takes the
/// newer term's batch and refuses the other's.
#[test]
fn two_leaders_waste_work_at_most() {
    let (mut old, mut new) = (planner(3), planner(4));
    let mut proposed = Vec::new();
    for leader in [&mut old, &mut new] {
        let mut decisions = tell(leader, NOW, Event::OfferMade(offer("a", 16, 1)));
        decisions.extend(see(leader, NOW, 1));
        proposed.push(batches(&decisions).remove(0));
    }
    let [by_old, by_new] = [proposed[0].clone(), proposed[1].clone()];
    assert!(by_old.id != by_new.id && by_old.epoch < by_new.epoch);
    tell(&mut new, NOW, Event::BatchAccepted(by_new.id));
    let reading = Reading { total_bytes: Bytes::gib(16), ..Reading::default() };
    let refused = Event::BatchRefused(by_old.id, Some((reading, RefusedReason::Epoch)));
    assert!(batches(&tell(&mut old, NOW, refused)).is_empty(), "not before the worker's next word");
    // Its word counts the other's batch: nothing is promised twice.
    let running = vec![by_new.id];
    let reserved_bytes = Bytes::gib(12);
    let word = Offer { lanes: 2, reserved_bytes, running, ..offer("a", 16, 1) };
    let again = batches(&tell(&mut old, NOW, Event::OfferMade(word.clone()))).remove(0);
    let give = word.reading.to_give(&word.device_class, Bytes::ZERO, reserved_bytes);
    assert!(again.bytes <= give, "{} of {give}", again.bytes);
    // The end of the other's batch teaches it nothing about its own.
    assert_eq!(tell(&mut old, NOW, Event::BatchEnded(ended(&by_new, BatchEnd::Done))), []);
    assert_eq!(again.tasks[0].task.job, job(1));
}
