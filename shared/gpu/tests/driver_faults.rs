//! What a scripted driver tells by itself, what it is busy with, and what of its numbers is believed.

use domain::{Activity, Bytes, DeviceFault, Throttle};
use fake_nvml::FakeDriver;
use gpu::{Gpu, GpuError, Gpus, Options, choose};
use ports::Device;
use std::time::Duration;
use tokio::time::timeout;

const FIRST: &str = "GPU-0000000a-0000-0000-0000-000000000001";
const SECOND: &str = "GPU-0000000b-0000-0000-0000-000000000002";
const SLICE: &str = "MIG-0000000c-0000-0000-0000-000000000003";
const SIBLING: &str = "MIG-0000000d-0000-0000-0000-000000000004";

/// No wait in a test is longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two GPUs with all events, one of them cut into two slices, and what comes after that.
fn machine(more: &str) -> String {
    let events = "events=xid,ecc,retirement,poison,gone";
    let slice = |uuid| format!("mig parent={SECOND} uuid={uuid} name=MIG_1g.5gb total=4864 used=12\n");
    format!(
        "gpu uuid={FIRST} name=NVIDIA_H100 total=81559 used=100 {events}\n\
         gpu uuid={SECOND} name=NVIDIA_A100 total=40960 used=100 {events} throttle=thermal\n{}{}{more}",
        slice(SLICE),
        slice(SIBLING)
    )
}

fn event(on: &str, what: &str) -> String {
    format!("event on={on} {what}\n")
}

fn gpu(driver: &FakeDriver, wanted: &str) -> Gpu {
    let gpus = Gpus::open(Some(&driver.nvml())).expect("a driver");
    gpus.device(wanted, None).expect("a device")
}

async fn next(gpu: &Gpu) -> DeviceFault {
    timeout(PATIENCE, gpu.next_fault()).await.expect("a fault")
}

fn xid(number: u32) -> DeviceFault {
    DeviceFault::Xid { number }
}

#[tokio::test]
async fn faults_come_in_their_order_while_somebody_listens_and_while_nobody_does() {
    let driver = FakeDriver::new(&machine(""));
    let gpu = gpu(&driver, "0");
    // The thread begins to listen with the first question, which is not waited for.
    assert!(timeout(Duration::ZERO, gpu.next_fault()).await.is_err());
    let mut told = event(FIRST, "xid=13");
    driver.play(&machine(&told));
    assert_eq!(next(&gpu).await, xid(13));
    for what in ["xid=48", "type=ecc", "type=poison", "type=gone", "xid=4294967296"] {
        told += &event(FIRST, what);
    }
    driver.play(&machine(&told));
    let expect = [xid(48), DeviceFault::Ecc, DeviceFault::Ecc, DeviceFault::NeedsReset, xid(u32::MAX)];
    for fault in expect {
        assert_eq!(next(&gpu).await, fault);
    }
}

#[tokio::test]
async fn each_device_hears_its_own_faults_and_a_slice_those_of_its_gpu() {
    let all =
        [event(SECOND, "xid=79"), event(SIBLING, "xid=31"), event(FIRST, "xid=48"), event(SLICE, "xid=13")];
    let driver = FakeDriver::new(&machine(&all.concat()));
    let (first, slice, sibling) = (gpu(&driver, "0"), gpu(&driver, SLICE), gpu(&driver, SIBLING));
    assert_eq!(next(&first).await, xid(48));
    assert_eq!([next(&slice).await, next(&slice).await], [xid(79), xid(13)]);
    assert_eq!([next(&sibling).await, next(&sibling).await], [xid(79), xid(31)]);
}

#[tokio::test]
async fn an_event_that_comes_after_some_readings_is_heard_then() {
    let driver = FakeDriver::new(&machine(&event(FIRST, "xid=64 after=3")));
    let gpu = gpu(&driver, "0");
    assert!(timeout(Duration::ZERO, gpu.next_fault()).await.is_err());
    // Listing for the choice was the first one.
    for _ in 0..2 {
        gpu.reading(&[]).await.unwrap();
    }
    assert_eq!(next(&gpu).await, xid(64));
}

