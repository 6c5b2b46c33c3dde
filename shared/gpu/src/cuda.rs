//! What CUDA says of a GPU: a second opinion of NVML's reading, for `doctor`; a probe, for the self-test of a
//! runner; and what an error means for whoever computes: less memory next time, or a new process.
//!
//! A context takes some hundred MiB of the device until it is dropped, so this is no way to watch memory.
//! The driver's library is loaded only here, and only after it could be opened: cudarc panics without one.

use cudarc::driver::sys::cudaError_enum as Code;
use cudarc::driver::{CudaContext, DriverError, result, sys};
use domain::Bytes;
use std::sync::Arc;

/// Why CUDA has no opinion, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// The library cannot be opened.
    #[error("no CUDA driver (libcuda.so.1) was found; install it, or start the container with GPUs")]
    NoDriver,
    /// CUDA does not see this device.
    #[error("CUDA does not see {0}; look at CUDA_VISIBLE_DEVICES and at the container's devices")]
    Hidden(String),
    /// An allocation failed. The context is as good as before, and a smaller one may succeed.
    #[error("{device} has no {bytes} left")]
    OutOfMemory {
        /// Which device.
        device: String,
        /// What was asked for; zero if that is not known.
        bytes: Bytes,
    },
    /// The context is broken for good: every further call in this process fails alike.
    #[error("CUDA on {device} is broken for this process ({why}); only a new one can use it")]
    Sticky {
        /// Which device.
        device: String,
        /// The driver's word.
        why: String,
    },
    /// The driver says no.
    #[error("CUDA refuses {device}: {why}")]
    Refused {
        /// Which device.
        device: String,
        /// The driver's word.
        why: String,
    },
}

/// What CUDA says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOpinion {
    /// Newest CUDA that the driver knows, as (12, 8).
    pub version: (u32, u32),
    /// All memory that CUDA manages.
    pub total: Bytes,
    /// What an allocation could still get while our context is open.
    pub free: Bytes,
}

/// Errors after which a context gives nothing but the same error. Of most of them CUDA's reference
/// (`CUresult`, docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html) says that they leave the
/// process in an inconsistent state and that it must be ended and started again; of a failed assertion that
/// the context must be destroyed. Uncorrectable errors of memory and of links belong to them: what lies in
/// the context may be wrong.
const STICKY: &[Code] = &[
    Code::CUDA_ERROR_ECC_UNCORRECTABLE,
    Code::CUDA_ERROR_NVLINK_UNCORRECTABLE,
    Code::CUDA_ERROR_CONTAINED,
    Code::CUDA_ERROR_ILLEGAL_ADDRESS,
    Code::CUDA_ERROR_LAUNCH_TIMEOUT,
    Code::CUDA_ERROR_CONTEXT_IS_DESTROYED,
    Code::CUDA_ERROR_ASSERT,
    Code::CUDA_ERROR_HARDWARE_STACK_ERROR,
    Code::CUDA_ERROR_ILLEGAL_INSTRUCTION,
    Code::CUDA_ERROR_MISALIGNED_ADDRESS,
    Code::CUDA_ERROR_INVALID_ADDRESS_SPACE,
    Code::CUDA_ERROR_INVALID_PC,
    Code::CUDA_ERROR_LAUNCH_FAILED,
    Code::CUDA_ERROR_TENSOR_MEMORY_LEAK,
    Code::CUDA_ERROR_MPS_CLIENT_TERMINATED,
];

/// Whether a `CUresult` breaks its context for good.
pub fn is_sticky(code: u32) -> bool {
    STICKY.iter().any(|sticky| *sticky as u32 == code)
}

/// What an error of the driver means; `asked` is what was to be allocated.
fn meaning(device: &str, error: DriverError, asked: Bytes) -> CudaError {
    let device = device.to_owned();
    if error.0 == Code::CUDA_ERROR_OUT_OF_MEMORY {
        return CudaError::OutOfMemory { device, bytes: asked };
    }
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let why = name.unwrap_or_else(|_| format!("{:?}", error.0));
    if is_sticky(error.0 as u32) {
        CudaError::Sticky { device, why }
    } else {
        CudaError::Refused { device, why }
    }
}

/// Opens a context on the device of this UUID, asks for its memory, and gives the context back. Blocks for
/// up to a second.
///
/// # Errors
/// See [`CudaError`].
pub fn second_opinion(uuid: &str) -> Result<CudaOpinion, CudaError> {
    guarded(uuid, || {
        let failed = |error| meaning(uuid, error, Bytes::ZERO);
        let context = open(uuid)?;
        let version = version().map_err(failed)?;
        let (free, total) = context.mem_get_info().map_err(failed)?;
        Ok(CudaOpinion { version, total: Bytes(total as u64), free: Bytes(free as u64) })
    })
}

