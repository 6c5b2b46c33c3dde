//! What a device can still give: one formula for the planner that cuts a batch and the worker that accepts
//! it, so that the two can differ about the moment only, never about the rule.
//!
//! ```text
//! strangers = used - own
//! budget    = min(total - strangers - drift, 0.85 x total) - margin
//! to give   = budget - resident - max(own - resident, reserved)
//! ```

use crate::{Bytes, DeviceClass, Reading};

/// Share of a device that is ever planned with: the rest is for what no reading shows (fragmentation,
/// context, page cache).
pub const TARGET_SHARE: f64 = 0.85;

impl DeviceClass {
    /// Whether it is a GPU; host memory otherwise.
    pub fn is_gpu(&self) -> bool {
        self.0.starts_with("gpu")
    }

    /// Memory that is never promised: 1 GiB or 2 % on a GPU, 256 MiB or 5 % on a host, whichever is more.
    pub fn margin(&self, total: Bytes) -> Bytes {
        if self.is_gpu() {
            Bytes::gib(1).max(total.scale(0.02))
        } else {
            Bytes::mib(256).max(total.scale(0.05))
        }
    }
}

impl Reading {
    /// Memory that is not ours. Never negative, whatever the readings say.
    pub fn strangers(&self) -> Bytes {
        self.used_bytes.saturating_sub(self.own_bytes)
    }

    /// What may be planned with at all. `drift` is the recent growth of the strangers.
    pub fn budget(&self, class: &DeviceClass, drift: Bytes) -> Bytes {
        let without_strangers = self.total_bytes.saturating_sub(self.strangers()).saturating_sub(drift);
        let target = self.total_bytes.scale(TARGET_SHARE);
        without_strangers.min(target).saturating_sub(class.margin(self.total_bytes))
    }

    /// What one more batch may take: the budget less idle runners and models, and less what running batches
    /// were promised or what we hold besides, whichever is more.
    pub fn to_give(&self, class: &DeviceClass, drift: Bytes, reserved: Bytes) -> Bytes {
        let own = self.own_bytes.min(self.used_bytes);
        let held = own.saturating_sub(self.reclaimable_bytes).max(reserved);
        self.budget(class, drift).saturating_sub(self.reclaimable_bytes).saturating_sub(held)
    }

    /// The same once a batch is over that was promised so much.
    pub fn to_give_after(&self, class: &DeviceClass, drift: Bytes, reserved: Bytes, over: Bytes) -> Bytes {
        let own = self.own_bytes.min(self.used_bytes);
        let freed = own.saturating_sub(self.reclaimable_bytes).min(over);
        let own_bytes = own.saturating_sub(freed);
        let after = Reading { own_bytes, used_bytes: self.used_bytes.saturating_sub(freed), ..*self };
        after.to_give(class, drift, reserved.saturating_sub(over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn check(class: &str, [total, used, own, idle, reserved]: [u64; 5], expect_mib: u64) {
        let reading = Reading {
            total_bytes: Bytes::mib(total),
            used_bytes: Bytes::mib(used),
            own_bytes: Bytes::mib(own),
            reclaimable_bytes: Bytes::mib(idle),
            read_at: Timestamp(0),
        };
        let class = DeviceClass(class.to_owned());
        assert_eq!(reading.to_give(&class, Bytes::ZERO, Bytes::mib(reserved)), Bytes::mib(expect_mib));
    }

    #[test]
    fn the_tighter_of_strangers_and_target_rules() {
        check("host", [10_000, 1_000, 0, 0, 0], 8_500 - 500);
        check("host", [10_000, 5_000, 0, 0, 0], 5_000 - 500);
        check("host", [10_000, 5_000, 5_000, 0, 2_000], 8_500 - 500 - 5_000);
        check("host", [10_000, 5_000, 5_000, 1_000, 4_500], 8_500 - 500 - 1_000 - 4_500);
        check("gpu-h100", [100_000, 0, 0, 0, 0], 85_000 - 2_000);
        check("host", [10_000, 100, 100, 100, 0], 8_500 - 500 - 100);
    }

    #[test]
    fn what_a_batch_gives_back_counts_where_it_is_promised_and_where_it_is_held() {
        let gives = |own: u64, reserved: u64, over: u64| {
            let [total_bytes, used_bytes, own_bytes] = [10_000, own, own].map(Bytes::mib);
            let reading = Reading { total_bytes, used_bytes, own_bytes, ..Reading::default() };
            let class = DeviceClass("host".to_owned());
            reading.to_give_after(&class, Bytes::ZERO, Bytes::mib(reserved), Bytes::mib(over))
        };
        assert_eq!(gives(100, 7_900, 6_000), Bytes::mib(8_000 - 1_900));
        assert_eq!(gives(5_000, 2_000, 2_000), Bytes::mib(8_000 - 3_000));
        assert_eq!(gives(100, 200, 6_000), Bytes::mib(8_000));
    }

    #[test]
    fn readings_that_lie_give_nothing_instead_of_wrapping() {
        check("host", [100, 5_000, 0, 0, 0], 0);
        check("host", [10_000, 1_000, 9_000, 0, 0], 8_500 - 500 - 1_000);
        check("host", [0, 0, 0, 0, 0], 0);
    }
}
