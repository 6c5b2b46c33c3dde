//! The CUDA driver functions that a context and its memory need, with the signatures of `cuda.h`. CUDA
//! counts devices in its own order: here the reverse of NVML's, so that only the UUID joins them.

use crate::place;
use crate::script::{Gpu, Used};
use std::ffi::{c_char, c_int, c_uint, c_void};

type Code = c_uint;
type Context = *mut c_void;

/// As `cuDriverGetVersion` tells CUDA 12.8.
pub(crate) const VERSION: c_int = 12080;

const SUCCESS: Code = 0;
const NO_DEVICE: Code = 100;
const INVALID_DEVICE: Code = 101;
const INVALID_CONTEXT: Code = 201;
const ECC_UNCORRECTABLE: Code = 214;

thread_local! {
    static CURRENT: std::cell::Cell<Context> = const { std::cell::Cell::new(std::ptr::null_mut()) };
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
unsafe extern "C" fn cuDeviceGetAttribute(to: *mut c_int, _attribute: c_uint, _at: c_int) -> Code {
    unsafe { *to = 0 };
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
    let gpu = (CURRENT.get() as usize).checked_sub(1).and_then(|at| gpus().into_iter().nth(at));
    let Some(gpu) = gpu else { return INVALID_CONTEXT };
    let Used::Bytes(used) = gpu.used_at(0) else { return ECC_UNCORRECTABLE };
    let left = gpu.total.saturating_sub(gpu.reserved + used);
    unsafe { (*free, *total) = (left as usize, (gpu.total - gpu.reserved) as usize) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: Code, to: *mut *const c_char) -> Code {
    let name = match code {
        NO_DEVICE => c"CUDA_ERROR_NO_DEVICE",
        ECC_UNCORRECTABLE => c"CUDA_ERROR_ECC_UNCORRECTABLE",
        _ => c"CUDA_ERROR_UNKNOWN",
    };
    unsafe { *to = name.as_ptr() };
    SUCCESS
}
