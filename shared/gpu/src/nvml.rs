//! GPUs through NVML: which there are, and which of them a word means.
//!
//! NVML needs no context on the device and takes none of its memory. Its version 2 tells what the driver
//! keeps for itself (`reserved`): we plan with `free`, so that this part is never promised.

use crate::device::Gpu;
use crate::error::GpuError;
use domain::{Bytes, DeviceClass};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device as NvmlDevice, Nvml};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest part of a device's name in its class.
const CLASS_NAME_MAX: usize = 40;

/// A device's memory, as the driver counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuMemory {
    /// All there is.
    pub total: Bytes,
    /// Allocated by anybody.
    pub used: Bytes,
    /// What an allocation could still get.
    pub free: Bytes,
    /// Kept by the driver for itself; part of neither `used` nor `free`.
    pub reserved: Bytes,
}

/// A GPU or a slice of one, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuEntry {
    /// Its place in the driver's order; a slice has its GPU's.
    pub index: u32,
    /// `GPU-…`, or `MIG-…` for a slice.
    pub uuid: String,
    /// As `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Of which GPU it is a slice.
    pub slice_of: Option<String>,
    /// Whether slices of it are listed: then only they compute.
    pub sliced: bool,
    /// Its memory, or why that is not known.
    pub memory: Result<GpuMemory, GpuError>,
}

/// The machine's GPUs.
#[derive(Clone, Debug)]
pub struct Gpus {
    nvml: Arc<Nvml>,
    library: PathBuf,
}

impl Gpus {
    /// Opens NVML: the given library, or `libnvidia-ml.so.1` as the system finds it.
    ///
    /// # Errors
    /// There is no driver, or it does not run.
    pub fn open(library: Option<&Path>) -> Result<Gpus, GpuError> {
        let library = library.unwrap_or(Path::new("libnvidia-ml.so.1"));
        let nvml = Nvml::builder().lib_path(OsStr::new(library)).init();
        let nvml = nvml.map_err(|error| GpuError::of("the NVIDIA driver", &error))?;
        Ok(Gpus { nvml: Arc::new(nvml), library: library.to_owned() })
    }

    /// As `570.86.15`.
    ///
    /// # Errors
    /// The driver does not answer.
    pub fn driver_version(&self) -> Result<String, GpuError> {
        self.nvml.sys_driver_version().map_err(|error| GpuError::of("the NVIDIA driver", &error))
    }

    /// All GPUs, each followed by its slices. One that does not answer is an error in its place.
    ///
    /// # Errors
    /// The driver does not answer.
    pub fn list(&self) -> Result<Vec<Result<GpuEntry, GpuError>>, GpuError> {
        let count = self.nvml.device_count().map_err(|e| GpuError::of("the NVIDIA driver", &e))?;
        let mut entries = Vec::new();
        for index in 0..count {
            match self.entries_at(index) {
                Ok(of_gpu) => entries.extend(of_gpu.into_iter().map(Ok)),
                Err(error) => entries.push(Err(GpuError::of(&format!("GPU {index}"), &error))),
            }
        }
        Ok(entries)
    }

    fn entries_at(&self, index: u32) -> Result<Vec<GpuEntry>, NvmlError> {
        let gpu = self.nvml.device_by_index(index)?;
        let mut whole = entry(&gpu, index, None)?;
        let mut slices = Vec::new();
        // Most GPUs know no slices and say so; a free place among the slices is not an error.
        if gpu.mig_mode().is_ok_and(|mode| mode.current == 1) {
            for place in 0..gpu.mig_device_count()? {
                if let Ok(slice) = gpu.mig_device_by_index(place) {
                    slices.push(entry(&slice, index, Some(&whole.uuid))?);
                }
            }
        }
        whole.sliced = !slices.is_empty();
        slices.insert(0, whole);
        Ok(slices)
    }

    /// The device of an index, a UUID or a UUID's beginning that only one device has; `cap` makes it
    /// smaller than it is.
    ///
    /// # Errors
    /// There is none of this name, it cannot be read, or only its slices can compute.
    pub fn device(&self, wanted: &str, cap: Option<Bytes>) -> Result<Gpu, GpuError> {
        let entries: Vec<GpuEntry> = self.list()?.into_iter().flatten().collect();
        let named = |entry: &&GpuEntry| match wanted.parse::<u32>() {
            Ok(index) => entry.index == index && entry.slice_of.is_none(),
            Err(_) => entry.uuid.to_lowercase().starts_with(&wanted.to_lowercase()),
        };
        let found: Vec<&GpuEntry> = entries.iter().filter(named).collect();
        let [entry] = found.as_slice() else {
            let there: Vec<&str> = entries.iter().map(|entry| entry.uuid.as_str()).collect();
            let there =
                if there.is_empty() { "host".to_owned() } else { format!("host, {}", there.join(", ")) };
            return Err(GpuError::NoSuchDevice { wanted: wanted.to_owned(), there });
        };
        if entry.sliced {
            let slices = entries.iter().filter(|slice| slice.slice_of.as_ref() == Some(&entry.uuid));
            let slices: Vec<&str> = slices.map(|slice| slice.uuid.as_str()).collect();
            return Err(GpuError::Sliced { uuid: entry.uuid.clone(), slices: slices.join(", ") });
        }
        let total = entry.memory.clone()?.total;
        if total == Bytes::ZERO {
            let why = "it tells of no memory".to_owned();
            return Err(GpuError::Unread { device: entry.uuid.clone(), why });
        }
        Ok(Gpu::new(
            (self.nvml.clone(), self.library.clone()),
            entry,
            (class(&entry.name, total), total),
            cap,
        ))
    }
}

fn entry(device: &NvmlDevice<'_>, index: u32, slice_of: Option<&str>) -> Result<GpuEntry, NvmlError> {
    let uuid = device.uuid()?;
    let memory = memory(device).map_err(|error| GpuError::of(&uuid, &error));
    let name = device.name()?;
    Ok(GpuEntry { index, uuid, name, slice_of: slice_of.map(str::to_owned), sliced: false, memory })
}

/// What the driver says of a device's memory at this moment.
pub(crate) fn memory(device: &NvmlDevice<'_>) -> Result<GpuMemory, NvmlError> {
    let memory = device.memory_info()?;
    Ok(GpuMemory {
        total: Bytes(memory.total),
        used: Bytes(memory.used),
        free: Bytes(memory.free),
        reserved: Bytes(memory.reserved),
    })
}

/// Devices of one make and size: `gpu-nvidia-h100-80gb-hbm3-80g`. A part of keys, so lower case, digits and
/// dashes alone.
fn class(name: &str, total: Bytes) -> DeviceClass {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug: String =
        words.collect::<Vec<_>>().join("-").to_lowercase().chars().take(CLASS_NAME_MAX).collect();
    let gib = (total.0 as f64 / Bytes::gib(1).0 as f64).round();
    DeviceClass(format!("gpu-{slug}-{gib}g"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_part_of_keys() {
        let found = class("NVIDIA GeForce RTX™ 4090 (D)", Bytes::mib(24_564));
        assert_eq!(found, DeviceClass("gpu-nvidia-geforce-rtx-4090-d-24g".to_owned()));
        assert!(found.is_gpu());
    }
}
