//! What becomes of a device, of what runs on it and of what the planner hears when its driver tells of
//! faults: the real NVML adapter, on a scripted driver.

use crate::trials;
use crate::world::World;
use domain::{BatchEnd, BatchReply, DeviceFault, HealthState, RefusedReason, Task, TaskEnd, Throttle};
use fake_nvml::FakeDriver;
use gpu::Options;
use libtest_mimic::Trial;
use std::slice::from_ref;

pub fn tests() -> Vec<Trial> {
    trials![
        the_fault_of_a_program_ends_the_runner_charges_its_item_and_leaves_the_device_offered,
        a_drained_device_finishes_what_runs_and_comes_back_once_its_self_test_passes,
        a_fault_that_nobody_knows_drains_a_device_that_idles,
        what_is_only_noted_ends_nothing,
        a_dead_device_gives_back_what_runs_and_is_never_offered_again,
        a_device_that_is_lost_while_a_batch_runs_is_dead_even_if_its_driver_has_no_events,
        a_device_that_hangs_until_it_is_reset_comes_back_after_the_reset,
        a_slice_is_left_alone_by_its_siblings_faults_and_dies_with_its_gpu,
        strangers_that_fill_the_device_leave_nothing_to_give,
        the_entry_tells_what_the_device_is_busy_with,
    ]
}

const GPU: &str = "GPU-0000000a-0000-0000-0000-000000000001";
const SLICE: &str = "MIG-0000000c-0000-0000-0000-000000000003";
const SIBLING: &str = "MIG-0000000d-0000-0000-0000-000000000004";

/// A GPU with these words in its line, and these lines after it.
fn machine(words: &str, lines: &str) -> String {
    format!("gpu uuid={GPU} name=NVIDIA_H100 total=81559 {words}\n{lines}")
}

const WELL: &str = "used=1000 events=xid,ecc";

fn xids(numbers: &[u32]) -> String {
    numbers.iter().map(|number| format!("event on={GPU} xid={number}\n")).collect()
}

async fn world(driver: &FakeDriver, wanted: &str) -> World {
    let options = Options { nvml_library: Some(driver.nvml()), cap: None };
    World::on(gpu::choose(wanted, &options).expect("a device").device).await
}

/// A worker on a healthy GPU, and its driver.
async fn gpu_world() -> (World, FakeDriver) {
    let driver = FakeDriver::new(&machine(WELL, ""));
    (world(&driver, "0").await, driver)
}

async fn is_refused(world: &World, task: &Task) {
    let reply = world.propose(&world.batch(world.draw(from_ref(task)).await)).await;
    assert!(matches!(reply, BatchReply::Refused { reason: RefusedReason::NoLane, .. }), "{reply:?}");
}

/// A batch whose first item hangs is broken off by `fault`: the first item fails and says so, the second was
/// not run, and the batch's end is that of a broken device. Both wait in the queue afterwards.
async fn breaks_what_runs(world: &World, fault: impl FnOnce(), why: &str) -> [Task; 2] {
    let (hangs, behind) = (world.upload("hang").await, world.upload("ok").await);
    let batch = world.run(world.draw_again(&[hangs.clone(), behind.clone()]).await).await;
    world.started(hangs.job).await;
    fault();
    assert_eq!(world.ended(batch).await.end, BatchEnd::DeviceLost);
    for (task, end, markers) in [(&hangs, TaskEnd::Failed, 1), (&behind, TaskEnd::NotRun, 0)] {
        assert_eq!(world.timing(task.job).await.end, end);
        assert_eq!(world.markers(task).await, markers, "{end:?}");
    }
    let marker = world.text(&world.artifacts(&hangs).await[0]).await;
    assert!(marker.contains("the device broke while it was computed") && marker.contains(why), "{marker}");
    [hangs, behind]
}

async fn computes(world: &World) {
    let task = world.upload("ok").await;
    world.run(world.draw(from_ref(&task)).await).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
}

