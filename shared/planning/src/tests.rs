//! The core as a whole: one canonical case per branch that matters. Runs of a cluster are in `tests/`.

use crate::samples::{given, job, limits, offer, tell, tenant};
use crate::{Decision, Event, Planner};
use domain::{
    AckToken, Batch, BatchEnd, BatchEnded, BatchTask, Bytes, Class, Consumer, Epoch, Offer, Reading,
    RefusedReason, Stage, Timestamp, WorkerId,
};
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_000_000);

fn planner() -> Planner {
    planner_of(1)
}

fn planner_of(tenants: u8) -> Planner {
    Planner::new(limits(tenants), Epoch(3), BTreeMap::new())
}

/// A task is drawn, alone.
fn see(planner: &mut Planner, now: Timestamp, given: BatchTask) -> Vec<Decision> {
    let consumer = Consumer::of_task(&given.task);
    let mut decisions = tell(planner, now, Event::TaskSeen(given));
    decisions.extend(tell(planner, now, Event::DrawEnded(consumer)));
    decisions
}

fn proposals(decisions: &[Decision]) -> Vec<(WorkerId, Batch)> {
    let proposed = decisions.iter().filter_map(|decision| match decision {
        Decision::Propose(worker, batch) => Some((worker.clone(), batch.clone())),
        _ => None,
    });
    proposed.collect()
}

fn normal(n: u64) -> BatchTask {
    given(n, 0, Class::Normal, NOW)
}

fn ended(batch: &Batch, end: BatchEnd, peak: Bytes) -> Event {
    Event::BatchEnded(BatchEnded {
        batch: batch.id,
        worker: "a".parse().expect("a name"),
        device_class: domain::DeviceClass("host".to_owned()),
        stage: batch.stage,
        end,
        items: batch.tasks.len() as u32,
        peak_bytes: peak,
        reserved_bytes: batch.bytes,
        lane_us: 1_000_000,
        ran_out: Vec::new(),
        engine: domain::EngineVersion::default(),
        precision: String::new(),
        load_ms: 0,
    })
}

/// Seen, proposed and accepted: one batch of one on worker `a` with one lane.
fn running() -> (Planner, Batch) {
    let mut planner = planner();
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    let (_, batch) = proposals(&see(&mut planner, NOW, normal(1))).remove(0);
    tell(&mut planner, NOW, Event::BatchAccepted(batch.id));
    (planner, batch)
}

#[test]
fn a_batch_says_why_it_has_its_size_and_place() {
    let (_, batch) = running();
    assert_eq!(batch.epoch, Epoch(3));
    assert_eq!(
        batch.why,
        "1 of 1 waiting on 1 free lanes; prior footprint, 320.0 MiB of 12.80 GiB to give; \
         at most 1 fit, 1 are worth it; cold on a"
    );
}

#[test]
fn draws_follow_live_offers_and_stop_with_them() {
    let mut planner = planner();
    assert_eq!(tell(&mut planner, NOW, Event::Tick).len(), 4, "only what is desired of each stage: nothing");
    let draws = tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 2)));
    let of = |class| Consumer::Tasks(Stage::Shape, class, tenant(0));
    assert!(draws.contains(&Decision::Draw(of(Class::High), 4)), "{draws:?}");
    assert_eq!(draws.len(), 6, "three classes of the two stages that are offered");
    let later = NOW + Duration::from_secs(15);
    assert!(tell(&mut planner, later, Event::Tick).is_empty());
    assert!(
        tell(&mut planner, later, Event::DrawEnded(of(Class::High))).is_empty(),
        "nobody offers any more"
    );
    assert_eq!(planner.next_deadline(), None);
}

#[test]
fn a_refusal_for_memory_is_cut_again_at_once_to_what_the_worker_saw() {
    let mut planner = planner();
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    let (_, batch) = proposals(&see(&mut planner, NOW, normal(1))).remove(0);
    let reading = Reading { total_bytes: Bytes::gib(16), used_bytes: Bytes::gib(7), ..Reading::default() };
    let refused = Event::BatchRefused(batch.id, Some((reading, RefusedReason::Memory)));
    let (worker, again) = proposals(&tell(&mut planner, NOW, refused)).remove(0);
    assert_eq!((worker.as_str(), &again.tasks), ("a", &batch.tasks));
    assert_ne!(again.id, batch.id);
    let refused = Event::BatchRefused(again.id, Some((reading, RefusedReason::Memory)));
    assert!(proposals(&tell(&mut planner, NOW, refused)).is_empty(), "it waits for the worker's next word");
    let word = Offer { reading, ..offer("a", 16, 1) };
    assert_eq!(proposals(&tell(&mut planner, NOW, Event::OfferMade(word))).len(), 1);
}

