//! Device: the memory that a worker owns, read when asked.

use crate::PortResult;
use async_trait::async_trait;
use domain::{DeviceClass, Reading};

/// One GPU, one MIG slice, or a host's memory.
#[async_trait]
pub trait Device: Send + Sync {
    /// Its name for people, as `host memory` or `NVIDIA H100`.
    fn name(&self) -> String;

    /// What kind of device: devices of one class share footprints.
    fn class(&self) -> DeviceClass;

    /// Its memory at this moment. `own` is what the given processes hold.
    async fn reading(&self, own_pids: &[u32]) -> PortResult<Reading>;
}
