//! The engine `inflate`: cut-out to a pillow with the cut-out's silhouette. Always works, knows nothing of
//! the picture's content; the back is the front's mirror image.

use crate::outline::Outline;
use crate::{poisson, sheet};
use domain::Quality;
use mesh::check::{MeshFacts, check};
use mesh::components::drop_small;
use mesh::decimate::decimate;
use mesh::smooth::{calm_normals, taubin, vertex_normals};
use mesh::{Cutout, Mesh};
use stage::{Context, StageError};

/// Load of the Poisson equation: 4 makes a disc a ball, 2 makes a strip a round rod; the geometric mean is
/// equally wrong (a sixth) for both.
const LOAD: f32 = 2.83;
/// Triangles before decimation, as a multiple of those wanted: enough that the outline is finer than the
/// result.
const OVERSAMPLING: f32 = 6.0;
/// Pitch of the grid in pixels: finer than the picture shows nothing, coarser cuts corners.
const PITCH_PX: std::ops::RangeInclusive<f32> = 1.0..=4.0;
/// Fewer opaque pixels than a square of this side is no object.
const OBJECT_SIDE_PX_MIN: f32 = 8.0;
/// Takes the steps of a hard-edged mask off the outline; the surface is smooth as it is, and more rounds
/// ripple the rim.
const SMOOTHING_ROUNDS: u32 = 3;
/// Takes what is left of those steps off the shading.
const CALMING_ROUNDS: u32 = 2;
/// Components with a smaller share of the faces are crumbs.
const CRUMB_SHARE: f32 = 0.005;
/// Share of the cut-out's width and height that the solid parts must span.
const SPAN_SHARE_MIN: f32 = 0.8;
/// First bound of decimation in metres (of an object of 1 m): not visible. Where it does not reach the
/// preset, the preset wins.
const ERROR_MAX: f32 = 0.002;

/// The mesh of a cut-out and what is known of it.
///
/// # Errors
/// [`StageError::Rejected`]: the silhouette is too small, too thin or too intricate.
pub fn inflate(cutout: &Cutout, quality: Quality, cx: &Context<'_>) -> Result<(Mesh, MeshFacts), StageError> {
    let area: f32 = cutout.image.pixels().map(|pixel| f32::from(pixel[3]) / 255.0).sum();
    if area < OBJECT_SIDE_PX_MIN * OBJECT_SIDE_PX_MIN {
        return Err(rejected("the object covers only a few pixels; use a picture in which it is larger"));
    }
    let wanted = quality.triangles_max();
    let full = {
        let _span = cx.span("inflate");
        raise(cutout, area, wanted)
    };
    let mut full = drop_small(&full, CRUMB_SHARE);
    if full.triangles.is_empty() {
        return Err(rejected(
            "the object is thinner than the grid everywhere; use a picture with a solid subject",
        ));
    }
    let bounds = full.bounds();
    if !fills(bounds, cutout) {
        return Err(rejected(
            "most of the object is too thin or too small to be solid; use a picture with a solid subject",
        ));
    }
    {
        let _span = cx.span("smooth");
        taubin(&mut full, SMOOTHING_ROUNDS);
    }
    cx.progress(0.4, "decimate");
    let mut small = {
        let _span = cx.span("decimate");
        decimate(&full, wanted, &[ERROR_MAX, f32::INFINITY])
    };
    if small.triangles.len() > wanted {
        return Err(rejected(
            "the object has too many holes and parts; use finer quality or a simpler picture",
        ));
    }
    fit(&mut small, bounds, cutout);
    small.normals = calm_normals(&small, &vertex_normals(&small), CALMING_ROUNDS);
    let _span = cx.span("check");
    match check(&small) {
        Ok(facts) => Ok((small, facts)),
        Err(fault) => Err(rejected(&format!(
            "the outline cannot be made into a closed mesh ({fault}); use a picture with a simpler outline"
        ))),
    }
}

fn rejected(sentence: &str) -> StageError {
    StageError::Rejected(sentence.to_owned())
}

/// The dense mesh.
fn raise(cutout: &Cutout, area: f32, wanted: usize) -> Mesh {
    let frame = &cutout.frame;
    // Front and back have two triangles per grid cell each.
    let pitch =
        (4.0 * area / (OVERSAMPLING * wanted as f32)).sqrt().clamp(*PITCH_PX.start(), *PITCH_PX.end());
    let [x, y] = frame.centre_px;
    let [half_x, half_y] = frame.size_px.map(|size| size * 0.5 + 1.0);
    let outline = Outline::sample(&cutout.image, [x - half_x, y - half_y, x + half_x, y + half_y], pitch);
    let mut height = poisson::solve(&outline);
    height.iter_mut().for_each(|u| *u = (LOAD * u.max(0.0)).sqrt());
    sheet::zip(&outline, &height, frame)
}

/// Whether what became solid still spans most of the cut-out: else its main parts are gone, and crumbs are
/// no model.
fn fills([low, high]: [[f32; 3]; 2], cutout: &Cutout) -> bool {
    (0..2).all(|axis| {
        let whole = cutout.frame.size_px[axis] * cutout.frame.metres_per_px();
        high[axis] - low[axis] >= SPAN_SHARE_MIN * whole
    })
}

/// Smoothing and decimation shrink the silhouette by a fraction of a pixel: stretched back to its box. If
/// that box is the cut-out's own within the grid's error, then to that one exactly: the longest axis is one
/// metre.
fn fit(mesh: &mut Mesh, before: [[f32; 3]; 2], cutout: &Cutout) {
    let half = cutout.frame.size_px.map(|size| size * cutout.frame.metres_per_px() * 0.5);
    let tolerance = 2.0 * cutout.frame.metres_per_px();
    let now = mesh.bounds();
    for axis in 0..2 {
        let own = (before[0][axis] + half[axis]).abs() < tolerance
            && (before[1][axis] - half[axis]).abs() < tolerance;
        let (low, high) = if own { (-half[axis], half[axis]) } else { (before[0][axis], before[1][axis]) };
        let scale = (high - low) / (now[1][axis] - now[0][axis]).max(f32::MIN_POSITIVE);
        for position in &mut mesh.positions {
            position[axis] = low + (position[axis] - now[0][axis]) * scale;
        }
    }
}
