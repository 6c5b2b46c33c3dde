//! Takes part of the picture's own light off its colours, so that a viewer's light is not the second one.
//!
//! How bright a diffuse surface looks under large lamps is nearly linear in its normal (Basri and Jacobs
//! 2003: order one of spherical harmonics has most of it). That line is fitted to the front. Light changes
//! all channels alike: the more of the picture's colours one line for all explains, the more of it is taken
//! off. A drawing without light keeps its colours, and so does a surface of two colours.

use crate::picture::Picture;
use mesh::Mesh;
use mesh::geometry::{dot, face_normal, unit};

/// Share of the explained light that is taken off.
const STRENGTH: f32 = 0.5;
/// Least and most that a colour is multiplied with: a dark subject on a light one is no shade.
const GAIN: (f32, f32) = (0.8, 1.5);
/// Faces that look less than this to the front are seen in too few pixels to be heard.
const FACING_MIN: f32 = 0.1;
/// Keeps the fit from following what few faces say.
const RIDGE: f64 = 1e-3;

/// The light of a picture, as brightness by normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Light {
    /// Constant part, and parts along x, y and z; 0 to 255.
    line: [f32; 4],
    /// Mean brightness of the front.
    mean: f32,
    /// Share of the light that is taken off.
    strength: f32,
}

impl Light {
    /// Fitted to what a mesh shows of its picture. `normals` has one per vertex.
    pub fn of(mesh: &Mesh, normals: &[[f32; 3]], picture: &Picture) -> Light {
        let mut sums = Sums::default();
        for &triangle in &mesh.triangles {
            let corners = mesh.corners(triangle);
            let weight = face_normal(corners)[2] * 0.5;
            let sum = |axis: usize| triangle.iter().map(|at| normals[*at as usize][axis]).sum::<f32>();
            let normal = unit([sum(0), sum(1), sum(2)]);
            if weight > 0.0 && normal[2] > FACING_MIN {
                let place = [0, 1].map(|k| corners.iter().map(|corner| corner[k]).sum::<f32>() / 3.0);
                sums.add(normal, picture.tone(place), weight);
            }
        }
        sums.solved()
    }

    /// What a colour at a normal (of any length) is multiplied with. The back has the front's light, as it
    /// has its picture.
    pub fn gain(&self, [x, y, z]: [f32; 3]) -> f32 {
        let [x, y, z] = unit([x, y, z.abs()]);
        let light = self.line[0] + dot([self.line[1], self.line[2], self.line[3]], [x, y, z]);
        let (low, high) = GAIN;
        (self.mean.max(1.0) / light.max(1.0)).powf(self.strength).clamp(low, high)
    }
}

/// Sums of the fit by least squares.
#[derive(Default)]
struct Sums {
    /// Products of (1, x, y, z) with each other, with each channel, and of each channel with itself.
    products: [[f64; 4]; 4],
    right: [[f64; 4]; 3],
    squares: [f64; 3],
}

impl Sums {
    fn add(&mut self, [x, y, z]: [f32; 3], colour: [f32; 3], weight: f32) {
        let (row, weight) = ([1.0, x, y, z].map(f64::from), f64::from(weight));
        for i in 0..4 {
            (0..4).for_each(|k| self.products[i][k] += row[i] * row[k] * weight);
        }
        for (channel, value) in colour.map(f64::from).into_iter().enumerate() {
            (0..4).for_each(|k| self.right[channel][k] += row[k] * value * weight);
            self.squares[channel] += value * value * weight;
        }
    }