async fn the_fault_of_a_program_ends_the_runner_charges_its_item_and_leaves_the_device_offered() {
    let (world, driver) = gpu_world().await;
    let fault = || driver.play(&machine(WELL, &xids(&[31])));
    let given_back = breaks_what_runs(&world, fault, "Xid 31").await;
    world.offer(|offer| offer.lanes_free == 1).await;
    let entry = world.entry(|entry| entry.health.is_healthy()).await;
    assert_eq!(entry.health.fault, None);
    world.run(world.draw(&given_back).await.split_off(1)).await;
    assert_eq!(world.timing(given_back[1].job).await.end, TaskEnd::Committed);
}

async fn a_drained_device_finishes_what_runs_and_comes_back_once_its_self_test_passes() {
    let (world, driver) = gpu_world().await;
    world.break_probe(Some("it glows"));
    let pipe = world.pipe();
    let task = world.upload(&format!("until {}", pipe.display())).await;
    world.run(world.draw(from_ref(&task)).await).await;
    world.started(task.job).await;
    driver.play(&machine(WELL, &xids(&[48])));
    let entry = world.entry(|entry| entry.health.state == HealthState::Draining).await;
    assert_eq!(entry.health.fault, Some(DeviceFault::Xid { number: 48 }));
    assert_eq!(entry.running.len(), 1);
    let offer = world.offer(|offer| offer.lanes == 0).await;
    assert!(offer.valid_for_ms > 0 && offer.running.len() == 1, "what runs is still told of: {offer:?}");
    let late = world.upload("ok").await;
    is_refused(&world, &late).await;
    world.write(pipe).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
    world.offer(|offer| offer.valid_for_ms == 0).await;
    let testing = |tests: &'static str| world.entry(move |entry| entry.health.reason.contains(tests));
    let entry = testing("2 self-tests failed, the last: it glows").await;
    assert_eq!(entry.health.state, HealthState::Testing);
    world.break_probe(None);
    world.offer(|offer| offer.lanes_free == 1).await;
    let entry = world.entry(|entry| entry.health.is_healthy()).await;
    assert_eq!((entry.health.fault, entry.health.reason.as_str()), (None, ""));
    computes(&world).await;
}

async fn a_fault_that_nobody_knows_drains_a_device_that_idles() {
    let (world, driver) = gpu_world().await;
    world.break_probe(Some("not yet"));
    driver.play(&machine(WELL, &xids(&[171])));
    let entry = world.entry(|entry| !entry.health.is_healthy()).await;
    assert_eq!(entry.health.fault, Some(DeviceFault::Xid { number: 171 }));
    world.offer(|offer| offer.valid_for_ms == 0).await;
    world.break_probe(None);
    world.offer(|offer| offer.lanes_free == 1).await;
    computes(&world).await;
}

async fn what_is_only_noted_ends_nothing() {
    let (world, driver) = gpu_world().await;
    let pipe = world.pipe();
    let task = world.upload(&format!("until {}", pipe.display())).await;
    world.run(world.draw(from_ref(&task)).await).await;
    world.started(task.job).await;
    // Heard in this order: when the last one is, the others were.
    driver.play(&machine(WELL, &xids(&[63, 45, 92, 154, 64])));
    let entry = world.entry(|entry| !entry.health.is_healthy()).await;
    assert_eq!(entry.health.fault, Some(DeviceFault::Xid { number: 64 }));
    world.write(pipe).await;
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
    world.offer(|offer| offer.lanes_free == 1).await;
}

async fn is_dead(world: &World, fault: DeviceFault) {
    let entry = world.entry(|entry| entry.health.state == HealthState::Dead).await;
    assert_eq!(entry.health.fault, Some(fault));
    assert!(entry.health.reason.contains("starts anew"), "{}", entry.health.reason);
    let late = world.upload("ok").await;
    is_refused(world, &late).await;
    // Behind all offers from before.
    world.offer(|offer| offer.lanes == 0).await;
    for _ in 0..3 {
        let offer = world.offer(|_| true).await;
        assert_eq!((offer.lanes, offer.lanes_free), (0, 0));
    }
}

