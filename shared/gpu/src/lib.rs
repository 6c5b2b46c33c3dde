//! Device: host memory, and GPUs through NVML and CUDA.

mod host;

pub use host::HostMemory;
