//! Ids as newtypes. All of them are safe inside subjects, object keys and metric labels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must match {pattern}")]
pub struct BadId {
    /// Which id was meant.
    pub kind: &'static str,
    /// What it must look like.
    pub pattern: &'static str,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[schemars(with = "String")]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = BadId { kind: stringify!($name), pattern: "[0-9a-f]{32}" };
                let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
                if text.len() != 32 || !text.bytes().all(lower) {
                    return Err(bad);
                }
                let id = u128::from_str_radix(text, 16).map_err(|_| bad)?;
                Ok($name(id.to_be_bytes()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id! {
    /// One version of one object in an input bucket: a 128 bit hash over what a LIST tells of it.
    UploadId
}
hex_id! {
    /// One upload with one recipe.
    JobId
}
hex_id! {
    /// One execution of a task: random, fresh each time.
    AttemptId
}
hex_id! {
    /// One batch.
    BatchId
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
                if text.is_empty() || text.len() > $max || !text.bytes().all(ok) {
                    return Err(BadId { kind: stringify!($name), pattern: $pattern });
                }
                Ok($name(text.to_owned()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_id! {
    /// On whose behalf a job runs; from configuration, frozen in the job record.
    TenantId, 32, "[a-z0-9-]{1,32}"
}
name_id! {
    /// An object store as configuration names it: the last token of its event subject.
    StoreId, 32, "[a-z0-9-]{1,32}"
}
name_id! {
    /// A worker process; it owns one device.
    WorkerId, 64, "[a-z0-9-]{1,64}"
}
name_id! {
    /// One GPU, one MIG slice, or a host's memory.
    DeviceId, 64, "[a-z0-9-]{1,64}"
}

/// Which life of a job: 0 at first, one more with each redrive or retry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Life(pub u32);

impl Life {
    /// The life that a redrive starts.
    pub const fn next(self) -> Life {
        Life(self.0 + 1)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The term of one planner's leadership: later leaders have higher ones.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Hashes length-prefixed fields to 128 bits (BLAKE3, cut), so that no two lists of fields collide by
/// concatenation.
pub(crate) fn hash128(domain: &str, fields: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for field in std::iter::once(domain.as_bytes()).chain(fields.iter().copied()) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let mut id = [0u8; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hex_id_survives_text_and_json() {
        let id = JobId(hash128("test", &[b"a"]));
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        let json = serde_json::to_string(&id).expect("an id is a JSON string");
        assert_eq!(serde_json::from_str::<JobId>(&json).expect("its own JSON"), id);
    }

    #[test]
    fn names_that_could_leave_a_subject_or_a_key_are_refused() {
        for bad in ["", "a.b", "a*", ">", "a/b", "..", "A", "ü", &"x".repeat(33)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
        assert!("shop-7".parse::<TenantId>().is_ok());
        assert!("0123456789ABCDEF0123456789abcdef".parse::<JobId>().is_err());
        assert!("é123456789abcdef0123456789abcde".parse::<JobId>().is_err());
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(hash128("t", &[b"ab", b"c"]), hash128("t", &[b"a", b"bc"]));
    }
}
