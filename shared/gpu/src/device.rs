//! One GPU or one slice: what a worker owns. Asked through NVML whenever somebody wants to know; what it
//! tells by itself comes from `faults`.

use crate::activity;
use crate::believed::{Lie, free};
use crate::cap::capped;
use crate::error::GpuError;
use crate::faults::{FaultLine, Listener};
use crate::nvml::{GpuEntry, memory};
use async_trait::async_trait;
use domain::{Activity, Bytes, DeviceClass, DeviceFault, Reading};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device as NvmlDevice, Nvml};
use ports::{Clock, Device, PortResult, SystemClock};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// A driver in trouble answers late or never; offers are made every few seconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One GPU, or one slice: what a worker owns.
#[derive(Clone, Debug)]
pub struct Gpu {
    nvml: Arc<Nvml>,
    library: PathBuf,
    uuid: String,
    is_slice: bool,
    name: String,
    class: DeviceClass,
    /// A fact, not a measurement: as it was when the device was chosen.
    total: Bytes,
    cap: Option<Bytes>,
    /// Held while the driver is asked: one that hangs costs one thread, not one for each question.
    asking: Arc<Mutex<()>>,
    faults: Arc<FaultLine>,
    /// What cannot be true and was said in the log.
    lies: Arc<std::sync::Mutex<BTreeSet<Lie>>>,
}

impl Gpu {
    pub(crate) fn new(
        (nvml, library): (Arc<Nvml>, PathBuf),
        entry: &GpuEntry,
        (class, total): (DeviceClass, Bytes),
        cap: Option<Bytes>,
    ) -> Gpu {
        Gpu {
            nvml,
            library,
            uuid: entry.uuid.clone(),
            is_slice: entry.slice_of.is_some(),
            name: entry.name.clone(),
            class,
            total,
            cap,
            asking: Arc::default(),
            faults: Arc::default(),
            lies: Arc::default(),
        }
    }

    /// `GPU-…` or `MIG-…`.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// All its memory.
    pub fn total(&self) -> Bytes {
        self.total
    }

    /// Asks the driver, on a thread that may wait for as long as it takes.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Gpu, &NvmlDevice<'_>) -> Result<T, NvmlError> + Send + 'static,
    ) -> PortResult<T> {
        let gpu = self.clone();
        let asked = async {
            let asking = self.asking.clone().lock_owned().await;
            let ask = move || {
                let _asking = asking;
                question(&gpu, &gpu.nvml.device_by_uuid(gpu.uuid.as_str())?)
            };
            tokio::task::spawn_blocking(ask).await
        };
        let unread = |why: &str| GpuError::Unread { device: self.uuid.clone(), why: why.to_owned() };
        match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(Ok(Ok(answer))) => {
                self.faults.answers();
                Ok(answer)
            }
            Ok(Ok(Err(error))) => {
                self.faults.refuses(&error);
                Err(GpuError::of(&self.uuid, &error).into())
            }
            Ok(Err(_)) => Err(unread("the question panicked").into()),
            Err(_) => Err(unread("the driver did not answer within 5 s").into()),
        }
    }

    fn read(&self, device: &NvmlDevice<'_>, own_pids: &[u32]) -> Result<Reading, NvmlError> {
        let (free, lie) = free(self.total, &memory(device)?);
        lie.into_iter().for_each(|lie| self.name_lie(lie));
        let own = own(device, own_pids)?;
        let used = self.total.saturating_sub(free);
        let (total_bytes, used_bytes, own_bytes) = capped(self.cap, self.total, used, own);
        let reclaimable_bytes = Bytes::ZERO;
        Ok(Reading { total_bytes, used_bytes, own_bytes, reclaimable_bytes, read_at: SystemClock.now() })
    }

    fn name_lie(&self, lie: Lie) {
        if self.lies.lock().unwrap_or_else(PoisonError::into_inner).insert(lie) {
            tracing::warn!(device = self.uuid, "{lie}; nothing is promised of what may not be there");
        }
    }
}

/// What these processes hold. A driver that does not tell (in a container without rights, on some slices)
/// makes it zero: then our own counts as a stranger's, and less is promised, never more.
fn own(device: &NvmlDevice<'_>, pids: &[u32]) -> Result<Bytes, NvmlError> {
    if pids.is_empty() {
        return Ok(Bytes::ZERO);
    }
    let processes = match device.running_compute_processes() {
        Ok(processes) => processes,
        Err(NvmlError::GpuLost) => return Err(NvmlError::GpuLost),
        Err(_) => return Ok(Bytes::ZERO),
    };
    let held = |used: &UsedGpuMemory| match used {
        UsedGpuMemory::Used(bytes) => Bytes(*bytes),
        UsedGpuMemory::Unavailable => Bytes::ZERO,
    };
    let ours = processes.iter().filter(|process| pids.contains(&process.pid));
    Ok(ours.map(|process| held(&process.used_gpu_memory)).sum())
}

#[async_trait]
impl Device for Gpu {
    fn name(&self) -> String {
        format!("{} {}", self.name, self.uuid)
    }

    fn class(&self) -> DeviceClass {
        self.class.clone()
    }

    async fn reading(&self, own_pids: &[u32]) -> PortResult<Reading> {
        let pids = own_pids.to_vec();
        self.ask(move |gpu, device| gpu.read(device, &pids)).await
    }

    async fn activity(&self) -> PortResult<Option<Activity>> {
        self.ask(|gpu, device| activity::read(device, gpu.is_slice).map(Some)).await
    }

    async fn next_fault(&self) -> DeviceFault {
        let listener = || Listener {
            nvml: self.nvml.clone(),
            library: self.library.clone(),
            uuid: self.uuid.clone(),
            is_slice: self.is_slice,
        };
        self.faults.next(listener).await
    }
}
