//! A delivery's token, packed: what many tokens share is kept once, and what differs are mostly numbers.

use domain::AckToken;
use std::collections::BTreeMap;

/// Beginnings that are kept once; tokens with further ones are kept as they are.
const PREFIXES_MAX: usize = 1024;
/// Numbers at the end of a token that are packed: as many as a reply subject of JetStream ends with.
const NUMBERS_MAX: usize = 5;
/// Bytes for all of them.
const PACKED: usize = 20;

/// Beginnings of tokens, each once.
#[derive(Default)]
pub(crate) struct Prefixes {
    texts: Vec<String>,
    places: BTreeMap<String, u16>,
}

/// A token of 24 bytes, if what it begins with is known and its numbers are short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Packed { prefix: u16, numbers: u8, bytes: [u8; PACKED] },
    Text(Box<str>),
}

impl Prefixes {
    /// Packs a token.
    pub(crate) fn pack(&mut self, AckToken(text): &AckToken) -> Token {
        self.packed(text).unwrap_or_else(|| Token::Text(text.as_str().into()))
    }

    fn packed(&mut self, text: &str) -> Option<Token> {
        let mut found = [0u64; NUMBERS_MAX];
        let (mut rest, mut numbers) = (text, 0);
        while numbers < NUMBERS_MAX {
            let Some((before, last)) = rest.rsplit_once('.') else { break };
            let Some(number) = number(last) else { break };
            found[numbers] = number;
            (rest, numbers) = (before, numbers + 1);
        }
        if numbers == 0 {
            return None;
        }
        let (mut bytes, mut used) = ([0; PACKED], 0);
        for mut number in found[..numbers].iter().rev().copied() {
            loop {
                let more = number >= 0x80;
                *bytes.get_mut(used)? = (number & 0x7f) as u8 | (u8::from(more) << 7);
                (used, number) = (used + 1, number >> 7);
                if !more {
                    break;
                }
            }
        }
        Some(Token::Packed { prefix: self.place(rest)?, numbers: numbers as u8, bytes })
    }

    fn place(&mut self, prefix: &str) -> Option<u16> {
        if let Some(place) = self.places.get(prefix) {
            return Some(*place);
        }
        let place = u16::try_from(self.texts.len()).ok().filter(|_| self.texts.len() < PREFIXES_MAX)?;
        self.texts.push(prefix.to_owned());
        self.places.insert(prefix.to_owned(), place);
        Some(place)
    }

    /// The token as it was.
    pub(crate) fn open(&self, token: &Token) -> AckToken {
        let (prefix, numbers, bytes) = match token {
            Token::Text(text) => return AckToken(text.as_ref().to_owned()),
            Token::Packed { prefix, numbers, bytes } => (prefix, numbers, bytes),
        };
        let prefix = self.texts.get(usize::from(*prefix)).map_or("", String::as_str);
        let mut text = String::with_capacity(prefix.len() + 48);
        text.push_str(prefix);
        let mut bytes = bytes.iter();
        for _ in 0..*numbers {
            let (mut number, mut shift) = (0u64, 0);
            for byte in bytes.by_ref() {
                number |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            text.push('.');
            push_number(&mut text, number);
        }
        AckToken(text)
    }
}

/// A number that is written in one way only.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn push_number(text: &mut String, mut number: u64) {
    let (mut digits, mut place) = ([0u8; 20], 20);
    loop {
        place -= 1;
        digits[place] = (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[place..].iter().map(|digit| char::from(b'0' + digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, packs: bool) {
        let (mut prefixes, token) = (Prefixes::default(), AckToken(text.to_owned()));
        let packed = prefixes.pack(&token);
        assert_eq!(prefixes.open(&packed), token);
        assert_eq!(matches!(packed, Token::Packed { .. }), packs, "{text}");
    }

    #[test]
    fn a_token_comes_out_as_it_went_in() {
        check("$JS.ACK.TASKS.shape-normal-tenant-0.1.77.12345.1764028800000000000.9", true);
        check("memory.18.2", true);
        check("token-1", false);
        check("", false);
        check("a.007.0.00", false);
        check("a.007.0", true);
        check("a.-1.+2.99999999999999999999", false);
        check("a..1.", false);
        check("a.18446744073709551615.18446744073709551615.1", false);
        check("1.2.3.4.5.6.7.8", true);
    }

    #[test]
    fn a_packed_token_takes_24_bytes_and_beginnings_are_limited() {
        assert_eq!(size_of::<Token>(), 24);
        let mut prefixes = Prefixes::default();
        for n in 0..2 * PREFIXES_MAX {
            let token = AckToken(format!("prefix-{n}.1"));
            let packed = prefixes.pack(&token);
            assert_eq!(prefixes.open(&packed), token);
        }
        assert_eq!(prefixes.texts.len(), PREFIXES_MAX);
    }
}