/// The smallest thing that a GPU can do: opens a context on the device of this UUID, allocates so much, fills
/// it, waits for that, and gives everything back. Blocks for as long as that takes.
///
/// # Errors
/// See [`CudaError`]. Out of memory says nothing against the device: others may hold it.
pub fn probe(uuid: &str, bytes: Bytes) -> Result<(), CudaError> {
    guarded(uuid, || {
        let failed = |error| meaning(uuid, error, bytes);
        let context = open(uuid)?;
        let length = bytes.0 as usize;
        // SAFETY: the context is current on this thread. The memory is ours until it is freed, and is freed
        // only after the device is done with it, or has failed.
        unsafe {
            let memory = result::malloc_sync(length).map_err(failed)?;
            let filled = result::memset_d8_sync(memory, 0xA5, length).and_then(|()| context.synchronize());
            let freed = result::free_sync(memory);
            filled.and(freed).map_err(failed)
        }
    })
}

/// Gives back what the default pool of the device of this UUID keeps for allocations of this process, and
/// says how much that was. Nothing where the driver has no pools.
///
/// # Errors
/// See [`CudaError`].
pub fn release_cached(uuid: &str) -> Result<Bytes, CudaError> {
    guarded(uuid, || {
        let failed = |error| meaning(uuid, error, Bytes::ZERO);
        let context = open(uuid)?;
        if !context.has_async_alloc() {
            return Ok(Bytes::ZERO);
        }
        // SAFETY: the device is one that CUDA named, and its default pool lives as long as the driver. The
        // attribute is one integer of 64 bits.
        unsafe {
            let pool = result::device::get_default_mem_pool(context.cu_device()).map_err(failed)?;
            let kept = || -> Result<Bytes, DriverError> {
                let mut kept = 0u64;
                let of = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
                result::mem_pool::get_attribute(pool, of, (&raw mut kept).cast())?;
                Ok(Bytes(kept))
            };
            let before = kept().map_err(failed)?;
            result::mem_pool::trim_to(pool, 0).map_err(failed)?;
            Ok(before.saturating_sub(kept().map_err(failed)?))
        }
    })
}

/// Asks only where there is a driver, and survives one that is too old.
fn guarded<T>(uuid: &str, ask: impl FnOnce() -> Result<T, CudaError>) -> Result<T, CudaError> {
    // SAFETY: opens the driver's library by its known names and closes it again. Its initialisers are the
    // vendor's, and run in any program that uses a GPU.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    // cudarc panics where the library lacks a function: a driver far older than this program.
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask));
    let why = || "its driver lacks functions that CUDA 12 has".to_owned();
    asked.unwrap_or_else(|_| Err(CudaError::Refused { device: uuid.to_owned(), why: why() }))
}

/// A context on the device of this UUID, current on this thread.
fn open(uuid: &str) -> Result<Arc<CudaContext>, CudaError> {
    let failed = |error| meaning(uuid, error, Bytes::ZERO);
    result::init().map_err(failed)?;
    let count = result::device::get_count().map_err(failed)?;
    let is_wanted = |at: &i32| {
        let found = result::device::get(*at).and_then(result::device::get_uuid);
        found.is_ok_and(|found| same(uuid, &found.bytes.map(|byte| byte as u8)))
    };
    let at = (0..count).find(is_wanted).ok_or_else(|| CudaError::Hidden(uuid.to_owned()))?;
    CudaContext::new(at.unsigned_abs() as usize).map_err(failed)
}

fn version() -> Result<(u32, u32), DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes one integer; that its library is there was seen before.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    let version = version.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}

/// Whether NVML's text and CUDA's bytes are one UUID. CUDA orders devices in its own way: only the UUID
/// joins them.
fn same(uuid: &str, bytes: &[u8; 16]) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase();
    let text = uuid.split_once('-').map_or(uuid, |(_, text)| text);
    digits(text) == bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_error_means_less_memory_a_new_process_or_neither() {
        let of = |code| meaning("GPU-1", DriverError(code), Bytes(7));
        let device = || "GPU-1".to_owned();
        assert!(is_sticky(700) && is_sticky(719) && is_sticky(214) && !is_sticky(2) && !is_sticky(701));
        let no_memory = CudaError::OutOfMemory { device: device(), bytes: Bytes(7) };
        // The driver's library, which knows the names of others, is not there.
        assert_eq!(of(Code::CUDA_ERROR_OUT_OF_MEMORY), no_memory);
        assert_eq!(STICKY.len(), STICKY.iter().map(|code| *code as u32).collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn text_and_bytes_are_one_uuid() {
        let bytes = [0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xEE];
        assert!(same("GPU-1f000000-0000-0000-0000-0000000000EE", &bytes));
        assert!(!same("GPU-1f000000-0000-0000-0000-0000000000ef", &bytes));
    }
}
