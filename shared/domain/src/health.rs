//! How a device fares: whether it is used and why not, what its driver says is wrong with it, what it is
//! busy with and what slows it down.

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether a device is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It is offered.
    #[default]
    Healthy,
    /// What runs on it is finished, nothing more is taken.
    Draining,
    /// Nothing runs on it but a self-test, again and again until one passes.
    Testing,
    /// It is not used again before its worker's process starts anew.
    Dead,
}

impl HealthState {
    /// From best to worst.
    pub const ALL: [HealthState; 4] =
        [HealthState::Healthy, HealthState::Draining, HealthState::Testing, HealthState::Dead];

    /// As in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            HealthState::Healthy => "healthy",
            HealthState::Draining => "draining",
            HealthState::Testing => "testing",
            HealthState::Dead => "dead",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum DeviceFault {
    /// An error of NVIDIA's catalogue of Xids.
    Xid {
        /// Its number there.
        number: u32,
    },
    /// An error of its memory that it could not correct.
    Ecc,
    /// It does not answer on its bus.
    Lost,
    /// It hangs until it is reset.
    NeedsReset,
    /// A runner found it broken, or none starts.
    Runner,
}

impl DeviceFault {
    /// What there is for labels, with `none` for a device without fault.
    pub const LABELS: [&'static str; 6] = ["none", "xid", "ecc", "lost", "needs_reset", "runner"];

    /// As in labels: one of [`DeviceFault::LABELS`].
    pub const fn as_str(self) -> &'static str {
        match self {
            DeviceFault::Xid { .. } => "xid",
            DeviceFault::Ecc => "ecc",
            DeviceFault::Lost => "lost",
            DeviceFault::NeedsReset => "needs_reset",
            DeviceFault::Runner => "runner",
        }
    }
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceFault::Xid { number } => write!(f, "Xid {number}"),
            DeviceFault::Ecc => f.write_str("a memory error that could not be corrected"),
            DeviceFault::Lost => f.write_str("it does not answer on its bus"),
            DeviceFault::NeedsReset => f.write_str("it hangs until it is reset"),
            DeviceFault::Runner => f.write_str("a runner found it broken, or none starts"),
        }
    }
}

/// A device's health, as its worker tells it on the board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceHealth {
    /// Whether it is used.
    pub state: HealthState,
    /// What keeps it from being used; none if nothing does, or if this version does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::known::maybe")]
    pub fault: Option<DeviceFault>,
    /// The same for a person, with what is done about it; empty if it is healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when it is in this state, by the worker's clock; 0 if it never was in another.
    #[serde(default)]
    pub since: Timestamp,
}

impl DeviceHealth {
    /// Whether work is given to it.
    pub fn is_healthy(&self) -> bool {
        self.state == HealthState::Healthy
    }
}

/// What slows a device down. That it idles, or is held at clocks that somebody has set, is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Throttle {
    /// It draws as much power as it may.
    PowerCap,
    /// It is too hot.
    Thermal,
    /// Its hardware halves the clocks, or worse.
    HwSlowdown,
    /// The machine's power supply holds it back.
    PowerBrake,
    /// It keeps pace with a slower one of its group.
    SyncBoost,
}

impl Throttle {
    /// All of them.
    pub const ALL: [Throttle; 5] = [
        Throttle::PowerCap,
        Throttle::Thermal,
        Throttle::HwSlowdown,
        Throttle::PowerBrake,
        Throttle::SyncBoost,
    ];

    /// As in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Throttle::PowerCap => "power_cap",
            Throttle::Thermal => "thermal",
            Throttle::HwSlowdown => "hw_slowdown",
            Throttle::PowerBrake => "power_brake",
            Throttle::SyncBoost => "sync_boost",
        }
    }
}

/// What a device is busy with, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// Share of the last moment in which something was computed, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_percent: Option<u8>,
    /// Share of the last moment in which its memory was read or written, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u8>,
    /// What slows it down.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::known::all")]
    pub throttled: Vec<Throttle>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_newer_version_make_nothing_unreadable() {
        let text = r#"{"state":"dead","fault":{"fault":"of_a_newer_version","x":1},"reason":"it is so"}"#;
        let health: DeviceHealth = serde_json::from_str(text).expect("readable");
        assert_eq!((health.state, health.fault, health.is_healthy()), (HealthState::Dead, None, false));
        let text = r#"{"compute_percent":7,"throttled":["moonlight","thermal"]}"#;
        let activity: Activity = serde_json::from_str(text).expect("readable");
        assert_eq!((activity.compute_percent, activity.throttled), (Some(7), vec![Throttle::Thermal]));
    }

    #[test]
    fn every_fault_has_its_label() {
        let xid = DeviceFault::Xid { number: 79 };
        let all = [xid, DeviceFault::Ecc, DeviceFault::Lost, DeviceFault::NeedsReset, DeviceFault::Runner];
        assert_eq!(all.map(DeviceFault::as_str), DeviceFault::LABELS[1..]);
    }
}