async fn a_dead_device_gives_back_what_runs_and_is_never_offered_again() {
    let (world, driver) = gpu_world().await;
    breaks_what_runs(&world, || driver.play(&machine(WELL, &xids(&[79]))), "Xid 79").await;
    is_dead(&world, DeviceFault::Xid { number: 79 }).await;
    // A later fault of the dead changes nothing.
    driver.play(&machine(WELL, &xids(&[79, 48, 13])));
    is_dead(&world, DeviceFault::Xid { number: 79 }).await;
}

async fn a_device_that_is_lost_while_a_batch_runs_is_dead_even_if_its_driver_has_no_events() {
    let driver = FakeDriver::new(&machine("used=1000", ""));
    let world = world(&driver, "0").await;
    breaks_what_runs(&world, || driver.play(&machine("used=lost", "")), "does not answer on its bus").await;
    is_dead(&world, DeviceFault::Lost).await;
}

async fn a_device_that_hangs_until_it_is_reset_comes_back_after_the_reset() {
    let (world, driver) = gpu_world().await;
    driver.play(&machine("used=reset events=xid", ""));
    let entry = world.entry(|entry| entry.health.reason.contains("self-tests failed")).await;
    assert_eq!(
        (entry.health.state, entry.health.fault),
        (HealthState::Testing, Some(DeviceFault::NeedsReset))
    );
    assert!(entry.health.reason.contains("--gpu-reset"), "{}", entry.health.reason);
    driver.play(&machine(WELL, ""));
    world.offer(|offer| offer.lanes_free == 1).await;
    computes(&world).await;
}

async fn a_slice_is_left_alone_by_its_siblings_faults_and_dies_with_its_gpu() {
    let slice = |uuid| format!("mig parent={GPU} uuid={uuid} name=MIG_3g.40gb total=40000 used=12\n");
    let slices = [slice(SLICE), slice(SIBLING)].concat();
    let driver = FakeDriver::new(&machine(WELL, &slices));
    let world = world(&driver, SLICE).await;
    let sibling = format!("event on={SIBLING} xid=79\n");
    let own = format!("{sibling}event on={SLICE} xid=13\n");
    // The sibling's comes first: it would be dead.
    breaks_what_runs(&world, || driver.play(&machine(WELL, &format!("{slices}{own}"))), "Xid 13").await;
    world.offer(|offer| offer.lanes_free == 1).await;
    driver.play(&machine(WELL, &format!("{slices}{own}{}", xids(&[79]))));
    is_dead(&world, DeviceFault::Xid { number: 79 }).await;
}

async fn strangers_that_fill_the_device_leave_nothing_to_give() {
    let (world, driver) = gpu_world().await;
    driver.play(&machine("used=81000 events=xid,ecc", ""));
    let task = world.upload("ok").await;
    let batch = world.batch(world.draw(from_ref(&task)).await);
    let reply = world.propose(&batch).await;
    assert!(matches!(reply, BatchReply::Refused { reason: RefusedReason::Memory, .. }), "{reply:?}");
    driver.play(&machine(WELL, ""));
    assert_eq!(world.propose(&batch).await, BatchReply::Accepted);
    assert_eq!(world.timing(task.job).await.end, TaskEnd::Committed);
}

async fn the_entry_tells_what_the_device_is_busy_with() {
    let (world, driver) = gpu_world().await;
    driver.play(&machine("used=1000 events=xid busy=93/41 throttle=thermal,idle", ""));
    let busy = world.entry(|entry| entry.activity.as_ref().is_some_and(|of| !of.throttled.is_empty())).await;
    let activity = busy.activity.expect("it was seen");
    assert_eq!((activity.compute_percent, activity.memory_percent), (Some(93), Some(41)));
    assert_eq!((activity.throttled, busy.health.is_healthy()), (vec![Throttle::Thermal], true));
}