#[test]
fn a_silent_workers_batch_goes_to_another_and_a_lost_batch_to_nobody() {
    let mut planner = planner();
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    let (_, batch) = proposals(&see(&mut planner, NOW, normal(1))).remove(0);
    tell(&mut planner, NOW, Event::OfferMade(offer("b", 16, 1)));
    let (worker, again) = proposals(&tell(&mut planner, NOW, Event::BatchRefused(batch.id, None))).remove(0);
    assert_eq!((worker.as_str(), again.tasks.len()), ("b", 1));
    assert!(proposals(&tell(&mut planner, NOW, Event::BatchLost(again.id))).is_empty());
    assert!(proposals(&tell(&mut planner, NOW, Event::OfferMade(offer("c", 16, 1)))).is_empty());
}

#[test]
fn a_reservation_counts_until_the_workers_word_knows_of_it_and_not_twice() {
    let (mut planner, batch) = running();
    // A word given before the acceptance, heard after it: the lane is not free.
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    assert!(proposals(&see(&mut planner, NOW, normal(2))).is_empty());
    // One that knows of it and has a second lane: that one is.
    let running = vec![batch.id];
    let word = Offer { lanes: 2, reserved_bytes: batch.bytes, running, ..offer("a", 16, 1) };
    assert_eq!(proposals(&tell(&mut planner, NOW, Event::OfferMade(word))).len(), 1);
}

#[test]
fn a_task_delivered_again_while_its_batch_lives_runs_after_it() {
    let (mut planner, batch) = running();
    let again = BatchTask { delivery: 2, ..normal(1) };
    tell(&mut planner, NOW, Event::OfferMade(offer("b", 16, 1)));
    assert!(proposals(&see(&mut planner, NOW, again)).is_empty(), "property B");
    let over = tell(&mut planner, NOW, ended(&batch, BatchEnd::RunnerLost, Bytes::ZERO));
    assert_eq!(proposals(&over)[0].1.tasks[0].delivery, 2);
}

#[test]
fn a_batch_that_its_worker_stopped_naming_or_whose_worker_is_gone_is_over() {
    for worker_is_gone in [true, false] {
        let (mut planner, _batch) = running();
        see(&mut planner, NOW, BatchTask { delivery: 2, ..normal(1) });
        let later = NOW + Duration::from_secs(3);
        if worker_is_gone {
            tell(&mut planner, later, Event::OfferWithdrawn("a".parse().expect("a name")));
            tell(&mut planner, later, Event::OfferMade(offer("b", 16, 1)));
        } else {
            tell(&mut planner, later, Event::OfferMade(offer("a", 16, 1)));
        }
        let due = planner.next_deadline().expect("a batch to be given up");
        assert!(due <= later + Duration::from_secs(2));
        assert_eq!(proposals(&tell(&mut planner, due, Event::Tick)).len(), 1, "gone: {worker_is_gone}");
    }
}

#[test]
fn measured_footprints_let_batches_grow_and_running_out_halves_them() {
    let (mut planner, batch) = running();
    let mut sizes = Vec::new();
    let mut last = batch;
    for round in 0..4u64 {
        for n in 0..8 {
            see(&mut planner, NOW, normal(10 + round * 8 + n));
        }
        let end = match last.tasks.len() as u32 {
            at_items @ 4.. => BatchEnd::OutOfMemory { at_items },
            _ => BatchEnd::Done,
        };
        let peak = Bytes::mib(100 * last.tasks.len() as u64);
        // Larger batches are faster per item, so that they stay worth it.
        let Event::BatchEnded(mut over) = ended(&last, end, peak) else { unreachable!("just made") };
        over.lane_us = 1_000_000;
        let decisions = tell(&mut planner, NOW, Event::BatchEnded(over));
        assert!(matches!(decisions[0], Decision::Learned(..)));
        let next = proposals(&tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1))));
        let (_, batch) = proposals(&decisions).into_iter().chain(next).next().expect("a batch");
        tell(&mut planner, NOW, Event::BatchAccepted(batch.id));
        sizes.push(batch.tasks.len());
        last = batch;
    }
    assert_eq!(sizes, [2, 4, 2, 2]);
}

