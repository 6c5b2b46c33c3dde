//! A device of which a person lends us a share.

use domain::Bytes;

/// Total and used of a device capped to a share of itself: strangers count only as far as they reach into
/// the share.
pub(crate) fn capped(cap: Option<Bytes>, total: Bytes, used: Bytes, own: Bytes) -> (Bytes, Bytes) {
    match cap.filter(|cap| *cap < total) {
        None => (total, used.max(own)),
        Some(cap) => (cap, cap.saturating_sub(total.saturating_sub(used)).max(own)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_count_only_as_far_as_they_reach_into_the_share() {
        let check = |cap: Option<u64>, used: u64, own: u64, expect: (u64, u64)| {
            let found = capped(cap.map(Bytes), Bytes(100), Bytes(used), Bytes(own));
            assert_eq!((found.0.0, found.1.0), expect);
        };
        check(None, 30, 0, (100, 30));
        check(Some(200), 30, 0, (100, 30));
        check(Some(50), 30, 0, (50, 0));
        check(Some(50), 70, 0, (50, 20));
        check(Some(50), 30, 10, (50, 10));
    }
}
