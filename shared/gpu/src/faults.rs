//! What a GPU tells by itself: Xids and memory errors, through an event set of NVML, and that it does not
//! answer any more, which every question finds out.
//!
//! One thread waits in the driver, from the first time that somebody listens until nobody can any more. Of
//! an event `nvml-wrapper` keeps neither the slice nor the newer types, so the waiting is done through its
//! raw functions. A driver or a slice without events is fine, and said once.

use domain::DeviceFault;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::{Device as NvmlDevice, EventSet, Nvml};
use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlEventData_t, nvmlEventTypeDoubleBitEccError, nvmlEventTypeDramRetirementFailure,
    nvmlEventTypeFatalPoisonError, nvmlEventTypeGpuUnavailableError, nvmlEventTypeXidCriticalError,
};
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Faults that wait for somebody to listen. Whoever is behind by so many knows enough.
const WAITING_MAX: usize = 64;
/// Longest wait in the driver, in milliseconds: how late the thread sees that nobody listens any more.
const WAIT_MS: u32 = 500;
/// An event of the whole GPU says so instead of an instance.
const NO_INSTANCE: u32 = u32::MAX;

const XID: u64 = nvmlEventTypeXidCriticalError as u64;
/// Memory errors that nobody corrected, as older and newer drivers call them.
const ECC: u64 = nvmlEventTypeDoubleBitEccError as u64
    | nvmlEventTypeDramRetirementFailure as u64
    | nvmlEventTypeFatalPoisonError as u64;
const UNAVAILABLE: u64 = nvmlEventTypeGpuUnavailableError as u64;

/// Faults on their way from the driver to whoever listens.
#[derive(Debug)]
pub(crate) struct FaultLine {
    sender: mpsc::Sender<DeviceFault>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<DeviceFault>>,
    /// The thread was started.
    listens: AtomicBool,
    /// The fault that lasts until the device answers again, and was told.
    lasting: Mutex<Option<DeviceFault>>,
}

impl Default for FaultLine {
    fn default() -> FaultLine {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (receiver, lasting) = (tokio::sync::Mutex::new(receiver), Mutex::default());
        FaultLine { sender, receiver, listens: AtomicBool::new(false), lasting }
    }
}

