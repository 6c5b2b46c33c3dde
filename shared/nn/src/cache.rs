//! Models that stay loaded between batches.

use crate::manifest::{Manifest, NnError};
use crate::model::Model;

/// Models that are kept; the one used longest ago goes first. A runner computes one stage at a time, and no
/// stage has more networks than this.
const MODELS_MAX: usize = 4;

/// Loaded models, the one used last in front.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    models: Vec<Model>,
}

impl Cache {
    /// The model, loaded if it is not warm. `bytes` is called only then.
    ///
    /// # Errors
    /// See [`Model::load`]. What cannot be loaded is not remembered.
    pub fn model<'a>(
        &mut self,
        manifest: &'static Manifest,
        bytes: impl FnOnce() -> &'a [u8],
    ) -> Result<&Model, NnError> {
        let place = self.models.iter().position(|model| model.manifest().sha256 == manifest.sha256);
        let model = match place {
            Some(place) => self.models.remove(place),
            None => Model::load(manifest, bytes())?,
        };
        self.models.insert(0, model);
        self.models.truncate(MODELS_MAX);
        Ok(&self.models[0])
    }
}
