//! A device's health, as values: what each fault makes of it, when it is tested, when it is used again. It
//! waits for nothing and starts nothing; `worker::faults` acts on it. Each change of state is logged here,
//! once.

use crate::xid::XidAction;
use domain::{DeviceFault, DeviceHealth, HealthState, Timestamp};

/// Doublings of the pause before a self-test.
const DOUBLINGS_MAX: u32 = 6;

/// The health of one device.
#[derive(Default)]
pub(crate) struct Health {
    shown: DeviceHealth,
    /// Faults that no test which began before them answers.
    faults: u64,
    /// Times that it was taken out since a batch went well.
    drains: u32,
    /// Self-tests that failed since it was taken out.
    failed: u32,
}

/// A self-test that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    faults: u64,
}

impl Health {
    /// As it is told.
    pub(crate) fn shown(&self) -> &DeviceHealth {
        &self.shown
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.shown.is_healthy()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.shown.state == HealthState::Dead
    }

    /// A fault, and what is to be done about it.
    pub(crate) fn take(&mut self, now: Timestamp, fault: DeviceFault, action: XidAction) {
        if self.is_dead() || action == XidAction::Note {
            return;
        }
        self.faults += 1;
        match action {
            XidAction::Dead => {
                let reason = format!("{fault}; it is not used before this process starts anew");
                tracing::error!(%fault, "the device is dead");
                self.show(now, HealthState::Dead, Some(fault), reason);
            }
            XidAction::Drain if self.is_healthy() => {
                (self.drains, self.failed) = (self.drains + 1, 0);
                tracing::warn!(%fault, "the device is drained: nothing is offered until a self-test passes");
                let reason = format!("{fault}; what runs is finished, then it is tested");
                self.show(now, HealthState::Draining, Some(fault), reason);
            }
            XidAction::Drain | XidAction::Restart | XidAction::Note => {}
        }
    }

    /// Doublings of the shortest pause before the next self-test; none if none is due.
    pub(crate) fn test_due(&self) -> Option<u32> {
        let is_out = matches!(self.shown.state, HealthState::Draining | HealthState::Testing);
        is_out.then(|| (self.drains.saturating_sub(1) + self.failed).min(DOUBLINGS_MAX))
    }

    /// Nothing runs, and a self-test begins; none if it is not to be tested any more.
    pub(crate) fn begin_test(&mut self, now: Timestamp) -> Option<Trial> {
        self.test_due()?;
        if self.shown.state == HealthState::Draining {
            tracing::info!("nothing runs on the device any more: it is tested");
            let (fault, reason) = (self.shown.fault, self.shown.fault.map(|fault| fault.to_string()));
            let reason = format!("{}; a self-test must pass", reason.unwrap_or_default());
            self.show(now, HealthState::Testing, fault, reason);
        }
        Some(Trial { faults: self.faults })
    }

    /// How the self-test ended. One during which a fault was told proves nothing.
    pub(crate) fn end_test(&mut self, now: Timestamp, trial: Trial, result: Result<(), String>) {
        if self.test_due().is_none() {
            return;
        }
        let result = match result {
            Ok(()) if trial.faults != self.faults => Err("a fault was told meanwhile".to_owned()),
            result => result,
        };
        match result {
            Ok(()) => {
                tracing::info!(tests = self.failed + 1, "a self-test passed: the device is used again");
                self.show(now, HealthState::Healthy, None, String::new());
            }
            Err(why) => {
                self.failed += 1;
                if self.failed == 1 {
                    tracing::warn!(%why, "the self-test failed; it is tried again and again");
                } else {
                    tracing::debug!(%why, failed = self.failed, "the self-test failed again");
                }
                let fault = self.shown.fault.map(|fault| fault.to_string()).unwrap_or_default();
                let tests = match self.failed {
                    1 => "a self-test failed".to_owned(),
                    many => format!("{many} self-tests failed, the last"),
                };
                self.shown.reason = format!("{fault}; {tests}: {why}");
            }
        }
    }

    /// A batch came to its end: the device works.
    pub(crate) fn went_well(&mut self) {
        self.drains = 0;
    }

    fn show(&mut self, now: Timestamp, state: HealthState, fault: Option<DeviceFault>, reason: String) {
        self.shown = DeviceHealth { state, fault, reason, since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);
    const XID: DeviceFault = DeviceFault::Xid { number: 48 };

    fn drained() -> Health {
        let mut health = Health::default();
        health.take(NOW, XID, XidAction::Drain);
        health
    }

    fn test(health: &mut Health, result: Result<(), &str>) -> HealthState {
        let trial = health.begin_test(NOW).expect("it is due");
        health.end_test(NOW, trial, result.map_err(str::to_owned));
        health.shown().state
    }

    #[test]
    fn a_note_and_a_restart_leave_the_device_healthy() {
        let mut health = Health::default();
        health.take(NOW, XID, XidAction::Note);
        health.take(NOW, XID, XidAction::Restart);
        assert!(health.is_healthy() && health.test_due().is_none());
        assert_eq!(*health.shown(), DeviceHealth::default());
    }

    #[test]
    fn a_drained_device_is_tested_until_it_passes_and_waits_longer_each_time() {
        let mut health = drained();
        assert_eq!((health.shown().state, health.test_due()), (HealthState::Draining, Some(0)));
        assert_eq!(test(&mut health, Err("no runner starts")), HealthState::Testing);
        assert!(health.shown().reason.contains("no runner starts"), "{}", health.shown().reason);
        assert_eq!(test(&mut health, Err("no runner starts")), HealthState::Testing);
        assert_eq!(health.test_due(), Some(2));
        assert_eq!(test(&mut health, Ok(())), HealthState::Healthy);
        assert_eq!((health.shown().fault, health.shown().reason.as_str()), (None, ""));
        // Out again without a good batch in between: the pause begins longer.
        health.take(NOW, XID, XidAction::Drain);
        assert_eq!(health.test_due(), Some(1));
        test(&mut health, Ok(()));
        health.went_well();
        health.take(NOW, XID, XidAction::Drain);
        assert_eq!(health.test_due(), Some(0));
    }

    #[test]
    fn a_test_during_which_a_fault_is_told_proves_nothing() {
        let mut health = drained();
        let trial = health.begin_test(NOW).expect("it is due");
        health.take(NOW, DeviceFault::Ecc, XidAction::Drain);
        health.end_test(NOW, trial, Ok(()));
        assert_eq!(health.shown().state, HealthState::Testing);
        assert_eq!(test(&mut health, Ok(())), HealthState::Healthy);
    }

    #[test]
    fn the_dead_stay_dead() {
        let mut health = drained();
        let trial = health.begin_test(NOW).expect("it is due");
        health.take(NOW, DeviceFault::Lost, XidAction::Dead);
        health.end_test(NOW, trial, Ok(()));
        health.take(NOW, XID, XidAction::Drain);
        assert!(health.is_dead() && health.begin_test(NOW).is_none());
        assert_eq!(health.shown().fault, Some(DeviceFault::Lost));
    }
}
