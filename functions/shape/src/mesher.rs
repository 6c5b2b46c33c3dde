//! From a form to the finished mesh: the surface, without crumbs, smoothed, decimated, of the right size,
//! checked. The same for all engines.

use crate::engine::{Form, Surface};
use crate::{field, sheet};
use domain::Quality;
use mesh::Mesh;
use mesh::check::{MeshFacts, check};
use mesh::components::drop_small;
use mesh::decimate::{Decimated, decimate};
use mesh::smooth::{calm_normals, taubin, vertex_normals};
use stage::{Context, StageError};

/// Components with a smaller share of the faces are crumbs.
const CRUMB_SHARE: f32 = 0.005;
/// Share of the form's width and height that the solid parts must span.
const SPAN_SHARE_MIN: f32 = 0.8;
/// First bound of decimation in metres (of an object of 1 m): not visible. Where it does not reach the
/// preset, the preset wins.
const ERROR_MAX: f32 = 0.002;
/// Share of a form's longer side within which a mesh's box counts as the form's own.
const BOX_TOLERANCE: f32 = 0.005;

/// The closed mesh of a surface as it is, dense; empty if nothing is inside.
pub fn surface(surface: &Surface) -> Mesh {
    match surface {
        Surface::Layered(layered) => sheet::zip(layered),
        Surface::Field(field) => field::surface(field),
    }
}

/// A finished mesh.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Closed, with normals, of at most as many triangles as the preset allows.
    pub mesh: Mesh,
    /// What is known of it.
    pub facts: MeshFacts,
    /// The surface before decimation, in the same place, without normals.
    pub dense: Mesh,
    /// What decimation cost: see [`mesh::decimate::Decimated`].
    pub error_metres: f32,
}

/// The mesh of a form.
///
/// # Errors
/// [`StageError::Rejected`]: the form is too small, too thin or too intricate.
pub fn model(form: &Form, quality: Quality, cx: &Context<'_>) -> Result<Finished, StageError> {
    let wanted = quality.triangles_max();
    let mut full = {
        let _span = cx.span("surface");
        drop_small(&surface(&form.surface), CRUMB_SHARE)
    };
    if full.triangles.is_empty() {
        return Err(rejected(
            "the object is thinner than the grid everywhere; use a picture with a solid subject",
        ));
    }
    let bounds = full.bounds();
    if !fills(bounds, form.extent) {
        return Err(rejected(
            "most of the object is too thin or too small to be solid; use a picture with a solid subject",
        ));
    }
    {
        let _span = cx.span("smooth");
        taubin(&mut full, form.smoothing_rounds);
    }
    cx.progress(0.4, "decimate");
    let Decimated { mesh: mut small, error_metres } = {
        let _span = cx.span("decimate");
        decimate(&full, wanted, &[ERROR_MAX, f32::INFINITY])
    };
    if small.triangles.len() > wanted {
        return Err(rejected(
            "the object has too many holes and parts; use finer quality or a simpler picture",
        ));
    }
    for mesh in [&mut small, &mut full] {
        fit(mesh, bounds, form.extent);
        if let Some(floor) = form.floor {
            mesh.positions.iter_mut().for_each(|position| position[2] = position[2].max(floor));
        }
    }
    small.normals = normals(&small, form);
    let _span = cx.span("check");
    match check(&small) {
        Ok(facts) => Ok(Finished { mesh: small, facts, dense: full, error_metres }),
        Err(fault) => Err(rejected(&format!(
            "the outline cannot be made into a closed mesh ({fault}); use a picture with a simpler outline"
        ))),
    }
}

/// The vertex normals of a mesh of a form.
pub fn normals(mesh: &Mesh, form: &Form) -> Vec<[f32; 3]> {
    calm_normals(mesh, &vertex_normals(mesh), form.calming_rounds)
}

fn rejected(sentence: &str) -> StageError {
    StageError::Rejected(sentence.to_owned())
}

/// Whether what became solid still spans most of the form: else its main parts are gone, and crumbs are no
/// model.
fn fills([low, high]: [[f32; 3]; 2], extent: [[f32; 2]; 2]) -> bool {
    (0..2).all(|axis| high[axis] - low[axis] >= SPAN_SHARE_MIN * (extent[1][axis] - extent[0][axis]))
}

/// Smoothing and decimation shrink the silhouette by a fraction of a pixel: stretched back to its box. If
/// that box is the form's own within the grid's error, then to that one exactly.
fn fit(mesh: &mut Mesh, before: [[f32; 3]; 2], extent: [[f32; 2]; 2]) {
    let tolerance = BOX_TOLERANCE * (0..2).map(|k| extent[1][k] - extent[0][k]).fold(0.0, f32::max);
    let now = mesh.bounds();
    for axis in 0..2 {
        let own = (0..2).all(|end| (before[end][axis] - extent[end][axis]).abs() < tolerance);
        let [low, high] = [0, 1].map(|end| if own { extent[end][axis] } else { before[end][axis] });
        let scale = (high - low) / (now[1][axis] - now[0][axis]).max(f32::MIN_POSITIVE);
        for position in &mut mesh.positions {
            position[axis] = low + (position[axis] - now[0][axis]) * scale;
        }
    }
}
