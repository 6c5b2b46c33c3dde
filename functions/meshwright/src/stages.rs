//! The four stage functions, by stage: the only place where the runner learns which code computes.

use domain::Stage;
use stage::StageFunction;

/// A fresh stage function.
pub(crate) fn stage_function(stage: Stage) -> Box<dyn StageFunction> {
    match stage {
        Stage::Preprocess => Box::new(preprocess::Preprocess),
        Stage::Shape => Box::new(shape::Shape),
        Stage::Texture => Box::new(texture::Texture),
        Stage::Export => Box::new(export::Export),
    }
}
