//! Lists and values of which a newer version may know more: what is not known here is left out, so that the
//! message around it stays readable.

use crate::Stage;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(untagged)]
enum Maybe<T> {
    Known(T),
    Unknown(IgnoredAny),
}

impl<T> Maybe<T> {
    fn known(self) -> Option<T> {
        match self {
            Maybe::Known(value) => Some(value),
            Maybe::Unknown(_) => None,
        }
    }
}

/// The elements that are known here.
pub(crate) fn all<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let all = Vec::<Maybe<T>>::deserialize(from)?;
    Ok(all.into_iter().filter_map(Maybe::known).collect())
}

/// The value, if it is known here.
pub(crate) fn maybe<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Maybe<T>>::deserialize(from)?.and_then(Maybe::known))
}

/// The stages that an offer names and this version does not know: reading it as an `Offer` leaves them out.
pub fn unknown_stages(offer: &[u8]) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Names {
        stages: Vec<String>,
    }
    let names = serde_json::from_slice::<Names>(offer).map_or(Vec::new(), |names| names.stages);
    names.into_iter().filter(|name| name.parse::<Stage>().is_err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_is_known_and_the_rest_is_named() {
        let text = br#"{"stages":["shape","paint","export",7],"warm":[]}"#;
        #[derive(Deserialize)]
        struct Word {
            #[serde(deserialize_with = "all")]
            stages: Vec<Stage>,
        }
        let word: Word = serde_json::from_slice(text).expect("readable");
        assert_eq!(word.stages, [Stage::Shape, Stage::Export]);
        let names = |text: &[u8]| unknown_stages(text).into_iter().collect::<Vec<_>>();
        assert_eq!(names(br#"{"stages":["shape","paint","glaze","paint"]}"#), ["glaze", "paint"]);
        assert!(names(b"no JSON").is_empty() && names(br#"{"stages":["shape"]}"#).is_empty());
    }
}
