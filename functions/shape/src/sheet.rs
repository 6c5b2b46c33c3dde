//! Third step of inflation: a front and a back sheet over the silhouette, zipped along it.
//!
//! Marching triangles: each grid cell is split by a diagonal, each triangle is cut where the silhouette
//! crosses it. An outline made this way never touches itself, and no inner edge joins two outline points, so
//! that front and back together are closed and manifold for every picture: by construction, not by repair.

use crate::outline::Outline;
use mesh::{CutoutFrame, Mesh};

/// Least height of an inner point, in pitches: keeps front and back apart where the silhouette is hair-thin.
const HEIGHT_MIN: f32 = 0.05;

/// No vertex yet.
const NONE: u32 = u32::MAX;

/// The closed mesh, in metres; `height` gives each inside grid point's distance from the middle plane in
/// pitches.
pub fn zip(outline: &Outline, height: &[f32], frame: &CutoutFrame) -> Mesh {
    let points = outline.width * outline.height;
    let mut sheet = Sheet {
        outline,
        height,
        frame,
        front: vec![NONE; points],
        rim: [0, 1, 2].map(|_| vec![NONE; points]),
        mesh: Mesh::default(),
    };
    for y in 0..outline.height - 1 {
        for x in 0..outline.width - 1 {
            let top = y * outline.width + x;
            let bottom = top + outline.width;
            // Alternating diagonals: no direction is preferred.
            let split = match (x + y) % 2 {
                0 => [[top, bottom, bottom + 1], [top, bottom + 1, top + 1]],
                _ => [[top, bottom, top + 1], [bottom, bottom + 1, top + 1]],
            };
            split.into_iter().for_each(|triangle| sheet.triangle(triangle));
        }
    }
    sheet.mesh
}

/// A vertex of one sheet: inner points have one on each sheet, rim points belong to both.
#[derive(Clone, Copy)]
enum Corner {
    Inner(u32),
    Rim(u32),
}

impl Corner {
    fn front(self) -> u32 {
        let (Corner::Inner(index) | Corner::Rim(index)) = self;
        index
    }

    fn back(self) -> u32 {
        match self {
            Corner::Inner(index) => index + 1,
            Corner::Rim(index) => index,
        }
    }
}

struct Sheet<'a> {
    outline: &'a Outline,
    height: &'a [f32],
    frame: &'a CutoutFrame,
    /// Front vertex of each grid point; the back vertex is the next one.
    front: Vec<u32>,
    /// Vertex on the edge from each grid point to the right, downwards, and along the diagonal of the cell
    /// below right.
    rim: [Vec<u32>; 3],
    mesh: Mesh,
}

impl Sheet<'_> {
    /// Adds what is inside of a grid triangle, counter-clockwise as the front is seen.
    fn triangle(&mut self, corners: [usize; 3]) {
        let inside = corners.map(|at| self.outline.inside(at));
        match inside {
            [false, false, false] => {}
            [true, true, true] => {
                let [a, b, c] = corners.map(|at| self.inner(at));
                self.face(a, b, c);
            }
            _ => {
                // Turned so that the corner that differs from the two others comes first.
                let odd =
                    (0..3).find(|&k| inside[k] != inside[(k + 1) % 3] && inside[k] != inside[(k + 2) % 3]);
                let odd = odd.expect("of three flags that differ, one differs from both others");
                let [p, q, r] = [0, 1, 2].map(|k| corners[(odd + k) % 3]);
                let (to_q, to_r) = (self.cut(p, q), self.cut(p, r));
                if inside[odd] {
                    let p = self.inner(p);
                    self.face(p, to_q, to_r);
                } else {
                    let (q, r) = (self.inner(q), self.inner(r));
                    self.face(q, r, to_r);
                    self.face(q, to_r, to_q);
                }
            }
        }
    }

    fn face(&mut self, a: Corner, b: Corner, c: Corner) {
        self.mesh.triangles.push([a.front(), b.front(), c.front()]);
        self.mesh.triangles.push([a.back(), c.back(), b.back()]);
    }

    fn inner(&mut self, at: usize) -> Corner {
        if self.front[at] == NONE {
            self.front[at] = self.mesh.positions.len() as u32;
            let [x, y] = self.place(at);
            let z = self.height[at].max(HEIGHT_MIN) * self.outline.pitch_px * self.frame.metres_per_px();
            self.mesh.positions.extend([[x, y, z], [x, y, -z]]);
        }
        Corner::Inner(self.front[at])
    }

    /// The rim vertex on the edge between two grid points, one of them inside.
    fn cut(&mut self, a: usize, b: usize) -> Corner {
        let (low, high) = (a.min(b), a.max(b));
        let (kind, owner) = match high - low {
            1 => (0, low),
            step if step == self.outline.width => (1, low),
            // Both diagonals of a cell are kept at its upper left point.
            step if step == self.outline.width + 1 => (2, low),
            _ => (2, low - 1),
        };
        if self.rim[kind][owner] == NONE {
            let (inner, outer) = if self.outline.inside(a) { (a, b) } else { (b, a) };
            let share = self.outline.cut(inner, outer);
            let (from, to) = (self.place(inner), self.place(outer));
            let [x, y] = [0, 1].map(|k| from[k] + share * (to[k] - from[k]));
            self.rim[kind][owner] = self.mesh.positions.len() as u32;
            self.mesh.positions.push([x, y, 0.0]);
        }
        Corner::Rim(self.rim[kind][owner])
    }

    fn place(&self, at: usize) -> [f32; 2] {
        let outline = self.outline;
        let grid = [at % outline.width, at / outline.width];
        self.frame.to_mesh([0, 1].map(|k| outline.origin_px[k] + grid[k] as f32 * outline.pitch_px))
    }
}
