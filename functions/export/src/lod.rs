//! Levels of detail: the closed surface decimated further, with the texture that is there. Each face of a
//! level belongs to the chart of what it lies on, and its corners take that chart's nearest coordinates.

use crate::model::Model;
use mesh::decimate::decimate;
use mesh::geometry::{area, dot, face_normal, sub, unit};
use mesh::smooth::vertex_normals;
use mesh::{Mesh, TexturedMesh, components};
use std::collections::BTreeMap;

/// Cells per metre in which faces are looked up: a few faces each at the presets' sizes.
const CELLS: f32 = 64.0;
/// A face lies on one that looks the same way, not on the sheet behind it.
const SAME_SIDE_COSINE: f32 = 0.0;

/// The model with at most each of these many triangles, as far as its topology allows; fewer and fewer.
pub(crate) fn levels(model: &Model, triangles_max: [usize; 3]) -> Vec<TexturedMesh> {
    let lookup = Lookup::of(&model.textured.mesh);
    let mut solid = model.solid.clone();
    let level = |most| {
        solid = decimate(&solid, most, &[f32::INFINITY]);
        let texture_png = model.textured.texture_png.clone();
        TexturedMesh { mesh: painted(&solid, &lookup), texture_png }
    };
    triangles_max.into_iter().map(level).collect()
}

/// A mesh with normals, and with the texture coordinates of what it lies on.
fn painted(small: &Mesh, lookup: &Lookup<'_>) -> Mesh {
    let normals = vertex_normals(small);
    if lookup.mesh.uvs.is_empty() {
        return Mesh { normals, ..small.clone() };
    }
    let mut result = Mesh::default();
    let mut known: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for &triangle in &small.triangles {
        let corners = small.corners(triangle);
        let middle = [0, 1, 2].map(|k| (corners[0][k] + corners[1][k] + corners[2][k]) / 3.0);
        let direction = unit(face_normal(corners));
        let fits = |face: u32| dot(lookup.directions[face as usize], direction) > SAME_SIDE_COSINE;
        let face = lookup.nearest(middle, fits).or_else(|| lookup.nearest(middle, |_| true));
        let chart = face.map_or(0, |(face, _)| lookup.charts[face as usize]);
        result.triangles.push(triangle.map(|index| {
            *known.entry((chart, index)).or_insert_with(|| {
                let position = small.positions[index as usize];
                result.positions.push(position);
                result.normals.push(normals[index as usize]);
                result.uvs.push(lookup.uv(position, chart));
                result.positions.len() as u32 - 1
            })
        }));
    }
    result
}

/// The faces of the textured mesh by place.
struct Lookup<'a> {
    mesh: &'a Mesh,
    charts: Vec<u32>,
    directions: Vec<[f32; 3]>,
    /// A ball around each face.
    middles: Vec<[f32; 3]>,
    radii: Vec<f32>,
    cells: BTreeMap<[i32; 3], Vec<u32>>,
    /// Cells from one end to the other.
    rings: i32,
}

fn cell(point: [f32; 3]) -> [i32; 3] {
    point.map(|value| (value * CELLS).floor() as i32)
}

