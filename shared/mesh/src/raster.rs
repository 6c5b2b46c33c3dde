//! A small software rasteriser: one mesh, orthographic, to a picture. Export's preview and turntable and the
//! quality figures come from it; it knows no files.

use crate::Mesh;
use crate::geometry::{dot, face_normal};
use image::RgbaImage;
use std::ops::Range;
use std::sync::LazyLock;

/// Samples per pixel and axis.
const SUPERSAMPLING: u32 = 2;
/// Samples per pixel.
const SAMPLES: usize = (SUPERSAMPLING * SUPERSAMPLING) as usize;
/// Difference of depth, in samples, up to which neighbouring samples show one surface: a slope of 76 degrees.
const SAME_SURFACE: f32 = 4.0;
/// Base colour of a mesh without a texture, linear.
const CLAY: [f32; 3] = [0.6, 0.6, 0.6];
/// No triangle covers the sample.
const NOTHING: u32 = u32::MAX;

/// From where and how large a mesh is seen. Orthographic; the light goes with the camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Radians around Y: 0 looks at the front (+Z), a quarter turn looks at the side that faces +X.
    pub yaw: f32,
    /// Radians that the camera is raised above the horizon.
    pub pitch: f32,
    /// Side of the square picture.
    pub size_px: u32,
    /// Half of what the picture's side covers, in metres.
    pub half_extent: f32,
    /// What stands in the picture's middle, in metres.
    pub centre: [f32; 3],
}

impl View {
    /// The camera's right, up and towards-the-camera directions.
    fn axes(&self) -> [[f32; 3]; 3] {
        let ((sin_yaw, cos_yaw), (sin_pitch, cos_pitch)) = (self.yaw.sin_cos(), self.pitch.sin_cos());
        let right = [cos_yaw, 0.0, -sin_yaw];
        let up = [-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch];
        let towards = [sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch];
        [right, up, towards]
    }
}

/// A mesh lit by a soft key light from the upper left and a fill light from the right, on a transparent
/// background. Smooth where the mesh has normals, faceted where it has none; grey where there is no texture.
pub fn render(mesh: &Mesh, texture: Option<&RgbaImage>, view: &View) -> RgbaImage {
    Rasteriser::default().draw(mesh, texture, view, true)
}

/// As [`render`], but the texture's own colours without any light: what a picture is compared with.
pub fn render_unlit(mesh: &Mesh, texture: Option<&RgbaImage>, view: &View) -> RgbaImage {
    Rasteriser::default().draw(mesh, texture, view, false)
}

/// Keeps its buffers from picture to picture: for a whole turn of a model.
#[derive(Default)]
pub struct Rasteriser {
    samples: Samples,
    points: Vec<[f32; 3]>,
}

impl Rasteriser {
    /// As [`render`].
    pub fn render(&mut self, mesh: &Mesh, texture: Option<&RgbaImage>, view: &View) -> RgbaImage {
        self.draw(mesh, texture, view, true)
    }

    fn draw(&mut self, mesh: &Mesh, texture: Option<&RgbaImage>, view: &View, lit: bool) -> RgbaImage {
        let side = view.size_px * SUPERSAMPLING;
        let axes = view.axes();
        let scale = side as f32 * 0.5 / view.half_extent;
        let project = |p: &[f32; 3]| {
            let q = [p[0] - view.centre[0], p[1] - view.centre[1], p[2] - view.centre[2]];
            let [x, y, z] = axes.map(|axis| dot(axis, q) * scale);
            [x + side as f32 * 0.5, side as f32 * 0.5 - y, z]
        };
        self.points.clear();
        self.points.extend(mesh.positions.iter().map(project));
        self.samples.clear(side as usize, window(&self.points, side as usize));
        for (index, triangle) in mesh.triangles.iter().enumerate() {
            if let Some(corners) = corners(&self.points, *triangle) {
                self.samples.cover(corners, index as u32);
            }
        }
        let texture = texture.filter(|texture| texture.width() > 0 && texture.height() > 0);
        let shader = Shader { mesh, texture, points: &self.points, axes, lit, linear: &LINEAR };
        resolve(&self.samples, &shader, view.size_px)
    }
}

fn corners<T: Copy>(values: &[T], triangle: [u32; 3]) -> Option<[T; 3]> {
    let [a, b, c] = triangle.map(|index| values.get(index as usize).copied());
    Some([a?, b?, c?])
}

