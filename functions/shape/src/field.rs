//! A signed field on a grid in space, and its surface by marching tetrahedra.
//!
//! Each cell is split into the six tetrahedra around its main diagonal (Kuhn's): neighbouring cells then
//! share their faces' diagonals. In a tetrahedron a surface has one form only, a triangle or a quad, so that
//! the mesh is closed and manifold for every field: by construction, as marching triangles are in the plane.

use mesh::Mesh;

/// Signed values at the points of a cubic grid.
#[derive(Clone, Debug)]
pub struct Field {
    /// Points along x, y and z; at least two each.
    pub size: [usize; 3],
    /// Positive inside; x first, then y, then z. What lies on the grid's border counts as outside.
    pub values: Vec<f32>,
    /// Place of the first point, metres.
    pub origin: [f32; 3],
    /// Distance of neighbouring points, metres.
    pub pitch: f32,
}

/// No vertex yet.
const NONE: u32 = u32::MAX;
/// Share of a grid edge that a vertex keeps from its ends, so that no triangle gets a side of length zero.
const END_SHARE: f32 = 0.05;
/// The axes in the order in which each tetrahedron walks from a cell's lowest to its highest corner, and
/// whether that turns right.
const WALKS: [([usize; 3], bool); 6] = [
    ([0, 1, 2], true),
    ([1, 2, 0], true),
    ([2, 0, 1], true),
    ([0, 2, 1], false),
    ([2, 1, 0], false),
    ([1, 0, 2], false),
];

/// The closed surface around what is positive; empty if nothing is.
pub(crate) fn surface(field: &Field) -> Mesh {
    let [width, height, depth] = field.size;
    let mut march =
        March { field, cuts: [0, 1].map(|_| vec![NONE; width * height * 7]), mesh: Mesh::default() };
    for z in 0..depth.saturating_sub(1) {
        for y in 0..height.saturating_sub(1) {
            for x in 0..width.saturating_sub(1) {
                march.cell([x, y, z]);
            }
        }
        march.cuts.swap(0, 1);
        march.cuts[1].fill(NONE);
    }
    march.mesh
}

struct March<'a> {
    field: &'a Field,
    /// Vertex on each of the seven edges that go upwards from each point, of the layer at hand and the next.
    cuts: [Vec<u32>; 2],
    mesh: Mesh,
}

type Point = [usize; 3];

