//! Device: host memory, and GPUs through NVML and CUDA.
#![forbid(unsafe_code)]
