//! How rules put a scene together: parts with places, in an object's space, y up and about one unit large.

use crate::rng::Rng;
use crate::scene::{Join, Matrix, P, Paint, Part, Scene};
use crate::solids::Solid;

/// Axes of a part that is not turned.
const UPRIGHT: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// A scene in the making.
pub(crate) struct Build<'a> {
    pub(crate) rng: &'a Rng,
    pub(crate) scene: Scene,
    palette: Vec<P>,
}

/// Rows of a turn around an axis.
pub(crate) fn turn(axis: usize, angle: f32) -> Matrix {
    let (sin, cos) = angle.sin_cos();
    let mut rows = UPRIGHT;
    let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
    (rows[a][a], rows[a][b], rows[b][a], rows[b][b]) = (cos, sin, -sin, cos);
    rows
}

/// First the second, then the first.
pub(crate) fn after(first: Matrix, second: Matrix) -> Matrix {
    first.map(|row| [0, 1, 2].map(|k| (0..3).map(|n| row[n] * second[n][k]).sum()))
}

impl<'a> Build<'a> {
    pub(crate) fn new(rng: &'a Rng) -> Build<'a> {
        let colour = |rng: &Rng| -> P {
            // Most things are grey, brown, white or black; the rest is bright.
            let light = rng.within(0.03, 0.95);
            let colourful = if rng.chance(0.5) { 0.15 } else { 0.9 };
            [0; 3].map(|_| (light + colourful * (rng.within(0.0, 1.0) - light)).clamp(0.02, 1.0))
        };
        let count = rng.count(1, 4);
        let palette: Vec<P> = (0..count).map(|_| colour(rng)).collect();
        let mut build = Build { rng, scene: Scene::default(), palette };
        build.paint();
        build
    }

    /// Takes another paint for the parts that follow.
    pub(crate) fn paint(&mut self) {
        let paint = Paint::new(self.rng, &self.palette);
        self.scene.paints.push(paint);
    }

    /// Adds an upright part.
    pub(crate) fn add(&mut self, solid: Solid, at: P) -> &mut Part {
        let part = Part {
            solid,
            join: Join::Beside,
            paint: self.scene.paints.len() - 1,
            shell: 0.0,
            bumps: [0.0; 2],
            axes: UPRIGHT,
            at,
        };
        self.scene.parts.push(part);
        let last = self.scene.parts.len() - 1;
        &mut self.scene.parts[last]
    }

    pub(crate) fn cuboid(&mut self, half: P, round: f32, at: P) -> &mut Part {
        let least = half.iter().copied().fold(f32::MAX, f32::min);
        self.add(Solid::Cuboid { half, round: round.min(least * 0.98) }, at)
    }

    pub(crate) fn ball(&mut self, radii: P, at: P) -> &mut Part {
        self.add(Solid::Ellipsoid { radii }, at)
    }

    /// Around y.
    pub(crate) fn cylinder(&mut self, radius: f32, half: f32, at: P) -> &mut Part {
        self.cone([radius, radius], half, at)
    }

    pub(crate) fn cone(&mut self, [low, high]: [f32; 2], half: f32, at: P) -> &mut Part {
        let round = (low.min(high).min(half) * 0.3).min(0.03);
        self.add(Solid::Cone { half, low, high, round }, at)
    }

    /// Between two places.
    pub(crate) fn limb(&mut self, from: P, to: P, radii: [f32; 2]) -> &mut Part {
        let at = [0, 1, 2].map(|k| (from[k] + to[k]) * 0.5);
        let ends = [from, to].map(|end| [0, 1, 2].map(|k| end[k] - at[k]));
        self.add(Solid::Capsule { ends, radii }, at)
    }

    /// The same parts once more, on the other side of x = 0.
    pub(crate) fn mirrored(&mut self, first: usize) {
        let of = |part: &Part| {
            let mut other = part.clone();
            other.at[0] = -other.at[0];
            other.axes = other.axes.map(|[x, y, z]| [-x, y, z]);
            other
        };
        let others: Vec<Part> = self.scene.parts[first..].iter().map(of).collect();
        self.scene.parts.extend(others);
    }

    pub(crate) fn parts(&self) -> usize {
        self.scene.parts.len()
    }

    /// An outline around the axis from radii at even heights, made smooth; heights from -half to half.
    pub(crate) fn profile(radii: &[f32], half: f32) -> Vec<[f32; 2]> {
        let steps = if radii.len() > 6 { 2 } else { 3 };
        let at = |n: isize| radii[n.clamp(0, radii.len() as isize - 1) as usize];
        let count = (radii.len() - 1) * steps;
        let mut outline = vec![[0.0, -half]];
        for n in 0..=count {
            let (low, share) = ((n / steps) as isize, (n % steps) as f32 / steps as f32);
            let [a, b, c, d] = [-1, 0, 1, 2].map(|k| at(low + k));
            // Catmull and Rom's spline.
            let bend =
                share * (c - a + share * (2.0 * a - 5.0 * b + 4.0 * c - d + share * (3.0 * (b - c) + d - a)));
            let radius = (b + 0.5 * bend).max(0.004);
            outline.push([radius, half * (2.0 * n as f32 / count as f32 - 1.0)]);
        }
        outline.push([0.0, half]);
        outline
    }

    /// A closed outline from a radius for each angle.
    pub(crate) fn polar(count: usize, radius: impl Fn(f32) -> f32) -> Vec<[f32; 2]> {
        let at = |n: usize| {
            let angle = n as f32 / count as f32 * std::f32::consts::TAU;
            [radius(angle) * angle.sin(), radius(angle) * angle.cos()]
        };
        (0..count).map(at).collect()
    }
}
