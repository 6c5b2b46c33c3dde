//! The CUDA driver functions that a context and its memory need, with the signatures of `cuda.h`. CUDA
//! counts devices in its own order: here the reverse of NVML's, so that only the UUID joins them.

use crate::place;
use crate::script::{Gpu, Used};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Code = c_uint;
type Context = *mut c_void;

/// As `cuDriverGetVersion` tells CUDA 12.8.
pub(crate) const VERSION: c_int = 12080;

const SUCCESS: Code = 0;
const OUT_OF_MEMORY: Code = 2;
const INVALID_VALUE: Code = 1;
const NO_DEVICE: Code = 100;
const INVALID_DEVICE: Code = 101;
const INVALID_CONTEXT: Code = 201;
const ECC_UNCORRECTABLE: Code = 214;

thread_local! {
    static CURRENT: std::cell::Cell<Context> = const { std::cell::Cell::new(std::ptr::null_mut()) };
}

/// `CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED`.
const POOLS_SUPPORTED: c_uint = 115;
/// Where the first allocation lies: as a real one, nowhere that a host could read.
const FIRST_ADDRESS: c_ulonglong = 0x7f00_0000_0000;

/// What this process has done on the devices.
#[derive(Default)]
struct Done {
    /// Bytes of each allocation, by its address.
    allocated: BTreeMap<c_ulonglong, usize>,
    /// The error that all calls give, once one has.
    broken: Code,
    /// The default pool's memory was given back.
    trimmed: bool,
}

static DONE: Mutex<Done> = Mutex::new(Done { allocated: BTreeMap::new(), broken: SUCCESS, trimmed: false });

fn done() -> MutexGuard<'static, Done> {
    DONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device of the current context.
fn current() -> Option<Gpu> {
    let at = (CURRENT.get() as usize).checked_sub(1)?;
    gpus().into_iter().nth(at)
}

/// A call that computes: it breaks the context if the script says so, and every later one then fails alike.
fn compute() -> Code {
    let Some(gpu) = current() else { return INVALID_CONTEXT };
    let mut done = done();
    if done.broken == SUCCESS {
        done.broken = gpu.cuda.sticky;
    }
    done.broken
}

fn gpus() -> Vec<Gpu> {
    let gpus = place::script().map(|script| script.gpus).unwrap_or_default();
    gpus.into_iter().filter(|gpu| gpu.parent.is_none()).rev().collect()
}

fn device(at: c_int) -> Option<Gpu> {
    gpus().into_iter().nth(usize::try_from(at).ok()?)
}

/// The sixteen bytes of `GPU-xxxxxxxx-xxxx-…`; what is no hexadecimal digit is left out.
fn uuid_bytes(uuid: &str) -> [c_char; 16] {
    let text = uuid.split_once('-').map_or(uuid, |(_, text)| text);
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = pair.iter().fold(0_u8, |all, digit| (all << 4) | digit) as c_char;
    }
    bytes
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Code {
    if gpus().is_empty() { NO_DEVICE } else { SUCCESS }
}

// SAFETY, for all functions below: as in CUDA, pointers are the caller's, valid for what their type says.

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(to: *mut c_int) -> Code {
    unsafe { *to = VERSION };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(to: *mut c_int) -> Code {
    unsafe { *to = gpus().len() as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(to: *mut c_int, at: c_int) -> Code {
    if device(at).is_none() {
        return INVALID_DEVICE;
    }
    unsafe { *to = at };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(to: *mut [c_char; 16], at: c_int) -> Code {
    let Some(gpu) = device(at) else { return INVALID_DEVICE };
    unsafe { *to = uuid_bytes(&gpu.uuid) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(to: *mut c_int, attribute: c_uint, at: c_int) -> Code {
    let has_pool = device(at).is_some_and(|gpu| gpu.cuda.pool > 0);
    unsafe { *to = (attribute == POOLS_SUPPORTED && has_pool).into() };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(to: *mut Context, at: c_int) -> Code {
    let Some(gpu) = device(at) else { return INVALID_DEVICE };
    if matches!(gpu.used_at(0), Used::Fault(_)) {
        return ECC_UNCORRECTABLE;
    }
    unsafe { *to = (at as usize + 1) as Context };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_at: c_int) -> Code {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(to: *mut Context) -> Code {
    unsafe { *to = CURRENT.get() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Context) -> Code {
    CURRENT.set(context);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    let Some(gpu) = current() else { return INVALID_CONTEXT };
    let Used::Bytes(used) = gpu.used_at(0) else { return ECC_UNCORRECTABLE };
    let left = gpu.total.saturating_sub(gpu.reserved + used);
    unsafe { (*free, *total) = (left as usize, (gpu.total - gpu.reserved) as usize) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(to: *mut c_ulonglong, bytes: usize) -> Code {
    let Some(gpu) = current() else { return INVALID_CONTEXT };
    let mut done = done();
    if done.broken != SUCCESS {
        return done.broken;
    }
    let Used::Bytes(used) = gpu.used_at(0) else { return ECC_UNCORRECTABLE };
    let free = gpu.total.saturating_sub(gpu.reserved + used);
    if bytes as u64 > gpu.cuda.alloc_max.unwrap_or(free).min(free) {
        return OUT_OF_MEMORY;
    }
    let address = done.allocated.iter().next_back().map_or(FIRST_ADDRESS, |(at, size)| at + *size as u64);
    done.allocated.insert(address, bytes);
    unsafe { *to = address };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: c_ulonglong) -> Code {
    let mut done = done();
    let known = done.allocated.remove(&address).is_some();
    if done.broken != SUCCESS {
        done.broken
    } else if known {
        SUCCESS
    } else {
        INVALID_VALUE
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(address: c_ulonglong, _value: c_uchar, bytes: usize) -> Code {
    let room = done().allocated.get(&address).copied();
    if room.is_some_and(|room| bytes <= room) { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Code {
    compute()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetDefaultMemPool(to: *mut *mut c_void, at: c_int) -> Code {
    if device(at).is_none() {
        return INVALID_DEVICE;
    }
    unsafe { *to = (at as usize + 1) as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolGetAttribute(pool: *mut c_void, _what: c_uint, to: *mut c_void) -> Code {
    let gpu = (pool as usize).checked_sub(1).and_then(|at| gpus().into_iter().nth(at));
    let Some(gpu) = gpu else { return INVALID_VALUE };
    let kept = if done().trimmed { 0 } else { gpu.cuda.pool };
    unsafe { to.cast::<c_ulonglong>().write(kept) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(_pool: *mut c_void, keep: usize) -> Code {
    done().trimmed |= keep == 0;
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: Code, to: *mut *const c_char) -> Code {
    let name = match code {
        NO_DEVICE => c"CUDA_ERROR_NO_DEVICE",
        ECC_UNCORRECTABLE => c"CUDA_ERROR_ECC_UNCORRECTABLE",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        _ => c"CUDA_ERROR_UNKNOWN",
    };
    unsafe { *to = name.as_ptr() };
    SUCCESS
}
