//! Finds the face of a mesh that is nearest to a point: faces by cells of a grid, cells outwards from the
//! point's, and none that is farther off than what was found.

use mesh::Mesh;
use mesh::geometry::{area, dot, face_normal, sub};

/// Cells per metre: a few faces each at the presets' sizes.
const CELLS: f32 = 64.0;
/// Most cells along an axis: a model has a metre.
const CELLS_MAX: usize = 128;

/// The faces of a mesh by place.
pub(crate) struct Lookup<'a> {
    pub(crate) mesh: &'a Mesh,
    /// A ball around each face.
    balls: Vec<([f32; 3], f32)>,
    low: [f32; 3],
    size: [usize; 3],
    /// Where each cell's faces begin in `faces`; one more than there are cells.
    starts: Vec<u32>,
    faces: Vec<u32>,
}

/// What was found so far.
struct Best {
    square: f32,
    found: Option<(u32, [f32; 3])>,
}

impl Lookup<'_> {
    /// Indices must be in range.
    pub(crate) fn of(mesh: &Mesh) -> Lookup<'_> {
        let [low, high] = mesh.bounds();
        let size = [0, 1, 2].map(|k| (((high[k] - low[k]) * CELLS) as usize + 1).min(CELLS_MAX));
        let ball = |triangle: &[u32; 3]| {
            let corners = mesh.corners(*triangle);
            let middle = blend(corners, [1.0 / 3.0; 3]);
            let squares = corners.map(|corner| square(sub(corner, middle)));
            (middle, squares.into_iter().fold(0.0, f32::max).sqrt())
        };
        let balls = mesh.triangles.iter().map(ball).collect();
        let mut lookup = Lookup { mesh, balls, low, size, starts: vec![], faces: vec![] };
        let mut counts = vec![0_u32; size.iter().product::<usize>() + 1];
        lookup.each_cell(|cell, _| counts[cell + 1] += 1);
        for cell in 1..counts.len() {
            counts[cell] += counts[cell - 1];
        }
        let mut next = counts.clone();
        let mut faces = vec![0; counts.last().map_or(0, |last| *last as usize)];
        lookup.each_cell(|cell, face| {
            faces[next[cell] as usize] = face;
            next[cell] += 1;
        });
        (lookup.starts, lookup.faces) = (counts, faces);
        lookup
    }

    /// Every cell that a face's box touches, for each face.
    fn each_cell(&self, mut see: impl FnMut(usize, u32)) {
        for (face, &triangle) in (0_u32..).zip(&self.mesh.triangles) {
            let corners = self.mesh.corners(triangle);
            let bound = |pick: fn(f32, f32) -> f32| {
                self.cell([0, 1, 2].map(|k| pick(pick(corners[0][k], corners[1][k]), corners[2][k])))
            };
            let (low, high) = (bound(f32::min), bound(f32::max));
            for z in low[2]..=high[2] {
                for y in low[1]..=high[1] {
                    (low[0]..=high[0]).for_each(|x| see(self.slot([x, y, z]), face));
                }
            }
        }
    }

    fn slot(&self, [x, y, z]: [usize; 3]) -> usize {
        (z * self.size[1] + y) * self.size[0] + x
    }

    /// The cell of a point, or the nearest one.
    fn cell(&self, point: [f32; 3]) -> [usize; 3] {
        [0, 1, 2].map(|k| (((point[k] - self.low[k]) * CELLS).max(0.0) as usize).min(self.size[k] - 1))
    }

    /// The nearest face that fits, and the weights of its corners at its place nearest to the point.
    pub(crate) fn nearest(&self, point: [f32; 3], fits: impl Fn(u32) -> bool) -> Option<(u32, [f32; 3])> {
        let middle = self.cell(point);
        let mut best = Best { square: f32::INFINITY, found: None };
        let rings = self.size.into_iter().max().unwrap_or(0);
        for ring in 0..rings {
            // All of ring n is at least n - 1 cells away.
            let reach = ring.saturating_sub(1) as f32 / CELLS;
            if reach * reach > best.square {
                break;
            }
            let range = |k: usize| middle[k].saturating_sub(ring)..=(middle[k] + ring).min(self.size[k] - 1);
            for z in range(2) {
                for y in range(1) {
                    let inner = z.abs_diff(middle[2]) < ring && y.abs_diff(middle[1]) < ring;
                    if !inner {
                        range(0).for_each(|x| self.search([x, y, z], point, &fits, &mut best));
                        continue;
                    }
                    let ends = [middle[0].checked_sub(ring), Some(middle[0] + ring)];
                    for x in ends.into_iter().flatten().filter(|x| *x < self.size[0]) {
                        self.search([x, y, z], point, &fits, &mut best);
                    }
                }
            }
        }
        best.found
    }

    /// Looks for something nearer in a cell.
    fn search(&self, cell: [usize; 3], point: [f32; 3], fits: &impl Fn(u32) -> bool, best: &mut Best) {
        let gap = [0, 1, 2].map(|k| {
            let low = self.low[k] + cell[k] as f32 / CELLS;
            (low - point[k]).max(point[k] - low - 1.0 / CELLS).max(0.0)
        });
        if square(gap) > best.square {
            return;
        }
        let slot = self.slot(cell);
        for &face in &self.faces[self.starts[slot] as usize..self.starts[slot + 1] as usize] {
            // Nothing of a ball is nearer than its middle less its radius.
            let (middle, radius) = self.balls[face as usize];
            let reach = radius + best.square.sqrt();
            if square(sub(middle, point)) > reach * reach || !fits(face) {
                continue;
            }
            let corners = self.mesh.corners(self.mesh.triangles[face as usize]);
            let weights = nearest_on(corners, point);
            let distance = square(sub(blend(corners, weights), point));
            if distance < best.square {
                *best = Best { square: distance, found: Some((face, weights)) };
            }
        }
    }
}

fn square(a: [f32; 3]) -> f32 {
    dot(a, a)
}

/// The place of corners' weights.
pub(crate) fn blend(corners: [[f32; 3]; 3], weights: [f32; 3]) -> [f32; 3] {
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
        (square(sub(blend(corners, weights), point)), weights)
    };
    let edges = [0, 1, 2].map(on_edge);
    edges.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a }).map_or([1.0, 0.0, 0.0], |best| best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::sample::torus;

    #[test]
    fn the_nearest_face_is_that_of_a_search_through_all() {
        let mesh = torus(0.35, 0.15, 60, 24);
        let lookup = Lookup::of(&mesh);
        let every_third = |face: u32| face.is_multiple_of(3);
        for k in 0..400 {
            let wave = |step: f32| 0.7 * (k as f32 * step).sin();
            let point = [wave(0.37), wave(0.91), wave(1.73)];
            let (face, weights) = lookup.nearest(point, every_third).expect("there are faces");
            let distance = |face: u32, weights: [f32; 3]| {
                square(sub(blend(mesh.corners(mesh.triangles[face as usize]), weights), point)).sqrt()
            };
            let all = (0..mesh.triangles.len() as u32)
                .filter(|face| every_third(*face))
                .map(|face| distance(face, nearest_on(mesh.corners(mesh.triangles[face as usize]), point)));
            let expect = all.fold(f32::INFINITY, f32::min);
            let found = distance(face, weights);
            assert!(every_third(face) && (found - expect).abs() < 1e-6, "{found} for {expect} at {point:?}");
        }
        assert!(lookup.nearest([0.0; 3], |_| false).is_none());
    }
}
