//! What every [`Device`] must do, whether the kernel, a driver or a test stands behind it.

use crate::{Clock, Device, SystemClock};
use domain::{Bytes, Reading};

/// A process number that no system gives away.
const NOBODY: u32 = u32::MAX;

/// Runs the suite. `holder` is a process that holds some of the device's memory while it runs.
///
/// # Panics
/// The device does not keep its contract; the message says which part.
pub async fn conforms(device: &dyn Device, holder: u32) {
    says_who_it_is(device);
    adds_up(device, holder).await;
    knows_whose_memory_it_is(device, holder).await;
    answers_many_at_once(device, holder).await;
}

async fn read(device: &dyn Device, own_pids: &[u32]) -> Reading {
    device.reading(own_pids).await.expect("a device that is there can be read")
}

/// People know it by its name; its class is a part of keys and never changes.
fn says_who_it_is(device: &dyn Device) {
    assert!(!device.name().trim().is_empty(), "a device has a name");
    let class = device.class();
    let in_keys = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(!class.0.is_empty() && class.0.chars().all(in_keys), "{class:?} cannot be a part of a key");
    assert_eq!((device.name(), &class), (device.name(), &device.class()), "a device stays what it is");
}

/// No number is larger than what it is a part of, and the total is a fact, not a measurement.
async fn adds_up(device: &dyn Device, holder: u32) {
    let before = SystemClock.now();
    let first = read(device, &[holder]).await;
    let second = read(device, &[holder]).await;
    let after = SystemClock.now();
    for reading in [first, second] {
        assert!(reading.total_bytes > Bytes::ZERO, "an empty device is an error, not a reading: {reading:?}");
        assert!(reading.used_bytes <= reading.total_bytes, "more in use than there is: {reading:?}");
        assert!(reading.own_bytes <= reading.used_bytes, "own is a part of used: {reading:?}");
        assert!(reading.reclaimable_bytes <= reading.own_bytes, "only own can be given back: {reading:?}");
        assert!((before..=after).contains(&reading.read_at), "a reading is of this moment: {reading:?}");
    }
    assert_eq!(first.total_bytes, second.total_bytes, "a device does not grow");
}

/// Own is what the named processes hold: nobody's is nothing, and a process counts once.
async fn knows_whose_memory_it_is(device: &dyn Device, holder: u32) {
    assert_eq!(read(device, &[]).await.own_bytes, Bytes::ZERO, "nobody holds nothing");
    assert_eq!(read(device, &[NOBODY]).await.own_bytes, Bytes::ZERO, "a process that is gone holds nothing");
    let once = read(device, &[holder]).await.own_bytes;
    assert!(once > Bytes::ZERO, "the holder holds something");
    let twice = read(device, &[holder, holder, NOBODY]).await.own_bytes;
    // A process grows a little between two readings; counted twice it would have doubled.
    assert!(twice < once.scale(1.5), "a process counts once: {once} became {twice}");
}

/// Desk and telemetry ask at the same time.
async fn answers_many_at_once(device: &dyn Device, holder: u32) {
    let asked = futures::future::join_all((0..16).map(|_| device.reading(&[]))).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
    assert!(device.reading(&[holder]).await.is_ok());
}
