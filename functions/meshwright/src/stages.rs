//! The four stage functions, by stage: the only place where the runner learns which code computes, and with
//! which model files.

use domain::Stage;
use preprocess::Preprocess;
use stage::StageFunction;
use std::path::PathBuf;
use worker::Loaded;

/// What a runner is told when it starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageOptions {
    /// Carry the synthetic loads of recipes.
    pub(crate) synthetic: bool,
    /// The file of the matting network.
    pub(crate) matting_model: Option<PathBuf>,
    /// Take OpenEXR.
    pub(crate) exr: bool,
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

/// Without its model the stage still cuts out by alpha, before plain backgrounds, and by colours.
fn preprocess(options: &StageOptions) -> Preprocess {
    let function = match options.matting_model.as_ref().map(|path| (path, std::fs::read(path))) {
        None => Preprocess::default(),
        Some((_, Ok(model))) => Preprocess::with_matting(model),
        Some((path, Err(error))) => {
            note!("runner: read {}: {error}; outlines before busy backgrounds are guessed", path.display());
            Preprocess::default()
        }
    };
    if options.exr { function.taking_exr() } else { function }
}