/// The samples that points can reach, as ranges of columns and of rows, whole pixels.
fn window(points: &[[f32; 3]], side: usize) -> [Range<usize>; 2] {
    [0, 1].map(|axis| {
        let fold =
            |pick: fn(f32, f32) -> f32, start| points.iter().fold(start, |best, p| pick(best, p[axis]));
        let (low, high) = (fold(f32::min, f32::INFINITY), fold(f32::max, f32::NEG_INFINITY));
        let step = SUPERSAMPLING as usize;
        let begins = low.clamp(0.0, side as f32) as usize / step * step;
        let ends = (high.clamp(0.0, side as f32) as usize + 1).next_multiple_of(step).min(side);
        begins..ends.max(begins)
    })
}

/// What is nearest at a sample.
#[derive(Clone, Copy)]
struct Nearest {
    depth: f32,
    triangle: u32,
}

const EMPTY: Nearest = Nearest { depth: f32::NEG_INFINITY, triangle: NOTHING };

/// Which triangle is nearest at each sample. Outside of the window all are empty.
#[derive(Default)]
struct Samples {
    side: usize,
    nearest: Vec<Nearest>,
    window: [Range<usize>; 2],
}

impl Samples {
    fn clear(&mut self, side: usize, window: [Range<usize>; 2]) {
        if self.side == side {
            let [columns, rows] = self.window.clone();
            for y in rows {
                self.nearest[y * side + columns.start..y * side + columns.end].fill(EMPTY);
            }
        } else {
            self.nearest.clear();
            self.nearest.resize(side * side, EMPTY);
            self.side = side;
        }
        self.window = window;
    }

    /// Draws a triangle; one that faces away is left out.
    fn cover(&mut self, [a, b, c]: [[f32; 3]; 3], index: u32) {
        // On the screen y points down, so that counter-clockwise has a negative area.
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        if area.is_nan() || area >= 0.0 {
            return;
        }
        let limit = self.side as f32;
        let (x_min, x_max) = span(a[0], b[0], c[0], limit);
        let (y_min, y_max) = span(a[1], b[1], c[1], limit);
        let inverse = 1.0 / area;
        let (step_b, step_c) = ((c[1] - a[1]) * inverse, -(b[1] - a[1]) * inverse);
        for y in y_min..y_max {
            let (dx, dy) = (x_min as f32 + 0.5 - a[0], y as f32 + 0.5 - a[1]);
            let mut weight_b = (dx * (c[1] - a[1]) - dy * (c[0] - a[0])) * inverse;
            let mut weight_c = (dy * (b[0] - a[0]) - dx * (b[1] - a[1])) * inverse;
            let row = y * self.side;
            for at in row + x_min..row + x_max {
                if weight_b >= 0.0 && weight_c >= 0.0 && weight_b + weight_c <= 1.0 {
                    let depth = a[2] + weight_b * (b[2] - a[2]) + weight_c * (c[2] - a[2]);
                    if depth > self.nearest[at].depth {
                        self.nearest[at] = Nearest { depth, triangle: index };
                    }
                }
                weight_b += step_b;
                weight_c += step_c;
            }
        }
    }
}

/// The samples whose centres may lie between the smallest and the largest of three coordinates.
fn span(a: f32, b: f32, c: f32, limit: f32) -> (usize, usize) {
    let low = (a.min(b).min(c) - 0.5).ceil().clamp(0.0, limit);
    let high = (a.max(b).max(c) + 0.5).floor().clamp(0.0, limit);
    (low as usize, high as usize)
}

/// What a sample looks like.
struct Shader<'a> {
    mesh: &'a Mesh,
    texture: Option<&'a RgbaImage>,
    points: &'a [[f32; 3]],
    axes: [[f32; 3]; 3],
    lit: bool,
    linear: &'a [f32; 256],
}

impl Shader<'_> {
    /// Linear colour of a triangle at a place on the screen.
    fn colour(&self, triangle: [u32; 3], x: f32, y: f32) -> Option<[f32; 3]> {
        let [a, b, c] = corners(self.points, triangle)?;
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        let (dx, dy) = (x - a[0], y - a[1]);
        let weight_b = (dx * (c[1] - a[1]) - dy * (c[0] - a[0])) / area;
        let weight_c = (dy * (b[0] - a[0]) - dx * (b[1] - a[1])) / area;
        let weights = [1.0 - weight_b - weight_c, weight_b, weight_c];
        let base = match (self.texture, corners(&self.mesh.uvs, triangle)) {
            (Some(texture), Some(uvs)) => {
                let uv = [0, 1].map(|axis| (0..3).map(|k| weights[k] * uvs[k][axis]).sum::<f32>());
                texel(texture, uv, self.linear)
            }
            _ => CLAY,
        };
        if !self.lit {
            return Some(base);
        }
        let normal = match corners(&self.mesh.normals, triangle) {
            Some(normals) => [0, 1, 2].map(|axis| (0..3).map(|k| weights[k] * normals[k][axis]).sum::<f32>()),
            None => face_normal(corners(&self.mesh.positions, triangle)?),
        };
        let light = light(self.axes.map(|axis| dot(axis, normal)));
        Some(base.map(|channel| channel * light))
    }
}

