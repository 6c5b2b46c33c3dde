//! The adapters on scripted drivers: what is listed, chosen, read and refused, and the conformance of both
//! devices.

use domain::Bytes;
use fake_nvml::FakeDriver;
use gpu::{GpuError, GpuMemory, Gpus, HostMemory, Options, choose};
use ports::conformance::device;
use ports::{Device, PortError};

const FIRST: &str = "GPU-0000000a-0000-0000-0000-000000000001";
const SECOND: &str = "GPU-0000000b-0000-0000-0000-000000000002";
const SLICE: &str = "MIG-0000000c-0000-0000-0000-000000000003";

fn one(used: &str) -> String {
    format!("gpu uuid={FIRST} name=NVIDIA_H100_80GB_HBM3 total=81559 reserved=557 used={used}\n")
}

/// A whole GPU, and one that is cut into slices.
fn two() -> String {
    let second = format!("gpu uuid={SECOND} name=NVIDIA_A100 total=40960 used=100\n");
    let slice = format!("mig parent={SECOND} uuid={SLICE} name=NVIDIA_A100_MIG_1g.5gb total=4864 used=12\n");
    format!("driver 575.1\n{}{second}{slice}", one("2002"))
}

fn refusal(driver: &FakeDriver, wanted: &str) -> GpuError {
    let options = Options { nvml_library: Some(driver.nvml()), cap: None };
    choose(wanted, &options).err().unwrap_or_else(|| panic!("{wanted} was found"))
}

#[tokio::test]
async fn host_memory_conforms() {
    device::conforms(&HostMemory::new(None), std::process::id()).await;
    device::conforms(&HostMemory::new(Some(Bytes::gib(1))), std::process::id()).await;
}

#[tokio::test]
async fn a_gpu_on_nvml_conforms() {
    let process = format!("process on={FIRST} pid=42 used=700\nprocess on={FIRST} pid=43 used=1000\n");
    let driver = FakeDriver::new(&format!("{}{process}", one("2002")));
    let gpus = Gpus::open(Some(&driver.nvml())).unwrap();
    device::conforms(&gpus.device("0", None).unwrap(), 42).await;
    device::conforms(&gpus.device("0", Some(Bytes::gib(8))).unwrap(), 42).await;
}

#[test]
fn gpus_are_listed_with_their_slices() {
    let driver = FakeDriver::new(&two());
    let gpus = Gpus::open(Some(&driver.nvml())).unwrap();
    assert_eq!(gpus.driver_version().unwrap(), "575.1");
    let entries: Vec<_> = gpus.list().unwrap().into_iter().map(Result::unwrap).collect();
    let found: Vec<_> = entries.iter().map(|gpu| (gpu.index, gpu.uuid.as_str(), gpu.sliced)).collect();
    assert_eq!(found, [(0, FIRST, false), (1, SECOND, true), (1, SLICE, false)]);
    assert_eq!(entries[2].slice_of.as_deref(), Some(SECOND));
    let [total, used, reserved, free] = [81_559, 2_002, 557, 79_000].map(Bytes::mib);
    assert_eq!(entries[0].memory, Ok(GpuMemory { total, used, free, reserved }));
}

#[tokio::test]
async fn what_the_driver_keeps_is_never_planned_with() {
    let driver = FakeDriver::new(&one("2002,9002"));
    let options = Options { nvml_library: Some(driver.nvml()), cap: None };
    // Listing for the choice is the first reading.
    let choice = choose("GPU-0000000A", &options).unwrap();
    let reading = choice.device.reading(&[]).await.unwrap();
    assert_eq!(reading.total_bytes.saturating_sub(reading.used_bytes), Bytes::mib(72_000));
    assert_eq!(choice.device.class().0, "gpu-nvidia-h100-80gb-hbm3-80g");
    assert_eq!((choice.id, choice.lanes), (Some(FIRST.to_lowercase()), Some(1)));
}

