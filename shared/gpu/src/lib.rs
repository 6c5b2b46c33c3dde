//! Device: host memory, and GPUs through NVML and CUDA.
//!
//! The way through it: [`choose`] turns the word that a person gave into a device. [`HostMemory`] is the
//! kernel's word, [`Gpu`] is NVML's ([`Gpus`] lists them), [`second_opinion`] asks CUDA about the same GPU.
//! Both libraries are loaded when asked for: this crate links and starts on a machine without them.

mod cap;
mod choice;
mod cuda;
mod error;
mod host;
mod nvml;

pub use choice::{Choice, Options, choose};
pub use cuda::{CudaError, CudaOpinion, second_opinion};
pub use error::GpuError;
pub use host::HostMemory;
pub use nvml::{Gpu, GpuEntry, GpuMemory, Gpus};
