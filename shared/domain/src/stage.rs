//! The four stages in their order, what each reads and writes, and the class of service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of the four steps from a picture to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Picture -> cut-out, squared RGBA.
    Preprocess,
    /// Cut-out -> mesh.
    Shape,
    /// Mesh and cut-out -> textured mesh.
    Texture,
    /// Textured mesh -> deliverable files.
    Export,
}

/// Where a stage's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFrom {
    /// The upload itself.
    Upload,
    /// The artifact of this name in the manifest of an earlier stage.
    Artifact(Stage, &'static str),
}

impl Stage {
    /// In the order of work.
    pub const ALL: [Stage; 4] = [Stage::Preprocess, Stage::Shape, Stage::Texture, Stage::Export];

    /// As in subjects, keys and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Preprocess => "preprocess",
            Stage::Shape => "shape",
            Stage::Texture => "texture",
            Stage::Export => "export",
        }
    }

    /// The stage after this one; none after export.
    pub const fn next(self) -> Option<Stage> {
        match self {
            Stage::Preprocess => Some(Stage::Shape),
            Stage::Shape => Some(Stage::Texture),
            Stage::Texture => Some(Stage::Export),
            Stage::Export => None,
        }
    }

    /// The stage before this one; none before preprocess.
    pub const fn previous(self) -> Option<Stage> {
        match self {
            Stage::Preprocess => None,
            Stage::Shape => Some(Stage::Preprocess),
            Stage::Texture => Some(Stage::Shape),
            Stage::Export => Some(Stage::Texture),
        }
    }

    /// What this stage reads: the name under which the stage function finds it, and where it comes from.
    pub const fn inputs(self) -> &'static [(&'static str, InputFrom)] {
        match self {
            Stage::Preprocess => &[("upload", InputFrom::Upload)],
            Stage::Shape => &[("cutout.png", InputFrom::Artifact(Stage::Preprocess, "cutout.png"))],
            Stage::Texture => &[
                ("mesh.glb", InputFrom::Artifact(Stage::Shape, "mesh.glb")),
                ("cutout.png", InputFrom::Artifact(Stage::Preprocess, "cutout.png")),
            ],
            Stage::Export => &[("textured.glb", InputFrom::Artifact(Stage::Texture, "textured.glb"))],
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = String;
    fn from_str(text: &str) -> Result<Stage, String> {
        let known = || Stage::ALL.map(Stage::as_str).join(", ");
        Stage::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no stage; the stages are {}", known()))
    }
}

/// Class of service, strictly ordered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Before all others.
    High,
    /// What an upload gets unless its bucket says otherwise.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Class {
    /// Most urgent first.
    pub const ALL: [Class; 3] = [Class::High, Class::Normal, Class::Low];

    /// As in subjects and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::High => "high",
            Class::Normal => "normal",
            Class::Low => "low",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = String;
    fn from_str(text: &str) -> Result<Class, String> {
        Class::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no class; the classes are high, normal, low"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_and_previous_walk_the_same_line() {
        for stage in Stage::ALL {
            assert_eq!(stage.next().and_then(Stage::previous).unwrap_or(stage), stage);
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
    }

    #[test]
    fn every_input_comes_from_an_earlier_stage() {
        for stage in Stage::ALL {
            for (_, from) in stage.inputs() {
                if let InputFrom::Artifact(earlier, _) = from {
                    assert!(*earlier < stage);
                }
            }
        }
    }
}