#[test]
fn one_that_ran_out_alone_gets_the_idle_device_and_is_rejected_when_that_was_all_there_is() {
    let (mut planner, batch) = running();
    tell(&mut planner, NOW, ended(&batch, BatchEnd::OutOfMemory { at_items: 1 }, batch.bytes));
    let again = || BatchTask { delivery: 2, ..normal(1) };
    let (_, all) = proposals(&see(&mut planner, NOW, again())).remove(0);
    assert!(all.why.starts_with("1 alone with all 12.80 GiB"), "{}", all.why);
    tell(&mut planner, NOW, Event::BatchAccepted(all.id));
    tell(&mut planner, NOW, ended(&all, BatchEnd::OutOfMemory { at_items: 1 }, all.bytes));
    assert!(proposals(&see(&mut planner, NOW, again())).is_empty(), "a larger device may come back");
    let mut reasons = Vec::new();
    for secs in (5..=40).step_by(5) {
        let now = NOW + Duration::from_secs(secs);
        for decision in tell(&mut planner, now, Event::OfferMade(offer("a", 16, 1))) {
            if let Decision::Reject(given, reason) = decision {
                assert_eq!((given.task.job, given.delivery), (job(1), 2));
                reasons.push((secs, reason));
            }
        }
    }
    let reason = "one item of shape needs more than 12.80 GiB, and the largest device can give 12.80 GiB; \
                  use a smaller picture or texture, or a larger device";
    assert_eq!(reasons, [(30, reason.to_owned())]);
}

#[test]
fn what_is_desired_follows_the_backlog() {
    let mut planner = planner();
    let of = |stage| Consumer::Tasks(stage, Class::Normal, tenant(0));
    tell(&mut planner, NOW, Event::BacklogSeen(of(Stage::Shape), 600));
    let desired = tell(&mut planner, NOW, Event::Tick);
    assert!(desired.contains(&Decision::Desire { stage: Stage::Shape, workers: 10 }), "{desired:?}");
    assert!(desired.contains(&Decision::Desire { stage: Stage::Export, workers: 0 }));
    assert!(tell(&mut planner, NOW, Event::Tick).is_empty(), "said when it changes");
    tell(&mut planner, NOW, Event::BacklogSeen(of(Stage::Shape), 0));
    let desired = tell(&mut planner, NOW, Event::Tick);
    assert_eq!(desired, [Decision::Desire { stage: Stage::Shape, workers: 0 }]);
}

#[test]
fn a_stage_that_nobody_offers_any_more_is_given_back() {
    let mut planner = planner();
    see(&mut planner, NOW, normal(1));
    let due = planner.next_deadline().expect("the task is not held for ever");
    assert_eq!(due, NOW + Duration::from_secs(30));
    let back = tell(&mut planner, due, Event::Tick);
    assert!(matches!(&back[0], Decision::GiveBack(given) if given.task.job == job(1)), "{back:?}");
}

#[test]
fn a_lost_token_is_forgotten_and_only_that_token() {
    let mut planner = planner();
    see(&mut planner, NOW, normal(1));
    let other = domain::AckToken("another".to_owned());
    tell(&mut planner, NOW, Event::TaskGone(Stage::Shape, job(1), other));
    see(&mut planner, NOW, normal(2));
    tell(&mut planner, NOW, Event::TaskGone(Stage::Shape, job(2), normal(2).ack_token));
    let proposed = proposals(&tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 4))));
    assert_eq!(proposed.iter().map(|(_, batch)| batch.tasks[0].task.job).collect::<Vec<_>>(), [job(1)]);
}

#[test]
fn a_batch_is_cut_from_all_tasks_of_a_draw() {
    let (mut planner, batch) = running();
    tell(&mut planner, NOW, ended(&batch, BatchEnd::Done, Bytes::mib(50)));
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    for n in 2..4 {
        assert!(proposals(&tell(&mut planner, NOW, Event::TaskSeen(normal(n)))).is_empty());
    }
    let all = tell(&mut planner, NOW, Event::DrawEnded(Consumer::of_task(&normal(2).task)));
    assert_eq!(proposals(&all)[0].1.tasks.len(), 2);
}

