//! What a worker does about each Xid: NVIDIA's number of an error of the driver or the device.
//!
//! The numbers and what NVIDIA advises are those of its public catalogue, "Analyzing Xid Errors with the Xid
//! Catalog" (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html), column "Resolution Bucket
//! (Immediate Action)"; the names stand in the open kernel module's `nverror.h`. Advice becomes action so:
//! `IGNORE` is noted, `RESTART_APP` is a restart of the runners, `RESET_GPU` and what leads to it drains,
//! since nobody here may reset a device and a self-test tells whether somebody did. Where we do otherwise,
//! the table says why.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XidAction {
    /// Counted and logged: the device is as good as before.
    Note,
    /// The runners end, with what they compute, and start anew.
    Restart,
    /// What runs is finished, nothing more is taken until a self-test passes.
    Drain,
    /// What runs is given back, and the device is not used before the process starts anew.
    Dead,
}

impl XidAction {
    /// As in configuration and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            XidAction::Note => "note",
            XidAction::Restart => "restart",
            XidAction::Drain => "drain",
            XidAction::Dead => "dead",
        }
    }
}

/// The numbers that are known, in rows of one reason each.
const DEFAULTS: &[(&[u32], XidAction)] = &[
    // The fault of one program, whose channel is gone: graphics exception (13), page fault (31), a corrupted
    // push buffer (11, 32), an illegal call (25, 69), its idle timeout (8).
    (&[8, 11, 13, 25, 31, 32, 69], XidAction::Restart),
    // The program must end, the device is fine (43): a runner that hangs on it would be killed as stalled
    // only after a minute. The catalogue ignores it, since there the program is expected to end itself.
    (&[43], XidAction::Restart),
    // Faults of the engines that copy, decode, sign and compare (CE, NVDEC, NVJPG, OFA, SEC2), which end with
    // the program that used them.
    (&[39, 40, 41, 60, 68, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84, 85, 86, 88, 89], XidAction::Restart),
    (&[96, 97, 98, 99, 100, 101, 102, 103, 104, 105], XidAction::Restart),
    (&[126, 127, 128, 129, 130, 131, 132, 133, 134, 135, 139], XidAction::Restart),
    // A memory error that was contained in the program that it hit.
    (&[94], XidAction::Restart),
    // A program ended with work on the device, and its channels were cleaned up. Killing a runner causes one:
    // to restart the next runner for it would never end.
    (&[45], XidAction::Note),
    // A row of memory is marked to be replaced at the next reset (63), single-bit errors are frequent (92),
    // the store of such marks is nearly worn out (93): all corrected.
    (&[63, 92, 93], XidAction::Note),
    // Told for the record: driver's own checks and tests (14, 37, 38, 44, 66, 67, 106, 107, 141), other ends
    // of links (108, 121, 137), the advice that another Xid has led to (154), a part that was or was not
    // retired (157, 160, 161), power smoothing (162 to 165).
    (&[14, 37, 38, 44, 66, 67, 106, 107, 108, 121, 137, 141, 154], XidAction::Note),
    (&[157, 160, 161, 162, 163, 164, 165], XidAction::Note),
    // An uncorrectable memory error (48), a row that cannot be replaced (64), a part to be retired (156): the
    // driver ends whom it hit, and the next ones may be hit until a reset.
    (&[48, 64, 156], XidAction::Drain),
    // The device or one of its controllers stopped answering in time (46, 109, 110, 119, 120, 158), its power
    // controller halted (62), or it did not come up (143): a reset, if anything, brings it back.
    (&[46, 62, 109, 110, 119, 120, 143, 158], XidAction::Drain),
    // Links between GPUs (74, 136, 144 to 150, 155): nothing here computes over them, so what runs goes on,
    // and the self-test tells whether the device itself is well.
    (&[74, 136, 144, 145, 146, 147, 148, 149, 150, 155], XidAction::Drain),
    // A power cable that is not connected (54).
    (&[54], XidAction::Drain),
    // Fallen off the bus: only a reboot brings it back.
    (&[79], XidAction::Dead),
    // A memory error that hit anybody (95), or that nobody handled (140): what was computed may be wrong, a
    // self-test may miss it, and a person must reset the device. Its numbers are not worth the risk of
    // finishing what runs.
    (&[95, 140], XidAction::Dead),
];

/// The action for each Xid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XidTable {
    actions: BTreeMap<u32, XidAction>,
    unknown: XidAction,
}

impl Default for XidTable {
    /// As the catalogue advises; a number that it does not know drains.
    fn default() -> XidTable {
        let rows = DEFAULTS.iter().flat_map(|(numbers, action)| numbers.iter().map(|of| (*of, *action)));
        XidTable { actions: rows.collect(), unknown: XidAction::Drain }
    }
}

impl XidTable {
    /// The same, but for this number; without one, for all that are not in the table.
    #[must_use]
    pub fn with(mut self, number: Option<u32>, action: XidAction) -> XidTable {
        match number {
            Some(number) => drop(self.actions.insert(number, action)),
            None => self.unknown = action,
        }
        self
    }

    /// What is done about it.
    pub fn action(&self, number: u32) -> XidAction {
        self.actions.get(&number).copied().unwrap_or(self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_action_and_others_drain() {
        let table = XidTable::default();
        let rows: usize = DEFAULTS.iter().map(|(numbers, _)| numbers.len()).sum();
        assert_eq!(rows, table.actions.len(), "a number is in two rows");
        let check = |numbers: &[u32], action: XidAction| {
            numbers.iter().for_each(|number| assert_eq!(table.action(*number), action, "{number}"));
        };
        check(&[13, 31, 43, 68, 94], XidAction::Restart);
        check(&[45, 63, 92, 154], XidAction::Note);
        check(&[48, 64, 74, 109, 119, 120, 0, 171, 999, u32::MAX], XidAction::Drain);
        check(&[79, 95, 140], XidAction::Dead);
    }

    #[test]
    fn configuration_goes_over_the_table() {
        let table = XidTable::default().with(Some(63), XidAction::Drain).with(None, XidAction::Note);
        assert_eq!([63, 171, 79].map(|number| table.action(number)), {
            [XidAction::Drain, XidAction::Note, XidAction::Dead]
        });
    }
}
