//! The four stage functions, by stage: the only place where the runner learns which code computes.

use crate::synthetic::Loaded;
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

/// A fresh stage function that carries the synthetic loads of recipes.
pub(crate) fn loaded_stage_function(stage: Stage) -> Box<dyn StageFunction> {
    Box::new(Loaded::around(stage, stage_function(stage)))
}