#[test]
fn a_refused_task_whose_token_was_lost_meanwhile_is_not_proposed_again() {
    let mut planner = planner();
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    let (_, batch) = proposals(&see(&mut planner, NOW, normal(1))).remove(0);
    let AckToken(token) = &batch.tasks[0].ack_token;
    tell(&mut planner, NOW, Event::TaskGone(Stage::Shape, job(1), AckToken(token.clone())));
    tell(&mut planner, NOW, Event::OfferMade(offer("b", 16, 1)));
    let refused = tell(&mut planner, NOW, Event::BatchRefused(batch.id, None));
    assert!(proposals(&refused).is_empty(), "it is somebody else's by now");
    // Delivered again it is ours again.
    let again = BatchTask { ack_token: AckToken("newer".to_owned()), delivery: 2, ..normal(1) };
    assert_eq!(proposals(&see(&mut planner, NOW, again))[0].1.tasks[0].delivery, 2);
}

#[test]
fn nothing_is_learned_from_a_batch_in_which_nothing_was_computed() {
    let (mut planner, batch) = running();
    let Event::BatchEnded(over) = ended(&batch, BatchEnd::Done, Bytes::ZERO) else { unreachable!() };
    let over = Event::BatchEnded(BatchEnded { items: 0, ..over });
    let decisions = tell(&mut planner, NOW, over);
    assert!(!decisions.iter().any(|decision| matches!(decision, Decision::Learned(..))), "{decisions:?}");
}

#[test]
fn an_item_that_ran_out_alone_inside_a_larger_batch_is_remembered_by_its_name() {
    let (mut planner, batch) = running();
    tell(&mut planner, NOW, ended(&batch, BatchEnd::Done, Bytes::mib(50)));
    for n in 2..4 {
        tell(&mut planner, NOW, Event::TaskSeen(normal(n)));
    }
    let two = proposals(&tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1))));
    let two = if two.is_empty() {
        let all = Event::DrawEnded(Consumer::of_task(&normal(2).task));
        proposals(&tell(&mut planner, NOW, all))
    } else {
        two
    };
    let two = &two[0].1;
    assert_eq!(two.tasks.len(), 2);
    tell(&mut planner, NOW, Event::BatchAccepted(two.id));
    let end = BatchEnd::OutOfMemory { at_items: 2 };
    let Event::BatchEnded(over) = ended(two, end, two.bytes) else { unreachable!("just made") };
    // A job that was not in the batch is nobody's business.
    let over = BatchEnded { ran_out: vec![job(3), job(77)], ..over };
    tell(&mut planner, NOW, Event::BatchEnded(over));
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    let again = proposals(&see(&mut planner, NOW, BatchTask { delivery: 2, ..normal(3) }));
    assert!(again[0].1.why.starts_with("1 alone with all"), "{}", again[0].1.why);
}

#[test]
fn strangers_never_make_a_task_impossible_and_what_ran_out_is_remembered_when_it_is_given_back() {
    let (mut planner, batch) = running();
    let end = BatchEnd::OutOfMemory { at_items: 1 };
    let Event::BatchEnded(over) = ended(&batch, end, Bytes::gib(6)) else { unreachable!("just made") };
    let over = BatchEnded { reserved_bytes: Bytes::gib(6), ..over };
    tell(&mut planner, NOW, Event::BatchEnded(over));
    let full = Reading { total_bytes: Bytes::gib(16), used_bytes: Bytes::gib(9), ..Reading::default() };
    let word = || Event::OfferMade(Offer { reading: full, ..offer("a", 16, 1) });
    tell(&mut planner, NOW, word());
    see(&mut planner, NOW, BatchTask { delivery: 2, ..normal(1) });
    let mut back = 0;
    for secs in (5..=60).step_by(5) {
        for decision in tell(&mut planner, NOW + Duration::from_secs(secs), word()) {
            match decision {
                Decision::GiveBack(given) if given.task.job == job(1) => back += 1,
                Decision::Reject(_, reason) => panic!("{reason}"),
                _ => {}
            }
        }
    }
    assert_eq!(back, 1);
    let later = NOW + Duration::from_secs(61);
    tell(&mut planner, later, Event::OfferMade(offer("a", 16, 1)));
    let again = proposals(&see(&mut planner, later, BatchTask { delivery: 3, ..normal(1) }));
    assert!(again[0].1.why.contains("since it ran out of"), "{}", again[0].1.why);
}

