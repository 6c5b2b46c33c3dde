//! Surfaces and pictures compared: what the quality bench judges by, and what a cheaper recipe must not
//! change.

use crate::Mesh;
use crate::geometry::{area, dot, sub};
use image::RgbaImage;

/// Points on each surface.
const POINTS: usize = 4000;

/// Points spread evenly over the surface.
pub fn sampled(mesh: &Mesh) -> Vec<[f32; 3]> {
    let whole: f64 = mesh.triangles.iter().map(|t| f64::from(area(mesh.corners(*t)))).sum();
    let step = whole / POINTS as f64;
    let (mut points, mut owed, mut state) = (Vec::with_capacity(POINTS), 0.0, 7_u32);
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    for &triangle in &mesh.triangles {
        let corners @ [a, b, c] = mesh.corners(triangle);
        owed += f64::from(area(corners));
        while owed > step {
            owed -= step;
            let (root, share) = (random().sqrt(), random());
            let (u, v) = (root * (1.0 - share), root * share);
            points.push([0, 1, 2].map(|k| a[k] + u * (b[k] - a[k]) + v * (c[k] - a[k])));
        }
    }
    points
}

/// From each point to the nearest of the others, in units of so many metres.
pub fn distances(from: &[[f32; 3]], to: &[[f32; 3]], unit: f32) -> Vec<f32> {
    let squared = |a: [f32; 3], b: [f32; 3]| {
        let gap = sub(a, b);
        dot(gap, gap)
    };
    let nearest = |p: &[f32; 3]| to.iter().map(|q| squared(*p, *q)).fold(f32::INFINITY, f32::min);
    from.iter().map(|p| nearest(p).sqrt() / unit).collect()
}

/// The F score: the harmonic mean of how much of one surface is met by the other within a distance, both
/// ways.
pub fn f_score(missed: &[f32], astray: &[f32], near: f32) -> f64 {
    let met =
        |values: &[f32]| values.iter().filter(|v| **v < near).count() as f64 / values.len().max(1) as f64;
    let (recall, precision) = (met(missed), met(astray));
    2.0 * recall * precision / (recall + precision).max(1e-9)
}

/// Of the pixels that either picture shows as solid, the share that both do.
pub fn silhouette_iou(one: &RgbaImage, other: &RgbaImage) -> f64 {
    let both = |f: fn(bool, bool) -> bool| {
        one.pixels().zip(other.pixels()).filter(|(a, b)| f(a[3] >= 128, b[3] >= 128)).count() as f64
    };
    both(|a, b| a && b) / both(|a, b| a || b).max(1.0)
}

/// Peak signal to noise of the colours where both pictures are solid, in dB, at most 60; 0 where they never
/// are.
pub fn psnr_db(one: &RgbaImage, other: &RgbaImage) -> f64 {
    let (mut squares, mut count) = (0.0, 0.0);
    for (a, b) in one.pixels().zip(other.pixels()).filter(|(a, b)| a[3] == 255 && b[3] == 255) {
        squares += (0..3).map(|k| (f64::from(a[k]) - f64::from(b[k])).powi(2)).sum::<f64>();
        count += 3.0;
    }
    if count == 0.0 { 0.0 } else { (10.0 * (65_025.0 * count / f64::max(squares, 1e-3)).log10()).min(60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    fn square(side: f32) -> Mesh {
        let at = |x: f32, y: f32| [x * side, y * side, 0.0];
        let positions = vec![at(0.0, 0.0), at(1.0, 0.0), at(1.0, 1.0), at(0.0, 1.0)];
        Mesh { positions, triangles: vec![[0, 1, 2], [0, 2, 3]], uvs: Vec::new(), normals: Vec::new() }
    }

    #[test]
    fn a_surface_meets_itself_and_half_of_one_twice_as_large() {
        let (small, large) = (sampled(&square(1.0)), sampled(&square(2.0)));
        assert!((POINTS - 2..=POINTS).contains(&small.len()), "{}", small.len());
        let same = distances(&small, &small, 1.0);
        assert_eq!(f_score(&same, &same, 0.1), 1.0);
        let (missed, astray) = (distances(&large, &small, 1.0), distances(&small, &large, 1.0));
        let recall = missed.iter().filter(|gap| **gap < 0.1).count() as f64 / missed.len() as f64;
        assert!((0.25..0.35).contains(&recall) && astray.iter().all(|gap| *gap < 0.1), "{recall}");
    }

    #[test]
    fn pictures_are_compared_where_they_are_solid() {
        let half =
            |grey: u8| RgbaImage::from_fn(4, 4, |x, _| Rgba([grey, grey, grey, if x < 2 { 255 } else { 0 }]));
        let whole = RgbaImage::from_pixel(4, 4, Rgba([90, 90, 90, 255]));
        assert_eq!((silhouette_iou(&half(9), &whole), silhouette_iou(&whole, &whole)), (0.5, 1.0));
        assert_eq!(psnr_db(&half(90), &whole), 60.0);
        // Ten of 255 everywhere.
        assert!((psnr_db(&half(100), &whole) - 28.13).abs() < 0.01);
        assert_eq!(psnr_db(&RgbaImage::new(4, 4), &whole), 0.0);
    }
}
