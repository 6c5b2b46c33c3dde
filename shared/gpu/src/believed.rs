//! What of a driver's numbers can be true. A device neither grows nor shrinks, and has no more free than it
//! has: where the driver says otherwise, the smaller number is taken, so that less is promised, never more.

use crate::nvml::GpuMemory;
use domain::Bytes;
use std::fmt;

/// What cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lie {
    /// Nothing at all is there.
    Nothing,
    /// It has another size than when it was chosen.
    Size,
    /// More is free than there is.
    Free,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lie::Nothing => "the driver says that the device has no memory",
            Lie::Size => "the driver says that the device has another size than before",
            Lie::Free => "the driver says that more is free than there is",
        })
    }
}

/// Free bytes of a device that has `total`, as far as they can be there, and what was told that cannot be.
pub(crate) fn free(total: Bytes, told: &GpuMemory) -> (Bytes, Option<Lie>) {
    let lie = match () {
        () if told.total == Bytes::ZERO => Some(Lie::Nothing),
        () if told.free > told.total => Some(Lie::Free),
        () if told.total != total => Some(Lie::Size),
        () => None,
    };
    (told.free.min(told.total).min(total), lie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_number_is_believed() {
        let check = |total: u64, free_told: u64, expect: u64, lie: Option<Lie>| {
            let (used, reserved) = (Bytes::ZERO, Bytes::ZERO);
            let told = GpuMemory { total: Bytes(total), used, free: Bytes(free_told), reserved };
            assert_eq!(free(Bytes(100), &told), (Bytes(expect), lie));
        };
        check(100, 40, 40, None);
        check(100, 140, 100, Some(Lie::Free));
        check(0, 0, 0, Some(Lie::Nothing));
        check(0, 40, 0, Some(Lie::Nothing));
        check(60, 50, 50, Some(Lie::Size));
        check(200, 150, 100, Some(Lie::Size));
        check(100, u64::MAX, 100, Some(Lie::Free));
    }
}
