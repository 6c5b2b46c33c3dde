//! Device: host memory, and GPUs through NVML and CUDA.
//!
//! The way through it: [`choose`] turns the word that a person gave into a device. [`HostMemory`] is the
//! kernel's word, [`Gpu`] is NVML's ([`Gpus`] lists them), [`second_opinion`] and [`probe`] ask CUDA about
//! the same GPU.
//! Both libraries are loaded when asked for: this crate links and starts on a machine without them.

mod activity;
mod believed;
mod cap;
mod choice;
mod cuda;
mod device;
mod error;
mod faults;
mod host;
mod nvml;

pub use choice::{Choice, Options, choose};
pub use cuda::{CudaError, CudaOpinion, is_sticky, probe, release_cached, second_opinion};
pub use device::Gpu;
pub use error::GpuError;
pub use host::HostMemory;
pub use nvml::{GpuEntry, GpuMemory, Gpus};
