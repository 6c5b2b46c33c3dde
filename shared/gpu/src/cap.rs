//! A device of which a person lends us a share.

use domain::Bytes;

/// Total, used and own of a device capped to a share of itself: strangers count only as far as they reach
/// into the share. No number comes out larger than what it is a part of.
pub(crate) fn capped(cap: Option<Bytes>, total: Bytes, used: Bytes, own: Bytes) -> (Bytes, Bytes, Bytes) {
    let free = total.saturating_sub(used);
    let total = cap.map_or(total, |cap| cap.min(total));
    let own = own.min(total);
    (total, total.saturating_sub(free).max(own), own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_count_only_as_far_as_they_reach_into_the_share() {
        let check = |cap: Option<u64>, used: u64, own: u64, expect: (u64, u64, u64)| {
            let (total, used, own) = capped(cap.map(Bytes), Bytes(100), Bytes(used), Bytes(own));
            assert_eq!((total.0, used.0, own.0), expect);
        };
        check(None, 30, 0, (100, 30, 0));
        check(Some(200), 30, 0, (100, 30, 0));
        check(Some(50), 30, 0, (50, 0, 0));
        check(Some(50), 70, 0, (50, 20, 0));
        check(Some(50), 30, 10, (50, 10, 10));
        // Readings that lie.
        check(None, 300, 400, (100, 100, 100));
        check(Some(50), 0, 90, (50, 50, 50));
    }
}
