//! Event sets of NVML. The events of the script come in its order, each once to each set; one that is added
//! to the script later comes later. Waiting ends when there is one, or with the caller's time.

use crate::nvml::{Code, Handle, INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, TIMEOUT, UNKNOWN, with_gpu};
use crate::place;
use crate::script::{Gpu, Script, Told, Used};
use std::collections::BTreeMap;
use std::ffi::{c_uint, c_ulonglong, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Set = *mut c_void;

const NO_INSTANCE: c_uint = c_uint::MAX;
/// `NVML_ERROR_GPU_IS_LOST`.
const LOST: Code = 15;
/// Of `nvmlEventTypeXidCriticalError`.
const XID: u64 = 8;
/// A driver is woken by its device; here the script is looked at this often instead.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// `nvmlEventData_t`.
#[repr(C)]
pub(crate) struct EventData {
    device: Handle,
    event_type: c_ulonglong,
    event_data: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// What a set listens to: devices with their types of events. And how many events of the script it has had.
#[derive(Default)]
struct Listening {
    devices: Vec<(usize, u64)>,
    had: usize,
}

static SETS: Mutex<BTreeMap<usize, Listening>> = Mutex::new(BTreeMap::new());

fn sets() -> MutexGuard<'static, BTreeMap<usize, Listening>> {
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY, for all functions below: as in NVML, pointers are the caller's, valid for what their type says.

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetCreate(to: *mut Set) -> Code {
    let mut sets = sets();
    let place = sets.keys().last().map_or(1, |last| last + 1);
    sets.insert(place, Listening::default());
    unsafe { *to = place as Set };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetFree(set: Set) -> Code {
    if sets().remove(&(set as usize)).is_some() { SUCCESS } else { INVALID_ARGUMENT }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetSupportedEventTypes(handle: Handle, to: *mut c_ulonglong) -> Code {
    with_gpu(handle, |_, gpu| {
        if gpu.events == 0 || gpu.parent.is_some() {
            return NOT_SUPPORTED;
        }
        unsafe { *to = gpu.events };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceRegisterEvents(handle: Handle, types: c_ulonglong, set: Set) -> Code {
    with_gpu(handle, |_, gpu| {
        if types & !gpu.events != 0 || gpu.parent.is_some() {
            return NOT_SUPPORTED;
        }
        let mut sets = sets();
        let Some(listening) = sets.get_mut(&(set as usize)) else { return INVALID_ARGUMENT };
        listening.devices.push((handle as usize, types));
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetWait_v2(set: Set, to: *mut EventData, timeout_ms: c_uint) -> Code {
    let until = Instant::now() + Duration::from_millis(timeout_ms.into());
    loop {
        match next(set as usize) {
            Ok(Some(event)) => {
                unsafe { to.write(event) };
                return SUCCESS;
            }
            Ok(None) => {}
            Err(code) => return code,
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return TIMEOUT;
        }
        std::thread::park_timeout(left.min(LOOK_EVERY));
    }
}

/// The next event of a set, if there is one.
fn next(set: usize) -> Result<Option<EventData>, Code> {
    // Its driver was dropped: nobody plays it any more.
    let script = place::script().ok_or(UNKNOWN)?;
    let mut sets = sets();
    let listening = sets.get_mut(&set).ok_or(INVALID_ARGUMENT)?;
    while let Some(event) = script.events.get(listening.had) {
        if place::readings_of(&event.on) < event.after {
            return Ok(None);
        }
        listening.had += 1;
        let (event_type, event_data) = match event.told {
            Told::Xid(number) => (XID, number),
            Told::Type(of) => (of, 0),
        };
        let Some((handle, instance)) = whole(&script, &event.on) else { continue };
        if listening.devices.iter().any(|(of, types)| *of == handle && types & event_type != 0) {
            let device = handle as Handle;
            return Ok(Some(EventData {
                device,
                event_type,
                event_data,
                gpu_instance: instance,
                compute_instance: if instance == NO_INSTANCE { NO_INSTANCE } else { 0 },
            }));
        }
    }
    let is_lost = |handle: usize| {
        let gpu = script.gpus.get(handle - 1);
        gpu.is_some_and(|gpu| gpu.used_at(place::readings_of(&gpu.uuid)) == Used::Fault(LOST))
    };
    if listening.devices.iter().any(|(of, _)| is_lost(*of)) { Err(LOST) } else { Ok(None) }
}

/// The handle of the whole GPU that an event is told of, and the instance that it is of.
fn whole(script: &Script, on: &str) -> Option<(usize, c_uint)> {
    let of = script.gpus.iter().find(|gpu| gpu.uuid == on)?;
    let gpu = of.parent.as_deref().unwrap_or(on);
    let handle = script.gpus.iter().position(|whole| whole.uuid == gpu)? + 1;
    Some((handle, instance(script, of)))
}

/// The number of a slice among those of its GPU, from 1.
pub(crate) fn instance(script: &Script, of: &Gpu) -> c_uint {
    if of.parent.is_none() {
        return NO_INSTANCE;
    }
    let siblings = script.gpus.iter().filter(|gpu| gpu.parent == of.parent);
    siblings.take_while(|gpu| gpu.uuid != of.uuid).count() as c_uint + 1
}
