//! What a GPU is busy with and what slows it down. What the driver does not tell, for want of rights or on a
//! slice, is left out.

use domain::{Activity, Throttle};
use nvml_wrapper::Device as NvmlDevice;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::error::NvmlError;

/// Asks the driver. Clocks are the whole GPU's, also for a slice.
///
/// # Errors
/// The device does not answer at all.
pub(crate) fn read(device: &NvmlDevice<'_>, is_slice: bool) -> Result<Activity, NvmlError> {
    let busy = told(device.utilization_rates())?;
    let whole = if is_slice { told(device.mig_parent_device())? } else { None };
    let reasons = told(whole.as_ref().unwrap_or(device).current_throttle_reasons())?;
    let percent = |percent: u32| percent.min(100) as u8;
    Ok(Activity {
        compute_percent: busy.as_ref().map(|busy| percent(busy.gpu)),
        memory_percent: busy.as_ref().map(|busy| percent(busy.memory)),
        throttled: throttled(reasons.unwrap_or(ThrottleReasons::NONE)),
    })
}

fn told<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => Err(error),
        answer => Ok(answer.ok()),
    }
}

/// Idling, application clocks and display clocks are no fault.
fn throttled(reasons: ThrottleReasons) -> Vec<Throttle> {
    let thermal = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let table = [
        (ThrottleReasons::SW_POWER_CAP, Throttle::PowerCap),
        (thermal, Throttle::Thermal),
        (ThrottleReasons::HW_SLOWDOWN, Throttle::HwSlowdown),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, Throttle::PowerBrake),
        (ThrottleReasons::SYNC_BOOST, Throttle::SyncBoost),
    ];
    table.into_iter().filter(|(of, _)| reasons.intersects(*of)).map(|(_, throttle)| throttle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_is_a_fault_has_its_word_and_no_other() {
        assert_eq!(throttled(ThrottleReasons::all()), Throttle::ALL);
        let settings = ThrottleReasons::GPU_IDLE
            | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING
            | ThrottleReasons::DISPLAY_CLOCK_SETTING;
        assert!(throttled(settings).is_empty());
        assert_eq!(throttled(ThrottleReasons::HW_THERMAL_SLOWDOWN), [Throttle::Thermal]);
    }
}
