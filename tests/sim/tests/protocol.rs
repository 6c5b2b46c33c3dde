//! The protocol as it is: in every state of these worlds every property holds, and from every state of the
//! smaller ones work comes to its end. The way of a violation is printed.

use sim::check::{stuck, visit};
use sim::copies::Copies;
use sim::protocol::world::World;
use sim::protocol::worlds;

/// Visits all states; a world that is smaller than it was meant to be shows less than its name says.
fn check(world: World, states_min: usize) {
    let name = world.name;
    let found = visit(world);
    println!("{name}: {} states, depth {}", found.states, found.depth);
    assert_eq!(found.violated, [], "{name}");
    assert!(found.states >= states_min, "{name}: {} states are too few", found.states);
}

fn check_ends(world: World) {
    let (stuck, states) = stuck(&world);
    println!("{}: an end can be reached from all but {stuck} of {states} states", world.name);
    assert_eq!(stuck, 0, "{}", world.name);
}

#[test]
fn one_upload_survives_lost_and_repeated_events_deaths_and_a_lost_queue() {
    check(worlds::upload(), 1_700_000);
}

#[test]
fn two_workers_at_the_same_task_commit_once() {
    check(worlds::race(), 2_300_000);
}

#[test]
fn a_commit_whose_answer_is_lost_is_known_again() {
    check(worlds::lost_answers(), 18_000);
}

#[test]
fn two_uploads_do_not_disturb_each_other() {
    check(worlds::two_uploads(), 1_500_000);
}

#[test]
fn the_queue_alone_finishes_what_it_was_given() {
    check(worlds::queue_alone(), 3_000_000);
}

#[test]
fn an_unacceptable_upload_ends_rejected() {
    check(worlds::rejected(), 270);
}

#[test]
fn an_upload_that_goes_away_ends_as_superseded_or_done() {
    check(worlds::superseded(), 790_000);
}

#[test]
fn a_job_is_cancelled_and_redriven_at_any_time() {
    check(worlds::cancel_and_redrive(), 700_000);
}

#[test]
fn a_job_is_cancelled_and_redriven_while_its_last_stage_runs_twice() {
    check(worlds::cancel_and_redrive_at_last_stage(), 900_000);
}

#[test]
fn a_redrive_needs_no_sweep() {
    check(worlds::redrive_without_sweep(), 1_800_000);
}

#[test]
fn a_poisonous_task_is_dead_only_after_the_attempts_of_its_life() {
    check(worlds::poison(), 1_500_000);
}

#[test]
fn a_poisonous_task_that_is_cured_lives_again() {
    check(worlds::poison_cured(), 3_900_000);
}

#[test]
fn the_collector_takes_litter_and_nothing_else() {
    check(worlds::collect(), 740_000);
}

#[test]
fn the_collector_and_the_sweep_do_not_disturb_each_other() {
    check(worlds::collect_and_sweep(), 310_000);
}

#[test]
fn markers_and_intermediates_of_ended_lives_go() {
    check(worlds::collect_after_life(), 21_000);
}

#[test]
fn friendly_copies_are_those_of_the_newest_version() {
    let found = visit(Copies { workers: 2, fault: None });
    println!("friendly copies: {} states, depth {}", found.states, found.depth);
    assert_eq!(found.violated, []);
    assert!(found.states >= 270_000);
}

#[test]
fn work_comes_to_its_end_from_wherever_it_is() {
    check_ends(worlds::rejected());
    check_ends(World { workers: 1, ..worlds::race() });
    check_ends(World { workers: 1, ..worlds::cancel_and_redrive_at_last_stage() });
    check_ends(World { workers: 1, ..worlds::poison_cured() });
    check_ends(World { workers: 1, ..worlds::redrive_without_sweep() });
}
