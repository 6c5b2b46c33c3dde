//! What a timing says, and what it does not hide.

use crate::trials;
use crate::world::World;
use domain::TaskEnd;
use libtest_mimic::Trial;
use std::slice::from_ref;
use std::time::Duration;

pub fn tests() -> Vec<Trial> {
    trials![
        a_timing_names_engine_precision_spans_and_every_phase,
        a_result_that_the_worker_does_not_take_at_once_is_waiting_and_all_time_is_in_a_phase,
    ]
}

async fn a_timing_names_engine_precision_spans_and_every_phase() {
    let world = World::new().await;
    let (first, second) = (world.upload("ok").await, world.upload("ok").await);
    world.run(world.draw(&[first.clone(), second.clone()]).await).await;
    let timing = world.timing(second.job).await;
    let phases = timing.phases;
    for phase in [phases.fetch_us, phases.load_us, phases.wait_us, phases.store_us, phases.commit_us] {
        assert!(phase > 0, "{phases:?}");
    }
    assert_eq!((timing.engine.name.as_str(), timing.precision.as_str()), ("scripted", "f16"));
    assert_eq!((timing.spans[0].name.as_str(), timing.batch_items), ("script", 2));
    assert_eq!(phases.sum().as_micros() as u64 + timing.unaccounted_us, timing.wall_us);
}

async fn a_result_that_the_worker_does_not_take_at_once_is_waiting_and_all_time_is_in_a_phase() {
    let world = World::new().await;
    let task = world.upload("ok").await;
    let injected = Duration::from_millis(200);
    // The worker is held up by its own publishing while the result is there already.
    world.wire.slow_down(".started", injected);
    world.run(world.draw(from_ref(&task)).await).await;
    let timing = world.timing(task.job).await;
    assert_eq!(timing.end, TaskEnd::Committed);
    assert!(Duration::from_micros(timing.phases.wait_us) >= injected * 9 / 10, "{timing:?}");
    assert!(timing.phases.compute_us < 100_000, "it computes no longer: {timing:?}");
    assert!(timing.unaccounted_us * 100 <= timing.wall_us, "{timing:?}");
}
