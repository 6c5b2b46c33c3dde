//! The four stage functions, by stage: the only place where the runner learns which code computes, and with
//! which model files.

use crate::synthetic::Loaded;
use domain::Stage;
use preprocess::Preprocess;
use stage::StageFunction;
use std::path::PathBuf;

/// What a runner is told when it starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageOptions {
    /// Carry the synthetic loads of recipes.
    pub(crate) synthetic: bool,
    /// The file of the matting network.
    pub(crate) matting_model: Option<PathBuf>,
}

/// A fresh stage function.
pub(crate) fn stage_function(stage: Stage, options: &StageOptions) -> Box<dyn StageFunction> {
    let real: Box<dyn StageFunction> = match stage {
        Stage::Preprocess => Box::new(preprocess(options)),
        Stage::Shape => Box::new(shape::Shape),
        Stage::Texture => Box::new(texture::Texture),
        Stage::Export => Box::new(export::Export),
    };
    if options.synthetic { Box::new(Loaded::around(stage, real)) } else { real }
}

/// Without its model the stage still cuts out by alpha and before plain backgrounds.
fn preprocess(options: &StageOptions) -> Preprocess {
    let Some(path) = &options.matting_model else { return Preprocess::default() };
    match std::fs::read(path) {
        Ok(model) => Preprocess::with_matting(model),
        Err(error) => {
            note!("runner: read {}: {error}; pictures need a plain background", path.display());
            Preprocess::default()
        }
    }
}