#[tokio::test]
async fn a_driver_without_events_is_read_as_before_and_its_lost_device_is_still_a_fault() {
    let plain = |used: &str| format!("gpu uuid={FIRST} name=NVIDIA_H100 total=81559 used={used}\n");
    let driver = FakeDriver::new(&plain("100"));
    let gpu = gpu(&driver, "0");
    assert!(timeout(Duration::ZERO, gpu.next_fault()).await.is_err());
    assert!(gpu.reading(&[]).await.is_ok());
    assert_eq!(gpu.activity().await, Ok(Some(Activity::default())));
    driver.play(&plain("lost"));
    for _ in 0..3 {
        assert!(gpu.reading(&[]).await.is_err() && gpu.activity().await.is_err());
    }
    assert_eq!(next(&gpu).await, DeviceFault::Lost);
    driver.play(&plain("100"));
    assert!(gpu.reading(&[]).await.is_ok());
    driver.play(&plain("reset"));
    assert!(gpu.reading(&[]).await.is_err());
    assert_eq!(next(&gpu).await, DeviceFault::NeedsReset, "lost was told once");
}

#[tokio::test]
async fn a_gpu_that_is_lost_is_told_by_its_driver_before_anybody_asks() {
    let driver = FakeDriver::new(&machine(""));
    let gpu = gpu(&driver, "0");
    assert!(timeout(Duration::ZERO, gpu.next_fault()).await.is_err());
    driver.play(&machine("").replacen("used=100", "used=lost", 1));
    assert_eq!(next(&gpu).await, DeviceFault::Lost);
}

#[tokio::test]
async fn what_it_is_busy_with_and_what_slows_it_down_is_told_as_far_as_it_is_known() {
    let one = |more: &str| format!("gpu uuid={FIRST} name=NVIDIA_H100 total=81559 used=100 {more}\n");
    let driver = FakeDriver::new(&one("busy=93/41 throttle=idle,clocks,display"));
    let gpu_of = gpu(&driver, "0");
    let activity = |compute: u8, memory: u8, throttled: &[Throttle]| Activity {
        compute_percent: Some(compute),
        memory_percent: Some(memory),
        throttled: throttled.to_vec(),
    };
    assert_eq!(gpu_of.activity().await, Ok(Some(activity(93, 41, &[]))), "settings are no fault");
    driver.play(&one("busy=4000/100 throttle=power_cap,hw_thermal,hw_slowdown,power_brake,sync_boost"));
    assert_eq!(gpu_of.activity().await, Ok(Some(activity(100, 100, &Throttle::ALL))));
    driver.play(&one(""));
    assert_eq!(gpu_of.activity().await, Ok(Some(Activity::default())));
    // A slice tells of no use of its own, and is slowed down with its GPU.
    let driver = FakeDriver::new(&machine(""));
    let slice = gpu(&driver, SLICE).activity().await.unwrap().unwrap();
    assert_eq!((slice.compute_percent, slice.throttled), (None, vec![Throttle::Thermal]));
}

#[tokio::test]
async fn readings_that_lie_promise_less_and_never_more_than_there_is() {
    let lies = "lies=1000/900,1000/4000,0/0,600/500,5000/4900,1000/800";
    let driver = FakeDriver::new(&format!("gpu uuid={FIRST} name=A total=1000 used=0 {lies}\n"));
    // Listing for the choice is the first reading.
    let gpu = gpu(&driver, "0");
    for used in [0, 1000, 500, 0, 200] {
        let reading = gpu.reading(&[]).await.unwrap();
        assert_eq!((reading.total_bytes, reading.used_bytes), (Bytes::mib(1000), Bytes::mib(used)));
    }
    // Others' processes that hold more than there is.
    let process = format!("process on={FIRST} pid=7 used=9000\n");
    driver.play(&format!("gpu uuid={FIRST} name=A total=1000 used=400\n{process}"));
    let reading = gpu.reading(&[7]).await.unwrap();
    assert_eq!((reading.own_bytes, reading.used_bytes), (Bytes::mib(1000), Bytes::mib(1000)));
}

#[test]
fn a_device_without_memory_is_no_device() {
    let driver = FakeDriver::new(&format!("gpu uuid={FIRST} name=A total=0 used=0\n"));
    let options = Options { nvml_library: Some(driver.nvml()), cap: None };
    let refused = choose("0", &options).err().unwrap();
    assert!(
        matches!(refused, GpuError::Unread { .. }) && refused.to_string().contains("no memory"),
        "{refused}"
    );
}
