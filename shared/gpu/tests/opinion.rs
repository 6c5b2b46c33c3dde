//! CUDA's opinion. The loader finds `libcuda.so.1` by its search path, which a process reads at its start:
//! each test plays its part in a child of itself.

use domain::Bytes;
use fake_nvml::FakeDriver;
use gpu::{CudaError, probe, release_cached, second_opinion};
use std::process::Command;

const FIRST: &str = "GPU-0000000a-0000-0000-0000-000000000001";
const SECOND: &str = "GPU-0000000b-0000-0000-0000-000000000002";
/// Set in the child; whether it is there decides which part a test plays.
const CHILD: &str = "GPU_TEST_IS_CHILD";

/// Runs the test again with this folder as the loader's search path, and fails if it does.
fn in_a_child(test: &str, folder: &std::path::Path) {
    let this = std::env::current_exe().expect("a running test has a path");
    let mut child = Command::new(this);
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").env("LD_LIBRARY_PATH", folder);
    let output = child.output().expect("this test starts again");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{why}");
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn the_gpu_is_found_by_its_uuid_whatever_cudas_order() {
    if is_child() {
        let opinion = second_opinion(FIRST).unwrap();
        assert_eq!(opinion.version, (12, 8));
        assert_eq!((opinion.total, opinion.free), (Bytes::mib(900), Bytes::mib(600)));
        assert_eq!(second_opinion(SECOND).unwrap().free, Bytes::mib(1_999));
        assert_eq!(second_opinion("GPU-dead"), Err(CudaError::Hidden("GPU-dead".to_owned())));
        return;
    }
    let first = format!("gpu uuid={FIRST} name=A total=1000 reserved=100 used=300");
    let driver = FakeDriver::new(&format!("{first}\ngpu uuid={SECOND} name=B total=2000 used=1\n"));
    in_a_child("the_gpu_is_found_by_its_uuid_whatever_cudas_order", driver.folder());
}

#[test]
fn a_broken_gpu_is_refused_in_cudas_words() {
    if is_child() {
        let error = second_opinion(FIRST).unwrap_err();
        let why = "CUDA_ERROR_ECC_UNCORRECTABLE".to_owned();
        assert_eq!(error, CudaError::Sticky { device: FIRST.to_owned(), why });
        return;
    }
    let driver = FakeDriver::new(&format!("gpu uuid={FIRST} name=A total=1000 used=lost\n"));
    in_a_child("a_broken_gpu_is_refused_in_cudas_words", driver.folder());
}

#[test]
fn a_probe_touches_memory_and_gives_it_back() {
    if is_child() {
        for _ in 0..3 {
            assert_eq!(probe(FIRST, Bytes::mib(200)), Ok(()));
        }
        assert_eq!(probe("GPU-dead", Bytes::mib(1)), Err(CudaError::Hidden("GPU-dead".to_owned())));
        return;
    }
    let driver = FakeDriver::new(&format!("gpu uuid={FIRST} name=A total=1000 used=300\n"));
    in_a_child("a_probe_touches_memory_and_gives_it_back", driver.folder());
}

#[test]
fn an_allocation_that_fails_is_out_of_memory_and_a_smaller_one_succeeds() {
    if is_child() {
        let no_memory = |mib| CudaError::OutOfMemory { device: FIRST.to_owned(), bytes: Bytes::mib(mib) };
        assert_eq!(probe(FIRST, Bytes::mib(101)), Err(no_memory(101)));
        assert_eq!(probe(FIRST, Bytes::mib(100)), Ok(()));
        // Others took what is free.
        assert_eq!(
            probe(SECOND, Bytes::mib(2)),
            Err(CudaError::OutOfMemory { device: SECOND.to_owned(), bytes: Bytes::mib(2) })
        );
        return;
    }
    let first = format!("gpu uuid={FIRST} name=A total=1000 used=300 alloc_max=100");
    let driver = FakeDriver::new(&format!("{first}\ngpu uuid={SECOND} name=B total=2000 used=1999\n"));
    in_a_child("an_allocation_that_fails_is_out_of_memory_and_a_smaller_one_succeeds", driver.folder());
}

#[test]
fn a_sticky_error_stays_until_the_process_ends() {
    if is_child() {
        let why = || "CUDA_ERROR_ILLEGAL_ADDRESS".to_owned();
        let sticky = || CudaError::Sticky { device: FIRST.to_owned(), why: why() };
        assert!(second_opinion(FIRST).is_ok(), "nothing was computed yet");
        for _ in 0..2 {
            assert_eq!(probe(FIRST, Bytes::mib(1)), Err(sticky()));
        }
        assert!(sticky().to_string().contains("only a new one"));
        return;
    }
    let driver = FakeDriver::new(&format!("gpu uuid={FIRST} name=A total=1000 used=300 sticky=700\n"));
    in_a_child("a_sticky_error_stays_until_the_process_ends", driver.folder());
}

#[test]
fn cached_blocks_are_given_back_once_and_nothing_where_there_is_no_pool() {
    if is_child() {
        assert_eq!(release_cached(FIRST), Ok(Bytes::mib(64)));
        assert_eq!(release_cached(FIRST), Ok(Bytes::ZERO));
        assert_eq!(release_cached(SECOND), Ok(Bytes::ZERO));
        return;
    }
    let first = format!("gpu uuid={FIRST} name=A total=1000 used=300 pool=64");
    let driver = FakeDriver::new(&format!("{first}\ngpu uuid={SECOND} name=B total=2000 used=1\n"));
    in_a_child("cached_blocks_are_given_back_once_and_nothing_where_there_is_no_pool", driver.folder());
}

#[test]
fn without_a_driver_there_is_no_opinion_and_no_panic() {
    if is_child() {
        assert!(second_opinion(FIRST).is_err());
        assert!(probe(FIRST, Bytes::mib(1)).is_err() && release_cached(FIRST).is_err());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    in_a_child("without_a_driver_there_is_no_opinion_and_no_panic", folder.path());
    // A file of the right name that is no library.
    std::fs::write(folder.path().join("libcuda.so.1"), "not a library").unwrap();
    in_a_child("without_a_driver_there_is_no_opinion_and_no_panic", folder.path());
}