#[test]
fn what_ran_out_alone_in_an_earlier_term_is_not_tried_small_again() {
    let (mut planner, batch) = running();
    let end = BatchEnd::OutOfMemory { at_items: 1 };
    let decisions = tell(&mut planner, NOW, ended(&batch, end, batch.bytes));
    assert!(
        decisions.contains(&Decision::Strained(Stage::Shape, job(1), Some(batch.bytes))),
        "{decisions:?}"
    );
    let mut next = planner_of(1);
    next.remember([(Stage::Shape, job(1), batch.bytes)]);
    tell(&mut next, NOW, Event::OfferMade(offer("a", 16, 1)));
    let (_, all) = proposals(&see(&mut next, NOW, normal(1))).remove(0);
    assert!(all.why.starts_with("1 alone with all"), "{}", all.why);
    let over = tell(&mut next, NOW, ended(&all, BatchEnd::Done, Bytes::gib(1)));
    assert!(over.contains(&Decision::Strained(Stage::Shape, job(1), None)), "it fits after all");
}

#[test]
fn a_task_whose_deadline_cannot_be_met_is_rejected_before_anything_is_done_for_it() {
    let (mut planner, batch) = running();
    let done = ended(&batch, BatchEnd::Done, Bytes::mib(50));
    tell(&mut planner, NOW, done);
    tell(&mut planner, NOW, Event::OfferMade(offer("a", 16, 1)));
    let with = |n: u64, ms: u64| {
        let mut given = normal(n);
        given.task.deadline = Some(NOW + Duration::from_millis(ms));
        given
    };
    // One takes a second.
    let late = see(&mut planner, NOW, with(2, 900));
    let reason = "its deadline cannot be met: shape takes 1.0 s, and 0.1 s are missing";
    assert!(late.contains(&Decision::Reject(with(2, 900), reason.to_owned())), "{late:?}");
    assert_eq!(proposals(&see(&mut planner, NOW, with(3, 1_100))).len(), 1);
}

#[test]
fn all_consumers_of_a_stage_together_draw_no_more_than_two_rounds_and_one_task_each() {
    let mut planner = planner_of(20);
    let of = |n| Consumer::Tasks(Stage::Shape, Class::Normal, tenant(n));
    for n in 0..20 {
        tell(&mut planner, NOW, Event::BacklogSeen(of(n), 1_000));
    }
    let draws =
        tell(&mut planner, NOW, Event::OfferMade(Offer { stages: vec![Stage::Shape], ..offer("a", 16, 4) }));
    let of_normal = draws.iter().filter_map(|decision| match decision {
        Decision::Draw(Consumer::Tasks(_, Class::Normal, _), count) => Some(*count),
        _ => None,
    });
    assert_eq!(of_normal.sum::<usize>(), 20, "two rounds are 8, and each tenant's next task is seen");
}

#[test]
fn who_comes_late_has_its_share_of_the_next_round_in_view() {
    let mut planner = planner_of(2);
    let of = |n| Consumer::Tasks(Stage::Shape, Class::Normal, tenant(n));
    tell(&mut planner, NOW, Event::BacklogSeen(of(0), 1_000));
    let busy = Offer { stages: vec![Stage::Shape], lanes_free: 0, ..offer("a", 16, 4) };
    tell(&mut planner, NOW, Event::OfferMade(busy));
    (0..8).for_each(|n| drop(tell(&mut planner, NOW, Event::TaskSeen(given(n, 0, Class::Normal, NOW)))));
    tell(&mut planner, NOW, Event::DrawEnded(of(0)));
    tell(&mut planner, NOW, Event::BacklogSeen(of(1), 10));
    let draws = tell(&mut planner, NOW, Event::DrawEnded(of(1)));
    let of_late = draws.iter().find_map(|decision| match decision {
        Decision::Draw(consumer, count) if *consumer == of(1) => Some(*count),
        _ => None,
    });
    assert_eq!(of_late, Some(2), "half of four, though two rounds are here already: {draws:?}");
}
