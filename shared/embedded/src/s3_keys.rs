//! Which keys are taken, and under which file name an object lies. A key never becomes a path.

use domain::{KEY_BYTES_MAX, SEGMENT_BYTES_MAX};

/// Why a key is refused; the words of MinIO and AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadKey {
    /// Over 1,024 bytes.
    TooLong,
    /// A segment that a file system would misread, or that is longer than one takes.
    Segment,
}

/// Refuses what MinIO refuses: `.` and `..` segments, empty segments, segments over 255 bytes, NUL, keys over
/// 1,024 bytes.
pub(crate) fn check(key: &str) -> Result<(), BadKey> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(BadKey::TooLong);
    }
    // One slash at the end is a folder's name.
    let segments = key.strip_suffix('/').unwrap_or(key).split('/');
    let bad = |segment: &str| {
        matches!(segment, "" | "." | "..") || segment.len() > SEGMENT_BYTES_MAX || segment.contains('\0')
    };
    if segments.into_iter().any(bad) { Err(BadKey::Segment) } else { Ok(()) }
}

/// The file of a key: a hash, two levels, so that no key meets a limit of the file system. The key itself is
/// kept in the file.
pub(crate) fn file_name(key: &str) -> String {
    let hash = blake3::hash(key.as_bytes()).to_hex();
    format!("{}/{}", &hash[..2], &hash[2..42])
}

/// The folder of all keys whose hash begins with this byte.
pub(crate) fn level_name(level: u8) -> String {
    format!("{level:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_their_bucket_are_refused() {
        let check = |key: &str, expect: Result<(), BadKey>| assert_eq!(super::check(key), expect, "{key}");
        check("a/b.png", Ok(()));
        check("a..b", Ok(()));
        check("folder/", Ok(()));
        check("d ir/a b+ü%.png", Ok(()));
        check("a/../b", Err(BadKey::Segment));
        check("../models/x", Err(BadKey::Segment));
        check("a//b", Err(BadKey::Segment));
        check("/a", Err(BadKey::Segment));
        check("a/./b", Err(BadKey::Segment));
        check(&"x".repeat(256), Err(BadKey::Segment));
        check(&"x/".repeat(513), Err(BadKey::TooLong));
        check(&"xy/".repeat(340), Ok(()));
    }

    #[test]
    fn file_names_are_short_whatever_the_key() {
        assert_eq!(file_name(&"ü".repeat(500)).len(), 43);
        assert_ne!(file_name("a"), file_name("b"));
    }
}