impl FaultLine {
    /// The next fault.
    pub(crate) async fn next(&self, listener: impl FnOnce() -> Listener) -> DeviceFault {
        if !self.listens.swap(true, Ordering::Relaxed) {
            listener().start(self.sender.clone());
        }
        // The sender is ours: there is always a next one.
        match self.receiver.lock().await.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// The device answered.
    pub(crate) fn answers(&self) {
        *self.lasting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The device did not answer a question: told once if it is a fault of its own.
    pub(crate) fn refuses(&self, error: &NvmlError) {
        let fault = match error {
            NvmlError::GpuLost => DeviceFault::Lost,
            NvmlError::ResetRequired => DeviceFault::NeedsReset,
            _ => return,
        };
        let told = self.lasting.lock().unwrap_or_else(PoisonError::into_inner).replace(fault);
        if told != Some(fault) {
            tell(&self.sender, fault);
        }
    }
}

/// A line that is full has told enough.
fn tell(sender: &mpsc::Sender<DeviceFault>, fault: DeviceFault) {
    let _full = sender.try_send(fault);
}

/// What the thread needs to listen to one device.
pub(crate) struct Listener {
    pub(crate) nvml: Arc<Nvml>,
    pub(crate) library: PathBuf,
    pub(crate) uuid: String,
    pub(crate) is_slice: bool,
}

/// Why there is nothing to be heard.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("{0}")]
    Refused(#[from] NvmlError),
    #[error("this driver or device has none of the events")]
    NoEvents,
    #[error("{0}")]
    NoLibrary(String),
}

impl Listener {
    fn start(self, sender: mpsc::Sender<DeviceFault>) {
        let device = self.uuid.clone();
        let listen = move || match self.listen(&sender) {
            Ok(()) => {}
            Err(why) => tracing::info!(device = self.uuid, %why, "the driver tells of no Xids"),
        };
        if let Err(error) = std::thread::Builder::new().name("nvml-events".to_owned()).spawn(listen) {
            tracing::warn!(device, %error, "no thread listens to the driver: Xids are not heard");
        }
    }

    /// Tells until nobody listens any more, or the device is gone.
    fn listen(&self, sender: &mpsc::Sender<DeviceFault>) -> Result<(), Silence> {
        // SAFETY: the library was opened and initialised before; its initialisers do not run again.
        let raw = unsafe { NvmlLib::new(&self.library) };
        // Never unloaded: what it keeps for this thread is torn down by its code when the thread ends.
        let raw = ManuallyDrop::new(raw.map_err(|error| Silence::NoLibrary(error.to_string()))?);
        let device = self.nvml.device_by_uuid(self.uuid.as_str())?;
        // Events are the whole GPU's, and say which slice they belong to.
        let whole = if self.is_slice { device.mig_parent_device()? } else { device };
        let wanted = (XID | ECC | UNAVAILABLE) & supported(&raw, &whole)?;
        if wanted & XID == 0 {
            return Err(Silence::NoEvents);
        }
        let set = self.nvml.create_event_set()?;
        let set = whole.register_events(EventTypes::from_bits_retain(wanted), set);
        let set = set.map_err(|refused| refused.error)?;
        let slice = if self.is_slice { Some(self.instances(&raw)?) } else { None };
        while !sender.is_closed() {
            match wait(&raw, &set) {
                Ok(event) if is_of(slice, &event) => {
                    fault(&event).into_iter().for_each(|fault| tell(sender, fault));
                }
                Ok(_) | Err(NvmlError::Timeout) => {}
                Err(NvmlError::GpuLost) => {
                    tell(sender, DeviceFault::Lost);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The numbers of a slice's GPU instance and compute instance, by which events name it.
    fn instances(&self, raw: &NvmlLib) -> Result<(u32, u32), NvmlError> {
        let slice = self.nvml.device_by_uuid(self.uuid.as_str())?;
        let gpu = raw.nvmlDeviceGetGpuInstanceId.as_ref().map_err(|_| NvmlError::FunctionNotFound)?;
        let compute = raw.nvmlDeviceGetComputeInstanceId.as_ref().map_err(|_| NvmlError::FunctionNotFound)?;
        let (mut gpu_id, mut compute_id) = (NO_INSTANCE, NO_INSTANCE);
        // SAFETY: the handle is of this NVML, and each function writes one integer.
        unsafe {
            nvml_try(gpu(slice.handle(), &raw mut gpu_id))?;
            nvml_try(compute(slice.handle(), &raw mut compute_id))?;
        }
        Ok((gpu_id, compute_id))
    }
}

/// All types of events that the device has.
fn supported(raw: &NvmlLib, device: &NvmlDevice<'_>) -> Result<u64, NvmlError> {
    let ask = raw.nvmlDeviceGetSupportedEventTypes.as_ref().map_err(|_| NvmlError::FunctionNotFound)?;
    let mut types = 0;
    // SAFETY: the handle is of this NVML, which writes one integer.
    nvml_try(unsafe { ask(device.handle(), &raw mut types) })?;
    Ok(types)
}

fn wait(raw: &NvmlLib, set: &EventSet<'_>) -> Result<nvmlEventData_t, NvmlError> {
    let wait = raw.nvmlEventSetWait_v2.as_ref().map_err(|_| NvmlError::FunctionNotFound)?;
    let mut event = nvmlEventData_t {
        device: std::ptr::null_mut(),
        eventType: 0,
        eventData: 0,
        gpuInstanceId: NO_INSTANCE,
        computeInstanceId: NO_INSTANCE,
    };
    // SAFETY: the set is of this NVML and is used by this thread alone; the event outlives the call.
    nvml_try(unsafe { wait(set.handle(), &raw mut event, WAIT_MS) })?;
    Ok(event)
}

/// Whether an event is of this slice, or of the whole GPU.
fn is_of(slice: Option<(u32, u32)>, event: &nvmlEventData_t) -> bool {
    let Some((gpu, compute)) = slice else { return true };
    let (of_gpu, of_compute) = (event.gpuInstanceId, event.computeInstanceId);
    of_gpu == NO_INSTANCE || (of_gpu == gpu && (of_compute == NO_INSTANCE || of_compute == compute))
}

fn fault(event: &nvmlEventData_t) -> Option<DeviceFault> {
    match event.eventType {
        XID => Some(DeviceFault::Xid { number: u32::try_from(event.eventData).unwrap_or(u32::MAX) }),
        of if of & ECC != 0 => Some(DeviceFault::Ecc),
        of if of & UNAVAILABLE != 0 => Some(DeviceFault::NeedsReset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(of: u64, gpu: u32, compute: u32) -> nvmlEventData_t {
        let device = std::ptr::null_mut();
        nvmlEventData_t {
            device,
            eventType: of,
            eventData: 31,
            gpuInstanceId: gpu,
            computeInstanceId: compute,
        }
    }

    #[test]
    fn a_slice_hears_its_own_events_and_those_of_the_whole_gpu() {
        let check = |gpu: u32, compute: u32, expect: bool| {
            assert_eq!(is_of(Some((2, 0)), &event(XID, gpu, compute)), expect, "{gpu} {compute}");
        };
        check(NO_INSTANCE, NO_INSTANCE, true);
        check(2, NO_INSTANCE, true);
        check(2, 0, true);
        check(2, 1, false);
        check(1, 0, false);
        assert!(is_of(None, &event(XID, 1, 0)));
    }

    #[test]
    fn each_type_of_event_is_a_fault_or_nothing() {
        let of = |of: u64| fault(&event(of, NO_INSTANCE, NO_INSTANCE));
        assert_eq!(of(XID), Some(DeviceFault::Xid { number: 31 }));
        assert_eq!(of(nvmlEventTypeFatalPoisonError as u64), Some(DeviceFault::Ecc));
        assert_eq!(of(UNAVAILABLE), Some(DeviceFault::NeedsReset));
        assert_eq!(of(1 << 40), None);
    }

    #[tokio::test]
    async fn what_lasts_is_told_once_until_the_device_answers() {
        let line = FaultLine::default();
        for _ in 0..3 {
            line.refuses(&NvmlError::GpuLost);
            line.refuses(&NvmlError::NoPermission);
        }
        line.answers();
        line.refuses(&NvmlError::ResetRequired);
        let mut receiver = line.receiver.lock().await;
        let told: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(told, [DeviceFault::Lost, DeviceFault::NeedsReset]);
    }
}