impl March<'_> {
    fn cell(&mut self, lowest: Point) {
        let corner = |k: usize| [0, 1, 2].map(|axis| lowest[axis] + (k >> axis & 1));
        let inside = |k: usize| self.value(corner(k)) > 0.0;
        let count = (0..8).filter(|&k| inside(k)).count();
        if count == 0 || count == 8 {
            return;
        }
        for (walk, right) in WALKS {
            let mut corners = [lowest; 4];
            for step in 0..3 {
                corners[step + 1] = corners[step];
                corners[step + 1][walk[step]] += 1;
            }
            if !right {
                corners.swap(2, 3);
            }
            self.tetrahedron(corners, lowest[2]);
        }
    }

    /// Adds the surface in a tetrahedron whose corners are ordered as (origin, x, y, z) are.
    fn tetrahedron(&mut self, corners: [Point; 4], layer: usize) {
        let inside = corners.map(|corner| self.value(corner) > 0.0);
        // The order of the corners with some first that keeps the turning direction.
        let first = |k: usize| [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]][k];
        let mut cut = |a: usize, b: usize| self.cut(corners[a], corners[b], layer);
        match inside.iter().filter(|inside| **inside).count() {
            1 => {
                let [i, j, k, l] = first((0..4).find(|&k| inside[k]).unwrap_or(0));
                let face = [cut(i, j), cut(i, k), cut(i, l)];
                self.mesh.triangles.push(face);
            }
            3 => {
                let [i, j, k, l] = first((0..4).find(|&k| !inside[k]).unwrap_or(0));
                let face = [cut(i, j), cut(i, l), cut(i, k)];
                self.mesh.triangles.push(face);
            }
            2 => {
                let lowest = (0..4).find(|&k| inside[k]).unwrap_or(0);
                let [i, mut j, mut k, mut l] = first(lowest);
                // Turned about the first corner until the second is inside too.
                while !inside[j] {
                    (j, k, l) = (k, l, j);
                }
                let [a, b, c, d] = [cut(i, k), cut(i, l), cut(j, l), cut(j, k)];
                self.mesh.triangles.extend([[a, b, c], [a, c, d]]);
            }
            _ => {}
        }
    }

    /// The vertex on an edge of the grid, one end of which is inside.
    fn cut(&mut self, a: Point, b: Point, layer: usize) -> u32 {
        let (low, high) = if (0..3).all(|axis| a[axis] <= b[axis]) { (a, b) } else { (b, a) };
        let way = (0..3).map(|axis| (high[axis] - low[axis]) << axis).sum::<usize>() - 1;
        let slot = (low[1] * self.field.size[0] + low[0]) * 7 + way;
        let known = self.cuts[low[2] - layer][slot];
        if known != NONE {
            return known;
        }
        let (from, to) = (self.value(low), self.value(high));
        let share = (from / (from - to)).clamp(END_SHARE, 1.0 - END_SHARE);
        let place = |axis: usize| {
            let at = low[axis] as f32 + share * (high[axis] - low[axis]) as f32;
            self.field.origin[axis] + at * self.field.pitch
        };
        let position = [place(0), place(1), place(2)];
        let index = self.mesh.positions.len() as u32;
        self.mesh.positions.push(position);
        self.cuts[low[2] - layer][slot] = index;
        index
    }

    /// Outside on the border, and wherever there is no number.
    fn value(&self, [x, y, z]: Point) -> f32 {
        let [width, height, depth] = self.field.size;
        let border = |at: usize, count: usize| at == 0 || at + 1 == count;
        let value = self.field.values.get((z * height + y) * width + x).copied().unwrap_or(-1.0);
        if border(x, width) || border(y, height) || border(z, depth) || !value.is_finite() {
            return -self.field.pitch;
        }
        if value > 0.0 { value } else { value.min(-f32::MIN_POSITIVE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::check::check;

    fn field(side: usize, value: impl Fn([f32; 3]) -> f32) -> Field {
        let pitch = 2.4 / (side - 1) as f32;
        let place = |n: usize| n as f32 * pitch - 1.2;
        let at = |k: usize| value([place(k % side), place(k / side % side), place(k / side / side)]);
        Field { size: [side; 3], values: (0..side.pow(3)).map(at).collect(), origin: [-1.2; 3], pitch }
    }

    #[test]
    fn a_torus_has_its_volume_and_one_hole() {
        let torus = field(64, |[x, y, z]| 0.3 - (x.hypot(y) - 0.7).hypot(z));
        let facts = check(&surface(&torus)).expect("closed");
        let exact = 2.0 * std::f64::consts::PI.powi(2) * 0.7 * 0.09;
        assert!((facts.volume / exact - 1.0).abs() < 0.02, "{facts:?} for {exact}");
        assert_eq!(facts.vertices * 2, facts.triangles, "{facts:?}");
    }

    #[test]
    fn any_noise_gives_a_closed_surface() {
        let hash = |p: [f32; 3]| {
            let bits = p.iter().fold(17_u32, |h, v| (h ^ v.to_bits()).wrapping_mul(0x9E37_79B1));
            (bits >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let facts = check(&surface(&field(20, hash))).expect("closed, however wild");
        assert!(facts.triangles > 20_000, "{facts:?}");
        // A value that is no number is outside, and a full grid is a box.
        assert!(surface(&field(8, |_| f32::NAN)).triangles.is_empty());
        assert_eq!(check(&surface(&field(8, |_| 1.0))).expect("a box").components, 1);
    }
}