impl Lookup<'_> {
    fn of(mesh: &Mesh) -> Lookup<'_> {
        let mut cells: BTreeMap<[i32; 3], Vec<u32>> = BTreeMap::new();
        for (face, &triangle) in (0_u32..).zip(&mesh.triangles) {
            let corners = mesh.corners(triangle);
            let [low, high] = [f32::min, f32::max].map(|pick: fn(f32, f32) -> f32| {
                cell([0, 1, 2].map(|k| corners.iter().map(|p| p[k]).reduce(pick).unwrap_or(0.0)))
            });
            for x in low[0]..=high[0] {
                for y in low[1]..=high[1] {
                    (low[2]..=high[2]).for_each(|z| cells.entry([x, y, z]).or_default().push(face));
                }
            }
        }
        let direction = |triangle: &[u32; 3]| unit(face_normal(mesh.corners(*triangle)));
        let middle = |triangle: &[u32; 3]| {
            let [a, b, c] = mesh.corners(*triangle);
            [0, 1, 2].map(|k| (a[k] + b[k] + c[k]) / 3.0)
        };
        let middles: Vec<[f32; 3]> = mesh.triangles.iter().map(middle).collect();
        let radius = |(triangle, middle): (&[u32; 3], &[f32; 3])| {
            let squares = mesh.corners(*triangle).map(|corner| length_squared(sub(corner, *middle)));
            squares.into_iter().fold(0.0, f32::max).sqrt()
        };
        let radii = mesh.triangles.iter().zip(&middles).map(radius).collect();
        let [low, high] = mesh.bounds();
        let extent = (0..3).map(|k| high[k] - low[k]).fold(0.0, f32::max);
        Lookup {
            mesh,
            charts: components::label(mesh).0,
            directions: mesh.triangles.iter().map(direction).collect(),
            middles,
            radii,
            cells,
            rings: (extent * CELLS) as i32 + 2,
        }
    }

    /// The nearest face that fits, and the weights of its corners at its place nearest to the point.
    fn nearest(&self, point: [f32; 3], fits: impl Fn(u32) -> bool) -> Option<(u32, [f32; 3])> {
        let middle = cell(point);
        let mut best: Option<(f32, u32, [f32; 3])> = None;
        for ring in 0..self.rings {
            // What is found in ring n may be farther than something in ring n + 1, and no farther ring.
            if best.is_some_and(|(distance, ..)| distance.sqrt() * CELLS < (ring - 1) as f32) {
                break;
            }
            self.visit(middle, ring, |face| {
                // Nothing of a ball is nearer than its middle less its radius.
                let middle = length_squared(sub(self.middles[face as usize], point));
                let reach =
                    self.radii[face as usize] + best.map_or(f32::INFINITY, |(least, ..)| least.sqrt());
                if middle <= reach * reach && fits(face) {
                    let corners = self.mesh.corners(self.mesh.triangles[face as usize]);
                    let weights = nearest_on(corners, point);
                    let place = blend(corners, weights);
                    let distance = length_squared(sub(place, point));
                    if best.is_none_or(|(least, ..)| distance < least) {
                        best = Some((distance, face, weights));
                    }
                }
            });
        }
        best.map(|(_, face, weights)| (face, weights))
    }

    /// All faces in the cells at a distance.
    fn visit(&self, [x, y, z]: [i32; 3], ring: i32, mut see: impl FnMut(u32)) {
        for dx in -ring..=ring {
            for dy in -ring..=ring {
                let inner = dx.abs() < ring && dy.abs() < ring;
                let step = if inner { (2 * ring).max(1) as usize } else { 1 };
                for dz in (-ring..=ring).step_by(step) {
                    let faces = self.cells.get(&[x + dx, y + dy, z + dz]);
                    faces.into_iter().flatten().for_each(|face| see(*face));
                }
            }
        }
    }

    /// Texture coordinates of the place in a chart that is nearest to a point.
    fn uv(&self, point: [f32; 3], chart: u32) -> [f32; 2] {
        let Some((face, weights)) = self.nearest(point, |face| self.charts[face as usize] == chart) else {
            return [0.0; 2];
        };
        let uvs = self.mesh.triangles[face as usize].map(|index| self.mesh.uvs[index as usize]);
        [0, 1].map(|k| (0..3).map(|corner| weights[corner] * uvs[corner][k]).sum())
    }
}

fn length_squared(a: [f32; 3]) -> f32 {
    dot(a, a)
}

fn blend(corners: [[f32; 3]; 3], weights: [f32; 3]) -> [f32; 3] {
    [0, 1, 2].map(|k| (0..3).map(|corner| weights[corner] * corners[corner][k]).sum())
}

/// The weights of a triangle's corners at its place nearest to a point: inside where the projection is,
/// else on the nearest edge.
fn nearest_on(corners: [[f32; 3]; 3], point: [f32; 3]) -> [f32; 3] {
    let normal = face_normal(corners);
    let whole = dot(normal, normal);
    let part =
        |k: usize| dot(normal, face_normal([corners[(k + 1) % 3], corners[(k + 2) % 3], point])) / whole;
    let weights = [0, 1, 2].map(part);
    if weights.iter().all(|weight| *weight >= 0.0) && area(corners) > 0.0 {
        return weights;
    }
    let on_edge = |k: usize| {
        let (from, to) = (corners[k], corners[(k + 1) % 3]);
        let along = sub(to, from);
        let share = (dot(sub(point, from), along) / dot(along, along).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
        let mut weights = [0.0; 3];
        (weights[k], weights[(k + 1) % 3]) = (1.0 - share, share);
        (length_squared(sub(blend(corners, weights), point)), weights)
    };
    let edges = [0, 1, 2].map(on_edge);
    edges.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a }).map_or([1.0, 0.0, 0.0], |best| best.1)
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
        let textured = TexturedMesh { mesh, texture_png: None };
        let model = Model::of(textured).expect("no texture to decode");
        let levels = levels(&model, [1200, 600, 600]);
        let facts = [0, 1].map(|n| check(&weld(&levels[n].mesh)).expect("closed").triangles);
        assert!((1150..=1200).contains(&facts[0]) && (560..=600).contains(&facts[1]), "{facts:?}");
        let small = &levels[1];
        for (p, uv) in small.mesh.positions.iter().zip(&small.mesh.uvs) {
            let front = uv[0] < 0.5;
            let sign = if front { 1.0 } else { -1.0 };
            let expect = [if front { 0.25 } else { 0.75 } + 0.4 * p[0] * sign, 0.5 - 0.8 * p[1]];
            assert!((uv[0] - expect[0]).hypot(uv[1] - expect[1]) < 0.03, "{uv:?} for {expect:?} at {p:?}");
        }
    }
}