/// Brightness of a surface whose normal is given in the camera's axes: sky, key and fill; about 1 when seen
/// head on.
fn light(normal: [f32; 3]) -> f32 {
    const KEY: [f32; 3] = [-0.43, 0.58, 0.69];
    const FILL: [f32; 3] = [0.71, 0.0, 0.71];
    let length = dot(normal, normal).sqrt().max(1e-12);
    let n = normal.map(|value| value / length);
    // Half-Lambert: the terminator is soft, as under a large lamp.
    let soft = |direction: [f32; 3]| (0.5 + 0.5 * dot(n, direction)).powi(2);
    0.14 + 0.06 * n[1] + 0.86 * soft(KEY) + 0.22 * soft(FILL)
}

/// Bilinear, clamped at the borders; linear light.
fn texel(texture: &RgbaImage, uv: [f32; 2], linear: &[f32; 256]) -> [f32; 3] {
    let place = |value: f32, size: u32| {
        let at = (value * size as f32 - 0.5).clamp(0.0, (size - 1) as f32);
        let low = at as u32;
        (low, (low + 1).min(size - 1), at - low as f32)
    };
    let (x0, x1, fx) = place(uv[0], texture.width());
    let (y0, y1, fy) = place(uv[1], texture.height());
    let row = |y: u32| {
        let (left, right) = (texture.get_pixel(x0, y), texture.get_pixel(x1, y));
        [0, 1, 2].map(|k| {
            let (l, r) = (linear[left[k] as usize], linear[right[k] as usize]);
            l + (r - l) * fx
        })
    };
    let (top, bottom) = (row(y0), row(y1));
    [0, 1, 2].map(|k| top[k] + (bottom[k] - top[k]) * fy)
}

/// sRGB bytes as linear light. The curve is the 2.2 power: within 1 % of sRGB's, and exactly undone by
/// `encode`.
static LINEAR: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| (byte as f32 / 255.0).powf(2.2)));

/// Linear light back to bytes, at steps fine enough for the darkest ones.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |step: u32| ((step as f32 / ENCODING_STEPS).powf(1.0 / 2.2) * 255.0 + 0.5) as u8;
    (0..=ENCODING_STEPS as u32).map(byte).collect()
});

const ENCODING_STEPS: f32 = 16_383.0;

/// The samples shaded and averaged, each pixel's colour over the covered ones alone.
fn resolve(samples: &Samples, shader: &Shader<'_>, size_px: u32) -> RgbaImage {
    let bytes: &[u8] = &BYTES;
    let encode = |linear: f32| bytes[(linear.clamp(0.0, 1.0) * ENCODING_STEPS + 0.5) as usize];
    let (size, step) = (size_px as usize, SUPERSAMPLING as usize);
    let mut picture = vec![0; 4 * size * size];
    let [columns, rows] = samples.window.clone();
    for y in rows.step_by(step) {
        for x in columns.clone().step_by(step) {
            let found: [Nearest; SAMPLES] =
                std::array::from_fn(|sub| samples.nearest[(y + sub / step) * samples.side + x + sub % step]);
            if found.iter().all(|nearest| nearest.triangle == NOTHING) {
                continue;
            }
            let (colour, covered) = pixel(shader, &found, [x as f32, y as f32]);
            if covered > 0.0 {
                let [r, g, b] = colour.map(|channel| encode(channel / covered));
                let alpha = (covered / SAMPLES as f32 * 255.0 + 0.5) as u8;
                let at = 4 * (y / step * size + x / step);
                picture[at..at + 4].copy_from_slice(&[r, g, b, alpha]);
            }
        }
    }
    RgbaImage::from_raw(size_px, size_px, picture).expect("four bytes for each pixel")
}

