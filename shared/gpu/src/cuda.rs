//! What CUDA says of a GPU: a second opinion of NVML's reading, for `doctor`.
//!
//! A context takes some hundred MiB of the device until it is dropped, so this is no way to watch memory.
//! The driver's library is loaded only here, and only after it could be opened: cudarc panics without one.

use cudarc::driver::{CudaContext, DriverError, result, sys};
use domain::Bytes;

/// Why CUDA has no opinion, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// The library cannot be opened.
    #[error("no CUDA driver (libcuda.so.1) was found; install it, or start the container with GPUs")]
    NoDriver,
    /// CUDA does not see this device.
    #[error("CUDA does not see {0}; look at CUDA_VISIBLE_DEVICES and at the container's devices")]
    Hidden(String),
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

/// Opens a context on the device of this UUID, asks for its memory, and gives the context back. Blocks for
/// up to a second.
///
/// # Errors
/// See [`CudaError`].
pub fn second_opinion(uuid: &str) -> Result<CudaOpinion, CudaError> {
    // SAFETY: opens the driver's library by its known names and closes it again. Its initialisers are the
    // vendor's, and run in any program that uses a GPU.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    // cudarc panics where the library lacks a function: a driver far older than this program.
    let asked = std::panic::catch_unwind(|| ask(uuid));
    asked.unwrap_or_else(|_| Err(refused(uuid, "its driver lacks functions that CUDA 12 has".to_owned())))
}

fn refused(uuid: &str, why: String) -> CudaError {
    CudaError::Refused { device: uuid.to_owned(), why }
}

fn ask(uuid: &str) -> Result<CudaOpinion, CudaError> {
    let refused = |error: DriverError| {
        let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
        refused(uuid, name.unwrap_or_else(|_| format!("{:?}", error.0)))
    };
    result::init().map_err(refused)?;
    let version = version().map_err(refused)?;
    let count = result::device::get_count().map_err(refused)?;
    let is_wanted = |at: &i32| {
        let found = result::device::get(*at).and_then(result::device::get_uuid);
        found.is_ok_and(|found| same(uuid, &found.bytes.map(|byte| byte as u8)))
    };
    let at = (0..count).find(is_wanted).ok_or_else(|| CudaError::Hidden(uuid.to_owned()))?;
    let context = CudaContext::new(at.unsigned_abs() as usize).map_err(refused)?;
    let (free, total) = context.mem_get_info().map_err(refused)?;
    Ok(CudaOpinion { version, total: Bytes(total as u64), free: Bytes(free as u64) })
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

    #[test]
    fn text_and_bytes_are_one_uuid() {
        let bytes = [0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xEE];
        assert!(same("GPU-1f000000-0000-0000-0000-0000000000EE", &bytes));
        assert!(!same("GPU-1f000000-0000-0000-0000-0000000000ef", &bytes));
    }
}
