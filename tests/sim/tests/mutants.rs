//! Each fault that the protocol must not have is found by the property that it breaks: in the same world in
//! which the protocol as it is holds. The first eight are those that the protocol's description names.

use sim::check::counterexample;
use sim::copies::{self, Copies, Fault};
use sim::protocol::properties;
use sim::protocol::world::{Mutant, World};
use sim::protocol::worlds;

#[track_caller]
fn check(mutant: Mutant, world: World, property: &'static str) {
    let way = counterexample(world.clone().with(mutant), property);
    let way = way.unwrap_or_else(|| panic!("{mutant:?} breaks nothing in \"{}\"", world.name));
    println!("{mutant:?}, {property}: {} steps: {}", way.len(), way.join(", "));
}

#[track_caller]
fn check_copies(fault: Fault, property: &'static str) {
    let way = counterexample(Copies { workers: 2, fault: Some(fault) }, property);
    let way = way.unwrap_or_else(|| panic!("{fault:?} breaks nothing"));
    println!("{fault:?}, {property}: {} steps: {}", way.len(), way.join(", "));
}

#[test]
fn ack_first_is_caught() {
    check(Mutant::AckFirst, worlds::queue_alone(), properties::NO_LOSS);
}

#[test]
fn unconditional_manifest_is_caught() {
    check(Mutant::UnconditionalManifest, worlds::race(), properties::UNIQUENESS);
}

#[test]
fn no_sweep_is_caught() {
    check(Mutant::NoSweep, worlds::upload(), properties::NO_LOSS);
}

#[test]
fn collect_without_grace_is_caught() {
    check(Mutant::CollectWithoutGrace, worlds::collect(), properties::INTEGRITY);
}

#[test]
fn sweep_blind_to_outcomes_is_caught() {
    check(Mutant::SweepBlindToOutcomes, worlds::race(), properties::NO_RESURRECTION);
}

#[test]
fn redrive_that_takes_already_there_for_success_is_caught() {
    check(Mutant::RedriveTakesAlreadyThere, worlds::redrive_without_sweep(), properties::REDRIVE_WORKS);
}

#[test]
fn outcome_before_copies_is_caught() {
    check(Mutant::OutcomeBeforeCopies, worlds::race(), properties::COPIED);
}

#[test]
fn markers_counted_across_lives_is_caught() {
    check(Mutant::MarkersAcrossLives, worlds::poison(), properties::FAIR_DEATH);
}

#[test]
fn manifests_listed_before_artifacts_is_caught() {
    check(Mutant::ManifestsListedFirst, worlds::collect(), properties::INTEGRITY);
}

#[test]
fn record_before_rejection_is_caught() {
    check(Mutant::RecordBeforeRejection, worlds::rejected(), properties::REJECTED);
}

#[test]
fn sweep_that_forgets_committed_jobs_is_caught() {
    check(Mutant::SweepForgetsCommitted, worlds::race(), properties::NO_LOSS);
}

#[test]
fn cancel_that_acknowledges_unseen_is_caught() {
    check(Mutant::CancelAcksUnseen, worlds::redrive_without_sweep(), properties::REDRIVE_WORKS);
}

#[test]
fn redrive_that_reads_its_stage_early_is_caught() {
    check(Mutant::RedriveReadsStageEarly, worlds::redrive_without_sweep(), properties::REDRIVE_WORKS);
}

#[test]
fn own_commit_taken_for_anothers_is_caught() {
    check(Mutant::OwnCommitTakenForAnothers, worlds::lost_answers(), properties::INTEGRITY);
}

#[test]
fn a_model_without_copies_because_the_outcome_came_first_is_caught() {
    check_copies(Fault::OutcomeFirst, copies::NEWEST);
}

#[test]
fn an_unconditional_copy_is_caught() {
    check_copies(Fault::Unconditional, copies::FORWARD);
}

#[test]
fn an_etag_read_after_the_head_is_caught() {
    check_copies(Fault::EtagAfterHead, copies::FORWARD);
}

#[test]
fn an_old_version_that_copies_its_own_files_is_caught() {
    check_copies(Fault::OwnFilesAlways, copies::FORWARD);
}
