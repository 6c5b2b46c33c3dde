//! The options of a recipe as data, for whoever offers them to people: what each takes, and where it has a
//! meaning.

use crate::{Details, Engine, Format, Quality, Recipe, SIZE_MM, TEXTURE_PX};
use std::ops::RangeInclusive;

/// What an option takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One of these words.
    Word(Vec<String>),
    /// Some of these words, with commas between them.
    Words(Vec<String>),
    /// A whole number.
    Whole {
        /// Least and most.
        range: RangeInclusive<u32>,
        /// What it counts, as `mm`.
        unit: &'static str,
    },
    /// A length in millimetres with up to three decimals; least and most in micrometres.
    Length(RangeInclusive<u32>),
}

/// An option of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeOption {
    /// As calls and metadata say it.
    pub name: &'static str,
    /// For a person.
    pub what: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// Engines with which it has a meaning; with another one it is refused.
    pub engines: &'static [Engine],
    /// Formats of which one must be wanted, or it is refused; none if it has a meaning with all.
    pub formats: Vec<Format>,
    /// Few ask for it.
    pub is_rare: bool,
}

pub(crate) fn words<T>(known: &[(T, &str)]) -> Takes {
    Takes::Word(known.iter().map(|(_, word)| (*word).to_owned()).collect())
}

impl Recipe {
    /// All options, in the order of a form.
    pub fn options() -> Vec<RecipeOption> {
        let of = |name, what, takes| RecipeOption {
            name,
            what,
            takes,
            engines: &Engine::ALL,
            formats: Vec::new(),
            is_rare: false,
        };
        let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let sized = Format::ALL.into_iter().filter(|format| format.has_size()).collect();
        let size =
            of("size-mm", "longest axis of printed files", Takes::Whole { range: SIZE_MM, unit: "mm" });
        let sides = TEXTURE_PX.map(|px| px.to_string()).into();
        let mut options = vec![
            of("engine", "how the shape is made", Takes::Word(all(&Engine::ALL.map(Engine::as_str)))),
            of("quality", "how many triangles", Takes::Word(all(&Quality::ALL.map(Quality::as_str)))),
            of("formats", "the files to deliver", Takes::Words(all(&Format::ALL.map(Format::as_str)))),
            of("texture-px", "side of the texture, texels", Takes::Word(sides)),
            RecipeOption { formats: sized, ..size },
        ];
        options.extend(Details::options());
        options
    }

    /// What this recipe is in an option, as a call would say it; none where that depends on the picture.
    pub fn in_effect(&self, option: &str) -> Option<String> {
        match option {
            "engine" => Some(self.engine.as_str().to_owned()),
            "quality" => Some(self.quality.as_str().to_owned()),
            "formats" => Some(self.formats.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(",")),
            "size-mm" => Some(self.size_mm.to_string()),
            "texture-px" => Some(self.texture_px.to_string()),
            detail => self.details.in_effect(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values at the ends of what an option takes, and one that it does not.
    fn values(takes: &Takes) -> (Vec<String>, String) {
        match takes {
            Takes::Word(words) | Takes::Words(words) => (words.clone(), "no such word".to_owned()),
            Takes::Whole { range, .. } => {
                (vec![range.start().to_string(), range.end().to_string()], (range.end() + 1).to_string())
            }
            Takes::Length(um) => {
                let mm = |um: u32| (f64::from(um) / 1000.0).to_string();
                (vec![mm(*um.start()), mm(*um.end())], mm(um.end() + 1))
            }
        }
    }

    #[test]
    fn each_option_takes_what_it_says_with_the_engines_that_it_says_and_nothing_else() {
        for option in Recipe::options().into_iter().filter(|option| option.name != "engine") {
            for engine in Engine::ALL {
                let take = |value: &str| {
                    let said = [("engine", engine.as_str()), (option.name, value)];
                    Recipe::default().with_options(said)
                };
                let (good, bad) = values(&option.takes);
                for value in good {
                    let taken = take(&value);
                    assert_eq!(taken.is_ok(), option.engines.contains(&engine), "{} {value}", option.name);
                    if let Ok(recipe) = taken {
                        assert_eq!(recipe.in_effect(option.name), Some(value), "{}", option.name);
                    }
                }
                assert!(take(&bad).is_err(), "{} {bad}", option.name);
            }
            for format in Format::ALL {
                let (good, _) = values(&option.takes);
                let said = [("engine", option.engines[0].as_str()), ("formats", format.as_str())];
                let taken =
                    Recipe::default().with_options(said.into_iter().chain([(option.name, &*good[0])]));
                let has_meaning = option.formats.is_empty() || option.formats.contains(&format);
                assert_eq!(taken.is_ok(), has_meaning, "{} with {format:?}", option.name);
            }
        }
    }

    #[test]
    fn what_nobody_said_is_what_is_done_then() {
        let check = |said: &[(&str, &str)], expect: &[(&str, Option<&str>)]| {
            let recipe = Recipe::default().with_options(said.iter().copied()).expect("good options");
            for (name, value) in expect {
                assert_eq!(recipe.in_effect(name).as_deref(), *value, "{name} of {said:?}");
            }
        };
        check(&[], &[("engine", Some("inflate")), ("formats", Some("glb,stl")), ("symmetric", Some("yes"))]);
        check(&[], &[("mask", None), ("width-mm", None), ("thickness-percent", Some("100"))]);
        let relief = ("engine", "relief");
        check(&[relief], &[("depth-mm", Some("3")), ("base-mm", Some("2")), ("frame-mm", Some("2"))]);
        let plate = [("depth-mm", Some("2.2")), ("base-mm", Some("0.8")), ("mask", Some("whole"))];
        check(&[relief, ("curve", "lithophane")], &plate);
        check(&[relief, ("depth-mm", "2.45")], &[("depth-mm", Some("2.45")), ("curve", Some("raised"))]);
    }
}
