//! Third step of texturing: every texel of the charts gets its colour, and every other texel that of the
//! nearest one.

use crate::picture::{Picture, Point};

/// Slack at a triangle's border in barycentric units: a texel centre on an edge is covered from both sides.
const SLACK: f32 = 1e-4;

/// A square texture while it is baked.
pub struct Canvas {
    side: usize,
    colours: Vec<[u8; 3]>,
    used: Vec<bool>,
}

impl Canvas {
    /// An empty one.
    pub fn new(side_px: u32) -> Canvas {
        let side = side_px as usize;
        Canvas { side, colours: vec![[0; 3]; side * side], used: vec![false; side * side] }
    }

    /// Colours the texels whose centres a triangle covers. `uvs` in texels.
    pub fn bake(&mut self, uvs: [[f32; 2]; 3], points: [Point; 3], picture: &Picture, texel_metres: f32) {
        cover(self.side, uvs, |at, weights| {
            let point = blend(&points, weights);
            let colour = picture.colour(&point, texel_metres);
            self.set(at, colour.map(|channel| (channel * point.gain + 0.5) as u8));
        });
    }

    /// Gives a texel its colour.
    pub fn set(&mut self, at: usize, colour: [u8; 3]) {
        self.colours[at] = colour;
        self.used[at] = true;
    }

    /// Gives every unused texel the colour of a nearest used one (in steps along the axes).
    pub fn dilate(&mut self) {
        let side = self.side;
        let mut ring: Vec<u32> = (0..self.used.len() as u32).filter(|&at| self.used[at as usize]).collect();
        let mut next = Vec::new();
        while !ring.is_empty() {
            for &at in &ring {
                let at = at as usize;
                let (x, y) = (at % side, at / side);
                let near = [
                    (x > 0).then(|| at - 1),
                    (x + 1 < side).then(|| at + 1),
                    (y > 0).then(|| at - side),
                    (y + 1 < side).then(|| at + side),
                ];
                for near in near.into_iter().flatten() {
                    if std::mem::replace(&mut self.used[near], true) {
                        continue;
                    }
                    self.colours[near] = self.colours[at];
                    next.push(near as u32);
                }
            }
            ring.clear();
            std::mem::swap(&mut ring, &mut next);
        }
    }

    /// RGB bytes, row by row from the top.
    pub fn bytes(&self) -> &[u8] {
        self.colours.as_flattened()
    }

    /// Side in texels.
    pub fn side_px(&self) -> u32 {
        self.side as u32
    }
}

/// Visits the texels, numbered row by row, whose centres a triangle covers, with the weights of its corners
/// there. `uvs` in texels.
pub fn cover(side: usize, uvs: [[f32; 2]; 3], mut visit: impl FnMut(usize, [f32; 3])) {
    let [a, b, c] = uvs;
    let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    if area == 0.0 {
        return;
    }
    let range = |k: usize| {
        let low = (a[k].min(b[k]).min(c[k]) - 0.5).ceil().clamp(0.0, side as f32) as usize;
        let high = (a[k].max(b[k]).max(c[k]) + 0.5).floor().clamp(0.0, side as f32) as usize;
        low..high
    };
    let columns = range(0);
    for y in range(1) {
        for x in columns.clone() {
            let (dx, dy) = (x as f32 + 0.5 - a[0], y as f32 + 0.5 - a[1]);
            let weight_b = (dx * (c[1] - a[1]) - dy * (c[0] - a[0])) / area;
            let weight_c = (dy * (b[0] - a[0]) - dx * (b[1] - a[1])) / area;
            let weights = [1.0 - weight_b - weight_c, weight_b, weight_c];
            if weights.iter().all(|&weight| weight >= -SLACK) {
                visit(y * side + x, weights);
            }
        }
    }
}

fn blend(points: &[Point; 3], weights: [f32; 3]) -> Point {
    let mix = |pick: fn(&Point, usize) -> f32, axis: usize| {
        (0..3).map(|k| weights[k] * pick(&points[k], axis)).sum::<f32>()
    };
    Point {
        position: [0, 1, 2].map(|axis| mix(|point, axis| point.position[axis], axis)),
        normal: [0, 1, 2].map(|axis| mix(|point, axis| point.normal[axis], axis)),
        rim_radius: mix(|point, _| point.rim_radius, 0),
        gain: mix(|point, _| point.gain, 0),
    }
}
