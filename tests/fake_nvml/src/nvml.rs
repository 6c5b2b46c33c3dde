//! The NVML functions that the adapter loads, with the signatures of `nvml.h`. A handle is a device's place
//! in the script, from 1, so that it is never null.

use crate::place;
use crate::script::{Gpu, Script, Used};
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

pub(crate) type Code = c_uint;
pub(crate) type Handle = *mut c_void;

pub(crate) const SUCCESS: Code = 0;
pub(crate) const INVALID_ARGUMENT: Code = 2;
pub(crate) const NOT_SUPPORTED: Code = 3;
pub(crate) const TIMEOUT: Code = 10;
const NOT_FOUND: Code = 6;
const INSUFFICIENT_SIZE: Code = 7;
pub(crate) const UNKNOWN: Code = 999;
/// As NVML says that it does not know a process's memory, or its instance.
const NOT_AVAILABLE: c_ulonglong = c_ulonglong::MAX;
const NO_INSTANCE: c_uint = c_uint::MAX;
/// Slices of a GPU at most.
const SLICES_MAX: c_uint = 7;

/// `nvmlMemory_v2_t`.
#[repr(C)]
pub(crate) struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// `nvmlProcessInfo_t`.
#[repr(C)]
pub(crate) struct ProcessInfo {
    pid: c_uint,
    used: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

fn with(act: impl FnOnce(&Script) -> Code) -> Code {
    place::script().map_or(UNKNOWN, |script| act(&script))
}

pub(crate) fn with_gpu(handle: Handle, act: impl FnOnce(&Script, &Gpu) -> Code) -> Code {
    with(|script| {
        let gpu = (handle as usize).checked_sub(1).and_then(|place| script.gpus.get(place));
        gpu.map_or(INVALID_ARGUMENT, |gpu| act(script, gpu))
    })
}

/// Writes the handle of the device that is sought.
///
/// # Safety
/// `to` can be written.
unsafe fn find(script: &Script, to: *mut Handle, sought: impl FnMut(&&Gpu) -> bool) -> Code {
    let Some(found) = script.gpus.iter().find(sought) else { return NOT_FOUND };
    let place = script.gpus.iter().position(|gpu| gpu.uuid == found.uuid).unwrap_or_default();
    // SAFETY: the caller's promise.
    unsafe { *to = (place + 1) as Handle };
    SUCCESS
}

/// Writes a text with its zero.
///
/// # Safety
/// `to` has room for `room` bytes.
unsafe fn write(text: &str, to: *mut c_char, room: c_uint) -> Code {
    if text.len() >= room as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: the text and its zero fit, as was just seen, and it does not overlap the caller's buffer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        *to.add(text.len()) = 0;
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> Code {
    with(|script| script.init)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> Code {
    SUCCESS
}

// SAFETY, for all functions below: as in NVML, pointers are the caller's, valid for what their type says.

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, room: c_uint) -> Code {
    with(|script| unsafe { write(&script.driver, to, room) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> Code {
    with(|script| {
        unsafe { *to = script.gpus.iter().filter(|gpu| gpu.parent.is_none()).count() as c_uint };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, to: *mut Handle) -> Code {
    with(|script| {
        let mut whole = script.gpus.iter().filter(|gpu| gpu.parent.is_none());
        let Some(wanted) = whole.nth(index as usize) else { return INVALID_ARGUMENT };
        unsafe { find(script, to, |gpu| gpu.uuid == wanted.uuid) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, to: *mut Handle) -> Code {
    let wanted = unsafe { CStr::from_ptr(uuid) }.to_string_lossy();
    with(|script| unsafe { find(script, to, |gpu| gpu.uuid == wanted) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(handle: Handle, to: *mut c_char, room: c_uint) -> Code {
    with_gpu(handle, |_, gpu| unsafe { write(&gpu.name, to, room) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(handle: Handle, to: *mut c_char, room: c_uint) -> Code {
    with_gpu(handle, |_, gpu| unsafe { write(&gpu.uuid, to, room) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, to: *mut Memory) -> Code {
    with_gpu(handle, |_, gpu| {
        let memory = unsafe { &mut *to };
        if memory.version as usize != size_of::<Memory>() | (2 << 24) {
            return INVALID_ARGUMENT;
        }
        let reading = place::readings_before(&gpu.uuid);
        let used = match gpu.used_at(reading) {
            Used::Fault(code) => return code,
            Used::Bytes(used) => used,
        };
        (memory.total, memory.reserved, memory.used) = (gpu.total, gpu.reserved, used);
        memory.free = gpu.total.saturating_sub(gpu.reserved + used);
        if let Some((total, free)) = gpu.lie_at(reading) {
            (memory.total, memory.free) = (total, free);
        }
        SUCCESS
    })
}

/// `nvmlUtilization_t`.
#[repr(C)]
pub(crate) struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// What a device answers that is not about its memory: nothing but its fault while it has one.
fn with_well(handle: Handle, act: impl FnOnce(&Script, &Gpu) -> Code) -> Code {
    with_gpu(handle, |script, gpu| match gpu.used_at(place::readings_of(&gpu.uuid)) {
        Used::Fault(code) => code,
        Used::Bytes(_) => act(script, gpu),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUtilizationRates(handle: Handle, to: *mut Utilization) -> Code {
    with_well(handle, |_, gpu| {
        let Some((gpu, memory)) = gpu.busy else { return NOT_SUPPORTED };
        unsafe { to.write(Utilization { gpu, memory }) };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(handle: Handle, to: *mut c_ulonglong) -> Code {
    with_well(handle, |_, gpu| {
        let Some(reasons) = gpu.throttle else { return NOT_SUPPORTED };
        unsafe { *to = reasons };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice: Handle, to: *mut Handle) -> Code {
    with_gpu(slice, |script, slice| {
        let Some(parent) = &slice.parent else { return INVALID_ARGUMENT };
        unsafe { find(script, to, |gpu| gpu.uuid == *parent) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(slice: Handle, to: *mut c_uint) -> Code {
    with_gpu(slice, |script, slice| {
        unsafe { *to = crate::events::instance(script, slice) };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeInstanceId(_slice: Handle, to: *mut c_uint) -> Code {
    unsafe { *to = 0 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigMode(handle: Handle, now: *mut c_uint, next: *mut c_uint) -> Code {
    with_gpu(handle, |script, gpu| {
        let sliced = script.gpus.iter().any(|slice| slice.parent.as_ref() == Some(&gpu.uuid));
        unsafe { (*now, *next) = (sliced.into(), sliced.into()) };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(_handle: Handle, to: *mut c_uint) -> Code {
    unsafe { *to = SLICES_MAX };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    handle: Handle,
    index: c_uint,
    to: *mut Handle,
) -> Code {
    with_gpu(handle, |script, gpu| {
        let mut slices = script.gpus.iter().filter(|slice| slice.parent.as_ref() == Some(&gpu.uuid));
        let Some(wanted) = slices.nth(index as usize) else { return NOT_FOUND };
        unsafe { find(script, to, |slice| slice.uuid == wanted.uuid) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    handle: Handle,
    count: *mut c_uint,
    to: *mut ProcessInfo,
) -> Code {
    with_gpu(handle, |script, gpu| {
        let here: Vec<_> = script.processes.iter().filter(|process| process.on == gpu.uuid).collect();
        let room = unsafe { std::mem::replace(&mut *count, here.len() as c_uint) };
        if (room as usize) < here.len() {
            return INSUFFICIENT_SIZE;
        }
        for (at, process) in here.into_iter().enumerate() {
            let info = ProcessInfo {
                pid: process.pid,
                used: process.used.unwrap_or(NOT_AVAILABLE),
                gpu_instance: NO_INSTANCE,
                compute_instance: NO_INSTANCE,
            };
            unsafe { to.add(at).write(info) };
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut c_int) -> Code {
    unsafe { *to = crate::cuda::VERSION };
    SUCCESS
}
