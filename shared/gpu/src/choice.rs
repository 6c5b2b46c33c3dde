//! The one place that decides which device a worker gets.

use crate::error::GpuError;
use crate::host::HostMemory;
use crate::nvml::Gpus;
use domain::Bytes;
use ports::Device;
use std::path::PathBuf;
use std::sync::Arc;

/// What a person said about devices.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Use no more of the device than this.
    pub cap: Option<Bytes>,
    /// Load this as NVML instead of the system's.
    pub nvml_library: Option<PathBuf>,
}

/// A worker's device.
#[derive(Clone)]
pub struct Choice {
    /// The device.
    pub device: Arc<dyn Device>,
    /// A GPU's UUID in lower case, which is its name in the system; a host has none of its own.
    pub id: Option<String>,
    /// Places where a batch runs at a time unless a person says otherwise: one on a GPU. None: one for each
    /// core.
    pub lanes: Option<usize>,
}

/// The device of a word: `host`, a GPU's index, its UUID, or a UUID's beginning.
///
/// # Errors
/// There is no such device here, or it cannot be used. The host always can.
pub fn choose(wanted: &str, options: &Options) -> Result<Choice, GpuError> {
    if wanted == "host" {
        return Ok(Choice { device: Arc::new(HostMemory::new(options.cap)), id: None, lanes: None });
    }
    let gpu = Gpus::open(options.nvml_library.as_deref())?.device(wanted, options.cap)?;
    let id = Some(gpu.uuid().to_lowercase());
    Ok(Choice { device: Arc::new(gpu), id, lanes: Some(1) })
}
