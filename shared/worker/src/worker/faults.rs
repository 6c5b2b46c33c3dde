//! What a worker does about its device's faults: hears them, takes the device out, and tests it until it is
//! used again. What each fault means stands in `xid` and `health`.

use super::Worker;
use crate::self_test;
use crate::xid::XidAction;
use domain::DeviceFault;
use std::sync::Arc;
use std::time::Duration;

/// An uncorrectable memory error is this Xid, told in another way.
const XID_OF_ECC: u32 = 48;

impl Worker {
    /// Hears of faults until it is ended.
    pub(super) async fn hear_faults(self: Arc<Worker>) {
        loop {
            let fault = self.settings.device.next_fault().await;
            self.take_fault(fault).await;
        }
    }

    fn action(&self, fault: DeviceFault) -> XidAction {
        match fault {
            DeviceFault::Xid { number } => self.settings.xids.action(number),
            DeviceFault::Ecc => self.settings.xids.action(XID_OF_ECC),
            DeviceFault::Lost => XidAction::Dead,
            // Whoever resets it gives it back.
            DeviceFault::NeedsReset => XidAction::Drain,
            DeviceFault::Runner => XidAction::Restart,
        }
    }

    async fn take_fault(&self, fault: DeviceFault) {
        let action = self.action(fault);
        crate::telemetry::count_fault(&self.settings.device_id, fault, action);
        {
            let mut desk = self.desk.lock().await;
            match action {
                XidAction::Note => tracing::info!(%fault, "the device told of a fault that changes nothing"),
                XidAction::Restart => tracing::warn!(%fault, "the device's runners end and start anew"),
                XidAction::Drain | XidAction::Dead => {}
            }
            desk.take_fault(self.ports.clock.now(), fault, action);
            if matches!(action, XidAction::Restart | XidAction::Dead) {
                desk.break_running(&fault.to_string());
            }
        }
        if action != XidAction::Note {
            // The planner first: it must not propose meanwhile.
            self.changed.notify_one();
            self.rest_idle_runners(Duration::ZERO).await;
            self.refresh_entry().await;
            self.test_due.notify_one();
        }
    }

    /// Tests the device whenever it was taken out and nothing runs on it any more, until it passes.
    pub(super) async fn test_device(self: Arc<Worker>) {
        loop {
            self.test_due.notified().await;
            while let Some(doublings) = self.test_pause().await {
                tokio::time::sleep(self.pause(doublings)).await;
                let now = self.ports.clock.now();
                let Some(trial) = self.desk.lock().await.health.begin_test(now) else { break };
                self.refresh_entry().await;
                let result = self.try_device().await;
                let now = self.ports.clock.now();
                self.desk.lock().await.health.end_test(now, trial, result);
                self.changed.notify_one();
                self.refresh_entry().await;
            }
        }
    }

    /// Doublings of the shortest pause, if the device is out and nothing runs on it.
    async fn test_pause(&self) -> Option<u32> {
        let desk = self.desk.lock().await;
        desk.health.test_due().filter(|_| desk.is_idle())
    }

    /// The device answers, and a fresh runner computes on it.
    async fn try_device(&self) -> Result<(), String> {
        self.settings.device.reading(&[]).await.map_err(|error| error.to_string())?;
        self_test::pass(&self.settings.runner).await
    }
}
