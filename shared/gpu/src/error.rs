//! Why a GPU cannot be used: each variant is a thing that a person can do.

use nvml_wrapper::error::NvmlError;
use ports::PortError;

/// Why a GPU cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The library cannot be opened: there is no driver, or it is not where we look.
    #[error(
        "no NVIDIA driver was found ({0}); install it, or start the container with GPUs, or use --device host"
    )]
    NoDriver(String),
    /// The library is there, the kernel's part is not running or is of another version.
    #[error("the NVIDIA driver does not run ({0}); load its kernel module or reboot, or use --device host")]
    DriverDown(String),
    /// The device named is not on this machine.
    #[error("there is no device {wanted:?} here; there is: {there}")]
    NoSuchDevice {
        /// The word that was given.
        wanted: String,
        /// What can be given.
        there: String,
    },
    /// The GPU is cut into slices, and only those compute.
    #[error("{uuid} is cut into slices (MIG); use one of them: {slices}")]
    Sliced {
        /// The whole GPU.
        uuid: String,
        /// Its slices.
        slices: String,
    },
    /// It fell off the bus. Nothing but a reboot brings it back.
    #[error("{0} is lost: it does not answer on its bus; drain this machine and reboot it")]
    Lost(String),
    /// It hangs until it is reset.
    #[error("{0} needs a reset; end the processes on it and run nvidia-smi --gpu-reset -i {0}")]
    NeedsReset(String),
    /// This process may not ask.
    #[error("{0} may not be read by this process; give it the device's files and groups")]
    Denied(String),
    /// Anything that may pass.
    #[error("{device} was not read: {why}")]
    Unread {
        /// Which device.
        device: String,
        /// NVML's word.
        why: String,
    },
}

impl GpuError {
    /// What NVML's answer about a device means.
    pub(crate) fn of(device: &str, error: &NvmlError) -> GpuError {
        let device = device.to_owned();
        match error {
            NvmlError::LibloadingError(why) => GpuError::NoDriver(why.to_string()),
            NvmlError::LibraryNotFound => GpuError::NoDriver(error.to_string()),
            NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch | NvmlError::Uninitialized => {
                GpuError::DriverDown(error.to_string())
            }
            NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
                GpuError::DriverDown(format!("it is older than R510: {error}"))
            }
            NvmlError::GpuLost => GpuError::Lost(device),
            NvmlError::ResetRequired => GpuError::NeedsReset(device),
            NvmlError::NoPermission | NvmlError::OperatingSystem => GpuError::Denied(device),
            NvmlError::NotFound | NvmlError::InvalidArg => {
                GpuError::NoSuchDevice { wanted: device, there: "nothing of this name".to_owned() }
            }
            _ => GpuError::Unread { device, why: error.to_string() },
        }
    }
}

impl From<GpuError> for PortError {
    fn from(error: GpuError) -> PortError {
        let text = error.to_string();
        match error {
            GpuError::Unread { .. } => PortError::Unavailable(text),
            GpuError::Denied(_) => PortError::Denied(text),
            GpuError::Sliced { .. } => PortError::Invalid(text),
            GpuError::NoDriver(_)
            | GpuError::DriverDown(_)
            | GpuError::NoSuchDevice { .. }
            | GpuError::Lost(_)
            | GpuError::NeedsReset(_) => PortError::Missing(text),
        }
    }
}
