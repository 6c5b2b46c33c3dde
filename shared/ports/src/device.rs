//! Device: the memory that a worker owns, read when asked, and what is wrong with it, told when it happens.

use crate::PortResult;
use async_trait::async_trait;
use domain::{Activity, Bytes, DeviceClass, DeviceFault, Reading};

/// One GPU, one MIG slice, or a host's memory.
#[async_trait]
pub trait Device: Send + Sync {
    /// Its name for people, as `host memory` or `NVIDIA H100`.
    fn name(&self) -> String;

    /// What kind of device: devices of one class share footprints.
    fn class(&self) -> DeviceClass;

    /// Its memory at this moment. `own` is what the given processes hold.
    async fn reading(&self, own_pids: &[u32]) -> PortResult<Reading>;

    /// What the given processes hold of it, where that costs less than a reading.
    async fn held(&self, pids: &[u32]) -> PortResult<Bytes> {
        Ok(self.reading(pids).await?.own_bytes)
    }

    /// What it is busy with and what slows it down; none where it does not tell.
    async fn activity(&self) -> PortResult<Option<Activity>> {
        Ok(None)
    }

    /// Waits for the next fault that it tells of by itself; for ever where it tells of none. A fault is told
    /// once, to one listener, and none is lost if this is dropped before it answers.
    async fn next_fault(&self) -> DeviceFault {
        std::future::pending().await
    }
}
