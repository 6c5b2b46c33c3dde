//! The engine `inflate`: cut-out to a pillow with the cut-out's silhouette. Always works, knows nothing of
//! the picture's content; the back is the front's mirror image, or flat.

use crate::engine::{Form, ShapeEngine, Surface};
use crate::outline::Outline;
use crate::poisson;
use crate::sheet::{Layered, Rim};
use domain::Recipe;
use mesh::Cutout;
use stage::{Context, StageError};

/// Load of the Poisson equation: 4 makes a disc a ball, 2 makes a strip a round rod. Of 2 to 5, the quality
/// bench's objects want 3.4 to 3.75, and 22 others, seen twice each, 3.0 to 3.4.
const LOAD: f32 = 3.4;
/// Triangles before decimation, as a multiple of those wanted: enough that the outline is finer than the
/// result.
const OVERSAMPLING: f32 = 6.0;
/// Pitch of the grid in pixels: finer than the picture shows nothing, coarser cuts corners.
const PITCH_PX: std::ops::RangeInclusive<f32> = 1.0..=4.0;
/// Takes the steps of a hard-edged mask off the outline; the surface is smooth as it is, and more rounds
/// ripple the rim.
pub(crate) const SMOOTHING_ROUNDS: u32 = 3;
/// Takes what is left of those steps off the shading.
pub(crate) const CALMING_ROUNDS: u32 = 2;

/// Silhouette inflation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inflate;

impl ShapeEngine for Inflate {
    fn version(&self) -> &'static str {
        "5"
    }

    fn form(&self, cutout: &Cutout, recipe: &Recipe, _cx: &Context<'_>) -> Result<Form, StageError> {
        let (outline, heights) = heights(cutout, recipe);
        let thickness = recipe.details.thickness_percent.unwrap_or(100) as f32 / 100.0;
        let front: Vec<f32> = heights.into_iter().map(|height| height * thickness).collect();
        let mirrored = recipe.details.symmetric.unwrap_or(true);
        let back = front.iter().map(|z| if mirrored { -z } else { 0.0 }).collect();
        let frame = cutout.frame;
        let half = frame.size_px.map(|size| size * frame.metres_per_px() * 0.5);
        Ok(Form {
            surface: Surface::Layered(Layered { outline, front, back, rim: Rim::At(0.0), frame }),
            extent: [half.map(|side| -side), half],
            floor: (!mirrored).then_some(0.0),
            smoothing_rounds: SMOOTHING_ROUNDS,
            calming_rounds: CALMING_ROUNDS,
            confidence: None,
        })
    }
}

/// The silhouette on a grid that is fine enough for the recipe, and how high inflation is above the middle
/// plane at each of its points, metres.
pub(crate) fn heights(cutout: &Cutout, recipe: &Recipe) -> (Outline, Vec<f32>) {
    let frame = cutout.frame;
    let area: f32 = cutout.image.pixels().map(|pixel| f32::from(pixel[3]) / 255.0).sum();
    // Front and back have two triangles per grid cell each.
    let wanted = OVERSAMPLING * recipe.quality.triangles_max() as f32;
    let pitch = (4.0 * area / wanted).sqrt().clamp(*PITCH_PX.start(), *PITCH_PX.end());
    let [x, y] = frame.centre_px;
    let [half_x, half_y] = frame.size_px.map(|size| size * 0.5 + 1.0);
    let outline = Outline::sample(&cutout.image, [x - half_x, y - half_y, x + half_x, y + half_y], pitch);
    let scale = pitch * frame.metres_per_px();
    let rise = |u: f32| (LOAD * u.max(0.0)).sqrt() * scale;
    let heights = poisson::solve(&outline).into_iter().map(rise).collect();
    (outline, heights)
}
