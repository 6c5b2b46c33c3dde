//! What an engine is: a cut-out in, a form out. The mesher makes the mesh, whoever made the form.

use crate::field::Field;
use crate::sheet::Layered;
use domain::Recipe;
use mesh::Cutout;
use stage::{Context, StageError};

/// A way to make a shape. What comes out is one of two forms, so that every engine ends in the same mesher
/// and none has to think of edges, crumbs or triangles.
pub trait ShapeEngine {
    /// The version of its code: changes whenever results may change.
    fn version(&self) -> &'static str;

    /// The form of a cut-out, in the cut-out's frame: x right, y up, z to the viewer, metres.
    ///
    /// # Errors
    /// [`StageError::Rejected`] with what to do, where the cut-out cannot become one.
    fn form(&self, cutout: &Cutout, recipe: &Recipe, cx: &Context<'_>) -> Result<Form, StageError>;
}

/// Where the surface is.
#[derive(Clone, Debug)]
pub enum Surface {
    /// A front and a back depth per place of the silhouette.
    Layered(Layered),
    /// A signed value per place in space.
    Field(Field),
}

/// A surface, and what the mesher may do to it.
#[derive(Clone, Debug)]
pub struct Form {
    /// Where the surface is.
    pub surface: Surface,
    /// What the finished mesh spans in x and y: lower left and upper right corner, metres.
    pub extent: [[f32; 2]; 2],
    /// The z under which nothing lies, metres: a back that is flat stays so.
    pub floor: Option<f32>,
    /// Rounds of Taubin smoothing. Sharp edges take none.
    pub smoothing_rounds: u32,
    /// Rounds in which vertex normals take the mean of their neighbours.
    pub calming_rounds: u32,
    /// How far the engine trusts its depths, 0 to 1, in the mean over the silhouette; none: it does not
    /// judge.
    pub confidence: Option<f32>,
}
