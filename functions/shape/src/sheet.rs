//! Layered depth and its mesh: a front and a back sheet over the silhouette, joined along it.
//!
//! Marching triangles: each grid cell is split by a diagonal, each triangle is cut where the silhouette
//! crosses it. An outline made this way never touches itself, and no inner edge joins two outline points, so
//! that front and back together are closed and manifold for every picture: by construction, not by repair.

use crate::outline::Outline;
use mesh::{CutoutFrame, Mesh};

/// Least distance of front and back at an inner point, in pitches: keeps them apart where the silhouette is
/// hair-thin.
const GAP_MIN: f32 = 0.1;

/// No vertex yet.
const NONE: u32 = u32::MAX;

/// How front and back meet along the silhouette.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rim {
    /// In one line at this z, metres.
    At(f32),
    /// In one line half-way between both.
    Between,
    /// By upright walls.
    Walls,
}

/// A front and a back depth for each grid point inside a silhouette.
#[derive(Clone, Debug)]
pub struct Layered {
    /// The silhouette and its grid.
    pub outline: Outline,
    /// z of the front at each grid point, metres; heard inside the silhouette only.
    pub front: Vec<f32>,
    /// z of the back.
    pub back: Vec<f32>,
    /// How both meet.
    pub rim: Rim,
    /// Where the grid's pixels are on the mesh.
    pub frame: CutoutFrame,
}

/// The closed mesh, in metres.
pub(crate) fn zip(layered: &Layered) -> Mesh {
    let outline = &layered.outline;
    let points = outline.width * outline.height;
    let mut sheet = Sheet {
        layered,
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

/// The vertices of a place: one on each sheet, or one that belongs to both.
#[derive(Clone, Copy)]
struct Corner {
    front: u32,
    back: u32,
}

struct Sheet<'a> {
    layered: &'a Layered,
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
        let inside = corners.map(|at| self.layered.outline.inside(at));
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
                    self.wall(to_q, to_r);
                } else {
                    let (q, r) = (self.inner(q), self.inner(r));
                    self.face(q, r, to_r);
                    self.face(q, to_r, to_q);
                    self.wall(to_r, to_q);
                }
            }
        }
    }

    fn face(&mut self, a: Corner, b: Corner, c: Corner) {
        self.mesh.triangles.push([a.front, b.front, c.front]);
        self.mesh.triangles.push([a.back, c.back, b.back]);
    }

    /// Closes the sheets along a piece of the outline; the inside is on its left, seen from the front.
    fn wall(&mut self, from: Corner, to: Corner) {
        if from.front != from.back {
            self.mesh.triangles.push([to.front, from.front, from.back]);
            self.mesh.triangles.push([to.front, from.back, to.back]);
        }
    }

    fn inner(&mut self, at: usize) -> Corner {
        if self.front[at] == NONE {
            self.front[at] = self.mesh.positions.len() as u32;
            let [x, y] = self.place(at);
            let [front, back] = self.depths(at);
            self.mesh.positions.extend([[x, y, front], [x, y, back]]);
        }
        Corner { front: self.front[at], back: self.front[at] + 1 }
    }

    /// Front and back at an inner point, apart.
    fn depths(&self, at: usize) -> [f32; 2] {
        let Layered { outline, front, back, frame, .. } = self.layered;
        let least = GAP_MIN * outline.pitch_px * frame.metres_per_px();
        let (front, back) = (front[at], back[at]);
        if front - back >= least {
            return [front, back];
        }
        let middle = (front + back) * 0.5;
        [middle + least * 0.5, middle - least * 0.5]
    }

    /// The rim vertex on the edge between two grid points, one of them inside.
    fn cut(&mut self, a: usize, b: usize) -> Corner {
        let (low, high) = (a.min(b), a.max(b));
        let (kind, owner) = match high - low {
            1 => (0, low),
            step if step == self.layered.outline.width => (1, low),
            // Both diagonals of a cell are kept at its upper left point.
            step if step == self.layered.outline.width + 1 => (2, low),
            _ => (2, low - 1),
        };
        if self.rim[kind][owner] == NONE {
            let (inner, outer) = if self.layered.outline.inside(a) { (a, b) } else { (b, a) };
            let share = self.layered.outline.cut(inner, outer);
            let (from, to) = (self.place(inner), self.place(outer));
            let [x, y] = [0, 1].map(|k| from[k] + share * (to[k] - from[k]));
            self.rim[kind][owner] = self.mesh.positions.len() as u32;
            let [front, back] = self.depths(inner);
            match self.layered.rim {
                Rim::At(z) => self.mesh.positions.push([x, y, z]),
                Rim::Between => self.mesh.positions.push([x, y, (front + back) * 0.5]),
                Rim::Walls => self.mesh.positions.extend([[x, y, front], [x, y, back]]),
            }
        }
        let front = self.rim[kind][owner];
        Corner { front, back: front + u32::from(self.layered.rim == Rim::Walls) }
    }

    fn place(&self, at: usize) -> [f32; 2] {
        self.layered.frame.to_mesh(self.layered.outline.place_px(at))
    }
}
