//! Whether models are as good as others were: the gate that a cheaper setting must pass.

use image::RgbaImage;
use mesh::check::check;
use mesh::compare::{distances, f_score, psnr_db, sampled, silhouette_iou};
use mesh::raster::{View, render_unlit};
use mesh::weld::weld;
use mesh::{Mesh, TexturedMesh};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::f32::consts::FRAC_PI_2;
use std::fmt;

/// Side of pictures that are compared.
const COMPARED_PX: u32 = 512;
/// A surface is met within this share of half of the model's longest side.
const NEAR: f32 = 0.1;
/// Least that a model may keep: of its silhouettes, of its surface, of its front's colours.
const SILHOUETTE_MIN: f64 = 0.98;
const F_MIN: f64 = 0.995;
const PSNR_DB_MIN: f64 = 25.0;

/// The worst of all models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gate {
    /// Of front and side.
    silhouette_iou: f64,
    /// F score of the surfaces within a tenth.
    f_at_tenth: f64,
    /// Of the front.
    psnr_db: f64,
    /// None is missing, and all are closed.
    all_watertight: bool,
}

impl Gate {
    /// New models against those of the same pictures before.
    pub(crate) fn of(
        before: &BTreeMap<String, TexturedMesh>,
        after: &BTreeMap<String, TexturedMesh>,
    ) -> Gate {
        let same = Gate { silhouette_iou: 1.0, f_at_tenth: 1.0, psnr_db: 60.0, all_watertight: true };
        before.iter().fold(same, |worst, (name, before)| match after.get(name) {
            Some(after) => worst.with(Gate::of_model(before, after)),
            None => Gate { all_watertight: false, ..worst },
        })
    }

    fn of_model(before: &TexturedMesh, after: &TexturedMesh) -> Gate {
        let [low, high] = before.mesh.bounds();
        let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
        let unit = (0..3).map(|k| high[k] - low[k]).fold(1e-6, f32::max) / 2.0;
        let views = [0.0, FRAC_PI_2].map(|yaw| {
            [before, after].map(|model| {
                picture(
                    model,
                    &View { yaw, pitch: 0.0, size_px: COMPARED_PX, half_extent: unit * 1.2, centre },
                )
            })
        });
        let [front, side] = &views;
        let [surface, other] = [before, after].map(|model| sampled(&model.mesh));
        let (missed, astray) = (distances(&surface, &other, unit), distances(&other, &surface, unit));
        Gate {
            silhouette_iou: silhouette_iou(&front[0], &front[1]).min(silhouette_iou(&side[0], &side[1])),
            f_at_tenth: f_score(&missed, &astray, NEAR),
            psnr_db: psnr_db(&front[0], &front[1]),
            all_watertight: is_watertight(&after.mesh),
        }
    }

    fn with(self, other: Gate) -> Gate {
        Gate {
            silhouette_iou: self.silhouette_iou.min(other.silhouette_iou),
            f_at_tenth: self.f_at_tenth.min(other.f_at_tenth),
            psnr_db: self.psnr_db.min(other.psnr_db),
            all_watertight: self.all_watertight && other.all_watertight,
        }
    }

    /// Whether nobody would see a difference.
    pub(crate) fn passes(&self) -> bool {
        self.all_watertight
            && self.silhouette_iou >= SILHOUETTE_MIN
            && self.f_at_tenth >= F_MIN
            && self.psnr_db >= PSNR_DB_MIN
    }

    pub(crate) fn json(&self) -> Value {
        json!({"silhouette_iou": self.silhouette_iou, "f_at_tenth": self.f_at_tenth, "psnr_db": self.psnr_db,
               "all_watertight": self.all_watertight, "passes": self.passes()})
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gate { silhouette_iou, f_at_tenth, psnr_db, all_watertight } = self;
        let word = if self.passes() { "yes" } else { "no" };
        let closed = if *all_watertight { "watertight" } else { "not watertight" };
        write!(f, "{word}: silhouette {silhouette_iou:.3}, F {f_at_tenth:.3}, {psnr_db:.0} dB, {closed}")
    }
}

/// A model in its own colours.
pub(crate) fn picture(model: &TexturedMesh, view: &View) -> RgbaImage {
    let texture = model.texture_png.as_ref().and_then(|png| image::load_from_memory(png).ok());
    render_unlit(&model.mesh, texture.map(|texture| texture.into_rgba8()).as_ref(), view)
}

fn is_watertight(mesh: &Mesh) -> bool {
    check(&weld(mesh)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tetrahedron, so large.
    fn model(size: f32) -> BTreeMap<String, TexturedMesh> {
        let corners = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let positions = corners.map(|corner| corner.map(|k: f32| k * size)).to_vec();
        let triangles = vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]];
        let mesh = Mesh { positions, triangles, uvs: Vec::new(), normals: Vec::new() };
        BTreeMap::from([("a".to_owned(), TexturedMesh { mesh, texture_png: None, normal_png: None })])
    }

    #[test]
    fn the_same_model_passes_and_a_smaller_an_open_or_a_missing_one_does_not() {
        let gate = Gate::of(&model(1.0), &model(1.0));
        assert!(gate.passes(), "{gate}");
        let smaller = Gate::of(&model(1.0), &model(0.8));
        assert!(!smaller.passes() && smaller.silhouette_iou < 0.9, "{smaller}");
        let mut open = model(1.0);
        open.values_mut().for_each(|model| model.mesh.triangles.truncate(3));
        assert!(!Gate::of(&model(1.0), &open).passes());
        assert!(!Gate::of(&model(1.0), &BTreeMap::new()).passes());
    }
}
