//! Key candidates: which objects an event's key may mean. Stores disagree about the encoding, so every
//! reading is a candidate and a HEAD decides.

use domain::KEY_BYTES_MAX;
use percent_encoding::percent_decode_str;

/// How the store that sent the event most likely wrote the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyStyle {
    /// Form-encoded, as most stores do: `+` is a space.
    Encoded,
    /// As it is, as EventBridge does.
    Raw,
}

/// The distinct keys that `key` may mean, the likeliest first; readings that are no S3 key are left out.
pub(crate) fn key_candidates(key: &str, style: KeyStyle) -> Vec<String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|key| key.into_owned());
    let form = if key.contains('+') { decode(&key.replace('+', " ")) } else { None };
    let (percent, raw) = (decode(key), Some(key.to_owned()));
    let order = match style {
        KeyStyle::Encoded => [form, percent, raw],
        KeyStyle::Raw => [raw, form, percent],
    };
    let mut candidates: Vec<String> = Vec::with_capacity(1);
    for candidate in order.into_iter().flatten() {
        let is_key = !candidate.is_empty() && candidate.len() <= KEY_BYTES_MAX;
        if is_key && !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, style: KeyStyle, expect: &[&str]) {
        assert_eq!(key_candidates(key, style), expect, "{key}");
    }

    #[test]
    fn every_reading_of_a_key_is_a_candidate_once_and_the_likeliest_comes_first() {
        check("plain.png", KeyStyle::Encoded, &["plain.png"]);
        check(
            "d+ir%2Fa+b%2B%C3%BC.png",
            KeyStyle::Encoded,
            &["d ir/a b+ü.png", "d+ir/a+b+ü.png", "d+ir%2Fa+b%2B%C3%BC.png"],
        );
        check("a%20b.png", KeyStyle::Encoded, &["a b.png", "a%20b.png"]);
        check("a+b%41.png", KeyStyle::Raw, &["a+b%41.png", "a bA.png", "a+bA.png"]);
    }

    #[test]
    fn readings_that_are_no_key_are_left_out() {
        check("%FF.png", KeyStyle::Encoded, &["%FF.png"]);
        check("100%", KeyStyle::Encoded, &["100%"]);
        check("", KeyStyle::Encoded, &[]);
        let long = "%41".repeat(400);
        check(&long, KeyStyle::Encoded, &[&"A".repeat(400)]);
    }
}