#[tokio::test]
async fn a_share_of_a_gpu_sees_strangers_only_as_far_as_they_reach_into_it() {
    let driver = FakeDriver::new(&one("2002"));
    let options = Options { nvml_library: Some(driver.nvml()), cap: Some(Bytes::mib(79_500)) };
    let reading = choose("0", &options).unwrap().device.reading(&[]).await.unwrap();
    assert_eq!((reading.total_bytes, reading.used_bytes), (Bytes::mib(79_500), Bytes::mib(500)));
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    let driver = FakeDriver::new(&two());
    for wanted in ["2", "GPU-dead", "", "gpu"] {
        let text = refusal(&driver, wanted).to_string();
        assert!(text.contains("host") && text.contains(FIRST) && text.contains(SLICE), "{text}");
    }
    let sliced = refusal(&driver, "1");
    assert_eq!(sliced, GpuError::Sliced { uuid: SECOND.to_owned(), slices: SLICE.to_owned() });
    let options = Options { nvml_library: Some(driver.nvml()), cap: None };
    assert_eq!(choose(SLICE, &options).unwrap().id, Some(SLICE.to_lowercase()));
}

#[test]
fn without_a_driver_a_gpu_is_refused_and_the_host_is_there() {
    let missing = Options { nvml_library: Some("/nowhere/libnvidia-ml.so.1".into()), cap: None };
    let error = choose("0", &missing).err().unwrap();
    assert!(matches!(error, GpuError::NoDriver(_)) && error.to_string().contains("--device host"), "{error}");
    assert!(choose("host", &missing).is_ok());
    let driver = FakeDriver::new("init 9\n");
    assert!(matches!(Gpus::open(Some(&driver.nvml())), Err(GpuError::DriverDown(_))));
    let driver = FakeDriver::new("init 18\n");
    assert!(matches!(Gpus::open(Some(&driver.nvml())), Err(GpuError::DriverDown(_))));
}

#[tokio::test]
async fn a_gpu_that_is_lost_while_it_is_used_is_a_lasting_error_that_says_what_to_do() {
    let driver = FakeDriver::new(&one("100"));
    let gpu = Gpus::open(Some(&driver.nvml())).unwrap().device("0", None).unwrap();
    assert!(gpu.reading(&[]).await.is_ok());
    for (fault, part) in [("lost", "reboot"), ("reset", "--gpu-reset")] {
        driver.play(&one(fault));
        let error = gpu.reading(&[]).await.unwrap_err();
        assert!(matches!(error, PortError::Missing(_)) && error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(FIRST), "{error}");
    }
    driver.play(&one("denied"));
    assert!(matches!(gpu.reading(&[]).await, Err(PortError::Denied(_))));
    driver.play(&one("timeout"));
    assert!(gpu.reading(&[]).await.unwrap_err().is_transient());
    driver.play(&one("100"));
    assert!(gpu.reading(&[]).await.is_ok());
}

#[test]
fn a_lost_gpu_is_listed_as_such_and_hides_no_other() {
    let other = format!("gpu uuid={SECOND} name=NVIDIA_A100 total=40960 used=100\n");
    let driver = FakeDriver::new(&format!("{}{other}", one("lost")));
    let gpus = Gpus::open(Some(&driver.nvml())).unwrap();
    let entries: Vec<_> = gpus.list().unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(entries[0].memory, Err(GpuError::Lost(FIRST.to_owned())));
    assert!(entries[1].memory.is_ok());
    assert_eq!(gpus.device("0", None).unwrap_err(), GpuError::Lost(FIRST.to_owned()));
    assert!(gpus.device("1", None).is_ok());
}

#[tokio::test]
async fn a_driver_that_hides_processes_makes_ours_a_stranger() {
    let driver = FakeDriver::new(&format!("{}process on={FIRST} pid=42 used=hidden\n", one("2002")));
    let gpu = Gpus::open(Some(&driver.nvml())).unwrap().device("0", None).unwrap();
    let reading = gpu.reading(&[42]).await.unwrap();
    assert_eq!((reading.own_bytes, reading.strangers()), (Bytes::ZERO, Bytes::mib(2_002 + 557)));
}