/// Sum of a pixel's covered samples, and their number. One surface is shaded once for all its samples in the
/// pixel, in their middle: a third of the time of shading each.
fn pixel(shader: &Shader<'_>, found: &[Nearest; SAMPLES], [x, y]: [f32; 2]) -> ([f32; 3], f32) {
    // Facets without normals differ in colour even where they meet.
    let reach = if shader.mesh.normals.is_empty() { -1.0 } else { SAME_SURFACE };
    let (mut sum, mut covered) = ([0.0_f32; 3], 0.0_f32);
    let mut open = found.map(|nearest| nearest.triangle != NOTHING);
    for first in 0..SAMPLES {
        let Nearest { depth, triangle } = found[first];
        let Some(&corners) = shader.mesh.triangles.get(triangle as usize).filter(|_| open[first]) else {
            continue;
        };
        let (mut at_x, mut at_y, mut count) = (0.0, 0.0, 0.0);
        for other in first..SAMPLES {
            let near = (found[other].depth - depth).abs() <= reach;
            if open[other] && (near || found[other].triangle == triangle) {
                at_x += x + (other % SUPERSAMPLING as usize) as f32 + 0.5;
                at_y += y + (other / SUPERSAMPLING as usize) as f32 + 0.5;
                count += 1.0;
                open[other] = other == first;
            }
        }
        open[first] = false;
        if count > 0.0
            && let Some(colour) = shader.colour(corners, at_x / count, at_y / count)
        {
            (0..3).for_each(|k| sum[k] += colour[k] * count);
            covered += count;
        }
    }
    (sum, covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::cube;
    use image::Rgba;

    fn view(yaw: f32, pitch: f32) -> View {
        View { yaw, pitch, size_px: 64, half_extent: 1.0, centre: [0.0; 3] }
    }

    #[test]
    fn a_cube_of_half_the_extent_covers_the_middle_quarter() {
        let picture = render(&cube([0.0; 3], 0.5), None, &view(0.0, 0.0));
        let opaque = picture.pixels().filter(|pixel| pixel[3] == 255).count();
        assert_eq!(opaque, 32 * 32);
        assert_eq!(picture.get_pixel(0, 0), &Rgba([0; 4]));
    }

    #[test]
    fn left_up_and_front_are_where_they_belong() {
        let seen_at = |centre: [f32; 3], yaw: f32, pitch: f32| {
            let picture = render(&cube(centre, 0.1), None, &view(yaw, pitch));
            let mut places = picture.enumerate_pixels().filter(|(_, _, pixel)| pixel[3] == 255);
            let (x, y, _) = places.next().expect("the cube is in the picture");
            (x > 31, y > 31)
        };
        let quarter = std::f32::consts::FRAC_PI_2;
        assert_eq!(seen_at([0.5, 0.5, 0.0], 0.0, 0.0), (true, false));
        assert_eq!(seen_at([-0.5, -0.5, 0.0], 0.0, 0.0), (false, true));
        // Seen from +X, what is in front (+Z) lies on the left.
        assert_eq!(seen_at([0.0, 0.5, 0.5], quarter, 0.0), (false, false));
        // Seen from above, what is in front lies at the bottom.
        assert_eq!(seen_at([0.5, 0.0, 0.5], 0.0, quarter), (true, true));
    }

    #[test]
    fn the_nearer_surface_hides_the_farther_one() {
        let mut near = cube([0.0, 0.0, 0.5], 0.2);
        near.uvs = vec![[0.0, 0.5]; near.positions.len()];
        let mut far = cube([0.0, 0.0, -0.5], 0.4);
        far.uvs = vec![[1.0, 0.5]; far.positions.len()];
        let shift = near.positions.len() as u32;
        near.positions.extend(far.positions);
        near.uvs.extend(far.uvs);
        near.triangles.extend(far.triangles.iter().map(|t| t.map(|index| index + shift)));
        let texture = RgbaImage::from_fn(2, 1, |x, _| Rgba([255 * (1 - x as u8), 0, 255 * x as u8, 255]));
        let picture = render_unlit(&near, Some(&texture), &view(0.0, 0.0));
        assert_eq!(picture.get_pixel(32, 32), &Rgba([255, 0, 0, 255]));
        assert_eq!(picture.get_pixel(21, 21), &Rgba([0, 0, 255, 255]));
    }

    #[test]
    fn indices_out_of_range_and_nan_are_passed_over() {
        let mut broken = cube([0.0; 3], 0.5);
        broken.triangles.push([0, 1, 99]);
        broken.positions[3] = [f32::NAN; 3];
        let picture = render(&broken, None, &view(0.3, 0.2));
        assert!(picture.pixels().any(|pixel| pixel[3] == 255));
    }
}
