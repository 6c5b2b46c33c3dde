//! What a person sees of devices: `doctor` lists them, `run --device` takes them or says what there is. And
//! what a runner finds of its GPU in a self-test.

use domain::Bytes;
use fake_nvml::FakeDriver;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use worker::frames::{self, Say};

const GPU: &str = "GPU-0000000a-0000-0000-0000-000000000001";

/// Runs the program with a configuration whose broker and store are closed ports, and with the CUDA library
/// of the folder, if there is one.
fn meshwright(folder: &Path, nvml: &Path, arguments: &[&str]) -> Output {
    let config = folder.join("meshwright.toml");
    let nvml = format!("[worker]\nnvml_library = {:?}\n", nvml.display().to_string());
    let s3 = "[s3]\nendpoint = 'http://127.0.0.1:1'\naccess_key = 'a'\nsecret_key = 'b'\n";
    std::fs::write(&config, format!("[nats]\nurl = 'nats://127.0.0.1:1'\n{s3}{nvml}"))
        .expect("a writable folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    command.args(arguments).arg("--config").arg(config).env("LD_LIBRARY_PATH", folder);
    command.output().expect("the program starts")
}

fn lines(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("GPU:")).collect()
}

#[test]
fn doctor_lists_gpus_with_what_both_drivers_say() {
    let gpu = format!("gpu uuid={GPU} name=NVIDIA_H100 total=81920 reserved=1024 used=1024\n");
    let driver = FakeDriver::new(&gpu);
    let line = lines(&meshwright(driver.folder(), &driver.nvml(), &["doctor"]));
    for part in ["ok  ", GPU, "NVIDIA H100", "80.00 GiB in all", "CUDA 12.8 finds 78.00 GiB free"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}

#[test]
fn doctor_fails_on_a_lost_gpu_and_says_what_to_do() {
    let driver = FakeDriver::new(&format!("gpu uuid={GPU} name=NVIDIA_H100 total=81920 used=lost\n"));
    let line = lines(&meshwright(driver.folder(), &driver.nvml(), &["doctor"]));
    assert!(line.contains("FAIL") && line.contains("reboot"), "{line}");
}

#[test]
fn doctor_says_plainly_that_there_is_no_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let line = lines(&meshwright(folder.path(), &folder.path().join("none.so"), &["doctor"]));
    assert!(line.contains("ok  ") && line.contains("none, so host memory is used"), "{line}");
}

#[test]
fn a_device_that_is_not_here_is_refused_before_anything_is_connected() {
    let driver = FakeDriver::new(&format!("gpu uuid={GPU} name=NVIDIA_H100 total=81920 used=0\n"));
    let refused = meshwright(driver.folder(), &driver.nvml(), &["run", "shape", "--device", "7"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("there is no device \"7\"") && said.contains(GPU), "{said}");
    // With a device that is here the next thing to miss is the store.
    let next = meshwright(driver.folder(), &driver.nvml(), &["run", "shape", "--device", "0"]);
    assert_eq!(next.status.code(), Some(69), "{}", String::from_utf8_lossy(&next.stderr));
}

#[test]
fn a_device_on_which_no_batch_ever_fits_is_refused_with_what_to_do() {
    let driver = FakeDriver::new(&format!("gpu uuid={GPU} name=NVIDIA_T400 total=1100 used=0\n"));
    let refused = meshwright(driver.folder(), &driver.nvml(), &["run", "shape", "--device", "0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("no batch ever fits") && said.contains("worker.memory_max"), "{said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
}

/// What a runner of this GPU says of a self-test, on this driver.
async fn tested(driver: &FakeDriver) -> Option<String> {
    let mut runner = tokio::process::Command::new(env!("CARGO_BIN_EXE_meshwright"))
        .args(["runner", "--gpu", &GPU.to_lowercase()])
        .env("LD_LIBRARY_PATH", driver.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut stdin = runner.stdin.take().expect("a pipe");
    let mut stdout = runner.stdout.take().expect("a pipe");
    frames::send_test(&mut stdin, 1, Bytes::mib(128)).await.expect("a runner that listens");
    loop {
        match frames::hear(&mut stdout).await.expect("our own frames").expect("an answer").0 {
            Say::Tested { broken, .. } => return broken,
            Say::Ready => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_self_test_computes_on_the_gpu_and_knows_a_broken_one_from_a_full_one() {
    let gpu = |words: &str| format!("gpu uuid={GPU} name=NVIDIA_H100 total=81920 {words}\n");
    let driver = FakeDriver::new(&gpu("used=0"));
    assert_eq!(tested(&driver).await, None);
    driver.play(&gpu("used=81919"));
    assert_eq!(tested(&driver).await, None, "others hold its memory");
    driver.play(&gpu("used=0 sticky=700"));
    let broken = tested(&driver).await.expect("a broken GPU");
    assert!(broken.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{broken}");
}
