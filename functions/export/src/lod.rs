//! Levels of detail: the closed surface decimated further, with the texture that is there. Each face of a
//! level belongs to the chart of what it lies on, and its corners take that chart's nearest coordinates.

use crate::lookup::{Lookup, blend};
use crate::model::Model;
use mesh::decimate::decimate;
use mesh::geometry::{dot, face_normal, unit};
use mesh::smooth::vertex_normals;
use mesh::{Mesh, TexturedMesh, components};
use std::collections::BTreeMap;

/// A face lies on one that looks the same way, not on the sheet behind it.
const SAME_SIDE_COSINE: f32 = 0.0;

/// The model with at most each of these many triangles, as far as its topology allows; fewer and fewer. With
/// each the error that decimation has reached, added up from the whole model on, metres.
pub(crate) fn levels(model: &Model, triangles_max: [usize; 3]) -> Vec<(TexturedMesh, f32)> {
    let charts = Charts::of(&model.textured.mesh);
    let (mut solid, mut error) = (model.solid.clone(), 0.0);
    let level = |most| {
        let smaller = decimate(&solid, most, &[f32::INFINITY]);
        (solid, error) = (smaller.mesh, error + smaller.error_metres);
        let texture_png = model.textured.texture_png.clone();
        (TexturedMesh { mesh: painted(&solid, &charts), texture_png, normal_png: None }, error)
    };
    triangles_max.into_iter().map(level).collect()
}

/// A mesh with normals, and with the texture coordinates of what it lies on.
fn painted(small: &Mesh, charts: &Charts<'_>) -> Mesh {
    let normals = vertex_normals(small);
    if charts.faces.mesh.uvs.is_empty() {
        return Mesh { normals, ..small.clone() };
    }
    let mut result = Mesh::default();
    let mut known: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for &triangle in &small.triangles {
        let chart = charts.under(small.corners(triangle));
        result.triangles.push(triangle.map(|index| {
            *known.entry((chart, index)).or_insert_with(|| {
                let position = small.positions[index as usize];
                result.positions.push(position);
                result.normals.push(normals[index as usize]);
                result.uvs.push(charts.uv(position, chart));
                result.positions.len() as u32 - 1
            })
        }));
    }
    result
}

/// The faces of the textured mesh, where they look and to which chart they belong.
struct Charts<'a> {
    faces: Lookup<'a>,
    charts: Vec<u32>,
    directions: Vec<[f32; 3]>,
}

impl Charts<'_> {
    fn of(mesh: &Mesh) -> Charts<'_> {
        let direction = |triangle: &[u32; 3]| unit(face_normal(mesh.corners(*triangle)));
        let directions = mesh.triangles.iter().map(direction).collect();
        Charts { faces: Lookup::of(mesh), charts: components::label(mesh).0, directions }
    }

    /// The chart that a face of a level lies on.
    fn under(&self, corners: [[f32; 3]; 3]) -> u32 {
        let (middle, direction) = (blend(corners, [1.0 / 3.0; 3]), unit(face_normal(corners)));
        let fits = |face: u32| dot(self.directions[face as usize], direction) > SAME_SIDE_COSINE;
        let face = self.faces.nearest(middle, fits).or_else(|| self.faces.nearest(middle, |_| true));
        face.map_or(0, |(face, _)| self.charts[face as usize])
    }

    /// Texture coordinates of the place in a chart that is nearest to a point.
    fn uv(&self, point: [f32; 3], chart: u32) -> [f32; 2] {
        let own = |face: u32| self.charts[face as usize] == chart;
        let Some((face, weights)) = self.faces.nearest(point, own) else { return [0.0; 2] };
        let mesh = self.faces.mesh;
        let uvs = mesh.triangles[face as usize].map(|index| mesh.uvs[index as usize]);
        [0, 1].map(|k| (0..3).map(|corner| weights[corner] * uvs[corner][k]).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::check::check;
    use mesh::sample::ball;
    use mesh::weld::weld;

    #[test]
    fn a_level_is_closed_and_shows_the_same_texture() {
        // Two charts, front and back, side by side in the texture.
        let whole = ball(0.5, 40);
        let mut mesh = Mesh::default();
        for (side, sign) in [(0.0, 1.0), (0.5, -1.0)] {
            let start = mesh.positions.len() as u32;
            let uv = |p: &[f32; 3]| [side + 0.25 + 0.4 * p[0] * sign, 0.5 - 0.8 * p[1]];
            mesh.uvs.extend(whole.positions.iter().map(uv));
            mesh.positions.extend(&whole.positions);
            let mine = whole.triangles.iter().filter(|t| {
                let z: f32 = whole.corners(**t).iter().map(|p| p[2]).sum();
                (z >= 0.0) == (sign > 0.0)
            });
            mesh.triangles.extend(mine.map(|t| t.map(|index| index + start)));
        }
        let mesh = components::compact(mesh);
        let textured = TexturedMesh { mesh, ..TexturedMesh::default() };
        let model = Model::of(textured).expect("no texture to decode");
        let levels = levels(&model, [1200, 600, 600]);
        let facts = [0, 1].map(|n| check(&weld(&levels[n].0.mesh)).expect("closed").triangles);
        assert!((1150..=1200).contains(&facts[0]) && (560..=600).contains(&facts[1]), "{facts:?}");
        let (small, error) = &levels[1];
        assert!(*error > levels[0].1 && *error < 0.02, "{error}");
        for (p, uv) in small.mesh.positions.iter().zip(&small.mesh.uvs) {
            let front = uv[0] < 0.5;
            let sign = if front { 1.0 } else { -1.0 };
            let expect = [if front { 0.25 } else { 0.75 } + 0.4 * p[0] * sign, 0.5 - 0.8 * p[1]];
            assert!((uv[0] - expect[0]).hypot(uv[1] - expect[1]) < 0.03, "{uv:?} for {expect:?} at {p:?}");
        }
    }
}