    fn solved(&self) -> Light {
        let total = self.products[0][0];
        if total <= 0.0 {
            return Light { line: [1.0, 0.0, 0.0, 0.0], mean: 1.0, strength: 0.0 };
        }
        let mut matrix = self.products;
        (1..4).for_each(|k| matrix[k][k] += RIDGE * total);
        let brightness = |k: usize| (0..3).map(|channel| self.right[channel][k]).sum::<f64>() / 3.0;
        let line = solve(matrix, [0, 1, 2, 3].map(brightness));
        let mean = brightness(0) / total;
        let product = |i: usize| (0..4).map(|k| line[i] * line[k] * self.products[i][k]).sum::<f64>();
        let fitted: f64 = (0..4).map(product).sum();
        let (mut residue, mut spread) = (0.0, 0.0);
        for (right, square) in self.right.iter().zip(&self.squares) {
            // The channel's own mean, under the common light.
            let (own, dot) = (right[0] / total, (0..4).map(|k| line[k] * right[k]).sum::<f64>());
            let share = own / mean.max(1.0);
            residue += square - 2.0 * share * dot + share * share * fitted;
            spread += square - own * own * total;
        }
        let explained = if spread > 1e-6 * total { (1.0 - residue / spread).clamp(0.0, 1.0) } else { 0.0 };
        let line = line.map(|value| value as f32);
        Light { line, mean: mean as f32, strength: STRENGTH * explained as f32 }
    }
}

/// Gauss's elimination of a symmetric, positive definite matrix.
fn solve(mut matrix: [[f64; 4]; 4], mut right: [f64; 4]) -> [f64; 4] {
    for at in 0..4 {
        for below in at + 1..4 {
            let share = matrix[below][at] / matrix[at][at];
            (at..4).for_each(|k| matrix[below][k] -= share * matrix[at][k]);
            right[below] -= share * right[at];
        }
    }
    for at in (0..4).rev() {
        let known: f64 = (at + 1..4).map(|k| matrix[at][k] * right[k]).sum();
        right[at] = (right[at] - known) / matrix[at][at];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgba, RgbaImage};
    use mesh::Cutout;
    use mesh::sample::ball;
    use mesh::smooth::vertex_normals;

    /// The light that a ball's picture seems to have, whose colour is given by place (-1 to 1).
    fn light(colour: impl Fn(f32, f32) -> [f32; 3]) -> Light {
        let image = RgbaImage::from_fn(256, 256, |x, y| {
            let (x, y) = ((x as f32 - 127.5) / 100.0, (127.5 - y as f32) / 100.0);
            let [r, g, b] = colour(x, y).map(|channel| channel as u8);
            Rgba([r, g, b, if x.hypot(y) < 1.0 { 255 } else { 0 }])
        });
        let mesh = ball(0.5, 40);
        let normals = vertex_normals(&mesh);
        Light::of(&mesh, &normals, &Picture::of(&Cutout::of(image).expect("an object")))
    }

    #[test]
    fn a_lamp_on_the_left_is_taken_off_in_part() {
        let lamp = light(|x, _| [140.0 - 60.0 * x, 70.0 - 30.0 * x, 14.0 - 6.0 * x]);
        let seen = |x: f32| (140.0 - 60.0 * x) * lamp.gain([x, 0.0, (1.0 - x * x).sqrt()]);
        let (before, after) = (194.0 / 86.0, seen(-0.9) / seen(0.9));
        assert!(after > 1.1 && after < 1.0 + 0.6 * (before - 1.0), "{after} of {before}: {lamp:?}");
        assert!((seen(0.0) - 140.0).abs() < 6.0, "{}", seen(0.0));
        // The back is seen as its mirror image, and has the same light.
        assert_eq!(lamp.gain([0.6, 0.0, 0.8]), lamp.gain([0.6, 0.0, -0.8]));
    }

    #[test]
    fn a_drawing_without_light_keeps_its_colours() {
        let plain = light(|_, _| [120.0; 3]);
        let checks = light(|x, y| [if (9.0 * x).sin() * (9.0 * y).sin() > 0.0 { 210.0 } else { 40.0 }; 3]);
        let two = light(|x, y| [130.0 + 90.0 * x, 40.0, 130.0 + 90.0 * y]);
        for light in [plain, checks, two] {
            for normal in [[0.0, 0.0, 1.0], [0.9, 0.0, 0.4], [0.0, -0.9, 0.4], [-0.7, 0.7, 0.1]] {
                assert!((light.gain(normal) - 1.0).abs() < 0.08, "{light:?} {}", light.gain(normal));
            }
        }
    }
}
